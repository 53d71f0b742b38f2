"""The compiled core: EventCenter, sockets, throttles, messages and the data plane of one worker.

Typed face of the extension; the C library below it is described in csrc/include/cmsgr/cmsgr.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, final

from ceph_msgr.wire.addr import EntityAddr

Buffer = bytes | bytearray | memoryview

EVENT_NONE: Final[int]
EVENT_READABLE: Final[int]
EVENT_WRITABLE: Final[int]

# -- errors -------------------------------------------------------------------------------------------

def error_name(code: int) -> str: ...
def error_text(code: int) -> str: ...
def error_from_code(code: int, *, tag: int = 0, got: int = 0, expected: int = 0, what: str = "") -> Exception:
    """-errno becomes OSError's family, the library's own range ConnectionFault or RemoteProtocolError."""

# -- frames and checksums -----------------------------------------------------------------------------

def crc32c(data: Buffer, crc: int = 0xFFFFFFFF) -> int: ...
def crc32c_implementation() -> str: ...
def frame_assemble(
    tag: int, segments: Sequence[Buffer], revision: int = 1, *, alignments: Sequence[int] | None = None, aborted: bool = False
) -> bytes: ...

@final
class Frame:
    tag: int
    segments: tuple[bytes, ...]
    aborted: bool

@final
class FrameParser:
    """One direction's frames after the banner, for tools and tests; streams use the same C parser."""

    def __init__(self, revision: int = 1, *, limits: Limits | None = None) -> None: ...
    def feed(self, data: Buffer) -> list[Frame]: ...

class Limits:
    """Largest segments accepted, in bytes."""

    def __init__(
        self, *, control: int = ..., header: int = ..., front: int = ..., middle: int = ..., data: int = ...
    ) -> None: ...

# -- EventCenter --------------------------------------------------------------------------------------

class EventCenter:
    """One event loop: file events, time events, events from other threads. Names and rules are Ceph's."""

    def __init__(self, num_files: int = 5000) -> None: ...
    owner: int  # thread identity of whoever steps the center; 0 nobody. Assigned by that thread.
    def in_thread(self) -> bool: ...
    def create_file_event(self, fd: int, mask: int, callback: Callable[[int, int], object]) -> None:
        """callback(fd, mask) on the owner."""
    def delete_file_event(self, fd: int, mask: int) -> None: ...
    def file_event_mask(self, fd: int) -> int: ...
    def create_time_event(self, delay_ns: int, callback: Callable[[], object]) -> int: ...
    def delete_time_event(self, event_id: int) -> bool: ...
    def dispatch_event_external(self, callback: Callable[[], object]) -> None: ...
    def submit_to(self, callback: Callable[[], object], *, nowait: bool = False) -> None: ...
    def wakeup(self) -> None: ...
    def process_events(self, timeout_ns: int) -> int:
        """One turn: waits at most timeout_ns (< 0 for ever), runs what is due; returns how many callbacks ran."""
    def now_ns(self) -> int: ...
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None: ...

# -- sockets: everything goes through the driver ------------------------------------------------------

def tcp_connect(addr: EntityAddr, *, bind_to: EntityAddr | None = None, nodelay: bool = True, rcvbuf: int = 0,
                priority: int = -1, user_timeout_ms: int = 0) -> int:
    """A non-blocking connect under way; returns the fd. OSError if it fails at once."""
def tcp_connect_result(fd: int) -> int:
    """1 connected, 0 under way; OSError when it failed."""
def tcp_listen(addr: EntityAddr, *, backlog: int = 512, nodelay: bool = True, rcvbuf: int = 0) -> int: ...
def tcp_accept(fd: int, *, nodelay: bool = True, rcvbuf: int = 0, priority: int = -1, user_timeout_ms: int = 0
               ) -> tuple[int, EntityAddr] | None:
    """(fd, peer's address), None when nobody waits; OSError otherwise."""
def tcp_local_addr(fd: int) -> EntityAddr: ...
def tcp_peer_addr(fd: int) -> EntityAddr: ...
def tcp_recv(fd: int, len_bytes: int) -> bytes | None:
    """b"" at the end of the stream, None when it would block."""
def tcp_send(fd: int, buffers: Sequence[Buffer], *, more: bool = False) -> int:
    """Bytes taken, 0 if it would block."""
def tcp_shutdown(fd: int) -> None: ...
def tcp_close(fd: int) -> None: ...

# -- throttle -----------------------------------------------------------------------------------------

class Throttle:
    """A bound on how much may be taken at once; waiters are woken in order, never polled. Any thread."""

    def __init__(self, name: str, max: int = 0) -> None: ...
    name: str
    max: int
    @property
    def current(self) -> int: ...
    def get_or_fail(self, amount: int = 1) -> bool: ...
    def take(self, amount: int = 1) -> None: ...
    def put(self, amount: int = 1) -> None: ...
    def stats(self) -> dict[str, int]: ...

# -- messages -----------------------------------------------------------------------------------------

