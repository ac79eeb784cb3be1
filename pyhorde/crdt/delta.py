"""What travels between replicas, and its checked form on the wire.

A *segment* is authoritative for the events ``(frm, to]`` of one origin: a row in that range that it
does not list is dead. ``kills`` are the removals among those events. When some of them have been
forgotten (``complete`` is false), *live* lists go ahead of the segment: they say which rows up to
``frm`` still live. Likewise, when deletions of registers have been forgotten, *held* lists go ahead
of all segments: which registers the sender has at all.

Registers are sent ahead of, or together with, the segments that cover them: a vector never says
more than the data. Rows travel in columns: keys, and labels run by run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from pyhorde.crdt.dots import Origin
from pyhorde.crdt.rows import Run, Stored, label_of, stored_as, value_of

MAX_SEQ = 2**53
MAX_EVENT: Final = 2**40 - 1
"""Largest number of an event."""
MAX_STAMP = 2**61
"""Beyond the year 3000; nothing above is accepted, nor ever written."""
MAX_KEY_BYTES: Final = 1024
MAX_TABLE_BYTES: Final = 256
MAX_ROWS: Final = 65_536
"""Most rows, kills or registers in one delta."""
HASH_BYTES: Final = 8
MAX_HASH: Final = 1 << 63
ORDER_BYTES: Final = 4

Name: TypeAlias = tuple[str, str]
"""A register: its table and its key."""


class Row(NamedTuple):
    """One live claim: the ``seq``-th event of its segment's origin."""

    seq: int
    key: str
    value: bytes | None
    label: bytes = b""
    table: str = ""


class RegisterRow(NamedTuple):
    """One register, and the event ``seq`` of ``origin`` that carries it.

    ``writer`` is the origin that wrote it first. When ``deleted``, ``value`` is a note.
    """

    table: str
    key: str
    rank: int
    stamp: int
    writer: Origin
    origin: Origin
    seq: int
    value: bytes
    deleted: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table in columns; ``labels`` are ``(count, label)``; ``values`` None: no values.

    ``start`` and ``gaps`` are those of :class:`~pyhorde.crdt.rows.Run`.
    """

    table: str
    start: int
    gaps: list[int] | None
    keys: list[str]
    labels: list[tuple[int, bytes]]
    values: list[bytes | None] | None

    @property
    def is_uniform(self) -> bool:
        """Whether all rows carry the same label."""
        return len(self.labels) == 1

    @classmethod
    def of(cls, table: str, run: Run) -> Piece:
        """The piece that carries these rows."""
        start, gaps, keys, stored = run
        first = stored[0]
        if isinstance(first, bytes) and stored.count(first) == len(stored):
            return cls(table, start, gaps, keys, [(len(keys), first)], None)
        labels = [(len(list(same)), label) for label, same in groupby(map(label_of, stored))]
        values = list(map(value_of, stored))
        has_values = values.count(None) < len(values)
        return cls(table, start, gaps, keys, labels, values if has_values else None)

    def run(self, shared: Callable[[bytes], bytes] = bytes) -> Run:
        """The rows; ``shared`` says which object to use for a label."""
        labels: list[Stored] = []
        for count, label in self.labels:
            labels += [shared(label)] * count
        if self.values is None:
            return Run(self.start, self.gaps, self.keys, labels)
        stored = map(stored_as, map(label_of, labels), self.values)
        return Run(self.start, self.gaps, self.keys, list(stored))

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.start + len(self.keys) - 1 + (sum(self.gaps) if self.gaps else 0)

    def rows(self) -> Iterator[Row]:
        """One by one."""
        run = self.run()
        for seq, key, stored in zip(run.seqs, run.keys, run.stored, strict=True):
            yield Row(seq, key, value_of(stored), label_of(stored), self.table)


@dataclass(frozen=True, slots=True)
class Segment:
    """Events ``(frm, to]`` of ``origin``."""

    origin: Origin
    frm: int
    to: int
    pieces: tuple[Piece, ...] = ()
    kills: tuple[tuple[int, int], ...] = ()
    complete: bool = True

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, by number."""
        return tuple(sorted(row for piece in self.pieces for row in piece.rows()))


