"""How the two tools know each other, and what protects the wire between them: ``--mode`` and ``--keyring``.

Without a keyring they present and check nothing, as Ceph's own pair does. With one, the server plays the monitor's part
of a cephx login, so no cluster is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from ceph_msgr import Config, EntityType
from ceph_msgr.auth import AuthRegistry, Keyring
from ceph_msgr.tools.exits import Failure

__all__ = ["CLIENT", "SERVER", "keyring_file", "load_keyring", "make_auth", "make_keyring"]

#: Whom the programs of Ceph's pair are and expect to meet.
CLIENT = "client.0"
SERVER = "osd.0"


def load_keyring(path: Path | None) -> Keyring | None:
    """None without a path. ``Failure``, ``OSError`` or ``AuthError`` if it is no keyring with the client's key."""
    if path is None:
        return None
    try:
        keyring = Keyring.load(path)
    except ValueError as error:
        raise Failure(str(error)) from None
    keyring.entry(CLIENT)
    return keyring


def make_keyring() -> Keyring:
    """A new key for the client."""
    return Keyring.generate(CLIENT)


@contextmanager
def keyring_file(keyring: Keyring) -> Iterator[Path]:
    """A file with these keys that only we may read, gone at the end of the context."""
    with NamedTemporaryFile(prefix="perf-msgr-", suffix=".keyring") as file:  # has mode 0600 from the start
        keyring.save(file.name)
        yield Path(file.name)


def make_auth(own_type: EntityType, config: Config, keyring: Keyring | None) -> AuthRegistry:
    """For one side; ``config`` says in which modes."""
    if keyring is None:
        return AuthRegistry.dummy(own_type, config)
    return AuthRegistry.standalone(CLIENT if own_type == EntityType.CLIENT else SERVER, config, keyring)
