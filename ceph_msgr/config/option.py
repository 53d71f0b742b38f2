"""One option: its name, type, default, unit, range and meaning, and how text becomes its value.

An option is a descriptor: read through a ``Config`` it is the value, read through the class it is this record, from
which documentation and ``--help`` are made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from ceph_msgr.config.config import Config

__all__ = ["Option", "count", "flag", "microseconds", "number", "seconds", "size", "text", "words"]

T = TypeVar("T")

_BOOL_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

_SIZE = re.compile(r"([0-9]+) ?(?:([KMGT])(?:iB)?)?", re.IGNORECASE)
_SIZE_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Option(Generic[T]):
    """One option. ``unit`` is empty for plain numbers, flags and words; ``choices`` is empty if any text will do."""

    def __init__(
        self,
        default: T,
        meaning: str,
        *,
        unit: str = "",
        minimum: float = 0,
        maximum: float = 0,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = ""
        self.type: type[T] = type(default)
        self.default = default
        self.meaning = meaning
        self.unit = unit
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, config: None, owner: type) -> Self: ...
    @overload
    def __get__(self, config: Config, owner: type) -> T: ...
    def __get__(self, config: Config | None, owner: type) -> Self | T:
        if config is None:
            return self
        value: T = config._values.get(self.name, self.default)
        return value

    def __set__(self, config: Config, value: T | str) -> None:
        config._values[self.name] = self.convert(value)

    def __repr__(self) -> str:
        return f"<Option {self.name}: {self.expects}, default {self.default!r}>"

    @property
    def expects(self) -> str:
        """The allowed values in words, as errors and ``--help`` tell them."""
        if self.type is bool:
            return "true or false"
        if self.type is tuple:
            return f"a list of {', '.join(self.choices)}"
        if self.type is str:
            return f"one of {', '.join(repr(choice) for choice in self.choices)}" if self.choices else "a text"
        if self.unit == "bytes":
            return f"bytes from {self.minimum} to {self.maximum}, such as 4096, 64K or 100M"
        kind = "an integer" if self.type is int else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        return f"{kind}{unit} from {self.minimum} to {self.maximum}"

    def convert(self, value: object) -> T:
        """The checked value of a typed one or of its text; ``ValueError`` names the option and what it expects."""
        result: Any = value
        if isinstance(value, str) and self.type is not str:
            result = self._parse(value)
        elif self.type is float and type(value) is int:
            result = float(value)
        elif self.type is tuple and isinstance(value, list):
            result = tuple(value)
        if type(result) is not self.type or not self._allows(result):
            raise ValueError(f"option {self.name} cannot be {value!r}: expected {self.expects}")
        return result

    def _parse(self, text: str) -> object:
        """The value of a text, or None."""
        text = text.strip()
        if self.type is bool:
            return _BOOL_WORDS.get(text.lower())
        if self.type is tuple:
            return tuple(re.findall(r"[^\s,]+", text))
        if self.unit == "bytes":
            match = _SIZE.fullmatch(text)
            return match and int(match[1]) << _SIZE_SHIFTS[(match[2] or "").upper()]
        try:
            return int(text) if self.type is int else float(text)
        except ValueError:
            return None

    def _allows(self, value: Any) -> bool:
        if self.type is tuple:
            return all(word in self.choices for word in value)
        if self.type is str:
            return not self.choices or value in self.choices
        return self.type is bool or bool(self.minimum <= value <= self.maximum)


# ---- one function for each kind of option ----


def flag(default: bool, meaning: str) -> Option[bool]:
    return Option(default, meaning)


def count(default: int, meaning: str, *, minimum: int = 0, maximum: int = 2**31 - 1) -> Option[int]:
    return Option(default, meaning, minimum=minimum, maximum=maximum)


def size(default: int, meaning: str, *, minimum: int = 0, maximum: int = 2**40) -> Option[int]:
    return Option(default, meaning, unit="bytes", minimum=minimum, maximum=maximum)


def microseconds(default: int, meaning: str, *, minimum: int = 0) -> Option[int]:
    return Option(default, meaning, unit="microseconds", minimum=minimum, maximum=10**9)


def seconds(default: float, meaning: str) -> Option[float]:
    return Option(float(default), meaning, unit="seconds", maximum=10**9)


def number(default: float, meaning: str, *, maximum: float) -> Option[float]:
    return Option(float(default), meaning, maximum=maximum)


def text(default: str, meaning: str, *choices: str) -> Option[str]:
    return Option(default, meaning, choices=choices)


def words(default: tuple[str, ...], meaning: str, *choices: str) -> Option[tuple[str, ...]]:
    """Words in order of preference; as text, separated by blanks or commas."""
    return Option(default, meaning, choices=choices)
