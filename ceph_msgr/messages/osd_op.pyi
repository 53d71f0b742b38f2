"""MOSDOp and MOSDOpReply, compiled: the messages of the perf tools' hot path.

Both are encoded as version 8, for peers with the features this messenger advertises. Numbers that do not fit their field
raise OverflowError. Names are str; bytes that are not UTF-8 survive as surrogates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final, final

from ceph_msgr._core import Buffer, Message
from ceph_msgr.wire.encoding import Utime

#: The snapshot id that stands for the object itself.
SNAP_HEAD: Final[int]

@final
class OSDOp:
    """One operation of a request, or its share of a reply. For codes other than read and write the four parameters are
    whatever the 28 bytes of the operation hold. ``payload_len`` is its share of the message's data, in bytes."""

    def __init__(
        self, op: int, *, flags: int = 0, offset: int = 0, length: int = 0, truncate_size: int = 0, truncate_seq: int = 0,
        payload_len: int = 0,
    ) -> None: ...
    op: int
    flags: int
    offset: int
    length: int
    truncate_size: int
    truncate_seq: int
    payload_len: int
    __hash__: ClassVar[None]  # type: ignore[assignment]

class MOSDOp(Message):
    """A client's request to an OSD.

    Of a received one, what a server needs to route and answer it (``pool`` to ``shard``) is decoded at once; the other fields
    when one of them is first asked for, which is when DecodeError comes if they are damaged. Encoding costs about a
    microsecond: who sends the same request many times sends ``op.encoded(features)`` and changes only its ``tid``.
    """

    TYPE: ClassVar[int]
    HEAD_VERSION: ClassVar[int]

    def __init__(
        self, oid: str = "", ops: Iterable[OSDOp] = (), *, data: Buffer = b"", pool: int = 0, seed: int = 0, hash: int = 0,
        epoch: int = 0, flags: int = 0, shard: int = -1, key: str = "", namespace: str = "", locator_hash: int = -1,
        snapid: int = ..., snap_seq: int = 0, snaps: Iterable[int] = (), retry_attempt: int = -1, mtime: Utime = ...,
        client_inc: int = 0, priority: int = 127, tid: int = 0,
    ) -> None: ...
    pool: int
    #: The placement group's number within the pool (``placement_group``).
    seed: int
    #: Of the object's name (``object_hash``), or of the key in its place.
    hash: int
    #: Of the OSD map the client looked at.
    epoch: int
    flags: int
    shard: int
    # From here on decoded late.
    client_inc: int
    mtime: Utime
    #: Replaces the name in placement if not empty; so does ``locator_hash`` if not -1.
    key: str
    namespace: str
    locator_hash: int
    oid: str
    ops: list[OSDOp]
    snapid: int
    snap_seq: int
    snaps: list[int]
    #: -1: not known.
    retry_attempt: int
    #: Those the request was encoded for.
    features: int

class MOSDOpReply(Message):
    """An OSD's answer. Replies that redirect are refused."""

    TYPE: ClassVar[int]
    HEAD_VERSION: ClassVar[int]

    def __init__(
        self, oid: str = "", ops: Iterable[OSDOp] = (), results: Iterable[int] = (), *, data: Buffer = b"", pool: int = 0,
        seed: int = 0, flags: int = 0, result: int = 0, epoch: int = 0, retry_attempt: int = -1,
        bad_replay_version: tuple[int, int] = (0, 0), replay_version: tuple[int, int] = (0, 0), user_version: int = 0,
        priority: int = 127, tid: int = 0,
    ) -> None: ...
    @staticmethod
    def for_request(request: MOSDOp, *, result: int = 0, data: Buffer | None = None) -> MOSDOpReply:
        """What Ceph's perf server answers: tid, pool, seed and most flags are the request's, all else is empty. Looks only at
        what was decoded at once."""
    oid: str
    pool: int
    seed: int
    flags: int
    #: 0 or a negative errno.
    result: int
    epoch: int
    ops: list[OSDOp]
    #: One per op.
    results: list[int]
    retry_attempt: int
    #: (version, epoch).
    bad_replay_version: tuple[int, int]
    replay_version: tuple[int, int]
    user_version: int
