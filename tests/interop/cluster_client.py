"""A messenger of ours in the cluster of a lab: as a client of its monitor, and of its OSD."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from ceph_msgr import Config, Connection, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import (
    AuthRegistry,
    CephxClient,
    ClientAuth,
    Keyring,
    NoneClient,
    RotatingSecrets,
    rotating_request,
)
from ceph_msgr.messages import MAuth, MAuthReply
from ceph_msgr.wire.entity import AuthEntityName
from tests.conftest import Deadline
from tests.interop.lab import MonLab
from tests.interop.recorder import Recorder

M = TypeVar("M", bound=Message)

ADMIN = AuthEntityName.parse("client.admin")


def login_of(lab: MonLab) -> ClientAuth:
    """That of client.admin, by the method of the lab."""
    return NoneClient(ADMIN) if lab.auth == "none" else CephxClient.from_keyring(Keyring.load(lab.admin_keyring), ADMIN)


def fetch_rotating_secrets(
    lab: MonLab, keyring: Keyring, name: str, deadline: Deadline, *, mode: str = "crc"
) -> RotatingSecrets:
    """Those of the service that `name` is one of, from the real monitor."""
    login = CephxClient.from_keyring(keyring, name)
    with ClusterClient(login, login.name, mode=mode) as daemon:
        connection = daemon.dial(EntityType.MON, lab.address, deadline)
        connection.send_message(MAuth(rotating_request()))
        reply = daemon.recorder.skip_to_message(MAuthReply, deadline)
    assert reply.result == 0, reply.result_text
    return RotatingSecrets.from_reply(reply.auth_payload, keyring.entry(name).key)


class ClusterClient:
    """Lossy connections with one way to log in. `mode` is the only one it offers. A context manager: started inside."""

    def __init__(self, login: ClientAuth, name: AuthEntityName = ADMIN, *, mode: str = "crc") -> None:
        self.login = login
        self.recorder = Recorder()
        modes = dict.fromkeys(("ms_mon_client_mode", "ms_client_mode", "ms_mon_cluster_mode", "ms_cluster_mode"), mode)
        # Redials come so fast that one too many would be noticed.
        config = Config(ms_initial_backoff=0.01, ms_max_backoff=0.05, **modes)
        self.messenger = Messenger.create(str(name), config=config, auth=AuthRegistry(name.type, config, [login]))
        self.messenger.set_default_policy(Policy.lossy_client())
        self.messenger.add_dispatcher_head(self.recorder)

    def __enter__(self) -> Self:
        self.messenger.start()
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.messenger.shutdown()
        self.messenger.wait()

    def dial(self, entity_type: EntityType, address: str, deadline: Deadline) -> Connection:
        """A new connection that is ready."""
        connection = self.messenger.connect_to(entity_type, address, anon=True)
        connected: Connection = self.recorder.expect("connect", deadline)
        assert connected is connection
        return connected

    def ask(self, connection: Connection, request: Message, answer: type[M], deadline: Deadline) -> M:
        """Sends it; the next callback must be the answer."""
        connection.send_message(request)
        message = self.recorder.expect_message(answer, deadline)
        assert message.connection is connection
        return message