@dataclass(frozen=True, slots=True)
class Live:
    """Of the rows ``(frm, to]`` of ``origin`` these live, and no others."""

    origin: Origin
    frm: int
    to: int
    seqs: tuple[int, ...]


class Forgotten(NamedTuple):
    """Which deletions the sender, or who told it, may have forgotten.

    Those by events of origins up to ``floors``; ``passed_on`` are the same for origins that were
    dropped, and have an event of somebody else stand for them. ``greatest`` rank and stamp of all,
    for each table.
    """

    floors: dict[Origin, int]
    passed_on: dict[Origin, int]
    greatest: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Held:
    """Of the registers whose hash lies in ``[low, high)`` the sender has these, and no others.

    So one that it does not have, though it has seen (``covers``) the event that carries it, is
    deleted. ``orders`` has, for the hash of each register, that of its value's order.
    """

    low: int
    high: int
    orders: dict[int, int]
    covers: dict[Origin, int]
    forgotten: Forgotten


def hash_of(name: Name) -> int:
    """63 bits for a register, the same everywhere."""
    table, key = name
    data = f"{table}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=HASH_BYTES).digest()) >> 1


def hash_of_order(order: tuple[int, int, Origin]) -> int:
    """32 bits for a place in the order of values, the same everywhere."""
    rank, stamp, writer = order
    return crc32(f"{rank} {stamp} {writer}".encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Delta:
    """Part of a replica's state. Joined as one step, in the order of the fields.

    ``marks`` are counters that only rise; the receiver keeps the maximum.
    """

    registers: tuple[RegisterRow, ...] = ()
    held: tuple[Held, ...] = ()
    live: tuple[Live, ...] = ()
    segments: tuple[Segment, ...] = ()
    marks: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.registers or self.held or self.live or self.segments or self.marks)

    def to_wire(self) -> list[Any]:
        """Plain lists, ready for msgpack."""
        return [
            [_register_to_wire(r) for r in self.registers],
            [_held_to_wire(held) for held in self.held],
            [[each.origin, each.frm, each.to, _steps(each.seqs)] for each in self.live],
            [_segment_to_wire(s) for s in self.segments],
            self.marks,
        ]

    @classmethod
    def from_wire(cls, raw: Any) -> Delta:
        """Check and rebuild. Raises ``ValueError`` naming what is wrong."""
        registers, held, live, segments, marks = _fields(raw, 5, "delta")
        return cls(
            tuple(_register(r) for r in _list(registers, "registers")),
            tuple(_held(h) for h in _list(held, "held")),
            _lives(live),
            tuple(_segment(s) for s in _list(segments, "segments")),
            _counters(marks, "marks"),
        )


# ---- going out ---------------------------------------------------------------------------------


def _register_to_wire(row: RegisterRow) -> list[Any]:
    writer = None if row.writer == row.origin else row.writer
    head = [row.table, row.key, row.rank, row.stamp, writer]
    return [*head, row.origin, row.seq, row.value, row.deleted]


def _segment_to_wire(segment: Segment) -> list[Any]:
    at: list[int] = []
    last = segment.frm
    for each, _ in segment.kills:
        at.append(each - last)
        last = each
    return [
        segment.origin,
        segment.frm,
        segment.to - segment.frm,
        [_piece_to_wire(piece, segment.frm) for piece in segment.pieces],
        at,
        [a - s for a, s in segment.kills],
        segment.complete,
    ]


def _piece_to_wire(piece: Piece, frm: int) -> list[Any]:
    labels = [part for run in piece.labels for part in run]
    return [piece.table, piece.start - frm, piece.gaps, piece.keys, labels, piece.values]


def _steps(seqs: Iterable[int]) -> list[int]:
    """Sorted numbers as alternating lengths of gaps and runs."""
    steps: list[int] = []
    last = 0
    for seq in seqs:
        if steps and seq == last + 1:
            steps[-1] += 1
        else:
            steps += (seq - last, 1)
        last = seq
    return steps


