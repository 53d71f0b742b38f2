"""Reads an object from a Ceph cluster, without librados:

    python examples/read_object.py v2:10.0.0.1:3300 POOL OBJECT --keyring /etc/ceph/ceph.client.admin.keyring > FILE

A monitor lets us in, and tells which OSD has the object and where that one listens; the OSD then accepts the ticket that
the monitor gave us. Without --keyring the cluster must allow method none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from uuid import UUID

from ceph_msgr import Config, Connection, Dispatcher, EntityAddrVec, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import AuthRegistry, CephxClient, Keyring
from ceph_msgr.messages import MMonCommand, MMonCommandAck, MMonGetMap, MMonMap, MOSDOp, MOSDOpReply, OSDOp

M = TypeVar("M", bound=Message)

READ = 0x1201
#: To be read, from what is on disk.
READ_FLAGS = 0x14
TIMEOUT_S = 10.0


class Failure(Exception):
    """One line for the user."""


class Answers(Dispatcher):
    """Puts what arrives where the main thread waits."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Message | Failure] = SimpleQueue()

    def ask(self, connection: Connection, request: Message, answer: type[M]) -> M:
        """The next message of this class; others, such as the maps that an OSD likes to share, are passed over."""
        connection.send_message(request)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                got = self._queue.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                raise Failure(f"no answer from {connection.peer_addrs} within {TIMEOUT_S:g} s") from None
            if isinstance(got, Failure):
                raise got
            if isinstance(got, answer):
                return got

    def ms_dispatch(self, message: Message) -> bool:
        self._queue.put(message)
        return True

    def ms_handle_refused(self, connection: Connection) -> bool:
        self._queue.put(Failure(f"nobody listens on {connection.peer_addrs}"))
        return True

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._queue.put(Failure(f"{connection.peer_addrs} ended the connection"))
        return True


class Monitor:
    """Commands, as the ``ceph`` program sends them."""

    def __init__(self, connection: Connection, answers: Answers) -> None:
        self._connection = connection
        self._answers = answers
        #: Of the cluster that our commands are meant for.
        self._fsid: UUID = answers.ask(connection, MMonGetMap(), MMonMap).monmap.fsid

    def command(self, **words: str) -> Any:
        text = json.dumps({**words, "format": "json"})
        ack = self._answers.ask(self._connection, MMonCommand(self._fsid, [text]), MMonCommandAck)
        if ack.result:
            raise Failure(f"the monitor refuses {words['prefix']}: {ack.status}")
        return json.loads(bytes(ack.data))


def read_object(messenger: Messenger, answers: Answers, mon: str, pool: str, oid: str) -> bytes:
    monitor = Monitor(messenger.connect_to(EntityType.MON, mon), answers)
    place = monitor.command(prefix="osd map", pool=pool, object=oid)
    osds = {osd["osd"]: osd for osd in monitor.command(prefix="osd dump")["osds"]}
    if place["acting_primary"] not in osds:
        raise Failure(f"{oid} belongs to placement group {place['pgid']}, which no OSD serves")
    addrs = osds[place["acting_primary"]]["public_addrs"]["addrvec"]
    vector = EntityAddrVec.parse("[{}]".format(",".join(f"{a['type']}:{a['addr']}/{a['nonce']}" for a in addrs)))

    # Both are POOL.NUMBER in hexadecimal: the group among those there are, and the hash of the name that led to it.
    seed, name_hash = (int(place[key].partition(".")[2], 16) for key in ("pgid", "raw_pgid"))
    request = MOSDOp(
        oid, [OSDOp(READ)], pool=place["pool_id"], seed=seed, hash=name_hash, epoch=place["epoch"], flags=READ_FLAGS
    )
    reply = answers.ask(messenger.connect_to(EntityType.OSD, vector), request, MOSDOpReply)
    if reply.result < 0:
        raise Failure(f"cannot read {oid}: error {-reply.result}")
    return bytes(reply.data)


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes an object of a Ceph cluster to standard output.")
    parser.add_argument("mon", help="address of a monitor, such as v2:10.0.0.1:3300")
    parser.add_argument("pool")
    parser.add_argument("object")
    parser.add_argument("--name", default="client.admin", help="who we are (%(default)s)")
    parser.add_argument("--keyring", help="file with our key, for method cephx")
    options = parser.parse_args()

    config = Config()
    auth = None
    if options.keyring:
        login = CephxClient.from_keyring(Keyring.load(options.keyring), options.name)
        auth = AuthRegistry(EntityType.CLIENT, config, [login])
    answers = Answers()
    try:
        with Messenger.create(options.name, config=config, auth=auth) as messenger:
            messenger.set_default_policy(Policy.lossy_client())
            messenger.add_dispatcher_tail(answers)
            messenger.start()
            data = read_object(messenger, answers, options.mon, options.pool, options.object)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
