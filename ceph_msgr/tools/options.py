"""Command lines of the tools: long options, the positional order of Ceph's own programs, and checked values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ceph_msgr import EntityAddr
from ceph_msgr.tools.exits import EXIT_USAGE, complain
from ceph_msgr.tools.security import CLIENT

__all__ = ["OptionParser", "addr_with_port", "listening_addr", "number", "positive_seconds"]


class OptionParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which takes positional arguments as well.

    ``positional_order`` names the options that stand for the positional arguments of Ceph's program, in its order:
    ``tool A B`` then means ``tool --first A --second B``.
    """

    def __init__(self, program: str, positional_order: Sequence[str], *, description: str, epilog: str) -> None:
        names = [option.lstrip("-").replace("-", "_").upper() for option in positional_order]
        super().__init__(
            program,
            usage=f"{program} [OPTION ...]\n       {program} [{' ['.join(names)}{']' * len(names)}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._positional_order = positional_order
        self.add_argument("positional", nargs="*", help=argparse.SUPPRESS)

    def add_option(self, name: str, help: str, **settings: Any) -> None:
        """``add_argument``, with the default in the help where there is one."""
        if settings.get("default") is not None:
            help += " (%(default)s)"
        self.add_argument(name, help=help, **settings)

    def add_security(self) -> None:
        """``--mode`` and ``--keyring``, the same in both tools."""
        text = "protection of the wire: crc, checksums against accidents; secure, AES-GCM against everybody"
        self.add_option("--mode", text, type=_mode, default="crc", metavar="crc|secure")
        text = f"authenticate by cephx, with the key of {CLIENT} in this file, the same at both ends; works without a cluster"
        self.add_option("--keyring", text, type=Path, metavar="FILE")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options. A wrong one ends the program with ``EXIT_USAGE``, ``--help`` with 0, both as ``SystemExit``."""
        options = self.parse_intermixed_args(argv)
        words, order = options.positional, self._positional_order
        if len(words) > len(order):
            self.error(f"{len(words)} positional arguments, at most {len(order)} are understood")
        given = {word.partition("=")[0] for word in argv}
        for option in order[: len(words)]:
            if option in given:
                self.error(f"{option} is given twice, by its name and as a positional argument")
        # As though they had been given by name, so that they are checked and refused in the same words.
        return self.parse_args([f"{option}={word}" for option, word in zip(order, words, strict=False)], options)

    def error(self, message: str) -> NoReturn:
        complain(self.prog, f"{message} (--help explains)")
        raise SystemExit(EXIT_USAGE)


def _mode(text: str) -> str:
    if text not in ("crc", "secure"):
        raise argparse.ArgumentTypeError(f'"{text}" is not a mode, only crc and secure are')
    return text


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A converter to an integer that refuses what is not within ``least..most``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most}")
        return value

    return convert


def positive_seconds(text: str) -> float:
    """A duration above zero; fractions are welcome."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds above 0')
    return value


def listening_addr(text: str) -> EntityAddr:
    """An address to bind: an ip, and a port that may be 0."""
    try:
        addr = EntityAddr.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not str(addr).startswith("v2:") or not addr.ip:
        raise argparse.ArgumentTypeError(f'"{text}" is not a v2 address with an ip, such as 127.0.0.1:10001')
    return addr


def addr_with_port(text: str) -> EntityAddr:
    """An address to dial, where the port may not be 0."""
    addr = listening_addr(text)
    if not addr.port:
        raise argparse.ArgumentTypeError(f'"{text}" has no port, such as 127.0.0.1:10001')
    return addr
