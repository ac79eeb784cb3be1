"""Messages between nodes: typed, checked at the boundary, bounded.

A message is a frozen dataclass with a ``tag`` and a ``lane``; on the wire it is a msgpack array
``[tag, *fields]``. One frame carries one or more messages. A peer that sends anything else is told
off with :class:`~pyhorde.errors.ProtocolError`; no state changes because of it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, ClassVar, Final, Protocol

import msgpack

from pyhorde.errors import ProtocolError

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024


class Lane(IntEnum):
    """Which messages go first when several wait for one link."""

    CONTROL = 0
    CALL = 1
    BULK = 2


class Message(Protocol):
    """What every message class has (besides being a frozen dataclass)."""

    tag: ClassVar[int]
    lane: ClassVar[Lane]


Check: typing.TypeAlias = Callable[[Any], bool]


class Wire:
    """A closed set of message classes, and how they look as bytes."""

    def __init__(self, *messages: Iterable[type[Any]]) -> None:
        self._shapes: dict[int, tuple[type[Any], tuple[Check, ...]]] = {}
        for cls in (cls for group in messages for cls in group):
            if cls.tag in self._shapes:
                raise ValueError(f"two messages have the tag {cls.tag}")
            hints = typing.get_type_hints(cls)
            checks = tuple(_check(hints[field.name]) for field in dataclasses.fields(cls))
            self._shapes[cls.tag] = (cls, checks)

    def encode(self, message: Any) -> bytes:
        """One message as bytes; several may be joined to one frame."""
        values = [getattr(message, name) for name in message.__slots__]
        data: bytes = msgpack.packb([message.tag, *values])
        return data

    def decode(self, frame: bytes) -> Iterator[Any]:
        """The frame's messages. Raises ``ProtocolError`` at the first that is none."""
        unpacker = msgpack.Unpacker(max_buffer_size=MAX_FRAME_BYTES, strict_map_key=False)
        try:
            unpacker.feed(frame)
            complete = 0  # in the end tell() would count the bytes of an incomplete message too
            for raw in unpacker:
                complete = unpacker.tell()
                yield self._message(raw)
            if complete != len(frame):
                raise ProtocolError("a frame that ends in the middle of a message")
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"a frame that is no msgpack ({type(error).__name__})") from error

    def _message(self, raw: Any) -> Any:
        if not isinstance(raw, list) or not raw or not isinstance(raw[0], int):
            raise ProtocolError("a frame that holds no message")
        known = self._shapes.get(raw[0])
        if known is None:
            raise ProtocolError(f"an unknown message, tag {raw[0]}")
        cls, checks = known
        values = raw[1:]
        if len(values) != len(checks):
            raise ProtocolError(f"{cls.__name__} with {len(values)} fields, not {len(checks)}")
        for field, check, value in zip(dataclasses.fields(cls), checks, values, strict=True):
            if not check(value):
                raise ProtocolError(f"{cls.__name__}.{field.name} is a {type(value).__name__}")
        return cls(*values)


def _check(hint: Any) -> Check:
    if hint is Any:
        return lambda _: True
    if isinstance(hint, types.UnionType):
        checks = [_check(part) for part in typing.get_args(hint)]
        return lambda value: any(check(value) for check in checks)
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bytes, bool, list, dict, type(None)):
        return lambda value: isinstance(value, kind)
    raise TypeError(f"a message field cannot be a {hint!r}")
