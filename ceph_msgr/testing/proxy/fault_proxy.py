"""``FaultProxy``: the proxy's process, as seen from the test that orders it about."""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from ceph_msgr.errors import MessengerError
from ceph_msgr.testing.proxy.fault import FRAME_KINDS, Direction, Fault, Kind
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec

__all__ = ["Counts", "FaultProxy", "ProxyError"]

#: Past this the process is taken for dead: it starts within half a second, and answers at once.
_ANSWER_TIMEOUT_S = 60.0


class ProxyError(MessengerError):
    """The proxy refused an order, or does not answer."""


@dataclass(frozen=True, slots=True)
class Counts:
    #: How often each kind of fault has happened.
    faults: Mapping[Kind, int]
    #: Accepted so far, and open now.
    links: int
    open_links: int
    #: Passed on.
    bytes: Mapping[Direction, int]
    #: Faults that the plan still has to make.
    planned: int

    @property
    def total(self) -> int:
        return sum(self.faults.values())


class FaultProxy:
    """Any thread. As a context manager the process ends with the block, and every link with it."""

    def __init__(self, process: subprocess.Popen[bytes], seed: int) -> None:
        #: Of the planned faults.
        self.seed = seed
        self._process = process
        self._lock = threading.Lock()

    @classmethod
    def start(cls, *, seed: int | None = None) -> Self:
        """Without a seed, a fresh one."""
        seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        command = [sys.executable, "-m", "ceph_msgr.testing.proxy", "--seed", str(seed)]
        # Of a group of its own: Ctrl-C is for whoever gives the orders.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0)
        return cls(process, seed)

    @property
    def pid(self) -> int:
        return self._process.pid

    # ---- orders ----

    def route(
        self, target: EntityAddrVec | EntityAddr | str, *, has_frames: bool = False, blocks: tuple[int, int] | None = None
    ) -> EntityAddr:
        """Listen for a target, and tell where: the same type and nonce, the proxy's ip and port.

        Edits of frames need ``has_frames``, in crc mode, or ``blocks``: behind so many bytes on the way to the target all frames
        take so many bytes.
        """
        addr = _target_of(target)
        answer = self._ask(do="route", target=[addr.ip, addr.port], has_frames=has_frames, blocks=blocks)
        return replace(addr, ip="127.0.0.1", port=answer["port"])

    def order(self, fault: Fault, link: int | None = None) -> int:
        """On this link, which may be still to come, or on all that are open; returns on how many."""
        links: int = self._ask(do="fault", fault=fault.to_json(), link=link)["links"]
        return links

    def plan(
        self, faults: int, *, gap_bytes: int = 64 << 10, stall_s: float = 0.02, weights: Mapping[Kind, float] | None = None
    ) -> None:
        """So many faults at random from now on, by the seed, at most ``gap_bytes`` from one to the next in each direction of each
        link. 0: no more."""
        if FRAME_KINDS & set(weights or ()):
            raise ValueError("edits of frames are ordered, not planned")
        self._ask(do="plan", left=faults, gap_bytes=gap_bytes, stall_s=stall_s, weights=weights)

    def counts(self) -> Counts:
        answer = self._ask(do="counts")
        counts = answer["counts"]
        faults = {kind: counts[kind] for kind in Kind if kind in counts}
        passed = {direction: counts.get(direction, 0) for direction in Direction}
        return Counts(faults, counts.get("links", 0), answer["open"], passed, answer["left"])

    def _ask(self, **order: object) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
            except BrokenPipeError:
                raise ProxyError(f"the proxy has ended, it was to {order}") from None
            line = b""
            end_s = time.monotonic() + _ANSWER_TIMEOUT_S
            while not line.endswith(b"\n"):
                left_s = end_s - time.monotonic()
                if not select.select([self._process.stdout], [], [], max(0.0, left_s))[0]:
                    raise ProxyError(f"the proxy has not answered {order} for {_ANSWER_TIMEOUT_S:g} s")
                data = self._process.stdout.read(1 << 16)
                if not data:
                    raise ProxyError(f"the proxy has ended, it was to {order}")
                line += data
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProxyError(answer["error"])
        return answer

    # ---- the end ----

    def close(self) -> None:
        """Every link is closed, the process gone."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(_ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _target_of(target: EntityAddrVec | EntityAddr | str) -> EntityAddr:
    if isinstance(target, EntityAddr):
        return target
    vector = EntityAddrVec.parse(target) if isinstance(target, str) else target
    return vector.msgr2_addr()