def _held_to_wire(held: Held) -> list[Any]:
    hashes = b"".join(each.to_bytes(HASH_BYTES) for each in held.orders)
    orders = b"".join(each.to_bytes(ORDER_BYTES) for each in held.orders.values())
    return [held.low, held.high, hashes, orders, held.covers, *held.forgotten]


# ---- coming in ---------------------------------------------------------------------------------


def _segment(raw: Any) -> Segment:
    origin, frm, length, pieces, at, back, complete = _fields(raw, 7, "segment")
    frm = _number(frm)
    to = _number(frm + _number(length))
    if not (isinstance(origin, str) and isinstance(complete, bool)):
        raise ValueError("segment: bad head")
    found = tuple(_piece(piece, frm, to) for piece in _list(pieces, "pieces"))
    if sum(len(piece.keys) for piece in found) > MAX_ROWS:
        raise ValueError("segment: too many rows")
    return Segment(origin, frm, to, found, _kills(at, back, frm, to), complete)


def _piece(raw: Any, frm: int, to: int) -> Piece:
    table, start, gaps, keys, labels, values = _fields(raw, 6, "piece")
    if not isinstance(table, str) or len(table) > MAX_TABLE_BYTES:
        raise ValueError("piece: bad table")
    _check_keys(keys)
    count = len(keys)
    if gaps is not None and (len(_numbers(gaps, "gaps")) != count or gaps[0]):
        raise ValueError("piece: bad gaps")
    if values is not None:
        _check_values(values, count)
    piece = Piece(table, frm + _number(start), gaps, keys, _label_runs(labels, count), values)
    if not frm < piece.start or piece.last > to:
        raise ValueError("piece: rows out of range")
    return piece


def _check_values(values: Any, count: int) -> None:
    if len(_list(values, "values")) != count or set(map(type, values)) - {bytes, type(None)}:
        raise ValueError("piece: bad values")


def _check_keys(keys: Any) -> None:
    if not _list(keys, "keys") or set(map(type, keys)) != {str}:
        raise ValueError("piece: bad keys")
    if max(map(len, keys)) > MAX_KEY_BYTES or not min(map(len, keys)):
        raise ValueError("piece: a key that is empty or too long")


def _label_runs(raw: Any, count: int) -> list[tuple[int, bytes]]:
    flat = _list(raw, "labels")
    counts, labels = flat[::2], flat[1::2]
    _numbers(counts, "labels")
    if len(counts) != len(labels) or sum(counts) != count or not all(counts):
        raise ValueError("piece: bad labels")
    if set(map(type, labels)) != {bytes}:
        raise ValueError("piece: bad labels")
    return list(zip(counts, labels, strict=True))


def _kills(raw_at: Any, raw_back: Any, frm: int, to: int) -> tuple[tuple[int, int], ...]:
    steps, back = _numbers(raw_at, "kills"), _numbers(raw_back, "kills")
    if len(steps) != len(back) or len(steps) > MAX_ROWS:
        raise ValueError("segment: bad kills")
    kills, at = [], frm
    for step, far in zip(steps, back, strict=True):
        at += step
        if not step or not 0 < far < at or at > to:
            raise ValueError("segment: kill out of range")
        kills.append((at, at - far))
    return tuple(kills)


def _lives(raw: Any) -> tuple[Live, ...]:
    found: list[Live] = []
    rows = 0
    for each in _list(raw, "live"):
        found.append(_live(each))
        rows += len(found[-1].seqs)
        if rows > MAX_ROWS:
            raise ValueError("live: too many rows")
    return tuple(found)