class Message:
    """One message: header fields and three segments (front, middle, data), any buffer each.

    A Message may be sent many times; sending never changes it. Received segments are read-only memoryviews, made on
    first access and valid as long as they are held; the policy throttles get their amounts back when the message is
    destroyed.
    """

    def __init__(
        self, type: int, front: Buffer = b"", middle: Buffer = b"", data: Buffer = b"", *, priority: int = 127, tid: int = 0,
        version: int = 1, compat_version: int = 1,
    ) -> None: ...
    type: int
    tid: int
    priority: int
    version: int
    compat_version: int
    front: Buffer
    middle: Buffer
    data: Buffer
    @property
    def seq(self) -> int: ...
    @property
    def src(self) -> Any: ...  # EntityName of the sender, from its connection
    @property
    def connection(self) -> Any: ...
    @property
    def received_ns(self) -> int: ...
    def encode_payload(self, features: int) -> bytes: ...  # -> front
    def decode_payload(self) -> None: ...
    def dispatched(self) -> None:
        """Gives the dispatch throttle its amount back. The dispatch queue calls it, once."""

# -- the data plane of one worker ---------------------------------------------------------------------

class StreamOwner(Protocol):
    """Whom a stream reports to, on the worker's thread: AsyncConnection."""

    def _on_connected(self) -> None: ...
    def _on_frame(self, tag: int, payload: bytes, wire: bytes) -> None: ...
    def _on_fault(self, error: Exception, tag: int, data: bytes) -> None: ...
    def _on_intercepted(self, tag: int, sent: bool) -> None: ...

class SessionOwner(Protocol):
    def _on_send_queued(self) -> None: ...
    def _on_drained(self) -> None: ...

class DispatchTable:
    """Where a messenger's incoming messages go: the answer per message type is asked for once and kept.

    resolve(type) -> (preprocessors, fast): callables taking the message; fast is None for queued types.
    enqueue(message): the dispatch queue takes it. on_error(message | None, exception): an exception came out of a callback.
    """

    def __init__(
        self,
        classes: Mapping[int, type[Message]],
        resolve: Callable[[int], tuple[tuple[Callable[[Message], object], ...], Callable[[Message], object] | None]],
        enqueue: Callable[[Message], object],
        on_error: Callable[[Message | None, BaseException], object],
    ) -> None: ...
    def clear(self) -> None: ...
    def deliver(self, message: Message, connection: object) -> None:
        """The loopback's way in: same choice, no wire."""

class Session:
    """What outlives sockets: the priority out_q, the sent list, sequence numbers."""

    def __init__(self, worker: WorkerCore, owner: SessionOwner, table: DispatchTable, *, max_queued_bytes: int = 0) -> None: ...
    def send(self, message: Message, *, borrow: bool = False) -> bool:
        """Queues; False when closed (dropped). SendQueueFull when over the bound. Any thread."""
    def send_keepalive(self) -> None: ...
    def take_features(self, features: int) -> None:
        """Before READY: sets the features and encodes what was queued for others or not yet."""
    features: int
    def notify_send(self, on: bool) -> None: ...
    def notify_drained(self, limit_bytes: int) -> None: ...
    def requeue(self) -> None: ...
    def drop_acked(self, seq: int) -> None: ...
    def reset(self, *, drop_queue: bool) -> None: ...
    def move(self, worker: WorkerCore) -> None:
        """On the old worker, without a stream: the session belongs to the new one from here on."""
    def mute(self) -> None:
        """From here on nothing is accepted for sending and nothing received is delivered. Any thread."""
    def close(self) -> None: ...
    def info(self) -> dict[str, int]: ...
    def priorities(self) -> list[tuple[int, int]]: ...
    in_seq: int
    out_seq: int

class Stream:
    """One socket's bytes; owns the fd. Owner's thread only."""

    def __init__(
        self, worker: WorkerCore, fd: int, owner: StreamOwner, *, connecting: bool, limits: Limits | None = None,
        policy_messages: Throttle | None = None, policy_bytes: Throttle | None = None, dispatch_bytes: Throttle | None = None,
    ) -> None: ...
    fd: int
    def set_throttles(self, policy_messages: Throttle | None, policy_bytes: Throttle | None, dispatch_bytes: Throttle | None) -> None: ...
    def set_revision(self, revision: int) -> None: ...
    def set_mask(self, received: int, sent: int) -> None: ...
    def send_bytes(self, data: Buffer) -> None: ...
    def send_frame(self, tag: int, payload: Buffer) -> None: ...
    def continue_(self) -> None: ...
    def start(self, session: Session, *, lossless: bool) -> None: ...
    def try_send(self) -> int:
        """Bytes still unsent."""
    unsent_bytes: int
    def fail(self) -> None: ...
    def close(self) -> None: ...

class WorkerCore:
    """One worker's loop body. turn() is entered once per turn: the lock is released while it flushes, waits, reads
    and parses, then taken once to run timers, posted events and file callbacks and to dispatch every complete message."""

    def __init__(self) -> None: ...
    center: EventCenter
    def turn(self, max_wait_ns: int) -> int: ...
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None: ...

def live_objects() -> dict[str, int]:
    """How many C objects of each kind are alive, for leak tests."""
