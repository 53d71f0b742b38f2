"""``Host``: one process in the simulated world: a stack whose workers are stepped, and a messenger on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ceph_msgr._core import Throttle
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.config import Config
from ceph_msgr.messenger import Messenger
from ceph_msgr.net.stack import Stack
from ceph_msgr.testing import _sim
from ceph_msgr.testing.simulator.world import World

__all__ = ["Host"]

_NOWHERE = 0


def _start_no_thread(name: str, run: Callable[[], None]) -> None:
    """The ``ThreadStarter`` of a world in which the caller steps."""


class Host:
    """A messenger on the machine of this number, whose address is ``127.0.0.NUMBER``. What is done to the messenger is done
    inside ``with host.entered():``, so that its sockets are this machine's."""

    def __init__(
        self, world: World, number: int, name: str, *, nonce: int, config: Config, auth: AuthRegistry, workers: int = 1
    ) -> None:
        self.world = world
        self.number = number
        #: How often the dispatch thread does something else when it is its turn, from 0 to below 1.
        self.laziness = 0.0
        self._place = number
        first = _sim.pollers()
        self.stack = Stack(workers=workers, poll_us=0, thread_starter=_start_no_thread)
        self._workers = self.stack.workers
        self._pollers = range(first, _sim.pollers())
        #: What a worker did may be for another one; its own poller tells whether it is done.
        self._others = [[poller for poller in self._pollers if poller != own] for own in self._pollers]
        self.messenger = Messenger.create(name, nonce=nonce, config=config, auth=auth, stack=self.stack)
        self._count_callbacks = self.messenger.dispatch_queue.get_dispatch_queue_len
        world.add(self, self._pollers)

    def __repr__(self) -> str:
        return f"<Host {self.number}: {self.messenger!r}>"

    @contextmanager
    def entered(self) -> Iterator[Messenger]:
        """For calls of the messenger from outside of its threads."""
        _sim.enter(self._place)
        try:
            yield self.messenger
        finally:
            self._look(self._pollers)

    # ---- stepping ----

    @property
    def throttles(self) -> tuple[Throttle, Throttle]:
        """Those of the messenger itself: of what is between reading and the end of the callbacks."""
        return self.messenger.dispatch_throttle, self.messenger.dispatch_message_throttle

    def step_worker(self, index: int, max_wait_ns: int) -> None:
        """One turn of a worker."""
        _sim.enter(self._place)
        calls = _sim.calls()
        if self._workers[index].step(max_wait_ns) or _sim.calls() != calls:
            self._look(self._others[index])

    def step_callback(self) -> None:
        """One item of the dispatch queue."""
        _sim.enter(self._place)
        self.messenger.dispatch_queue.step()
        self._look(self._pollers)

    def _look(self, pollers: Iterable[int]) -> None:
        """Who may have something to do now: the dispatch thread, and the workers of these pollers."""
        if self._count_callbacks():
            self.world.waiting[self] = None
        else:
            self.world.waiting.pop(self, None)
        for poller in pollers:
            _sim.rouse(poller)

    # ---- the end ----

    def kill(self, death: int) -> None:
        """The process ends without a farewell; its peers see the kind of death (``faults.DEATHS``)."""
        _sim.kill(self.number, death)
        self._place = _NOWHERE
        self.close()

    def close(self) -> None:
        """Shut down in good order, all callbacks included."""
        with self.entered() as messenger:
            messenger.shutdown()
            if not messenger.wait(0):
                raise AssertionError(f"{self!r} does not end")
        self.stack.stop()
        self.world.remove(self)
