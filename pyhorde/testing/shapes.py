"""Shapes of broken networks, as sets of directed pairs between which nothing gets through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Pair = tuple[str, str]
"""Source and target."""


def split(*groups: Iterable[str]) -> set[Pair]:
    """No path between different groups. Two of three groups given make a bridge of the third."""
    sides = [list(group) for group in groups]
    return {
        (one, two)
        for side in sides
        for other in sides
        if side is not other
        for one in side
        for two in other
    }


def one_way(source: str, target: str) -> set[Pair]:
    """Only this direction is broken."""
    return {(source, target)}


def islands(alone: Iterable[str], all_names: Sequence[str]) -> set[Pair]:
    """Each of ``alone`` reaches nobody."""
    apart = set(alone)
    return {
        (one, two)
        for one in all_names
        for two in all_names
        if one != two and (one in apart or two in apart)
    }


def ring(names: Sequence[str]) -> set[Pair]:
    """Each reaches only its neighbours in the given order, the last one's being the first."""
    size = len(names)
    return {
        (names[i], names[j])
        for i in range(size)
        for j in range(size)
        if i != j and (i - j) % size not in (1, size - 1)
    }
