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
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol

import msgpack
from msgpack import unpackb

from pyhorde.cluster.transport.structure import TINY, check_structure
from pyhorde.errors import ProtocolError

VERSION: Final = 3
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
MAX_UNITS: Final = 1 << 20
"""What a frame may hold: a unit for each value in a list or map, some more for each list and map.

Ten thousand members, or the largest delta, take a third of it. As memory it is some 30 MiB.
"""
MAX_GREETING_BYTES: Final = 16 * 1024
"""Largest frame of somebody who has not shown yet that it belongs here."""
MAX_GREETING_VALUES: Final = 2048
MAX_GREETING_DEPTH: Final = 6
MAX_GOOD: Final = 64
"""So many combinations of types are remembered of each message class."""
_SMALL: Final = 64 * 1024
"""A frame up to here cannot hold more than ``MAX_UNITS``, or nearly so."""
_LIST_UNITS: Final = 4
_MAP_UNITS: Final = 8


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
    good: set[tuple[type, ...]] = field(default_factory=set)
    """Types of tag and fields, together, that have been found allowed."""


class Wire:
    """A closed set of message classes, and how they look as bytes."""

    def __init__(self, *messages: Iterable[type[Any]]) -> None:
        self._shapes: dict[int, _Shape] = {}
        self._packer = msgpack.Packer()
        for cls in (cls for group in messages for cls in group):
            if cls.tag in self._shapes:
                raise ValueError(f"two messages have the tag {cls.tag}")
            hints = typing.get_type_hints(cls)
            names = tuple(each.name for each in dataclasses.fields(cls))
            allowed = tuple(_allowed(hints[name]) for name in names)
            self._shapes[cls.tag] = _Shape(cls, names, allowed, attrgetter("tag", *names))

    def encode(self, message: Any) -> bytes:
        """One message as bytes; several may be joined to one frame."""
        data: bytes = self._packer.pack(self._shapes[message.tag].values(message))
        return data

    def decode(self, frame: bytes) -> list[Any]:
        """The frame's messages. Raises ``ProtocolError`` if any of it is none."""
        try:
            if 0 < len(frame) <= TINY:  # most are, and most hold one message
                try:
                    raw = unpackb(frame, strict_map_key=False)
                except msgpack.ExtraData:
                    return [self._message(raw) for raw in _unpacked(frame)]
                if type(raw) is list and raw:  # the way of nearly all: nothing but known types
                    shape = self._shapes.get(raw[0]) if type(raw[0]) is int else None
                    if shape is not None and tuple(map(type, raw)) in shape.good:
                        return [shape.cls(*raw[1:])]
                return [self._message(raw)]
            if len(frame) > MAX_FRAME_BYTES:
                raise ProtocolError("a frame that is too large")
            return [self._message(raw) for raw in _unpacked(frame)]
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"a frame that is no msgpack ({type(error).__name__})") from error

    def decode_greeting(self, frame: bytes) -> Any:
        """The one message of a frame of somebody who may be a stranger.

        Such a frame is small and flat: ``MAX_GREETING_BYTES``, ``MAX_GREETING_VALUES`` and
        ``MAX_GREETING_DEPTH`` bound it. Raises ``ProtocolError``.
        """
        if not 0 < len(frame) <= MAX_GREETING_BYTES:
            raise ProtocolError("a greeting of a wrong size")
        try:
            check_structure(frame)
            raw = msgpack.unpackb(frame, strict_map_key=True)
            _check_modest(raw)
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"a greeting that is none ({type(error).__name__})") from error
        return self._message(raw)

    def _message(self, raw: Any) -> Any:
        if type(raw) is not list or not raw or type(raw[0]) is not int:
            raise ProtocolError("a frame that holds no message")
        shape = self._shapes.get(raw[0])
        if shape is None:
            raise ProtocolError(f"an unknown message, tag {raw[0]}")
        kinds = tuple(map(type, raw))
        if kinds not in shape.good:
            _check(shape, raw)
            if len(shape.good) < MAX_GOOD:
                shape.good.add(kinds)
        return shape.cls(*raw[1:])


def _check(shape: _Shape, raw: list[Any]) -> None:
    """Whether these are the fields of such a message, after its tag. Raises ``ProtocolError``."""
    if len(raw) - 1 != len(shape.names):
        expected = f"{len(raw) - 1} fields, not {len(shape.names)}"
        raise ProtocolError(f"{shape.cls.__name__} with {expected}")
    for name, allowed, value in zip(shape.names, shape.allowed, raw[1:], strict=True):
        if allowed is not None and type(value) not in allowed:
            raise ProtocolError(f"{shape.cls.__name__}.{name} is a {type(value).__name__}")


def _unpacked(frame: bytes) -> Iterable[Any]:
    """All values in the frame; most frames hold one."""
    if not frame:
        return ()
    hooks: dict[str, Any] = {}
    if len(frame) > TINY:
        check_structure(frame)
        if len(frame) > _SMALL:
            hooks = _Budget(MAX_UNITS).hooks()
    try:
        return (msgpack.unpackb(frame, strict_map_key=False, **hooks),)
    except msgpack.ExtraData as several:
        return chain((several.unpacked,), _streamed(several.extra, hooks))


def _streamed(data: bytes, hooks: dict[str, Any]) -> Iterator[Any]:
    # The size of the buffer also bounds the length that a list may say it has.
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), strict_map_key=False, **hooks)
    unpacker.feed(data)
    size, complete = len(data), 0
    while complete < size:  # who iterates is not told of an incomplete message at the end
        try:
            yield unpacker.unpack()
        except msgpack.OutOfData:
            raise ProtocolError("a frame that ends in the middle of a message") from None
        complete = unpacker.tell()


class _Budget:
    """Counts what is unpacked, and stops when it becomes too much."""

    def __init__(self, units: int) -> None:
        self._left = units

    def hooks(self) -> dict[str, Any]:
        """Options for msgpack."""
        return {
            "list_hook": self._list,
            "object_hook": self._map,
            "ext_hook": self._extension,
            "max_array_len": self._left,
            "max_map_len": self._left // 2,
        }

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise ProtocolError("a frame that holds too many values")

    def _list(self, values: list[Any]) -> list[Any]:
        self._spend(_LIST_UNITS + len(values))
        return values

    def _map(self, values: dict[Any, Any]) -> dict[Any, Any]:
        self._spend(_MAP_UNITS + 2 * len(values))
        return values

    def _extension(self, code: int, data: bytes) -> msgpack.ExtType:
        self._spend(_LIST_UNITS)
        return msgpack.ExtType(code, data)


def _check_modest(raw: Any) -> None:
    """Refuse what is nested too deeply for a greeting, or holds too many values."""
    level, count = [raw], 0
    for _ in range(MAX_GREETING_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, list):
                below += value
            elif isinstance(value, dict):
                below += value
                below += value.values()
        count += len(below)
        if count > MAX_GREETING_VALUES:
            raise ProtocolError("a greeting that holds too many values")
        if not below:
            return
        level = below
    raise ProtocolError("a greeting that is nested too deeply")


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
