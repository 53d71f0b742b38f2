"""The compiled core: EventCenter, sockets, throttles, messages and the data plane of one worker.

Typed face of the extension; the C library below it is described in csrc/include/cmsgr/cmsgr.h.

Threads: "owner" is the thread that steps an EventCenter or WorkerCore; every method is for the owner unless it says
"any thread", and a wrong thread gets RuntimeError. Times are nanoseconds. What is closed, or was made before a fork()
and is used in the child, raises RuntimeError. A C result that is an error is raised as `error_from_code` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, Self, final

from ceph_msgr.wire.addr import EntityAddr

Buffer = bytes | bytearray | memoryview

EVENT_NONE: Final[int]
EVENT_READABLE: Final[int]
EVENT_WRITABLE: Final[int]

# -- errors -------------------------------------------------------------------------------------------

def error_name(code: int) -> str:
    """The symbol of a C result, such as "SEGMENT_CRC" or "ECONNRESET"."""

def error_text(code: int) -> str: ...
def error_from_code(code: int, *, tag: int = 0, got: int = 0, expected: int = 0, what: str = "") -> Exception:
    """-errno becomes OSError's family; the library's own range ConnectionFault (the peer left, closed, injected; its
    ``cause`` is the symbol in small letters), SendQueueFull, LocalProtocolError (not possible in this state) or else
    RemoteProtocolError with the numbers compared. ``what`` says what was tried."""

def set_exception_hook(hook: Callable[[BaseException, str], object] | None) -> Callable[[BaseException, str], object] | None:
    """Where exceptions of callbacks go that have no other receiver: hook(exception, where). None, the default, logs them
    with logger "ceph_msgr". Returns the hook before. A callback's exception never ends a loop; only KeyboardInterrupt
    does, after the other callbacks of its turn."""

def callback_errors() -> int:
    """How many exceptions were handed to the hook since the start."""

# -- frames and checksums -----------------------------------------------------------------------------

def crc32c(data: Buffer, crc: int = 0xFFFFFFFF) -> int:
    """CRC-32C as msgr2 uses it: raw, without the final inversion; the register starts at ``crc``."""

def crc32c_implementation() -> str:
    """ "avx512", "sse42", "armv8" or "table"."""

def frame_assemble(
    tag: int, segments: Sequence[Buffer], revision: int = 1, *, alignments: Sequence[int] | None = None, aborted: bool = False,
    compressed: bool = False, cipher: Cipher | None = None,
) -> bytes:
    """One frame of msgr2.``revision``, in crc mode or sealed by ``cipher``. Trailing empty segments are dropped. ``compressed``
    says in the preamble that the segments, as given, are compressed."""

def compression_algorithms() -> dict[int, str]:
    """Number and name of each algorithm of on-wire compression that is compiled in. Any thread."""

def compress(algorithm: int, data: bytes) -> bytes:
    """One segment. ``ValueError`` for an algorithm that is not compiled in; ``OSError`` beyond 1 GiB. Any thread."""

def decompress(algorithm: int, data: bytes, limit: int) -> bytes:
    """Back. ``RemoteProtocolError`` for a damaged segment, and, before there is memory for it, for one of more than ``limit``
    bytes. Any thread."""

@final
class Cipher:
    """AES-128-GCM of one direction, with a nonce that steps by itself; streams make their own."""

    def __init__(self, key: bytes, nonce: bytes, *, seals: bool, revision: int = 1) -> None: ...
    revision: int
    seals: bool

def aes_128_cbc(key: bytes, iv: bytes, data: bytes, encrypt: bool) -> bytes:
    """With PKCS#7 padding. ``ValueError`` for a wrong length or padding. Any thread."""

@final
class Frame:
    """A parsed frame. One that its sender aborted has no segments."""

    tag: int
    segments: tuple[bytes, ...]
    alignments: tuple[int, ...]
    aborted: bool

@final
class FrameParser:
    """One direction's frames after the banner, for tools and tests; streams use the same C parser."""

    def __init__(self, revision: int = 1, *, limits: Limits | None = None) -> None: ...
    def set_cipher(self, cipher: Cipher) -> None:
        """Between frames: all that follow are opened by it."""
    def set_compression(self, algorithm: int) -> None:
        """Between frames: those that follow may be compressed; they come out decompressed. 0: none may."""
    def feed(self, data: Buffer) -> list[Frame]:
        """The frames that are complete now. Bytes that are no frame raise; if frames were complete before them, those are
        returned and the next call raises. A failed parser stays failed."""

