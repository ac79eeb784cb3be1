"""What a delta may say beside its form: nothing that would keep replicas from going on.

Marks, ranks and stamps only rise, and whoever writes next goes above them. One that is near its
end, by a flipped bit or a wrong unit, would be the last: nothing could be written any more. So what
is beyond any use is refused before it is joined; what is below it leaves room for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyhorde.crdt.delta import Delta, Held
from pyhorde.crdt.hlc import COUNTER_BITS

FAR: Final = 100 * 365 * 86_400.0
"""Seconds by which a clock may be wrong. Such a stamp is kept, not believed, and no bug."""
MAX_COUNT: Final = 2**48
"""Largest mark or rank. They are raised by one at a time."""
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024 + 64 * 1024
"""Largest value: a state, with what it is wrapped into."""


def check(delta: Delta, wall: float, limits: Mapping[str, int]) -> None:
    """Raise ``ValueError`` for what no replica could have come to.

    ``limits`` are the largest values in bytes of tables that have a smaller one.
    """
    latest = int((wall + FAR) * 1000) << COUNTER_BITS
    for name, mark in delta.marks.items():
        if mark > (latest if name.startswith("stamp/") else MAX_COUNT):
            raise ValueError(f"delta: the mark {name[:60]!r} is far from what can be: {mark}")
    for row in delta.registers:
        if row.stamp > latest or row.rank > MAX_COUNT:
            raise ValueError("delta: a register whose stamp or rank is far from what can be")
        if len(row.value) > limits.get(row.table, MAX_VALUE_BYTES):
            table = row.table[:60]
            raise ValueError(f"delta: a value of {len(row.value)} bytes in {table!r} is too large")
    for held in delta.held:
        _check_held(held, latest)
    for segment in delta.segments:
        for piece in segment.pieces:
            limit = limits.get(piece.table, MAX_VALUE_BYTES)
            if piece.values and any(value and len(value) > limit for value in piece.values):
                raise ValueError(f"delta: a value in {piece.table[:60]!r} is too large")


def _check_held(held: Held, latest: int) -> None:
    for rank, stamp in held.forgotten.greatest.values():
        if rank > MAX_COUNT or stamp > latest:
            raise ValueError("delta: a forgotten deletion far from what can be")
