"""Rows of one origin that belong together: which events carry which label.

A label costs one small array of ranges; rows that were added together cost one range.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final

SLACK: Final = 32
"""An index of up to twice as many ranges as rows, and this many more, is not worth tidying."""


class _Ranges:
    __slots__ = ("bounds", "count")

    def __init__(self) -> None:
        self.bounds = array("Q")
        self.count = 0

    def add(self, start: int, count: int) -> None:
        self.count += count
        if self.bounds and self.bounds[-1] == start:
            self.bounds[-1] = start + count
        else:
            self.bounds.extend((start, start + count))

    def seqs(self) -> Iterator[int]:
        bounds = self.bounds
        for place in range(0, len(bounds), 2):
            yield from range(bounds[place], bounds[place + 1])


class Labels:
    """The rows of each label. Ranges may hold dead rows; whoever reads them looks."""

    __slots__ = ("_known", "_ranges")

    def __init__(self) -> None:
        self._ranges: dict[bytes, _Ranges] = {}
        self._known: dict[bytes, bytes] = {}

    def shared(self, label: bytes) -> bytes:
        """An equal label; the same object for as long as rows carry it."""
        return self._known.get(label, label)

    def add(self, label: bytes, start: int, count: int = 1) -> None:
        """These neighbouring rows carry the label; the empty one is not kept track of."""
        if not label:
            return
        ranges = self._ranges.get(label)
        if ranges is None:
            ranges = self._ranges[label] = _Ranges()
            self._known[label] = label
        ranges.add(start, count)

    def drop(self, label: bytes, is_live: Callable[[int], object]) -> None:
        """One row less carries the label."""
        ranges = self._ranges.get(label)
        if ranges is None:
            return
        ranges.count -= 1
        if not ranges.count:
            del self._ranges[label], self._known[label]
        elif len(ranges.bounds) // 2 > 2 * ranges.count + SLACK:
            tidy = _Ranges()
            for seq in ranges.seqs():
                if is_live(seq):
                    tidy.add(seq, 1)
            self._ranges[label] = tidy

    def seqs(self, label: bytes) -> Iterator[int]:
        """Candidates in order: every live row of the label is among them."""
        ranges = self._ranges.get(label)
        return iter(()) if ranges is None else ranges.seqs()

    def count(self, label: bytes) -> int:
        """How many live rows carry the label."""
        ranges = self._ranges.get(label)
        return 0 if ranges is None else ranges.count