@final
class Limits:
    """Largest segments accepted, in bytes: ``control`` for the one segment of a frame that is not MESSAGE, the others
    for the four of a MESSAGE. Defaults: 1 MiB, 4 KiB, 64 MiB, 64 MiB, 256 MiB."""

    def __init__(
        self, *, control: int | None = None, header: int | None = None, front: int | None = None, middle: int | None = None,
        data: int | None = None,
    ) -> None: ...
    @property
    def control(self) -> int: ...
    @property
    def header(self) -> int: ...
    @property
    def front(self) -> int: ...
    @property
    def middle(self) -> int: ...
    @property
    def data(self) -> int: ...

# -- EventCenter --------------------------------------------------------------------------------------

class EventCenter:
    """One event loop: file events, time events, events from other threads. Names and rules are Ceph's.

    Callbacks run on the owner, inside ``process_events`` (or ``WorkerCore.turn``). What is registered is kept alive until
    it is removed, has run, or the center is closed: a center that is part of a cycle must be closed.
    """

    def __init__(self, num_files: int = 5000) -> None: ...
    owner: int
    """Thread identity of whoever steps the center, assigned by that thread; 0 nobody: then any thread may use it, and one
    that steps it is its owner meanwhile."""
    def in_thread(self) -> bool:
        """Is the caller the owner? Any thread."""
    def create_file_event(self, fd: int, mask: int, callback: Callable[[int, int], object]) -> None:
        """callback(fd, mask). Edge-triggered. Merges ``mask`` into what is watched and sets the callback of those bits; does
        nothing, not even change the callback, if nothing is new. Readable runs first; equal callbacks run once for both."""
    def delete_file_event(self, fd: int, mask: int) -> None:
        """To be called before the fd is closed. The callback is not called again, not even for an event already found."""
    def file_event_mask(self, fd: int) -> int: ...
    def create_time_event(self, delay_ns: int, callback: Callable[[], object]) -> int:
        """Returns an id for delete_time_event. Never early, once, in order of time."""
    def delete_time_event(self, event_id: int) -> bool:
        """True if it was still pending."""
    def dispatch_event_external(self, callback: Callable[[], object]) -> None:
        """Runs it on the owner; any thread. In order; an object that is also the last one still queued is not queued again.
        What is pending when the center closes runs then."""
    def submit_to(self, callback: Callable[[], object], *, nowait: bool = False) -> None:
        """Any thread. On the owner runs at once; elsewhere waits until the owner ran it. What it raises is raised here.
        With ``nowait`` it is an external event, also on the owner."""
    def set_polling(self, poll_ns: int) -> None:
        """How long to look for events before sleeping: 0 never (at first), < 0 adaptive."""
    def wakeup(self) -> None:
        """Ends the current or the next wait. Any thread."""
    def process_events(self, timeout_ns: int) -> int:
        """One turn: waits at most timeout_ns (< 0 for ever), runs what is due; returns how many callbacks ran. On the main
        thread a signal's handler runs within a quarter of a second, and may raise."""
    def now_ns(self) -> int:
        """The driver's monotonic clock. Any thread."""
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None:
        """Runs what other threads posted, drops the rest. Idempotent. Refused inside a callback, and for a worker's center,
        which its WorkerCore closes."""

# -- sockets: everything goes through the driver; any thread ------------------------------------------

def tcp_connect(addr: EntityAddr, *, bind_to: EntityAddr | None = None, nodelay: bool = True, rcvbuf: int = 0,
                priority: int = -1, user_timeout_ms: int = 0) -> int:
    """A non-blocking connect under way; returns the fd. OSError if it fails at once."""

def tcp_connect_result(fd: int) -> int:
    """1 connected, 0 under way; OSError when it failed."""

