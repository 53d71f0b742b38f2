"""An OSD of ours, made of nothing but a messenger and a dict: it serves what `rados` needs for put, stat, get and rm."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from ceph_msgr import Config, Dispatcher, EntityAddr, Message, Messenger, Policy
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.messages import MOSDOp, MOSDOpReply, OSDOp
from ceph_msgr.wire.encoding import Encoder, Utime


class OpCode(IntEnum):
    READ = 0x1201
    STAT = 0x1202
    WRITE = 0x2201
    WRITEFULL = 0x2202
    DELETE = 0x2205


#: Kind of reply: done, and on disk.
DONE = 0x5


@dataclass(slots=True)
class StoredObject:
    data: bytes
    mtime: Utime


class FakeOsd(Dispatcher):
    """osd.0 at this address, which nobody else may hold. A context manager: listens inside."""

    def __init__(self, address: str, *, auth: Callable[[Config], AuthRegistry] | None = None, mode: str = "crc") -> None:
        self.objects: dict[str, StoredObject] = {}
        #: All that came, in order. Read it when the client has gone.
        self.requests: list[MOSDOp] = []
        self._version = 0
        addr = EntityAddr.parse(address)
        config = Config(ms_bind_retry_count=0, ms_service_mode=mode)
        self.messenger = Messenger.create("osd.0", nonce=addr.nonce, config=config, auth=auth(config) if auth else None)
        self.messenger.set_default_policy(Policy.stateless_server())
        self.messenger.bind(addr)
        self.messenger.add_dispatcher_head(self)

    def __enter__(self) -> Self:
        self.messenger.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.messenger.shutdown()
        self.messenger.wait()

    # ---- Dispatcher ----

    def ms_dispatch(self, message: Message) -> bool:
        if isinstance(message, MOSDOp):
            self.requests.append(message)
            message.connection.send_message(self._answer(message))
        return True

    def _answer(self, request: MOSDOp) -> MOSDOpReply:
        data, outputs, result = bytes(request.data), [], 0
        for op in request.ops:
            result, output = self._run(request, op, data[: op.payload_len])
            data = data[op.payload_len :]
            outputs.append(output)
            if result < 0:
                break
        self._version += 1
        version = self._version, request.epoch
        return MOSDOpReply(
            request.oid,
            [OSDOp(op.op, flags=op.flags, payload_len=len(output)) for op, output in zip(request.ops, outputs, strict=False)],
            [result] * len(outputs),
            data=b"".join(outputs),
            pool=request.pool,
            seed=request.seed,
            flags=request.flags & ~7 | (0 if result < 0 else DONE),
            result=result,
            epoch=request.epoch,
            retry_attempt=request.retry_attempt,
            bad_replay_version=version,
            replay_version=version,
            user_version=self._version,
            tid=request.tid,
        )

    def _run(self, request: MOSDOp, op: OSDOp, data: bytes) -> tuple[int, bytes]:
        """The result, and what the client gets."""
        found = self.objects.get(request.oid)
        before = found.data if found else b""
        match op.op:
            case OpCode.WRITE:
                after = before.ljust(op.offset, b"\0")[: op.offset] + data + before[op.offset + len(data) :]
                self.objects[request.oid] = StoredObject(after, request.mtime)
            case OpCode.WRITEFULL:
                self.objects[request.oid] = StoredObject(data, request.mtime)
            case _ if not found:
                return -errno.ENOENT, b""
            case OpCode.DELETE:
                del self.objects[request.oid]
            case OpCode.STAT:
                encoder = Encoder()
                encoder.u64(len(found.data))
                encoder.utime(found.mtime)
                return 0, encoder.to_bytes()
            case OpCode.READ:
                return 0, found.data[op.offset : op.offset + op.length if op.length else None]
            case _:
                return -errno.EOPNOTSUPP, b""
        return 0, b""
