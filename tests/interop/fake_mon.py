"""A monitor of ours, made of nothing but a messenger: it answers what librados asks before it is content."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from functools import partial
from typing import Self
from uuid import UUID, uuid4

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import AuthRegistry, CephxMonitor, Keyring, RotatingSecrets
from ceph_msgr.messages import MConfig, MMonCommand, MMonCommandAck, MMonGetMap, MMonMap, MMonSubscribe, MPing
from ceph_msgr.wire.header import PRIO_HIGH
from ceph_msgr.wire.monmap import MonInfo, MonMap

#: What `ceph` must know of a command before it sends it.
COMMANDS = {"cmd000": {"sig": ["fsid"], "help": "show cluster FSID/UUID", "module": "mon", "perm": "r", "flags": 0}}


def loopback_messenger(
    name: str, policy: Policy, *, number: int = 0, auth: Callable[[Config], AuthRegistry] | None = None, **options: object
) -> Messenger:
    """Bound to a free port of 127.0.0.1 with a monitor's nonce, not started; `policy` is for all peers."""
    config = Config(ms_bind_port_min=0, ms_bind_port_max=0, **options)  # the kernel picks the port
    messenger = Messenger.create(name, number=number, nonce=0, config=config, auth=auth(config) if auth else None)
    messenger.set_default_policy(policy)
    messenger.bind("v2:127.0.0.1:0")
    return messenger


class FakeMon(Dispatcher):
    """mon.a, the only one of its cluster. With a keyring it speaks cephx, in this mode only. A context manager: listens
    inside."""

    name = "a"

    def __init__(self, policy: Policy | None = None, *, keyring: Keyring | None = None, mode: str = "crc") -> None:
        self.fsid: UUID = uuid4()
        #: The answer to MPing.
        self.status: dict[str, object] = {"name": self.name, "fsid": str(self.fsid)}
        #: All that came, in order. Read it when the client has gone.
        self.messages: list[Message] = []
        #: librados is content only with tickets for all of these.
        self.secrets = {s: RotatingSecrets.generate(3600) for s in (EntityType.MON, EntityType.OSD, EntityType.MGR)}
        self.messenger = loopback_messenger(
            f"mon.{self.name}",
            policy or Policy.stateless_server(),
            auth=keyring and partial(self._cephx, keyring),
            ms_mon_service_mode=mode,
        )
        self.messenger.add_dispatcher_head(self)

    def __enter__(self) -> Self:
        self.messenger.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.messenger.shutdown()
        self.messenger.wait()

    def _cephx(self, keyring: Keyring, config: Config) -> AuthRegistry:
        return AuthRegistry(EntityType.MON, config, servers=[CephxMonitor(keyring, secrets=self.secrets)])

    @property
    def port(self) -> int:
        return self.messenger.myaddrs[0].port

    @property
    def monmap(self) -> MonMap:
        return MonMap(
            fsid=self.fsid,
            epoch=1,
            mons={self.name: MonInfo(self.name, self.messenger.myaddrs)},
            ranks=(self.name,),
            min_mon_release=16,
        )

    # ---- Dispatcher ----

    def ms_dispatch(self, message: Message) -> bool:
        self.messages.append(message)
        for answer in self._answers(message):
            answer.tid = message.tid
            answer.priority = PRIO_HIGH
            message.connection.send_message(answer)
        return True

    def _answers(self, message: Message) -> list[Message]:
        match message:
            case MMonGetMap():
                return [MMonMap(self.monmap)]
            case MPing():
                return [MPing(json.dumps(self.status))]
            case MMonSubscribe():
                return [MConfig({})] * ("config" in message.what) + [MMonMap(self.monmap)] * ("monmap" in message.what)
            case MMonCommand():
                return [self._run(message)]
        return []

    def _run(self, message: MMonCommand) -> MMonCommandAck:
        prefix = json.loads(message.command[0])["prefix"]
        match prefix:
            case "get_command_descriptions":
                output = json.dumps(COMMANDS)
            case "fsid":
                output = f"{self.fsid}\n"
            case _:
                return MMonCommandAck(message.command, -errno.EINVAL, f"{prefix}: no such command")
        return MMonCommandAck(message.command, 0, data=output.encode())