def tcp_listen(addr: EntityAddr, *, backlog: int = 512, nodelay: bool = True, rcvbuf: int = 0) -> int: ...
def tcp_accept(fd: int, *, nodelay: bool = True, rcvbuf: int = 0, priority: int = -1, user_timeout_ms: int = 0
               ) -> tuple[int, EntityAddr] | None:
    """(fd, peer's address), None when nobody waits; OSError otherwise."""

def tcp_local_addr(fd: int) -> EntityAddr:
    """Of type msgr2, with nonce 0; so is a peer's."""

def tcp_peer_addr(fd: int) -> EntityAddr: ...
def tcp_recv(fd: int, len_bytes: int) -> bytes | None:
    """b"" at the end of the stream, None when it would block."""

def tcp_send(fd: int, buffers: Sequence[Buffer], *, more: bool = False) -> int:
    """Bytes taken, 0 if it would block. One call takes at most 64 buffers."""

def tcp_shutdown(fd: int) -> None: ...
def tcp_close(fd: int) -> None: ...

# -- throttle -----------------------------------------------------------------------------------------

@final
class Throttle:
    """A bound on how much may be taken at once; waiters are woken in order, never polled. Any thread."""

    def __init__(self, name: str, max: int = 0) -> None:
        """max 0 = unlimited, still counted."""
    @property
    def name(self) -> str: ...
    max: int
    @property
    def current(self) -> int: ...
    def get_or_fail(self, amount: int = 1) -> bool:
        """False, and nothing taken, if it would exceed or somebody already waits."""
    def take(self, amount: int = 1) -> None: ...
    def put(self, amount: int = 1) -> None: ...
    def stats(self) -> dict[str, int]: ...

# -- messages -----------------------------------------------------------------------------------------

class Message:
    """One message: header fields and three segments (front, middle, data), any buffer each.

    A Message may be sent many times; sending never changes it, and takes the header as it is at that moment: ``m.tid = n;
    connection.send_message(m)`` in a loop needs one object. Received segments are read-only memoryviews, made on
    first access and valid as long as they are held; the policy throttles get their amounts back when the message and all
    its views are gone. A received message can be sent on: it goes as it came, unless a segment was assigned.

    A typed message is a subclass. ``encode_payload`` is called when it is sent, if the class overrides it: at once when the
    peer's features are known, else (and again when they change) before it is written, so until then its fields must not
    change. A received one is made by ``cls.__new__(cls)`` without ``__init__``, then ``decode_payload`` is called.
    """

    def __init__(
        self, type: int, front: Buffer = b"", middle: Buffer = b"", data: Buffer = b"", *, priority: int = 127, tid: int = 0,
        version: int = 1, compat_version: int = 1,
    ) -> None:
        """ValueError for a number that does not fit its field, TypeError for a segment that is no buffer. Priority 0 goes
        out as 127."""
    @classmethod
    def from_segments(
        cls, type: int, front: Buffer = b"", middle: Buffer = b"", data: Buffer = b"", *, priority: int = 127, tid: int = 0,
        version: int = 1, compat_version: int = 1,
    ) -> Self:
        """As if it had been received: without __init__, with decode_payload."""
    @property
    def type(self) -> int: ...
    tid: int
    priority: int
    version: int
    compat_version: int
    front: Buffer
    middle: Buffer
    data: Buffer
    connection: Any
    """Where it came from; None for one made here."""
    @property
    def seq(self) -> int:
        """The number it was received with; 0 for one made here."""
    @property
    def src(self) -> Any:
        """EntityName of the sender, from its connection."""
    @property
    def received_ns(self) -> int:
        """When its last byte was read, by the driver's monotonic clock; 0 for one made here."""
    def encode_payload(self, features: int) -> Buffer:
        """-> front. May also set ``middle``, ``data``, ``version`` and ``compat_version``, which are read afterwards. An
        exception comes out of ``send``, or goes to the table's ``on_error`` and the message is dropped."""
    def decode_payload(self) -> None:
        """Sets the fields from the segments, or raises DecodeError: then the message goes to ``on_error`` and nowhere else."""
    def encoded(self, features: int) -> Message:
        """A plain Message with this one's header and its payload encoded for these features: sending it costs no encoding."""
    def dispatched(self) -> None:
        """Gives the dispatch throttle its amount back. The dispatch queue calls it; more than once does no harm."""

# -- the data plane of one worker ---------------------------------------------------------------------

