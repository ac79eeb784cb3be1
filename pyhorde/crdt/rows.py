"""The live rows of one origin in one table, in columns.

A row's place is its event number, so a row costs two list slots. Blocks of 4,096 numbers are lists
while they are well filled, dictionaries when few of their rows are left, and gone when none is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, count, pairwise
from typing import Final, NamedTuple, TypeAlias

BITS: Final = 12
SIZE: Final = 1 << BITS
MASK: Final = SIZE - 1
THIN: Final = 4
"""A block with fewer than one live row in this many places becomes a dictionary."""

Stored: TypeAlias = bytes | tuple[bytes, bytes]
"""A row's label alone, or its label and its value."""


def label_of(stored: Stored) -> bytes:
    """A row's label."""
    return stored if isinstance(stored, bytes) else stored[0]


def value_of(stored: Stored) -> bytes | None:
    """A row's value."""
    return None if isinstance(stored, bytes) else stored[1]


def stored_as(label: bytes, value: bytes | None) -> Stored:
    """Both together."""
    return label if value is None else (label, value)


class Run(NamedTuple):
    """Rows in order: the first is event ``start``; the next ones follow after ``gaps`` numbers.

    ``gaps`` is None when no number is missing, else it has one entry for each row, the first 0.
    """

    start: int
    gaps: list[int] | None
    keys: list[str]
    stored: list[Stored]

    @property
    def seqs(self) -> range | list[int]:
        """The event number of each row."""
        if self.gaps is None:
            return range(self.start, self.start + len(self.keys))
        return list(accumulate(self.gaps, lambda seq, gap: seq + gap + 1, initial=self.start - 1))[
            1:
        ]

    def after(self, seq: int) -> Run | None:
        """The rows above event ``seq``; None when there are none."""
        if self.start > seq:
            return self
        skip = sum(1 for each in self.seqs if each <= seq) if self.gaps else seq - self.start + 1
        if skip >= len(self.keys):
            return None
        if self.gaps is None:
            return Run(seq + 1, None, self.keys[skip:], self.stored[skip:])
        seqs = self.seqs
        gaps = [0, *self.gaps[skip + 1 :]]
        return Run(seqs[skip], gaps, self.keys[skip:], self.stored[skip:])


class _Block:
    """Neighbouring rows; None where there is none."""

    __slots__ = ("keys", "live", "stored")

    def __init__(self) -> None:
        self.keys: list[str | None] = []
        self.stored: list[Stored | None] = []
        self.live = 0


_Sparse: TypeAlias = dict[int, tuple[str, Stored]]


