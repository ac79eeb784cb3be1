"""What travels between replicas, and its checked form on the wire.

A *segment* is authoritative for the events ``(frm, to]`` of one origin: a row in that range that it
does not list is dead. ``kills`` are the removals among those events; when they are not all known
(``complete`` is false) ``live`` lists which events up to ``frm`` still are alive.

Registers are sent ahead of the segments that cover them: a vector never says more than the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyhorde.crdt.dots import Origin

MAX_SEQ = 2**53
MAX_STAMP = 2**61
"""Beyond the year 3000; nothing above is accepted, nor ever written."""


class Row(NamedTuple):
    """One live claim: the ``seq``-th event of its segment's origin."""

    seq: int
    key: str
    value: bytes


class RegisterRow(NamedTuple):
    """One register; ``value`` None is a deletion."""

    table: str
    key: str
    rank: int
    stamp: int
    origin: Origin
    seq: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Segment:
    """Events ``(frm, to]`` of ``origin``."""

    origin: Origin
    frm: int
    to: int
    rows: tuple[Row, ...] = ()
    kills: tuple[tuple[int, int], ...] = ()
    complete: bool = True
    live: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """Part of a replica's state. Joined as one step."""

    registers: tuple[RegisterRow, ...] = ()
    segments: tuple[Segment, ...] = ()

    def to_wire(self) -> list[Any]:
        """Plain lists, ready for msgpack."""
        return [
            [list(r) for r in self.registers],
            [
                [
                    s.origin,
                    s.frm,
                    s.to,
                    [list(r) for r in s.rows],
                    [list(k) for k in s.kills],
                    s.complete,
                    None if s.live is None else list(s.live),
                ]
                for s in self.segments
            ],
        ]

    @classmethod
    def from_wire(cls, raw: Any) -> Delta:
        """Check and rebuild. Raises ``ValueError`` naming what is wrong."""
        registers, segments = _fields(raw, 2, "delta")
        return cls(
            tuple(_register(r) for r in _list(registers, "registers")),
            tuple(_segment(s) for s in _list(segments, "segments")),
        )


def _segment(raw: Any) -> Segment:
    origin, frm, to, rows, kills, complete, live = _fields(raw, 7, "segment")
    frm, to = _seq(frm), _seq(to)
    if frm > to or not isinstance(origin, str) or not isinstance(complete, bool):
        raise ValueError("segment: bad head")
    segment = Segment(
        origin,
        frm,
        to,
        tuple(_row(r) for r in _list(rows, "rows")),
        tuple(_kill(k) for k in _list(kills, "kills")),
        complete,
        None if live is None else tuple(_seq(s) for s in _list(live, "live")),
    )
    _check_order(segment)
    return segment


def _check_order(segment: Segment) -> None:
    last = segment.frm
    for row in segment.rows:
        if not last < row.seq <= segment.to:
            raise ValueError("segment: rows out of order or out of range")
        last = row.seq
    for at, seq in segment.kills:
        if not segment.frm < at <= segment.to or seq >= at:
            raise ValueError("segment: kill out of range")


def _row(raw: Any) -> Row:
    seq, key, value = _fields(raw, 3, "row")
    if not isinstance(key, str) or not isinstance(value, bytes):
        raise ValueError("row: bad key or value")
    return Row(_seq(seq), key, value)


def _kill(raw: Any) -> tuple[int, int]:
    at, seq = _fields(raw, 2, "kill")
    return _seq(at), _seq(seq)


def _register(raw: Any) -> RegisterRow:
    table, key, rank, stamp, origin, seq, value = _fields(raw, 7, "register")
    if not (isinstance(table, str) and isinstance(key, str) and isinstance(origin, str)):
        raise ValueError("register: bad table, key or origin")
    if not isinstance(stamp, int) or not 0 <= stamp < MAX_STAMP or isinstance(stamp, bool):
        raise ValueError("register: bad stamp")
    if value is not None and not isinstance(value, bytes):
        raise ValueError("register: bad value")
    return RegisterRow(table, key, _seq(rank), stamp, origin, _seq(seq), value)


def _fields(raw: Any, count: int, what: str) -> Iterable[Any]:
    if not isinstance(raw, list | tuple) or len(raw) != count:
        raise ValueError(f"{what}: expected {count} fields")
    return raw


def _list(raw: Any, what: str) -> Iterable[Any]:
    if not isinstance(raw, list | tuple):
        raise ValueError(f"{what}: expected a list")
    return raw


def _seq(raw: Any) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw <= MAX_SEQ:
        raise ValueError("bad sequence number")
    return raw
