"""Which methods and connection modes a messenger offers and accepts, for each kind of peer."""

from __future__ import annotations

from collections.abc import Sequence

from ceph_msgr.auth.base import AuthMethod, ClientAuth, ConMode, ServerAuth
from ceph_msgr.auth.cephx.client import CephxClient
from ceph_msgr.auth.cephx.monitor import CephxMonitor
from ceph_msgr.auth.keyring import Keyring
from ceph_msgr.auth.none import DummyClient, DummyServer
from ceph_msgr.config import Config
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = ["AuthRegistry"]

_MODES = {"crc": ConMode.CRC, "secure": ConMode.SECURE}
_MONITORS = frozenset({EntityType.MON, EntityType.MGR})


class AuthRegistry:
    """The authentication of one messenger.

    ``clients`` and ``servers`` are methods in order of preference; a messenger that only dials needs no servers, one that
    only accepts no clients. Modes come from the configuration, read anew each time, so changed options act on the next
    handshake. Immutable apart from what the methods remember; any thread.
    """

    def __init__(
        self,
        own_type: EntityType,
        config: Config,
        clients: Sequence[ClientAuth] = (),
        servers: Sequence[ServerAuth] = (),
    ) -> None:
        self._own_type = own_type
        self._config = config
        self._clients = tuple(clients)
        self._servers = {server.method: server for server in servers}

    @classmethod
    def dummy(cls, own_type: EntityType, config: Config) -> AuthRegistry:
        """Accepts everybody and presents nothing, as Ceph's perf programs do."""
        return cls(own_type, config, [DummyClient()], [DummyServer()])

    @classmethod
    def standalone(cls, name: AuthEntityName | str, config: Config, keyring: Keyring) -> AuthRegistry:
        """Method cephx, and nothing else, without a cluster: accepts whoever proves to have its key in ``keyring``, and
        dials with the key of ``name``; if that is not in it, dialling has no method. Both sides need such a registry."""
        name = AuthEntityName.parse(name) if isinstance(name, str) else name
        clients = [CephxClient.from_keyring(keyring, name, standalone=True)] if name in keyring else []
        return cls(name.type, config, clients, [CephxMonitor(keyring, name.type)])

    # ---- dialling ----

    def clients(self, peer_type: EntityType) -> Sequence[ClientAuth]:
        """Methods to try, one after the other."""
        return self._clients

    def client_modes(self, peer_type: EntityType, method: int) -> tuple[ConMode, ...]:
        """Modes to offer with this method, most preferred first."""
        return self._of_method(self._modes(peer_type, accepting=False), method)

    # ---- accepting ----

    def server(self, peer_type: EntityType, method: int) -> ServerAuth | None:
        """The method with this number, if it is allowed."""
        return self._servers.get(method)  # type: ignore[call-overload, no-any-return]

    def server_methods(self, peer_type: EntityType) -> tuple[int, ...]:
        """What AUTH_BAD_METHOD tells as allowed methods."""
        return tuple(self._servers)

    def server_modes(self, peer_type: EntityType) -> tuple[ConMode, ...]:
        """What AUTH_BAD_METHOD tells as allowed modes: the configuration, whatever single methods can do."""
        return self._modes(peer_type, accepting=True)

    def pick_mode(self, peer_type: EntityType, method: int, preferred: Sequence[int]) -> ConMode | None:
        """The first of the client's modes that we allow."""
        allowed = self._of_method(self.server_modes(peer_type), method)
        return next((ConMode(mode) for mode in preferred if mode in allowed), None)

    # ---- which option speaks ----

    @staticmethod
    def _of_method(modes: tuple[ConMode, ...], method: int) -> tuple[ConMode, ...]:
        # Method none has no key that could encrypt anything; it is always good for crc, whatever is configured.
        return (ConMode.CRC,) if method == AuthMethod.NONE else modes

    def _modes(self, peer_type: EntityType, *, accepting: bool) -> tuple[ConMode, ...]:
        """The table "which methods and modes apply (me -> peer)"."""
        config = self._config
        if self._own_type == EntityType.CLIENT and not accepting:
            words = config.ms_mon_client_mode if peer_type in _MONITORS else config.ms_client_mode
        elif self._own_type in _MONITORS:
            words = config.ms_mon_cluster_mode if peer_type in _MONITORS else config.ms_mon_service_mode
        elif peer_type in _MONITORS:
            words = config.ms_mon_cluster_mode
        elif peer_type == EntityType.CLIENT:
            words = config.ms_service_mode
        else:
            words = config.ms_cluster_mode
        return tuple(_MODES[word] for word in words)
