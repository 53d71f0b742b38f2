"""Keyring files: what Ceph writes is read, what we write Ceph could read, and no text betrays a key."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from ceph_msgr.auth import CephxClient, CephxMonitor, CephxService, CryptoKey, Keyring, KeyringEntry, RotatingSecrets
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.encoding import Utime
from ceph_msgr.wire.entity import AuthEntityName, EntityType

KEY_HEX = "0e08466068fca7ce263780f4c8219ded"
KEY = CryptoKey(bytes.fromhex(KEY_HEX), Utime(1_700_000_000, 5))
BASE64 = KEY.to_base64()

#: The look of `ceph auth get`, `ceph-authtool`, and of files edited by hand.
TEXTS = {
    "as ceph writes it": f"""\
[client.admin]
\tkey = {BASE64}
\tcaps mon = "allow *"
\tcaps osd = "allow rw pool=\\"a b\\""
""",
    "by hand": f"""\
# mine
  [ client.admin ]
key={BASE64}
; and
   caps_mon =allow *\r
caps  osd= "allow rw pool=\\"a b\\"" # yes
""",
    "with an old option": f"""\
[client.admin]
auid = 0
key = "{BASE64}"
caps mon = allow *
caps osd = allow rw pool="a b"
""",
}


def admin() -> AuthEntityName:
    return AuthEntityName.parse("client.admin")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_keyring_is_read(text: str) -> None:
    keyring = Keyring.parse(text)
    assert dict(keyring) == {admin(): KeyringEntry(KEY, {"mon": "allow *", "osd": 'allow rw pool="a b"'})}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    keyring = Keyring.generate("client.admin", "osd.0", "mon.", caps={"osd": 'allow "x\\y"'})
    path = tmp_path / "keyring"
    path.touch(0o666)
    keyring.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dict(Keyring.load(path)) == dict(keyring)
    assert len({entry.key.secret for entry in keyring.values()}) == 3


def test_several_entries_and_the_monitors_shared_one() -> None:
    keyring = Keyring.parse(f"[mon.]\nkey = {BASE64}\n[client.a.b]\nkey = {BASE64}\n[mon.]\ncaps mon = allow *\n")
    assert list(map(str, keyring)) == ["mon.", "client.a.b"]
    assert keyring.entry("mon.").caps == {"mon": "allow *"}
    assert keyring.entry(AuthEntityName(EntityType.CLIENT, "a.b")).key == KEY
    with pytest.raises(AuthError, match=r"the keyring has no key for client\.x, only for mon\., client\.a\.b"):
        keyring.entry("client.x")
    with pytest.raises(AuthError, match="only for nobody"):
        Keyring().entry("client.x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key = {BASE64}", "ring, line 1: an option comes before the first"),
        ("[client.admin]\n\nnonsense", "ring, line 3: expected"),
        ("[admin]", "ring, line 1: .* is not an entity name"),
        ("[user.admin]", "ring, line 1: .* is not an entity type"),
        ("[client.admin]\ncaps mon = allow *", "ring: no key for client.admin"),
        ("[client.admin]\nkey =", "ring, line 2: not a key"),
        (f"[client.admin]\nkey = {BASE64[:-4]}", "ring, line 2: not a key"),
        (f"[client.admin]\nkey = {BASE64}AAAA", "ring, line 2: not a key"),
        (f"[client.admin]\nkey = !{BASE64[1:]}", "ring, line 2: not a key"),
        (f"[client.admin]\nkey = C{BASE64[1:]}", "ring, line 2: not a key"),
    ],
)
def test_a_bad_keyring_is_refused_with_its_line_and_without_its_key(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        Keyring.parse(text, "ring")
    assert BASE64[4:20] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_first_file_of_the_option_counts(tmp_path: Path) -> None:
    option = f"{tmp_path}/none,{tmp_path}/$cluster.$name.keyring {tmp_path}/keyring"
    with pytest.raises(AuthError, match=r"no keyring for client\.admin, looked for .*/none, .*/ceph\.client\.admin\.keyring"):
        Keyring.find("client.admin", option)
    Keyring.generate("osd.1").save(tmp_path / "keyring")
    assert list(map(str, Keyring.find("client.admin", option))) == ["osd.1"]
    Keyring.generate("client.admin").save(tmp_path / "ceph.client.admin.keyring")
    assert list(map(str, Keyring.find(admin(), option))) == ["client.admin"]
    assert list(map(str, Keyring.find(admin(), option, cluster="other"))) == ["osd.1"]


def test_a_missing_file_is_a_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Keyring.load(tmp_path / "keyring")


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_has_16_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"has 16 bytes, not {size}"):
        CryptoKey(bytes(size))


def test_no_text_betrays_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keyring = Keyring({admin(): KeyringEntry(KEY)})
    things = [
        KEY,
        keyring,
        keyring.entry(admin()),
        CephxClient.from_keyring(keyring, admin()),
        CephxMonitor(keyring),
        CephxService(EntityType.OSD, RotatingSecrets.generate(3600)),
        RotatingSecrets.generate(3600, random_bytes=lambda count: KEY.secret),
    ]
    for thing in things:
        logging.info("%r %s", thing, thing)
    for secret in (KEY_HEX, BASE64[8:24], repr(KEY.secret)[2:-1]):
        assert secret not in caplog.text
