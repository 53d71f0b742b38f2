"""``CephxClient``: the dialling side of one messenger, and the tickets it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from ceph_msgr import crypto
from ceph_msgr.auth.base import AuthBusy, AuthMethod, ClientAuth, ClientExchange
from ceph_msgr.auth.cephx.authorizer import AuthorizerExchange
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.login import LoginExchange
from ceph_msgr.auth.cephx.payloads import LoginDone
from ceph_msgr.auth.cephx.rotating import GENERAL_SECRET_ID
from ceph_msgr.auth.cephx.tickets import ALL_SERVICES, AuthTicket, Ticket, TicketBlob, seal_ticket
from ceph_msgr.auth.keyring import Keyring
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.encoding import Utime
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = ["CephxClient"]

#: Of a ticket that a monitor makes for itself and presents at once.
_OWN_TICKET_VALIDITY_S = 60


class CephxClient(ClientAuth):
    """Method cephx with our own key.

    A monitor is logged in at, which gives tickets for the ``services`` asked for; every other peer is presented an
    authorizer made from its ticket. Between monitors, who share one key, the authorizer needs no login.

    With ``standalone`` every peer is logged in at, whatever its type: so two programs use cephx without a cluster, the other
    one having a ``CephxMonitor``. No Ceph daemon but a monitor accepts that. Such a login keeps nothing: each gets a global
    id of its own.

    Tickets are renewed by logging in again: when ``needs_renewal`` says so, make a new connection to a monitor, which
    also presents the old auth ticket to keep the global id. An expired ticket is ``AuthBusy``: the connection faults and
    dials again later, hopefully with a newer one.

    Shared by all connections of a messenger; any thread. What it remembers are immutable values, each replaced as a whole.
    """

    method = AuthMethod.CEPHX

    def __init__(
        self,
        name: AuthEntityName | str,
        key: CryptoKey,
        *,
        services: int = ALL_SERVICES,
        standalone: bool = False,
        random_bytes: crypto.RandomBytes = crypto.random_bytes,
        clock_s: crypto.WallClock = crypto.wall_clock_s,
    ) -> None:
        self.name = AuthEntityName.parse(name) if isinstance(name, str) else name
        self.standalone = standalone
        self._key = key
        # Without its own bit the mask could be 0, which kills real monitors.
        self._services = EntityType.AUTH if standalone else services | EntityType.AUTH
        self._random_bytes = random_bytes
        self._clock_s = clock_s
        self._tickets: dict[EntityType, Ticket] = {}

    @classmethod
    def from_keyring(cls, keyring: Keyring, name: AuthEntityName | str, *, standalone: bool = False) -> Self:
        """``AuthError`` if the keyring has no key for this name. Monitors use the key of ``mon.``."""
        name = AuthEntityName.parse(name) if isinstance(name, str) else name
        holder = AuthEntityName(EntityType.MON, "") if name.type == EntityType.MON and not standalone else name
        return cls(name, keyring.entry(holder).key, standalone=standalone)

    def __repr__(self) -> str:
        return f"<CephxClient {self.name}, tickets for {[str(service) for service in self._tickets]}>"

    # ---- what the last login gave ----

    @property
    def global_id(self) -> int:
        """0 before the first login."""
        auth_ticket = self._tickets.get(EntityType.AUTH)
        return auth_ticket.global_id if auth_ticket else 0

    @property
    def renew_at_s(self) -> float:
        """When the first ticket wants to be renewed, in seconds of the wall clock; 0 before the first login."""
        return min((ticket.renew_at_s for ticket in list(self._tickets.values())), default=0.0)

    def needs_renewal(self) -> bool:
        """Whether to log in at a monitor, for the first time or again."""
        return not self.standalone and self._clock_s() >= self.renew_at_s

    def _keep(self, global_id: int, done: LoginDone) -> None:
        now_s = self._clock_s()
        for grant in (done.auth, *done.others):
            self._tickets[grant.service] = grant.ticket(global_id, now_s)

    # ---- exchanges ----

    def start(self, peer_type: EntityType) -> ClientExchange:
        if self.standalone:
            return self._login(None, lambda global_id, done: None)
        if peer_type != EntityType.MON:
            return AuthorizerExchange(self._ticket_for(peer_type), self._random_bytes)
        if self.name.type == EntityType.MON:
            return AuthorizerExchange(self._own_ticket(), self._random_bytes)
        return self._login(self._tickets.get(EntityType.AUTH), self._keep)

    def _login(self, old_ticket: Ticket | None, keep: Callable[[int, LoginDone], None]) -> LoginExchange:
        return LoginExchange(
            self.name,
            self._key,
            services=self._services,
            old_ticket=old_ticket,
            previous_keys={service: ticket.session_key for service, ticket in list(self._tickets.items())},
            random_bytes=self._random_bytes,
            keep=keep,
        )

    def _ticket_for(self, service: EntityType) -> Ticket:
        ticket = self._tickets.get(service)
        if not ticket:
            login = "log in at a monitor first" if not self._tickets else "the monitor gave none"
            raise AuthError(f"{self.name} has no ticket for {service}: {login}")
        late_s = self._clock_s() - ticket.expires_at_s
        if late_s >= 0:
            raise AuthBusy(f"the ticket of {self.name} for {service} expired {late_s:.0f} s ago")
        return ticket

    def _own_ticket(self) -> Ticket:
        """Monitors hold the secret that opens tickets for monitors, so each makes its own."""
        now_s, session_key = self._clock_s(), CryptoKey.generate(random_bytes=self._random_bytes)
        expires_at_s = now_s + _OWN_TICKET_VALIDITY_S
        auth_ticket = AuthTicket(
            AuthEntityName(EntityType.MON, ""), 0, Utime.from_ns(round(now_s * 1e9)), Utime.from_ns(round(expires_at_s * 1e9))
        )
        blob = TicketBlob(GENERAL_SECRET_ID, seal_ticket(self._key, auth_ticket, session_key))
        return Ticket(EntityType.MON, session_key, blob, 0, expires_at_s, expires_at_s)
