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
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol

import msgpack

from pyhorde.errors import ProtocolError

VERSION: Final = 3
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


@dataclass(frozen=True, slots=True)
class _Shape:
    """A message class: its fields, and the types that each may have on arrival (None: any)."""

    cls: type[Any]
    names: tuple[str, ...]
    allowed: tuple[frozenset[type] | None, ...]
    values: Callable[[Any], tuple[Any, ...]]
    """The tag and the fields of one message, in order."""


class Wire:
    """A closed set of message classes, and how they look as bytes."""

    def __init__(self, *messages: Iterable[type[Any]]) -> None:
        self._shapes: dict[int, _Shape] = {}
        self._packer = msgpack.Packer()
        for cls in (cls for group in messages for cls in group):
            if cls.tag in self._shapes:
                raise ValueError(f"two messages have the tag {cls.tag}")
            hints = typing.get_type_hints(cls)
            names = tuple(field.name for field in dataclasses.fields(cls))
            allowed = tuple(_allowed(hints[name]) for name in names)
            self._shapes[cls.tag] = _Shape(cls, names, allowed, attrgetter("tag", *names))

    def encode(self, message: Any) -> bytes:
        """One message as bytes; several may be joined to one frame."""
        data: bytes = self._packer.pack(self._shapes[message.tag].values(message))
        return data

    def decode(self, frame: bytes) -> Iterator[Any]:
        """The frame's messages. Raises ``ProtocolError`` at the first that is none."""
        if len(frame) > MAX_FRAME_BYTES:
            raise ProtocolError("a frame that is too large")
        try:
            for raw in _unpacked(frame):
                yield self._message(raw)
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"a frame that is no msgpack ({type(error).__name__})") from error

    def _message(self, raw: Any) -> Any:
        if type(raw) is not list or not raw or type(raw[0]) is not int:
            raise ProtocolError("a frame that holds no message")
        shape = self._shapes.get(raw[0])
        if shape is None:
            raise ProtocolError(f"an unknown message, tag {raw[0]}")
        del raw[0]
        if len(raw) != len(shape.names):
            expected = f"{len(raw)} fields, not {len(shape.names)}"
            raise ProtocolError(f"{shape.cls.__name__} with {expected}")
        for name, allowed, value in zip(shape.names, shape.allowed, raw, strict=True):
            if allowed is not None and type(value) not in allowed:
                raise ProtocolError(f"{shape.cls.__name__}.{name} is a {type(value).__name__}")
        return shape.cls(*raw)


def _unpacked(frame: bytes) -> Iterable[Any]:
    """All values in the frame; most frames hold one."""
    if not frame:
        return ()
    try:
        return (msgpack.unpackb(frame, strict_map_key=False),)
    except msgpack.ExtraData as several:
        return chain((several.unpacked,), _streamed(several.extra))


def _streamed(data: bytes) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_FRAME_BYTES, strict_map_key=False)
    unpacker.feed(data)
    complete = 0  # in the end tell() would count the bytes of an incomplete message too
    for raw in unpacker:
        complete = unpacker.tell()
        yield raw
    if complete != len(data):
        raise ProtocolError("a frame that ends in the middle of a message")


def _allowed(hint: Any) -> frozenset[type] | None:
    """The types that msgpack may have made of a field; a truth value is no number here."""
    if hint is Any:
        return None
    if isinstance(hint, types.UnionType):
        parts = [_allowed(part) for part in typing.get_args(hint)]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return frozenset((int, float))
    if kind in (int, str, bytes, bool, list, dict, type(None)):
        return frozenset((kind,))
    raise TypeError(f"a message field cannot be a {hint!r}")
