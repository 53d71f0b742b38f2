"""Inputs to begin with, made from the golden vectors and from handshakes of our own machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceph_msgr.auth.base import ConMode
from ceph_msgr.messages import registered
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.frames import FRAMES
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.encoding import from_bytes
from ceph_msgr.wire.header import MessageHeader
from tests.fuzz.session_target import CLIENT, SERVER, STEP_BANNER, STEP_CONNECTED, make_session, put_step
from tests.session.reference_codec import Parser, RefFrame, split_banner

__all__ = ["c_seeds", "python_seeds"]

_VECTORS = Path(__file__).parent.parent / "vectors"

#: Longer inputs are mutated at places that matter too seldom.
_MAX_SEED_BYTES = 4000

#: More rounds than any handshake has.
_ROUNDS = 50


def _load(name: str) -> Any:
    return json.loads((_VECTORS / "standalone" / name).read_text())


def _recordings() -> Iterator[tuple[bytes, int]]:
    """Each direction of each stream in the clear, and its revision."""
    for folder in sorted((_VECTORS / "streams").iterdir()):
        keys = json.loads((folder / "keys.json").read_text())
        if keys["connection_mode"] == ConMode.CRC:
            for direction in ("client_to_server", "server_to_client"):
                yield (folder / f"{direction}.bin").read_bytes(), int(keys["revision"] == "2.1")


def _control_frames() -> dict[tuple[int, bytes], RefFrame]:
    found = {}
    for stream, revision in _recordings():
        split = split_banner(stream)
        assert split
        parser = Parser(revision)
        parser.add(split[1])
        found |= {(frame.tag, frame.payload): frame for frame in parser if frame.tag not in DATA_TAGS}
    return found


# ---- Python ----


def _addresses() -> Iterator[bytes]:
    for entry in _load("addresses.json"):
        yield bytes([entry["kind"] == "entity_addrvec_t"]) + bytes.fromhex(entry["hex"])


def _messages() -> Iterator[bytes]:
    types = sorted(registered)
    for entry in _load("messages.json"):
        header = from_bytes(MessageHeader, bytes.fromhex(entry["header_hex"]))
        if header.type in types:
            front, middle, data = (bytes.fromhex(entry.get(name, "")) for name in ("front", "middle", "data"))
            lengths = len(front).to_bytes(2, "little") + len(middle).to_bytes(2, "little")
            versions = bytes([header.version & 255, header.compat_version & 255])
            yield bytes([types.index(header.type)]) + versions + lengths + front + middle + data


def _hex_values(value: object) -> Iterator[bytes]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _hex_values(item)
    elif isinstance(value, str) and len(value) >= 16:
        try:
            yield bytes.fromhex(value)
        except ValueError:
            return  # a sentence


def _texts() -> Iterator[bytes]:
    keyring = b"[client.admin]\n\tkey = AQAAAAAAAAAAABAAc2l4dGVlbiBieXRlIGtleQ==\n\tcaps mon = \"allow *\"\n# a remark\n"
    samples = (
        keyring, b"v2:10.0.0.1:6800/1", b"[v2:10.0.0.1:6800/1,v2:[::1]:6801/2]", b"osd.0", b"client.admin", b"mon",
        b"AQAAAAAAAAAAABAAc2l4dGVlbiBieXRlIGtleQ==", b"ms_max_backoff=15.0",
    )
    return (bytes([choice]) + sample for choice, sample in enumerate(samples))


def _handshake(role: int, policy: int) -> Iterator[bytes]:
    """One of our machines dials another: what each has heard, as an input."""
    headers = (bytes([role | 1, policy, 0, 0]), bytes([role & ~1, policy, 0, 0]))
    (client, _), (server, _) = map(make_session, headers)
    heard = [bytearray(headers[0]), bytearray(headers[1])]
    actions = {0: client.handle(ev.DialRequested(), 0), 1: server.handle(ev.Accepted(CLIENT, SERVER), 0)}
    actions[0] += client.handle(ev.SocketConnected(CLIENT), 0)
    heard[0] += put_step(STEP_CONNECTED, b"")
    for _ in range(_ROUNDS):
        for side, session in enumerate((client, server)):
            sent, actions[1 - side] = actions[1 - side], []
            for action in sent:
                if isinstance(action, act.SendBytes):
                    heard[side] += put_step(STEP_BANNER, action.data)
                    actions[side] += session.handle(ev.BannerReceived(action.data), 0)
                elif isinstance(action, act.SendFrame):
                    heard[side] += put_step(action.tag, action.payload)
                    actions[side] += session.handle(ev.FrameReceived(action.tag, action.payload, action.payload), 0)
    assert client.is_ready and server.is_ready
    yield from map(bytes, heard)


def _sessions() -> Iterator[bytes]:
    for role in (0, 2, 8):
        for policy in range(4):
            yield from _handshake(role, policy)
    for is_dialling in (0, 1):
        for (tag, payload), _ in _control_frames().items():
            yield bytes([is_dialling, 0, 1, 7]) + put_step(STEP_BANNER, OUR_BANNER.encode()) + put_step(tag, payload)


def python_seeds(target: str) -> list[bytes]:
    kinds = list(FRAMES)
    cephx = [*_hex_values(_load("cephx_login.json")), *_hex_values(_load("cephx_authorizer.json"))]
    seeds = {
        "values": lambda: list(_addresses()),
        "frames": lambda: [bytes([kinds.index(Tag(tag))]) + payload for tag, payload in _control_frames()],
        "banner": lambda: [OUR_BANNER.encode(), OUR_BANNER.with_compression().encode()],
        "messages": lambda: list(_messages()),
        "cephx": lambda: [bytes([choice]) + value for value in cephx for choice in range(12)],
        "texts": lambda: list(_texts()),
        "session": lambda: list(_sessions()),
    }[target]()
    return [seed for seed in seeds if len(seed) <= _MAX_SEED_BYTES]


# ---- the C core ----


def c_seeds(target: str) -> list[bytes]:
    """Of ``fuzz_parser`` and ``fuzz_stream``; the others make their own."""
    seeds = []
    for stream, revision in _recordings():
        split = split_banner(stream)
        assert split
        if target == "fuzz_parser":
            seeds.append(bytes([revision | 2, 0]) + split[1])
        elif target == "fuzz_stream":
            seeds.append(bytes([revision | 2 | 8, 0, 3, 0]) + stream)
    return [seed[:_MAX_SEED_BYTES] for seed in seeds]
