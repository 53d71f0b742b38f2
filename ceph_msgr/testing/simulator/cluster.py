"""``Cluster``: the hosts of one simulation, who may dial whom, and the connections between them."""

from __future__ import annotations

import random
from typing import Any

from ceph_msgr import _core
from ceph_msgr._core import Throttle
from ceph_msgr.auth import AuthRegistry, Keyring
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.testing import _sim
from ceph_msgr.testing.simulator.endpoint import Endpoint
from ceph_msgr.testing.simulator.host import Host
from ceph_msgr.testing.simulator.model import ConnectionBook, Model, Violation, is_want_of_memory
from ceph_msgr.testing.simulator.options import POLICIES, Options
from ceph_msgr.testing.simulator.world import World
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.entity import EntityType

__all__ = ["Cluster"]

_PORT = 6800
_KEEPALIVE_SHARE = 0.05
_NEW_CONNECTION_SHARE = 0.2


class Cluster:
    """Hosts by index: 0 listens; the others dial it or, if they are peers, listen too and dial everybody."""

    def __init__(self, world: World, model: Model, options: Options, chance: random.Random) -> None:
        if options.policy is None or options.mode is None or options.hosts is None:
            raise ValueError(f"{options} leave something open")
        self.world = world
        self.model = model
        self.chance = chance
        self.endpoints: list[Endpoint] = []
        #: Of the policies, whatever has become of their messengers.
        self.throttles: list[Throttle] = []
        #: Violations found in callbacks, out of which no exception gets through.
        self.failures: list[str] = []
        self._mode = options.mode
        self._dialler, self._listener = POLICIES[options.policy]
        self.are_peers = self._dialler == self._listener
        #: Both orders of addresses come.
        self.places = chance.sample(range(1, _sim.MAX_HOSTS), options.hosts)
        self._processes = 0
        self._names = [self._name(index) for index in range(options.hosts)]
        self._keyring = Keyring.generate(*self._names)
        self._config = self._make_config()

    def __len__(self) -> int:
        return len(self.endpoints)

    # ---- set-up ----

    def _name(self, index: int) -> str:
        # Only OSDs have options of compression.
        is_osd = index == 0 or self.are_peers or self._mode.startswith("compressed")
        return f"osd.{index}" if is_osd else f"client.{index}"

    def _make_config(self) -> dict[str, Any]:
        chance = self.chance
        modes = "secure" if self._mode.endswith("secure") else "crc"
        options: dict[str, Any] = {
            "ms_initial_backoff": 0.2, "ms_max_backoff": 2, "ms_connection_idle_timeout": 5, "ms_tcp_user_timeout": 30,
            "ms_cluster_mode": modes, "ms_service_mode": modes, "ms_client_mode": modes,
        }
        if self._mode.startswith("compressed"):
            names = [name for name in _core.compression_algorithms().values() if name != "none"]
            options |= {
                "ms_osd_compress_mode": "force" if names else "none", "ms_osd_compress_min_size": 64,
                "ms_compress_secure": True, "ms_osd_compression_algorithm": chance.choice(names) if names else "none",
            }
        if chance.random() < 0.2:
            options |= {"ms_keepalive_interval": 1, "ms_keepalive_timeout": 3}
        if chance.random() < 0.2:
            options["ms_dispatch_throttle_bytes"] = chance.choice((1, 5_000, 100_000))
        if chance.random() < 0.1:
            options["ms_send_queue_max_bytes"] = 50_000
        if chance.random() < 0.15:
            options["ms_inject_internal_delays"] = chance.choice((0.000_05, 0.002, 0.1))
        if chance.random() < 0.05:
            options["ms_inject_network_congestion"] = 3
        return options

    def _make_policy(self, index: int) -> Policy:
        policy: Policy = getattr(Policy, self._listener if index == 0 or self.are_peers else self._dialler)()
        if self.chance.random() < 0.25:
            messages = Throttle("messages", self.chance.choice((1, 2, 5)))
            size = Throttle("bytes", self.chance.choice((1, 9_000)))
            self.throttles += messages, size
            policy = policy.replace(throttler_messages=messages, throttler_bytes=size)
        return policy

    def start(self, index: int) -> None:
        """A process on this host, in the place of the one before."""
        _sim.fail_allocations(0)
        self._processes += 1
        name = self._names[index]
        config = Config(**self._config)
        auth = AuthRegistry.dummy(EntityType.parse(name.partition(".")[0]), config)
        if self._mode.endswith("secure"):
            auth = AuthRegistry.standalone(name, config, self._keyring)
        workers = 1 + (self.chance.random() < 0.4)
        host = Host(self.world, self.places[index], name, nonce=self._processes, config=config, auth=auth, workers=workers)
        host.laziness = self.chance.choice((0.0, 0.5, 0.98))
        policy = self._make_policy(index)
        endpoint = Endpoint(host, self.model, self.chance, policy, self.world.note)
        with host.entered() as messenger:
            messenger.set_default_policy(policy)
            if index == 0 or self.are_peers:
                messenger.bind(f"v2:127.0.0.{host.number}:{_PORT}")
            messenger.dispatchers.on_error = self._on_error
            messenger.add_dispatcher_head(endpoint)
            messenger.start()
        self.endpoints[index : index + 1] = [endpoint]

    def _on_error(self, subject: object, error: BaseException) -> None:
        if isinstance(error, Violation):
            self.failures.append(str(error))
        elif not self.forgives(error):
            self.failures.append(f"exception out of a callback: {error!r}")

    def forgives(self, error: BaseException) -> bool:
        """Was it we who took the memory away?"""
        return self.model.lacks_memory and is_want_of_memory(error)

    # ---- connections ----

    def edges(self) -> list[tuple[int, int]]:
        """Who may dial whom."""
        if self.are_peers:
            return [(a, b) for a in range(len(self)) for b in range(len(self)) if a != b]
        return [(client, 0) for client in range(1, len(self))]

    def connect(self, a: int, b: int) -> ConnectionBook | None:
        """None for want of memory."""
        addrs = self.addrs(b)
        with self.endpoints[a].host.entered() as messenger:
            try:
                connection = messenger.connect_to(EntityType.OSD, addrs)
            except (MemoryError, OSError) as error:
                if not self.forgives(error):
                    raise
                return None
        return self.endpoints[a].dialled(connection, self.places[b], addrs[0].nonce)

    def addrs(self, index: int) -> EntityAddrVec:
        return self.endpoints[index].host.messenger.myaddrs

    def index(self, host: int) -> int:
        return self.places.index(host)

    def is_current(self, book: ConnectionBook) -> bool:
        """Are both ends still who they were?"""
        return (
            self.addrs(self.index(book.host))[0].nonce == book.process
            and self.addrs(self.index(book.peer_host))[0].nonce == book.peer_process
        )

    def processes(self) -> set[int]:
        return {self.addrs(index)[0].nonce for index in range(len(self))}

    def live_books(self) -> list[tuple[Endpoint, ConnectionBook]]:
        return [(endpoint, book) for endpoint in self.endpoints for book in endpoint.books if not book.is_over]

    def send_some(self, count: int) -> None:
        """So many messages on any connection, there already or new."""
        live = self.live_books()
        if live and self.chance.random() >= _NEW_CONNECTION_SHARE:
            endpoint, book = self.chance.choice(live)
        else:
            a, b = self.chance.choice(self.edges())
            dialled = self.connect(a, b)
            if dialled is None:
                return
            endpoint, book = self.endpoints[a], dialled
        with endpoint.host.entered():
            if book.connection and self.chance.random() < _KEEPALIVE_SHARE:
                book.connection.send_keepalive()
            endpoint.send(book, count)