class StreamOwner(Protocol):
    """Whom a stream reports to, on the worker's thread: AsyncConnection. What these raise goes to the exception hook, and the
    stream stands where it stood."""

    def _on_connected(self) -> None: ...
    def _on_frame(self, tag: int, payload: bytes, wire: bytes) -> None:
        """Tag 0 is the banner. The stream stands still until ``continue_``."""
    def _on_fault(self, error: Exception, tag: int, data: bytes) -> None:
        """The stream's last word. ``data``: of a banner that was refused, what came."""
    def _on_intercepted(self, tag: int, sent: bool) -> None: ...
    def _on_odd_sequence(self, got: int, expected: int) -> None:
        """A message with a repeated number was dropped, or one that skips numbers accepted."""

class SessionOwner(Protocol):
    def _on_send_queued(self) -> None: ...
    def _on_drained(self) -> None: ...
    def _on_queue_full(self) -> None:
        """``send`` is about to raise ``SendQueueFull``, on the sender's thread."""

@final
class DispatchTable:
    """Where a messenger's incoming messages go: the answer per message type is asked for once and kept.

    classes: by type number; a type without a class arrives as a plain Message. resolve(type) -> (preprocessors, fast): callables
    taking the message; fast is None for queued types. enqueue(message): the dispatch queue takes it, and calls
    ``message.dispatched()``. on_error(message | None, exception): an exception came out of decoding, encoding or a
    dispatcher; after a preprocessor's the message still goes on.
    """

    def __init__(
        self,
        classes: Mapping[int, type[Message]],
        resolve: Callable[[int], tuple[Sequence[Callable[[Message], object]], Callable[[Message], object] | None]],
        enqueue: Callable[[Message], object],
        on_error: Callable[[Message | None, BaseException], object],
    ) -> None: ...
    def clear(self) -> None:
        """Forgets the answers, because dispatchers or classes changed. Any thread."""
    def deliver(self, message: Message, connection: object) -> None:
        """The loopback's way in: same choice, no wire, no decoding; sets ``message.connection``. Any thread."""

@final
class Session:
    """What outlives sockets: the priority out_q, the sent list, sequence numbers.

    Messages that were complete reach ``owner`` until the session is closed, whatever became of the stream.
    """

    def __init__(self, worker: WorkerCore, owner: SessionOwner, table: DispatchTable, *, max_queued_bytes: int = 0) -> None: ...
    owner: SessionOwner
    def send(self, message: Message, borrow: bool = False) -> bool:
        """Queues; False when closed (dropped). SendQueueFull when over the bound, ValueError for a segment of 4 GiB and more.
        Any thread. ``bytes``, views of bytes and received segments are borrowed, any other buffer is copied, unless
        ``borrow`` promises that it does not change before the message is acknowledged (or written, on a lossy connection)."""
    def send_keepalive(self) -> None:
        """Any thread. Nothing when closed."""
    @property
    def features(self) -> int:
        """What messages are encoded for; 0 before the first handshake ended. Any thread."""
    def take_features(self, features: int) -> None:
        """Before READY: sets the features and encodes what was queued for others or not yet."""
    def notify_send(self, on: bool) -> None:
        """The next send while no stream is attached calls ``_on_send_queued``, once."""
    def notify_drained(self, limit_bytes: int) -> None:
        """Once queued bytes are at or below it: one ``_on_drained``. Any thread."""
    def requeue(self) -> None: ...
    def drop_acked(self, seq: int) -> None: ...
    def reset(self, *, drop_queue: bool) -> None: ...
    def move(self, worker: WorkerCore) -> None:
        """On the old worker, without a stream: the session belongs to the new one from here on."""
    def mute(self) -> None:
        """From here on nothing is accepted for sending and nothing received is delivered. Any thread."""
    def close(self) -> None:
        """Mutes, and drops everything for good; idempotent."""
    def info(self) -> dict[str, int]:
        """The fields of cmsgr_session_info. Any thread."""
    def priorities(self) -> list[tuple[int, int]]:
        """(priority, queued messages), highest first. Any thread."""
    @property
    def in_seq(self) -> int: ...
    @property
    def out_seq(self) -> int: ...

