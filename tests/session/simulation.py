"""A world for session machines: messengers, connections, an in-memory wire and a clock that moves when told.

Everything between two ``Session`` objects is real bytes, framed by the reference codec. ``Connection`` is a shell that does
what actions say and nothing else; ``Queue`` is a model of the data plane, just good enough to tell whether a message was
lost, doubled or reordered. Nothing is random, nothing is a thread: a world does the same thing each time.

    world = World()
    osd = world.messenger("osd.0", "v2:10.0.0.1:6800/1", policy=Policy.lossless_peer())
    mon = world.messenger("mon.0", "v2:10.0.0.2:6800/2", policy=Policy.lossless_peer())
    connection = osd.connect_to(mon)
    connection.send("hello")
    world.run()
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ceph_msgr.auth.none import NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.compression import CompressionRegistry
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.protocol.session import Session
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.addr import AddrType, EntityAddr, EntityAddrVec
from ceph_msgr.wire.encoding import from_bytes, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType
from ceph_msgr.wire.header import MessageHeader
from tests.session.reference_codec import FrameError, Parser, RefFrame, assemble, assemble_control, split_banner

NS_PER_S = 1_000_000_000

#: More steps than any sane exchange takes: whoever gets here is in a loop.
MAX_STEPS = 100_000


# ---- the data plane ----


@dataclass
class Queue:
    """What outlives sockets: messages to send, messages sent, numbers."""

    unsent: deque[str] = field(default_factory=deque)
    unacked: deque[tuple[int, str]] = field(default_factory=deque)
    #: Requeued messages, with the numbers they must keep.
    replay: deque[tuple[int, str]] = field(default_factory=deque)
    received: list[str] = field(default_factory=list)
    in_seq: int = 0
    out_seq: int = 0
    duplicates: int = 0
    keepalive_wanted: bool = False
    is_watched: bool = False

    def has_queued(self) -> bool:
        return bool(self.unsent or self.unacked or self.replay or self.keepalive_wanted)

    def requeue(self) -> None:
        self.replay.extendleft(reversed(self.unacked))
        self.unacked.clear()

    def drop_acked(self, seq: int) -> None:
        assert seq <= max(self.out_seq, *[s for s, _ in self.replay], 0), f"{seq} was never sent"
        while self.replay and self.replay[0][0] <= seq:
            self.replay.popleft()
        self.out_seq = seq

    def reset(self, drop: bool) -> None:
        self.in_seq = self.out_seq = 0
        # Old numbers survive only SESSION_RECONNECT.
        self.unsent.extendleft(text for _, text in reversed(self.replay))
        self.replay.clear()
        assert not self.unacked, "reset while a stream may still be acknowledging"
        if drop:
            self.unsent.clear()


class End:
    """One end of a link."""

    def __init__(self, world: World, addr: EntityAddr) -> None:
        self._world = world
        self.addr = addr
        self.peer: End
        #: Units (banner, frames) on their way to us: bytes, and what to do right after they have arrived.
        self.inbox: deque[bytes] = deque()
        self.is_broken = False
        self.units_sent = 0
        self.stream: Stream | None = None
        #: Everything that was ever written here.
        self.written = b""

    def write(self, unit: bytes, tag: int) -> bool:
        """False if the link is broken already."""
        if self.is_broken:
            return False
        cut = self._world.cut(self, tag)
        self.units_sent += 1
        if cut is not Cut.BEFORE:
            self.written += unit
            self.peer.inbox.append(unit)
        if cut is not Cut.NO:
            # What was written before is still read; the end of the stream comes behind it.
            self.close()
        return True

    def close(self) -> None:
        self.is_broken = True
        self.peer.inbox.append(b"")


class Cut:
    """What the adversary does to a unit about to be written."""

    NO = "no"
    BEFORE = "lost with the link"
    AFTER = "arrives, then the link breaks"


class Stream:
    """One socket's bytes: collects the banner, then frames; stands still after each that is not data."""

    def __init__(self, end: End, owner: Connection) -> None:
        self.end = end
        self.owner = owner
        end.stream = self
        self.banner = b""
        self.parser: Parser | None = None
        self.may_go_on = True
        self.is_open_for_data = False
        self.is_at_end = False
        self.revision = 0

    def set_revision(self, revision: int) -> None:
        self.revision = revision
        assert self.parser
        self.parser.revision = revision

    def feed(self, data: bytes) -> None:
        if not data:
            self.is_at_end = True
        elif self.parser is None:
            self.banner += data
        else:
            self.parser.add(data)
        self.parse()

    def parse(self) -> None:
        """Hand up what is complete, as long as the control plane lets us."""
        if self.may_go_on and self.parser is None and (split := split_banner(self.banner)):
            self.parser = Parser()
            self.parser.add(split[1])
            self.may_go_on = False
            self.owner.report(ev.BannerReceived(split[0]))
        while self.may_go_on and self.parser and self.owner.stream is self:
            try:
                frame = self.parser.next_frame()
            except FrameError as error:
                self.owner.report(ev.SocketLost(ConnectionError(str(error))))
                return
            if frame is None:
                break
            self._on_frame(frame)
        if self.is_at_end and self.may_go_on and self.owner.stream is self:
            self.may_go_on = False
            self.owner.report(ev.SocketLost(ConnectionResetError("the link broke")))

    def _on_frame(self, frame: RefFrame) -> None:
        if self.is_open_for_data and frame.tag in DATA_TAGS:
            self.owner.on_data(frame)
            return
        self.may_go_on = False
        self.owner.report(ev.FrameReceived(frame.tag, frame.payload, frame.wire, self.owner.queue.in_seq))