def _live(raw: Any) -> Live:
    origin, frm, to, steps = _fields(raw, 4, "live")
    frm, to = _number(frm), _number(to)
    steps = _numbers(steps, "live")
    if not isinstance(origin, str) or len(steps) % 2 or sum(steps[1::2]) > MAX_ROWS:
        raise ValueError("live: bad head")
    seqs: list[int] = []
    last = frm
    if steps:
        last = 0
        for gap, length in zip(steps[::2], steps[1::2], strict=True):
            start = last + gap
            last = start + length - 1
            if not length or start <= frm or last > to or start <= (seqs[-1] if seqs else 0):
                raise ValueError("live: numbers out of range")
            seqs += range(start, last + 1)
    return Live(origin, frm, to, tuple(seqs))


def _held(raw: Any) -> Held:
    low, high, hashes, orders, covers, floors, passed_on, greatest = _fields(raw, 8, "held")
    if not (type(low) is int and type(high) is int and 0 <= low < high <= MAX_HASH):
        raise ValueError("held: bad range")
    found = dict(zip(_unpacked(hashes, HASH_BYTES), _unpacked(orders, ORDER_BYTES), strict=True))
    covers, floors, passed_on = (_counters(raw, "held") for raw in (covers, floors, passed_on))
    return Held(low, high, found, covers, Forgotten(floors, passed_on, _greatest(greatest)))


def _unpacked(raw: Any, width: int) -> list[int]:
    if not isinstance(raw, bytes) or len(raw) % width:
        raise ValueError("held: bad hashes")
    return [int.from_bytes(raw[at : at + width]) for at in range(0, len(raw), width)]


def _greatest(raw: Any) -> dict[str, tuple[int, int]]:
    if not isinstance(raw, dict):
        raise ValueError("held: expected a map")
    pairs = {table: _fields(pair, 2, "held") for table, pair in raw.items()}
    _counters({table: rank for table, (rank, _) in pairs.items()}, "held")
    _counters({table: stamp for table, (_, stamp) in pairs.items()}, "held")
    return {table: (rank, stamp) for table, (rank, stamp) in pairs.items()}


def _counters(raw: Any, what: str) -> dict[str, int]:
    if not isinstance(raw, dict) or not all(isinstance(name, str) for name in raw):
        raise ValueError(f"{what}: expected a map")
    if any(type(each) is not int or not 0 <= each < MAX_STAMP for each in raw.values()):
        raise ValueError(f"{what}: bad number")
    return raw


def _register(raw: Any) -> RegisterRow:
    table, key, rank, stamp, writer, origin, seq, value, deleted = _fields(raw, 9, "register")
    if not (isinstance(table, str) and isinstance(key, str) and isinstance(origin, str)):
        raise ValueError("register: bad table, key or origin")
    if not key or max(len(table), len(key)) > MAX_KEY_BYTES:
        raise ValueError("register: bad key")
    if writer is not None and not isinstance(writer, str):
        raise ValueError("register: bad writer")
    if not isinstance(stamp, int) or not 0 <= stamp < MAX_STAMP or isinstance(stamp, bool):
        raise ValueError("register: bad stamp")
    if type(rank) is not int or not 0 <= rank <= MAX_SEQ:
        raise ValueError("register: bad rank")
    if not isinstance(value, bytes) or not isinstance(deleted, bool):
        raise ValueError("register: bad value")
    seq = _number(seq)
    return RegisterRow(table, key, rank, stamp, writer or origin, origin, seq, value, deleted)


def _fields(raw: Any, count: int, what: str) -> Any:
    if not isinstance(raw, list | tuple) or len(raw) != count:
        raise ValueError(f"{what}: expected {count} fields")
    return raw


def _list(raw: Any, what: str) -> Any:
    if not isinstance(raw, list | tuple):
        raise ValueError(f"{what}: expected a list")
    return raw


def _numbers(raw: Any, what: str) -> Any:
    """A list of event numbers or differences of them."""
    if _list(raw, what) and (set(map(type, raw)) != {int} or min(raw) < 0 or max(raw) > MAX_EVENT):
        raise ValueError(f"{what}: bad number")
    return raw


def _number(raw: Any) -> int:
    if type(raw) is not int or not 0 <= raw <= MAX_EVENT:
        raise ValueError("bad sequence number")
    return raw
