"""All that another replica lacks, piece by piece, in an order that never says more than was sent.

1. registers that it may not have seen, with the value that is current when they are sent;
2. when deletions it has not seen were forgotten: which registers there are at all, and that such
   deletions were forgotten, for it must tell others;
3. events, origin by origin; before the first of them whose removals were forgotten: which of the
   earlier rows still live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pyhorde.crdt.delta import (
    MAX_HASH,
    Delta,
    Forgotten,
    Held,
    Live,
    Name,
    RegisterRow,
    hash_of,
    hash_of_order,
)
from pyhorde.crdt.dots import Dot, Origin, Vector, behind
from pyhorde.crdt.log import OriginLog

if TYPE_CHECKING:
    from pyhorde.crdt.replica import Replica

DEFAULT_CHUNK_BYTES: Final = 256 * 1024
CHUNK_ROWS: Final = 2048
"""Most events in one delta: what is joined in one step must not hold up anything else."""
CHUNK_REGISTERS: Final = 1024
CHUNK_HASHES: Final = 50_000
WINDOW: Final = 16_384
"""Rows that one list of live rows has at most."""
ROW_OVERHEAD: Final = 64


def answer(
    replica: Replica,
    logs: Mapping[Origin, OriginLog],
    vector: Vector,
    chunk_bytes: int,
    asker: Origin,
) -> Iterator[Delta]:
    """See :meth:`pyhorde.crdt.replica.Replica.answer`."""
    vector = dict(vector)
    upto = {origin: log.seq for origin, log in logs.items()}
    begun = [logs[origin] for origin in behind(vector, upto) if origin != asker]
    names = [n for log in logs.values() for n in log.registers(vector.get(log.origin, 0))]
    if replica.marks and not vector.get(replica.origin):
        yield Delta(marks=dict(replica.marks))
    for rows in register_rows(replica, names, chunk_bytes):
        yield Delta(registers=rows)
    floors = {
        log.origin: log.register_floor
        for log in logs.values()
        if log.register_floor > vector.get(log.origin, 0) and log.origin != asker
    }
    if floors:
        yield from _held(replica, floors)
    for log in begun:
        frm = vector.get(log.origin, 0)
        for delta in _events(log, frm, upto[log.origin], chunk_bytes):
            if logs.get(log.origin) is not log:
                break
            yield delta


def _live(log: OriginLog, upto: int) -> Iterator[Delta]:
    """Which rows up to there live, so many at a time. Where there are none, one list says so."""
    seqs = sorted(log.seqs(0, upto))
    low = 0
    for start in range(0, len(seqs), WINDOW):
        some = tuple(seqs[start : start + WINDOW])
        high = upto if start + WINDOW >= len(seqs) else some[-1]
        yield Delta(live=(Live(log.origin, low, high, some),))
        low = high
    if not seqs and upto:
        yield Delta(live=(Live(log.origin, 0, upto, ()),))


def register_rows(
    replica: Replica, names: Iterable[tuple[Name, Dot | None]], chunk_bytes: int
) -> Iterator[tuple[RegisterRow, ...]]:
    """These registers with their current values, in chunks."""
    chunk: list[RegisterRow] = []
    size = 0
    for name, dot in names:
        row = replica.row_of(name, dot)
        if row is None:
            continue
        chunk.append(row)
        size += len(row.value) + len(row.key) + ROW_OVERHEAD
        if size > chunk_bytes or len(chunk) >= CHUNK_REGISTERS:
            yield tuple(chunk)
            chunk, size = [], 0
    if chunk:
        yield tuple(chunk)


def _held(replica: Replica, floors: dict[Origin, int]) -> Iterator[Delta]:
    covers, marks = replica.covers, dict(replica.marks)
    told = Forgotten(floors, replica.passed_on, replica.forgotten)
    orders = sorted(
        (hash_of((of, key)), hash_of_order(replica.table(of)[key].order))
        for of, key in replica.registers()
    )
    bounds = [0, *(known for known, _ in orders[CHUNK_HASHES::CHUNK_HASHES]), MAX_HASH]
    for number, (low, high) in enumerate(pairwise(bounds)):
        some = dict(orders[number * CHUNK_HASHES : (number + 1) * CHUNK_HASHES])
        yield Delta(held=(Held(low, high, some, covers, told),), marks=marks)


def _events(log: OriginLog, frm: int, to: int, chunk_bytes: int) -> Iterator[Delta]:
    """Events ``(frm, to]`` of one origin.

    What is left out of a piece is passed over by one who knows that much already. So whenever more
    removals have been forgotten than the next piece can tell, the rows up to there are listed.
    """
    at, listed = frm, 0
    while at < to:
        if log.kills.floor > max(at, listed):
            listed = log.kills.floor
            yield from _live(log, at)
        end = min(to, at + CHUNK_ROWS)
        if log.is_empty(at, end):  # and so, perhaps, is much more
            end = log.first_after(end, to)
        while end - at > 1 and log.weight(at, end) > chunk_bytes:
            end = at + (end - at) // 2
        yield Delta(segments=(log.segment(at, end),))
        at = end
