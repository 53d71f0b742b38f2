"""Keyring files: who has which key, and which caps.

    [client.admin]
        key = AQD...==
        caps mon = "allow *"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ceph_msgr import crypto
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.encoding import Utime
from ceph_msgr.wire.entity import AuthEntityName

__all__ = ["DEFAULT_KEYRING_PATHS", "Keyring", "KeyringEntry"]

#: The default of Ceph's option ``keyring``.
DEFAULT_KEYRING_PATHS = (
    "/etc/ceph/$cluster.$name.keyring,/etc/ceph/$cluster.keyring,/etc/ceph/keyring,/etc/ceph/keyring.bin"
)

_CAPS = re.compile(r"caps[ _]+(\S+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class KeyringEntry:
    """One principal's key, and its caps by service name."""

    key: CryptoKey
    caps: Mapping[str, str] = field(default_factory=dict)


class Keyring(Mapping[AuthEntityName, KeyringEntry]):
    """The entries of one or more keyring files. Immutable; its texts never show a key, but ``to_text`` does."""

    def __init__(self, entries: Mapping[AuthEntityName, KeyringEntry] | None = None, source: str = "the keyring") -> None:
        self._entries = dict(entries or {})
        self.source = source

    @classmethod
    def generate(
        cls,
        *names: str,
        caps: Mapping[str, str] | None = None,
        random_bytes: crypto.RandomBytes = crypto.random_bytes,
        clock_s: crypto.WallClock = crypto.wall_clock_s,
    ) -> Self:
        """New keys for these names, all with the same caps."""
        created = Utime.from_ns(round(clock_s() * 1e9))
        return cls(
            {
                AuthEntityName.parse(name): KeyringEntry(CryptoKey.generate(created, random_bytes), dict(caps or {}))
                for name in names
            }
        )

    # ---- looking up ----

    def __getitem__(self, name: AuthEntityName) -> KeyringEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[AuthEntityName]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Keyring of {', '.join(map(str, self)) or 'nobody'}>"

    def entry(self, name: AuthEntityName | str) -> KeyringEntry:
        """As ``keyring[name]``, with an ``AuthError`` that tells who is there."""
        name = AuthEntityName.parse(name) if isinstance(name, str) else name
        if name not in self:
            raise AuthError(f"{self.source} has no key for {name}, only for {', '.join(map(str, self)) or 'nobody'}")
        return self[name]

    # ---- files ----

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """``OSError`` if it cannot be read, ``ValueError`` with the line if it is no keyring."""
        return cls.parse(Path(path).read_text("utf-8", errors="replace"), str(path))

    @classmethod
    def find(cls, name: AuthEntityName | str, paths: str = DEFAULT_KEYRING_PATHS, cluster: str = "ceph") -> Self:
        """The first of these files that exists, as Ceph's option ``keyring`` is read: separated by commas, with ``$cluster``
        and ``$name``. ``AuthError`` if there is none."""
        expanded = paths.replace("$cluster", cluster).replace("$name", str(name))
        candidates = re.findall(r"[^\s,;]+", expanded)
        for path in candidates:
            if Path(path).exists():
                return cls.load(path)
        raise AuthError(f"no keyring for {name}, looked for {', '.join(candidates)}")

    @classmethod
    def parse(cls, text: str, source: str = "the keyring") -> Self:
        """``ValueError`` names source and line, and quotes nothing: who puts a key where none belongs shall not find it in
        a log."""
        keys: dict[AuthEntityName, CryptoKey] = {}
        caps: dict[AuthEntityName, dict[str, str]] = {}
        name: AuthEntityName | None = None
        for number, raw_line in enumerate(text.splitlines(), 1):
            line = raw_line.strip()
            where = f"{source}, line {number}"
            if not line or line[0] in "#;":
                continue
            if section := re.fullmatch(r"\[\s*(.*?)\s*\]", line):
                name = _parse_name(section[1], where)
                caps.setdefault(name, {})
                continue
            option, equals, value = (part.strip() for part in line.partition("="))
            if not equals:
                raise ValueError(f"{where}: expected [NAME], key = BASE64 or caps SERVICE = TEXT")
            if not name:
                raise ValueError(f"{where}: an option comes before the first [NAME]")
            if option == "key":
                keys[name] = _parse_key(_unquote(value), where)
            elif service := _CAPS.fullmatch(option):
                caps[name][service[1]] = _unquote(value)
            # Else an option of another release, such as auid.
        if missing := [str(name) for name in caps if name not in keys]:
            raise ValueError(f"{source}: no key for {', '.join(missing)}")
        return cls({name: KeyringEntry(key, caps[name]) for name, key in keys.items()}, source)

    def to_text(self) -> str:
        """The text of a keyring file: it contains the keys."""
        lines = []
        for name, entry in self.items():
            lines += [f"[{name}]", f"\tkey = {entry.key.to_base64()}"]
            lines += [f"\tcaps {service} = {_quote(text)}" for service, text in sorted(entry.caps.items())]
        return "".join(f"{line}\n" for line in lines)

    def save(self, path: str | Path) -> None:
        """Write a file that only its owner may read."""
        file = Path(path)
        file.touch(_OWNER_ONLY)
        file.chmod(_OWNER_ONLY)
        file.write_text(self.to_text())


def _parse_name(text: str, where: str) -> AuthEntityName:
    try:
        return AuthEntityName.parse(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _parse_key(text: str, where: str) -> CryptoKey:
    try:
        return CryptoKey.parse(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _unquote(value: str) -> str:
    quoted = _QUOTED.match(value)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value


def _quote(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