@final
class Stream:
    """One socket's bytes; owns the fd from the moment __init__ succeeded. To be closed: one that is collected open closes
    itself with a ResourceWarning."""

    def __init__(
        self, worker: WorkerCore, fd: int, owner: StreamOwner, *, connecting: bool, limits: Limits | None = None,
        policy_messages: Throttle | None = None, policy_bytes: Throttle | None = None, dispatch_bytes: Throttle | None = None,
        dispatch_messages: Throttle | None = None,
        inject_socket_failures: int = 0, inject_network_congestion: int = 0,
    ) -> None: ...
    owner: StreamOwner
    @property
    def fd(self) -> int: ...
    def set_throttles(
        self, policy_messages: Throttle | None, policy_bytes: Throttle | None, dispatch_bytes: Throttle | None,
        dispatch_messages: Throttle | None = None,
    ) -> None: ...
    def set_revision(self, revision: int) -> None: ...
    def set_keys(self, secret: bytes, *, is_client: bool) -> None:
        """Secure mode in both directions: frames sent after this, frames parsed after the next ``continue_``."""
    def set_compression(self, algorithm: int, min_bytes: int) -> None:
        """With the same timing. Frames whose segments have less than ``min_bytes`` together, or gain nothing, are sent as they
        are. ``OSError`` for an algorithm that is not compiled in."""
    def set_mask(self, received: int, sent: int) -> None:
        """Frames whose bit (1 << tag) is set surface as ``_on_intercepted`` before they are processed."""
    def send_bytes(self, data: Buffer) -> None:
        """This, ``send_frame`` and ``start`` do nothing on a stream whose fault has not been taken yet."""
    def send_frame(self, tag: int, payload: Buffer) -> None: ...
    def continue_(self) -> None:
        """The answer to ``_on_connected``, ``_on_frame`` and, for a received frame, ``_on_intercepted``: go on."""
    def continue_sent(self) -> None:
        """The answer to ``_on_intercepted`` for a frame that is to be sent: go on."""
    def start(self, session: Session, *, lossless: bool) -> None:
        """READY: joins the session."""
    def try_send(self) -> int:
        """Bytes still unsent. An error surfaces as the fault, not here."""
    @property
    def unsent_bytes(self) -> int: ...
    def fail(self) -> None:
        """Answer to ``_on_intercepted``: the stream faults."""
    def close(self) -> None:
        """Closes the socket. Idempotent."""

@final
class WorkerCore:
    """One worker's loop body. turn() is entered once per turn: the lock is released while it flushes, waits, reads
    and parses, then taken once to run timers, posted events and file callbacks and to dispatch every complete message."""

    def __init__(self) -> None: ...
    @property
    def center(self) -> EventCenter:
        """For its events; turn() steps it."""
    def turn(self, max_wait_ns: int) -> int:
        """1 if there was something for Python to do, 0 if the time passed (< 0: for ever) or somebody called wakeup()."""
    def stats(self) -> dict[str, int]:
        """The fields of cmsgr_worker_stats, and ``python_entries`` (turns that came up to Python) and
        ``messages_delivered``. The owner's numbers; read from another thread they may be a little old."""
    def close(self) -> None:
        """Closes the streams and sessions that are left, then the center. Idempotent; refused inside a turn."""

def fork_count() -> int:
    """How many forks lie before this process. A loop that sees it change has come back from a callback that forked, in the child:
    what it works on belongs to the parent, and it must end."""

def live_objects() -> dict[str, int]:
    """How many C objects of each kind are alive, for leak tests. ``messages`` counts references held by messages and views."""

# -- the world: clocks, chance, and another world for simulations ---------------------------------------

def monotonic_ns() -> int:
    """The clock of timers. Any thread."""

def wall_ns() -> int:
    """Since the epoch. Any thread."""

def random_bytes(len_bytes: int) -> bytes:
    """Of the world's chance: the system's, unguessable. Any thread."""

def enter_world(allocator: object, driver: object) -> None:
    """For simulations: from here on everything is made from this allocator and driver, clocks and chance included. They are
    capsules named ``cmsgr_allocator`` and ``cmsgr_driver`` of the C structs; there is no way back to the real world in this
    process. ``RuntimeError`` while anything made before is alive (``live_objects``)."""
