"""What values can travel, and how: msgpack with a closed set of extension types. Never pickle.

None, bool, int, float, str, bytes, list, dict, tuple, set, frozenset, datetime, date, timedelta,
UUID, ``pycrdt.Doc``, and the dataclasses and enums that were declared to this codec. Anything else,
anything nested deeper than 100 levels (plain lists and dicts: some hundreds) and anything over its
size limit raises :class:`~pyhorde.errors.CannotTravel` saying what and why. Decoding rebuilds only
these types, without running their constructors, and whatever can be encoded can be decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgpack

from pyhorde.cluster.transport.structure import TINY, check_structure
from pyhorde.errors import CannotTravel

MAX_VALUE_BYTES: Final = 1024 * 1024
"""Largest encoded argument list or result."""
MAX_STATE_BYTES: Final = 4 * 1024 * 1024
"""Largest encoded state of one process."""
MAX_META_BYTES: Final = 64 * 1024
"""Largest encoded value of one metadata key."""
MAX_NESTING: Final = 100

_TUPLE, _SET, _FROZENSET, _DATETIME, _DATE, _TIMEDELTA, _UUID, _INT = range(1, 9)
_DATACLASS, _ENUM, _DOC = range(9, 12)
_SETS: Final[dict[type, int]] = {set: _SET, frozenset: _FROZENSET}
_AS_DATETIME: Final = 3  # how msgpack's own timestamps, which are never written, are read


class Codec:
    """Encodes and decodes values; knows the declared ``types`` by ``module:qualname``."""

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._types: dict[str, type] = {}
        for declared in types:
            self.declare(declared)

    def declare(self, declared: type) -> None:
        """Let instances of this dataclass or enum travel. Raises ``TypeError`` for others."""
        if not (dataclasses.is_dataclass(declared) or issubclass(declared, Enum)):
            raise TypeError(f"{declared!r} is neither a dataclass nor an enum")
        self._types[_type_name(declared)] = declared

    def encode(self, value: Any, what: str = "value", limit: int = MAX_VALUE_BYTES) -> bytes:
        """The value as bytes; ``what`` names it in errors."""
        try:
            data = self._encode(value, MAX_NESTING)
        except CannotTravel as error:
            raise CannotTravel(what, error.problem) from None
        except (ValueError, RecursionError) as error:
            raise CannotTravel(what, str(error) or "it is nested too deeply") from None
        if len(data) > limit:
            raise CannotTravel(what, f"it takes {len(data)} bytes and {limit} are allowed")
        return data

    def decode(self, data: bytes, what: str = "value") -> Any:
        """The value again. Raises ``CannotTravel`` for bytes that are none."""
        try:
            return self._decode(data, MAX_NESTING)
        except CannotTravel as error:
            raise CannotTravel(what, error.problem) from None
        except Exception as error:
            raise CannotTravel(what, f"it cannot be read: {type(error).__name__}") from error

    def _decode(self, data: bytes, depth: int) -> Any:
        _check_depth(depth)
        if len(data) > TINY:
            check_structure(data)
        hook = partial(self._extension, depth=depth - 1)
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=hook, timestamp=_AS_DATETIME)

    def _encode(self, value: Any, depth: int) -> bytes:
        _check_depth(depth)
        default = partial(self._default, depth=depth - 1)
        data: bytes = msgpack.packb(value, strict_types=True, default=default)
        return data

    def _default(self, value: Any, depth: int) -> msgpack.ExtType:
        encoder = _ENCODERS.get(type(value))
        if encoder is not None:
            code, payload = encoder(value)
            packed = payload if isinstance(payload, bytes) else self._encode(payload, depth)
            return msgpack.ExtType(code, packed)
        if type(value) in _SETS:
            return msgpack.ExtType(_SETS[type(value)], self._ordered(value, depth))
        return self._declared(value, depth)

    def _ordered(self, values: Iterable[Any], depth: int) -> bytes:
        """Equal sets must give equal bytes whatever the hash seed."""
        parts = sorted(self._encode(value, depth) for value in values)
        header: bytes = msgpack.Packer().pack_array_header(len(parts))
        return header + b"".join(parts)

    def _declared(self, value: Any, depth: int) -> msgpack.ExtType:
        name = _type_name(type(value))
        if name in self._types:
            if isinstance(value, Enum):
                return msgpack.ExtType(_ENUM, self._encode([name, value.value], depth))
            names = [field.name for field in dataclasses.fields(value)]
            shallow = {each: getattr(value, each) for each in names if hasattr(value, each)}
            return msgpack.ExtType(_DATACLASS, self._encode([name, shallow], depth))
        if name.startswith("pycrdt") and name.endswith(":Doc"):
            return msgpack.ExtType(_DOC, value.get_update())
        hint = " (list it in the process class's `types`)" if _declarable(type(value)) else ""
        raise CannotTravel("value", f"it holds a {name}{hint}")

    def _extension(self, code: int, payload: bytes, depth: int) -> Any:
        if code == _DOC:
            return _document(payload)
        if code == _INT:
            return int.from_bytes(payload, "big", signed=True)
        inner = self._decode(payload, depth)
        if code in (_DATACLASS, _ENUM):
            return self._rebuild(*inner)
        decoder = _DECODERS.get(code)
        if decoder is None:
            raise CannotTravel("value", f"unknown kind {code}")
        return decoder(inner)

    def _rebuild(self, name: str, content: Any) -> Any:
        declared: Any = self._types.get(name)
        if declared is None:
            raise CannotTravel("value", f"the type {name} is not declared on this node")
        if issubclass(declared, Enum):
            return declared(content)
        if not isinstance(content, dict):
            raise CannotTravel("value", f"the fields of a {name} are no map")
        value: Any = object.__new__(declared)
        for field in dataclasses.fields(declared):
            if field.name in content:
                object.__setattr__(value, field.name, content[field.name])
        return value


def _check_depth(depth: int) -> None:
    if depth <= 0:
        raise CannotTravel("value", "it is nested too deeply")


def _type_name(declared: type) -> str:
    return f"{declared.__module__}:{declared.__qualname__}"


def _declarable(found: type) -> bool:
    return dataclasses.is_dataclass(found) or issubclass(found, Enum)


def _document(update: bytes) -> Any:
    from pycrdt import Doc  # noqa: PLC0415 - slow to import, and few processes use documents

    doc: Any = Doc()
    doc.apply_update(update)
    return doc


def _big(value: int) -> tuple[int, bytes]:
    return _INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


_ENCODERS: dict[type, Callable[[Any], tuple[int, Any]]] = {
    tuple: lambda v: (_TUPLE, list(v)),
    datetime: lambda v: (_DATETIME, v.isoformat()),
    date: lambda v: (_DATE, v.isoformat()),
    timedelta: lambda v: (_TIMEDELTA, [v.days, v.seconds, v.microseconds]),
    UUID: lambda v: (_UUID, str(v)),
    int: _big,
}
_DECODERS: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _DATETIME: datetime.fromisoformat,
    _DATE: date.fromisoformat,
    _TIMEDELTA: lambda v: timedelta(*v),
    _UUID: UUID,
}
