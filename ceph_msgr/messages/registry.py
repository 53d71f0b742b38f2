"""Which class a message type arrives as.

A type without a class arrives as a plain ``Message``. One registered later counts from the next message on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ceph_msgr._core import Message

__all__ = ["class_for", "register", "registered"]

_classes: dict[int, type[Message]] = {}

#: All registrations, by type number; read-only and always current.
registered: Mapping[int, type[Message]] = MappingProxyType(_classes)


def register(type_number: int, cls: type[Message]) -> None:
    """Messages of this type will arrive as ``cls``; ``Message`` itself gives the bare segments.

    A received message is made with ``cls.__new__(cls)``, without ``__init__``; then its ``decode_payload`` must set
    every field from ``front``, ``middle`` and ``data``, or raise ``DecodeError``. Registering the same class again does
    nothing; another class for a taken number raises ``ValueError``.
    """
    if not 0 <= type_number <= 0xFFFF:
        raise ValueError(f"message type {type_number} is not within 0..65535")
    if not issubclass(cls, Message):
        # The data plane relies on it: it attaches the received bytes without looking again.
        raise TypeError(f"{cls.__name__} is not a subclass of Message")
    taken_by = _classes.setdefault(type_number, cls)
    if taken_by is not cls:
        raise ValueError(f"message type {type_number} is already {taken_by.__name__}, it cannot become {cls.__name__}")


def class_for(type_number: int) -> type[Message] | None:
    """The class registered for this type, or None."""
    return _classes.get(type_number)
