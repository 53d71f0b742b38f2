"""How a connection behaves when it breaks, chosen by the peer's entity type.

The connecting side takes the policy of the type it was told to dial, the accepting side that of the type in the peer's
HELLO. Whether a session is lossy is decided by the accepting side alone: its answer replaces the connector's own bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ceph_msgr.wire.features import REQUIRED_ALWAYS, SUPPORTED_ALL

__all__ = ["Policy", "Throttler"]


class Throttler(Protocol):
    """What a policy needs of a throttle: something to take from before reading and to give back to after use."""

    def get_or_fail(self, amount: int) -> bool: ...

    def put(self, amount: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """One behaviour. Immutable; ``replace`` makes a changed copy. The presets below are the combinations Ceph uses."""

    #: An established connection that faults is closed for good and reported by a reset; sent messages are not kept.
    lossy: bool = False
    #: This side never dials: after a fault it waits for the peer, even with messages queued.
    server: bool = False
    #: With nothing to send after a fault, do not reconnect until there is something or the peer comes.
    standby: bool = False
    #: When the peer turns out to have forgotten the session, drop our queues and report a remote reset. Without it the
    #: queues are kept and sent into the new session.
    resetcheck: bool = True
    #: Whether an incoming lossy connection replaces an older one from the same address. Without it any number may live.
    register_lossy_clients: bool = True

    #: Bound on messages of all connections under this policy that were read and are still alive.
    throttler_messages: Throttler | None = None
    #: The same in bytes of front, middle and data.
    throttler_bytes: Throttler | None = None

    #: What is offered to the peer.
    features_supported: int = SUPPORTED_ALL
    #: What the peer must offer. The address-vector feature is always among it.
    features_required: int = REQUIRED_ALWAYS

    def __post_init__(self) -> None:
        object.__setattr__(self, "features_required", self.features_required | REQUIRED_ALWAYS)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def stateful_server(cls, features_required: int = 0) -> Self:
        """A server that keeps a session for each client."""
        return cls(server=True, standby=True, features_required=features_required)

    @classmethod
    def stateless_server(cls, features_required: int = 0) -> Self:
        """A server for lossy clients, of which many may share one address."""
        return cls(
            lossy=True, server=True, resetcheck=False, register_lossy_clients=False, features_required=features_required
        )

    @classmethod
    def stateless_registered_server(cls, features_required: int = 0) -> Self:
        """A server for lossy clients, one connection for each address: a new one closes the old."""
        return cls(lossy=True, server=True, resetcheck=False, features_required=features_required)

    @classmethod
    def lossless_peer(cls, features_required: int = 0) -> Self:
        """Daemon to daemon."""
        return cls(standby=True, resetcheck=False, features_required=features_required)

    @classmethod
    def lossless_peer_reuse(cls, features_required: int = 0) -> Self:
        """Daemon to daemon, noticing that the other one was reset."""
        return cls(standby=True, features_required=features_required)

    @classmethod
    def lossy_client(cls, features_required: int = 0) -> Self:
        """A client that sends again by itself what was not answered."""
        return cls(lossy=True, resetcheck=False, features_required=features_required)

    @classmethod
    def lossless_client(cls, features_required: int = 0) -> Self:
        """The client of a stateful server."""
        return cls(features_required=features_required)