class Rows:
    """Rows by event number. New ones always come above all that there are or were."""

    __slots__ = ("_blocks", "_last", "count")

    def __init__(self) -> None:
        self._blocks: dict[int, _Block | _Sparse] = {}
        self._last = -1
        self.count = 0

    def get(self, seq: int) -> tuple[str, Stored] | None:
        """The live row of this number."""
        block = self._blocks.get(seq >> BITS)
        if block is None:
            return None
        place = seq & MASK
        if isinstance(block, dict):
            return block.get(place)
        if place >= len(block.keys):
            return None
        key, stored = block.keys[place], block.stored[place]
        return None if key is None or stored is None else (key, stored)

    def stored(self, seq: int) -> Stored | None:
        """The content of the live row of this number: :meth:`get` in half the time."""
        block = self._blocks.get(seq >> BITS)
        if block.__class__ is _Block:
            stored, place = block.stored, seq & MASK
            return stored[place] if place < len(stored) else None
        found = self.get(seq)
        return found[1] if found is not None else None

    def put(self, seq: int, key: str, stored: Stored) -> None:
        """Add one row."""
        block, place = self._open(seq), seq & MASK
        self.count += 1
        if isinstance(block, dict):
            block[place] = key, stored
            return
        missing = place - len(block.keys)
        if missing:
            block.keys += [None] * missing
            block.stored += [None] * missing
        block.keys.append(key)
        block.stored.append(stored)
        block.live += 1

    def extend(self, run: Run) -> None:
        """Add a run."""
        if run.gaps is not None:
            for seq, key, stored in zip(run.seqs, run.keys, run.stored, strict=True):
                self.put(seq, key, stored)
            return
        done, total = 0, len(run.keys)
        while done < total:
            seq = run.start + done
            part = min(total - done, SIZE - (seq & MASK))
            self._fill(seq, run.keys[done : done + part], run.stored[done : done + part])
            done += part

    def pop(self, seq: int) -> tuple[str, Stored] | None:
        """Take a row out; None when it is not live."""
        found = self.get(seq)
        if found is None:
            return None
        number, place = seq >> BITS, seq & MASK
        block = self._blocks[number]
        self.count -= 1
        if isinstance(block, dict):
            del block[place]
            if not block:
                del self._blocks[number]
            return found
        block.keys[place] = block.stored[place] = None
        block.live -= 1
        if not block.live:
            del self._blocks[number]
        elif number != self._last:
            self._thin(number)
        return found

    def take(self) -> Run | None:
        """Take out some neighbouring rows, at most ``SIZE``; None when there are none."""
        if not self._blocks:
            return None
        number = next(iter(self._blocks))
        run = _run(self._blocks.pop(number), number << BITS, 0, SIZE)
        assert run is not None, "a block has rows"
        self.count -= len(run.keys)
        return run

    def runs(self, frm: int, to: int) -> Iterator[Run]:
        """All rows in ``(frm, to]``, in order."""
        for number in self._numbers(frm, to):
            base = number << BITS
            low, high = max(frm + 1 - base, 0), min(to - base, MASK) + 1
            run = _run(self._blocks[number], base, low, high)
            if run is not None:
                yield run

    def seqs(self, frm: int, to: int) -> Iterator[int]:
        """The numbers of all rows in ``(frm, to]``, in order."""
        for run in self.runs(frm, to):
            yield from run.seqs

    def first_after(self, frm: int) -> int | None:
        """The number of the first row above ``frm``."""
        if not self._blocks:
            return None
        last = (max(self._blocks) + 1) << BITS
        return next(self.seqs(frm, last), None) if frm < last else None

    def _numbers(self, frm: int, to: int) -> list[int]:
        first, last = (frm + 1) >> BITS, to >> BITS
        if last - first < len(self._blocks):
            return [number for number in range(first, last + 1) if number in self._blocks]
        return sorted(number for number in self._blocks if first <= number <= last)

    def _open(self, seq: int) -> _Block | _Sparse:
        number = seq >> BITS
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = _Block()
            if self._last in self._blocks and self._last != number:
                self._thin(self._last)
            self._last = number
        return block

    def _fill(self, seq: int, keys: list[str], stored: list[Stored]) -> None:
        block, place = self._open(seq), seq & MASK
        if isinstance(block, dict):
            block.update(zip(count(place), zip(keys, stored, strict=True), strict=False))
        else:
            missing = [None] * (place - len(block.keys))
            block.keys += [*missing, *keys]
            block.stored += [*missing, *stored]
            block.live += len(keys)
        self.count += len(keys)

    def _thin(self, number: int) -> None:
        block = self._blocks[number]
        if isinstance(block, dict) or block.live * THIN >= len(block.keys):
            return
        self._blocks[number] = {
            place: (key, stored)
            for place, (key, stored) in enumerate(zip(block.keys, block.stored, strict=True))
            if key is not None and stored is not None
        }


def _run(block: _Block | _Sparse, base: int, low: int, high: int) -> Run | None:
    """The rows of a block at the places ``low`` to ``high - 1``."""
    if isinstance(block, dict):
        places = sorted(place for place in block if low <= place < high)
        return _sparse(base, places, [block[p][0] for p in places], [block[p][1] for p in places])
    keys, stored = block.keys[low:high], block.stored[low:high]
    if None not in keys:
        return Run(base + low, None, keys, stored) if keys else None  # type: ignore[arg-type]
    places = [place for place, key in enumerate(keys, low) if key is not None]
    return _sparse(
        base,
        places,
        [key for key in keys if key is not None],
        [each for each in stored if each is not None],
    )


def _sparse(base: int, places: list[int], keys: list[str], stored: list[Stored]) -> Run | None:
    if not places:
        return None
    gaps = [0, *(b - a - 1 for a, b in pairwise(places))]
    return Run(base + places[0], gaps if any(gaps) else None, keys, stored)