# ---- the shell ----


class Connection:
    """Executes actions without thought, as ``AsyncConnection`` will. It is its session's ``SessionHost`` too."""

    def __init__(self, messenger: Messenger, label: str) -> None:
        self.messenger = messenger
        self.world = messenger.world
        self.label = label
        self.queue = Queue()
        self.stream: Stream | None = None
        self.session: Session
        self.peer: act.PeerInfo | None = None
        self.policy: act.SetPolicy | None = None
        self.notices: list[act.Notice] = []
        self.closed_reason: str | None = None
        self.frames_sent: list[Tag] = []
        self.frames_received: list[Tag] = []
        self.dials = 0
        self.actions: list[act.Action] = []
        self.is_lossless = False
        self._timers: dict[ev.Timer, int] = {}
        self._reports: deque[ev.Event] = deque()
        self._is_executing = False
        #: Called for each notice: user code, which may do anything.
        self.on_notice: Callable[[act.Notice], None] = lambda notice: None

    def __repr__(self) -> str:
        return f"<{self.label} {self.session.state}>"

    # ---- SessionHost ----

    @property
    def my_name(self) -> EntityName:
        return self.messenger.name

    @property
    def my_addrs(self) -> EntityAddrVec:
        return self.messenger.addrs

    def has_queued(self) -> bool:
        return self.queue.has_queued()

    def new_cookie(self) -> int:
        return next(self.messenger.cookies)

    def jitter(self) -> float:
        return self.messenger.jitter

    def next_global_seq(self, minimum: int) -> int:
        return self.messenger.next_global_seq(minimum)

    def choose_policy(self, peer_type: EntityType) -> Policy:
        return self.messenger.policy

    def find_existing(self, addrs: EntityAddrVec) -> ExistingSession | None:
        connection = self.messenger.table.get(addrs)
        return connection.session.view(connection) if connection else None

    def register(self, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        if self.messenger.table.get(addrs) not in (None, instead_of):
            return False
        self.messenger.table[addrs] = self
        return True

    # ---- the user ----

    def send(self, text: str) -> None:
        if self.session.is_closed:
            return
        self.queue.unsent.append(text)
        if self.queue.is_watched:
            self.queue.is_watched = False
            self.world.post(lambda: self.report(ev.SendQueued()))
        self.world.post(self.flush)

    def mark_down(self, *, notify: bool = False) -> None:
        self.execute(self.session.handle(ev.MarkedDown(notify), self.world.now_ns))

    # ---- events ----

    def report(self, event: ev.Event) -> None:
        """Events that arise while actions are executed wait for their end."""
        self._reports.append(event)
        if self._is_executing:
            return
        while self._reports:
            event = self._reports.popleft()
            if isinstance(event, ev.FrameReceived) and event.tag in list(Tag):
                self.frames_received.append(Tag(event.tag))
            self._is_executing = True
            try:
                self.execute(self.session.handle(event, self.world.now_ns))
            finally:
                self._is_executing = False

    def execute(self, actions: list[act.Action]) -> None:
        self.actions += actions
        was_closed = self.session.is_closed
        for action in actions:
            if self.session.is_closed and not was_closed:
                return  # a callback has marked us down
            getattr(self, f"_do_{type(action).__name__.lower()}")(action)

    # ---- actions ----

    def _do_dial(self, action: act.Dial) -> None:
        self.dials += 1
        self.world.dial(self, action.addr)

    def _do_sendbytes(self, action: act.SendBytes) -> None:
        assert self.stream
        self.stream.end.write(action.data, 0)

    def _do_setrevision(self, action: act.SetRevision) -> None:
        assert self.stream
        self.stream.set_revision(action.revision)

    def _do_sendframe(self, action: act.SendFrame) -> None:
        assert self.stream
        wire = assemble_control(action.tag, action.payload, self.stream.revision)
        if self.stream.end.write(wire, action.tag):
            self.frames_sent.append(action.tag)

    def _do_setcompression(self, action: act.SetCompression) -> None:
        """Agreed on, and kept in ``actions``; this wire's frames go as they are, as any frame may."""
        assert self.stream

    def _do_continue(self, action: act.Continue) -> None:
        stream = self.stream
        assert stream and not stream.may_go_on, "nothing waits for Continue"
        stream.may_go_on = True
        self.world.post(lambda: stream.parse())

    def _do_closesocket(self, action: act.CloseSocket) -> None:
        if self.stream:
            self.stream.end.close()
            self.stream = None
        else:
            self.world.give_up_dial(self)

    def _do_armtimer(self, action: act.ArmTimer) -> None:
        assert action.timer not in self._timers, f"{action.timer} is armed already"
        assert action.delay_ns >= 0
        self._timers[action.timer] = self.world.add_timer(action.delay_ns, lambda: self._fire(action.timer))

    def _do_canceltimer(self, action: act.CancelTimer) -> None:
        self.world.cancel_timer(self._timers.pop(action.timer))

    def _fire(self, timer: ev.Timer) -> None:
        del self._timers[timer]
        self.report(ev.TimerFired(timer))

    def _do_requeue(self, action: act.Requeue) -> None:
        self.queue.requeue()

    def _do_dropacked(self, action: act.DropAcked) -> None:
        self.queue.drop_acked(action.seq)

    def _do_resetqueues(self, action: act.ResetQueues) -> None:
        self.queue.reset(action.drop)

    def _do_watchqueue(self, action: act.WatchQueue) -> None:
        self.queue.is_watched = True

    def _do_enterready(self, action: act.EnterReady) -> None:
        assert self.stream
        self.is_lossless = action.lossless
        self.stream.is_open_for_data = True
        self.world.post(self.flush)

    def _do_setpolicy(self, action: act.SetPolicy) -> None:
        self.policy = action

    def _do_setpeer(self, action: act.SetPeer) -> None:
        self.peer = action.peer

    def _do_learnaddress(self, action: act.LearnAddress) -> None:
        self.messenger.learn(action.addr)

    def _do_notify(self, action: act.Notify) -> None:
        self.notices.append(action.notice)
        self.on_notice(action.notice)

    def _do_closed(self, action: act.Closed) -> None:
        self.closed_reason = action.reason
        assert not self._timers, f"timers left: {self._timers}"
        assert self.stream is None, "the socket was not closed"
        table = self.messenger.table
        for addrs in [addrs for addrs, connection in table.items() if connection is self]:
            del table[addrs]

    def _do_closeexisting(self, action: act.CloseExisting) -> None:
        existing = action.existing
        assert isinstance(existing, Connection)
        self.world.post(lambda: existing.report(ev.MarkedDown(notify=True)))

    def _do_nudgeexisting(self, action: act.NudgeExisting) -> None:
        existing = action.existing
        assert isinstance(existing, Connection)
        existing.queue.keepalive_wanted = True
        self.world.post(lambda: existing.report(ev.SendQueued()))

    def _do_takeover(self, action: act.TakeOver) -> None:
        existing = action.existing
        assert isinstance(existing, Connection)
        assert self.stream
        self.stream.may_go_on = False
        self.world.post(lambda: existing.report(ev.TakeOverRequested(replace(action.handoff, newcomer=self))))

    def _do_refusetakeover(self, action: act.RefuseTakeOver) -> None:
        newcomer = action.handoff.newcomer
        assert isinstance(newcomer, Connection)
        self.world.post(lambda: newcomer.report(ev.TakeOverRefused(action.verdict)))

    def _do_adoptstream(self, action: act.AdoptStream) -> None:
        assert self.stream is None
        self.world.post(lambda: self._adopt(action.handoff, self.queue.in_seq))

    def _adopt(self, handoff: ev.Handoff, in_seq: int) -> None:
        newcomer = handoff.newcomer
        assert isinstance(newcomer, Connection)
        if newcomer.stream is None:
            self.report(ev.SocketLost(ConnectionResetError("the newcomer's socket is gone")))
            return
        stream = newcomer.stream
        newcomer.stream = None
        newcomer.report(ev.StreamHandedOver())
        self.stream = stream
        stream.owner = self
        self.report(ev.StreamAdopted(handoff, in_seq))

    # ---- READY ----

    def flush(self) -> None:
        """Everything queued goes out, replay first."""
        stream, queue = self.stream, self.queue
        if not stream or not stream.is_open_for_data:
            return
        if queue.keepalive_wanted:
            queue.keepalive_wanted = False
            self._write(Tag.KEEPALIVE2, bytes(8))
        while queue.replay or queue.unsent:
            if queue.replay:
                seq, text = queue.replay.popleft()
            else:
                seq, text = queue.out_seq + 1, queue.unsent.popleft()
            queue.out_seq = seq
            if self.is_lossless:
                queue.unacked.append((seq, text))
            header = MessageHeader(seq=seq, type=2, ack_seq=queue.in_seq)
            wire = assemble(Tag.MESSAGE, [to_bytes(header), text.encode("latin-1")], stream.revision)
            stream.end.write(wire, Tag.MESSAGE)

    def on_data(self, frame: RefFrame) -> None:
        match frame.tag:
            case Tag.MESSAGE:
                header = from_bytes(MessageHeader, frame.segments[0])
                self._on_acked(header.ack_seq)
                if header.seq <= self.queue.in_seq:
                    self.queue.duplicates += 1
                else:
                    self.queue.in_seq = header.seq
                    self.queue.received.append(b"".join(frame.segments[1:]).decode("latin-1"))
                if self.is_lossless:
                    self._write(Tag.ACK, self.queue.in_seq.to_bytes(8, "little"))
            case Tag.ACK:
                self._on_acked(int.from_bytes(frame.payload, "little"))
            case Tag.KEEPALIVE2:
                self._write(Tag.KEEPALIVE2_ACK, frame.payload)

    def _on_acked(self, seq: int) -> None:
        while self.is_lossless and self.queue.unacked and self.queue.unacked[0][0] <= seq:
            self.queue.unacked.popleft()

    def _write(self, tag: Tag, payload: bytes) -> None:
        if self.stream:
            self.stream.end.write(assemble(tag, [payload], self.stream.revision), tag)


# ---- messengers and the world ----


class Messenger:
    """A name, addresses, a table of connections, and the policy for everybody."""

    def __init__(self, world: World, name: str, addr: str, policy: Policy, config: Config) -> None:
        self.world = world
        self.name = EntityName.parse(name)
        self.addrs = EntityAddrVec.parse(addr)
        self.policy = policy
        self.config = config
        auth_name = AuthEntityName(self.name.type, "admin")
        self.auth = AuthRegistry(self.name.type, config, [NoneClient(auth_name)], [NoneServer(lambda: 4711)])
        self.compression = CompressionRegistry(config, (1, 2, 3, 4))
        self.table: dict[EntityAddrVec, Connection] = {}
        #: Every connection there ever was, in order of creation.
        self.connections: list[Connection] = []
        self.cookies = itertools.count(0x1000 * (1 + len(world.messengers)))
        self.global_seq = 0
        self.jitter = 0.0

    def next_global_seq(self, minimum: int) -> int:
        self.global_seq = max(self.global_seq, minimum) + 1
        return self.global_seq

    def learn(self, seen: EntityAddr) -> None:
        if self.addrs[0].is_blank_ip:
            # Nobody can dial what is not bound to a port.
            self.addrs = EntityAddrVec(
                [replace(addr, ip=seen.ip, **({} if addr.port else {"type": AddrType.ANY})) for addr in self.addrs]
            )

    def connect_to(self, peer: Messenger | EntityAddrVec, peer_type: EntityType | None = None) -> Connection:
        addrs = peer.addrs if isinstance(peer, Messenger) else peer
        if isinstance(peer, Messenger):
            peer_type = peer_type or peer.name.type
        assert peer_type
        connection = self._make(f"{self.name}->{addrs}")
        connection.session = Session.dialling(
            connection,
            self.config,
            self.auth,
            policy=self.policy,
            peer_type=peer_type,
            target=addrs.msgr2_addr(),
            compression=self.compression,
            assemble=assemble_control,
        )
        self.table[addrs] = connection
        self.world.post(lambda: connection.report(ev.DialRequested()))
        return connection

    def accept(self, end: End) -> Connection:
        connection = self._make(f"{self.name}<-{end.peer.addr}")
        connection.session = Session.accepted(
            connection, self.config, self.auth, compression=self.compression, assemble=assemble_control
        )
        connection.stream = Stream(end, connection)
        connection.report(ev.Accepted(end.peer.addr))
        return connection

    def _make(self, label: str) -> Connection:
        connection = Connection(self, f"{label}#{len(self.connections)}")
        self.connections.append(connection)
        return connection


class World:
    """Time, the wire, and everybody on it."""

    def __init__(self, *, chunk_bytes: int | None = None) -> None:
        self.now_ns = 0
        #: Deliver in pieces of this size.
        self.chunk_bytes = chunk_bytes
        self.messengers: list[Messenger] = []
        #: ``cut(end, tag)`` says what happens to a unit about to be written; tag 0 is the banner.
        self.cut: Callable[[End, int], str] = lambda end, tag: Cut.NO
        #: Addresses that refuse or swallow dials: ``ConnectionRefusedError()`` or None.
        self.unreachable: dict[EntityAddr, Exception | None] = {}
        #: Dialling ends, in order; ``.peer`` is the accepting one.
        self.links: list[End] = []
        #: Who reads first, the least; ends with the same key in the order of the links, the dialling one first.
        self.order: Callable[[End], int] = lambda end: 0
        self._posts: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._timer_ids = itertools.count(1)
        self._cancelled: set[int] = set()
        self._pending_dials: dict[Connection, int] = {}

    def messenger(self, name: str, addr: str, *, policy: Policy, config: Config | None = None) -> Messenger:
        messenger = Messenger(self, name, addr, policy, config or Config())
        self.messengers.append(messenger)
        return messenger

    # ---- time ----

    def post(self, call: Callable[[], object]) -> None:
        self._posts.append(call)

    def add_timer(self, delay_ns: int, call: Callable[[], object]) -> int:
        timer_id = next(self._timer_ids)
        heapq.heappush(self._timers, (self.now_ns + delay_ns, timer_id, call))
        return timer_id

    def cancel_timer(self, timer_id: int) -> None:
        self._cancelled.add(timer_id)

    def run(self) -> None:
        """Until nobody has anything to do at this moment."""
        for _ in range(MAX_STEPS):
            if self._posts:
                self._posts.popleft()()
            elif not self._deliver():
                return
        raise AssertionError("no end in sight")

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire at their own moments."""
        self.run()
        end_ns = self.now_ns + round(seconds * NS_PER_S)
        while self._timers and self._timers[0][0] <= end_ns:
            self.now_ns, timer_id, call = heapq.heappop(self._timers)
            if timer_id not in self._cancelled:
                call()
            self.run()
        self.now_ns = end_ns

    # ---- the wire ----

    def dial(self, connection: Connection, addr: EntityAddr) -> None:
        if addr in self.unreachable:
            error = self.unreachable[addr]
            if error:
                self.post(lambda: connection.report(ev.SocketLost(error)))
            return
        listener = next((m for m in self.messengers if addr in m.addrs), None)
        if listener is None:
            self.post(lambda: connection.report(ev.SocketLost(ConnectionRefusedError("nobody listens"))))
            return
        dial_id = next(self._timer_ids)
        self._pending_dials[connection] = dial_id
        self.post(lambda: self._establish(connection, dial_id, listener))

    def give_up_dial(self, connection: Connection) -> None:
        self._pending_dials.pop(connection, None)

    def _establish(self, connection: Connection, dial_id: int, listener: Messenger) -> None:
        if self._pending_dials.get(connection) != dial_id:
            return
        del self._pending_dials[connection]
        end = self.link(connection.messenger.addrs[0].ip or "10.0.0.99")
        connection.stream = Stream(end, connection)
        connection.report(ev.SocketConnected(end.addr))
        if not end.peer.is_broken:
            listener.accept(end.peer)

    def link(self, ip: str) -> End:
        """Two ends of a new link; returns the dialling one, which has an ephemeral port."""
        near = End(self, EntityAddr(AddrType.MSGR2, ip, 40000 + len(self.links)))
        far = End(self, EntityAddr(AddrType.MSGR2, "10.0.0.98", 1))
        near.peer, far.peer = far, near
        self.links.append(near)
        return near

    def _deliver(self) -> bool:
        """One unit, or one piece of it, to the first end that has something to read."""
        for end in sorted((end for near in self.links for end in (near, near.peer)), key=self.order):
            if end.inbox and end.stream and end.stream.owner.stream is end.stream:
                unit = end.inbox.popleft()
                if self.chunk_bytes and len(unit) > self.chunk_bytes:
                    end.inbox.appendleft(unit[self.chunk_bytes :])
                    unit = unit[: self.chunk_bytes]
                end.stream.feed(unit)
                return True
        return False

    def break_link(self, index: int = -1) -> None:
        """Both ends notice, after what is on its way."""
        near = self.links[index]
        near.close()
        near.peer.close()


def raw_peer(messenger: Messenger, addr: EntityAddr) -> tuple[End, Connection]:
    """A link to a messenger with nobody at the other end: for bytes of one's own. Returns our end and its connection."""
    near = messenger.world.link(addr.ip)
    near.addr = addr
    return near, messenger.accept(near.peer)


__all__ = [
    "NS_PER_S",
    "Connection",
    "Cut",
    "End",
    "Messenger",
    "Queue",
    "Stream",
    "World",
    "raw_peer",
]
