"""Dots and causal context.

Every replica (an *origin*) numbers its own events 1, 2, 3, ... without gaps, so the context of
everything a node has seen is one integer per origin: a version vector. Events of one origin are
only ever joined as contiguous intervals, hence there is no cloud of early dots to keep.
Source: Almeida, Shoker, Baquero, "Delta state replicated data types" (2018), the causal
delta-merging condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Origin: TypeAlias = str
Vector: TypeAlias = Mapping[Origin, int]


class Dot(NamedTuple):
    """The identity of one event: the ``seq``-th of its ``origin``."""

    origin: Origin
    seq: int


def behind(mine: Vector, theirs: Vector) -> list[Origin]:
    """The origins of which ``theirs`` has seen more than ``mine``."""
    return [origin for origin, seq in theirs.items() if seq > mine.get(origin, 0)]
