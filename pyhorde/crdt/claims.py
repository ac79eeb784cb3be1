"""Which rows claim a key: one table's index from keys to the dots of live rows.

A dot is packed into one integer, ``index of the origin << 40 | seq``, so that a key costs one
dictionary entry. Only keys with several claims have a list of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

SEQ_BITS: Final = 40
SEQ_MASK: Final = (1 << SEQ_BITS) - 1


class Claims:
    """Keys and who claims them. The dictionaries are there to be read directly, not changed."""

    __slots__ = ("contested", "dots")

    def __init__(self) -> None:
        self.dots: dict[str, int] = {}
        """One claim of each claimed key."""
        self.contested: dict[str, dict[int, None]] = {}
        """All claims of each key that has several."""

    def of(self, key: str) -> Collection[int]:
        """All claims of a key."""
        if key in self.contested:
            return self.contested[key]
        dot = self.dots.get(key)
        return () if dot is None else (dot,)

    def add(self, key: str, dot: int) -> None:
        """One more claim."""
        first = self.dots.setdefault(key, dot)
        if first != dot:
            self.contested.setdefault(key, {first: None})[dot] = None

    def add_all(self, keys: list[str], dots: list[int]) -> None:
        """One claim for each key; at the speed of a dictionary while none is claimed already."""
        firsts = list(map(self.dots.setdefault, keys, dots))
        if firsts == dots:
            return
        contested = self.contested
        for key, first, dot in zip(keys, firsts, dots, strict=True):
            if first != dot:
                contested.setdefault(key, {first: None})[dot] = None

    def drop(self, key: str, dot: int) -> None:
        """One claim less."""
        several = self.contested.get(key)
        if several is None:
            if self.dots.get(key) == dot:
                del self.dots[key]
            return
        several.pop(dot, None)
        if len(several) == 1:
            del self.contested[key]
        self.dots[key] = next(iter(several))

    def drop_all(self, keys: list[str], dots: list[int]) -> None:
        """One live claim less of each key."""
        if self.contested:
            for key, dot in zip(keys, dots, strict=True):
                self.drop(key, dot)
        else:
            deque(map(self.dots.__delitem__, keys), maxlen=0)

    def are_free(self, keys: Iterable[str]) -> bool:
        """Whether none of them is claimed."""
        return self.dots.keys().isdisjoint(keys)
