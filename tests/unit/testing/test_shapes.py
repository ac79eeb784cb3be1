"""Shapes of broken networks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyhorde.testing.shapes import Pair, islands, one_way, ring, split

NAMES = list("abcdefg")
subsets = st.sets(st.sampled_from(NAMES))
sizes = st.integers(1, len(NAMES))


def both_ways(pairs: set[Pair]) -> bool:
    return all((two, one) in pairs for one, two in pairs)


def neighbours(name: str, names: list[str], pairs: set[Pair]) -> set[str]:
    return {other for other in names if other != name and (name, other) not in pairs}


@given(left=subsets)
def test_a_split_cuts_just_what_lies_between_its_sides(left: set[str]):
    right = set(NAMES) - left
    pairs = split(left, right)
    assert pairs == {(a, b) for a in NAMES for b in NAMES if (a in left) != (b in left)}


@given(cut=st.lists(st.integers(0, 2), min_size=7, max_size=7))
def test_a_split_into_three_leaves_each_side_whole(cut: list[int]):
    sides = [[n for n, side in zip(NAMES, cut, strict=True) if side == i] for i in range(3)]
    pairs = split(*sides)
    assert both_ways(pairs)
    for side in sides:
        for name in side:
            assert neighbours(name, NAMES, pairs) == set(side) - {name}


def test_groups_may_be_given_as_iterators():
    assert split(iter("ab"), iter("c")) == split("ab", "c")


def test_who_is_in_neither_of_two_sides_is_the_bridge():
    pairs = split("ab", "de")
    assert neighbours("c", list("abcde"), pairs) == set("abde")
    assert neighbours("a", list("abcde"), pairs) == {"b", "c"}


def test_one_way_breaks_one_direction_only():
    assert one_way("a", "b") == {("a", "b")}


@given(alone=subsets)
def test_each_island_reaches_nobody_and_the_rest_each_other(alone: set[str]):
    pairs = islands(iter(alone), NAMES)
    assert both_ways(pairs)
    for name in NAMES:
        expected = set() if name in alone else set(NAMES) - alone - {name}
        assert neighbours(name, NAMES, pairs) == expected


@given(size=sizes)
def test_in_a_ring_each_reaches_its_two_neighbours(size: int):
    names = NAMES[:size]
    pairs = ring(names)
    assert both_ways(pairs)
    for i, name in enumerate(names):
        expected = {names[i - 1], names[(i + 1) % size]} - {name}
        assert neighbours(name, names, pairs) == expected


@given(size=sizes)
def test_nobody_is_cut_off_from_itself(size: int):
    names = NAMES[:size]
    for pairs in (split(names[:2], names[2:]), islands(names, names), ring(names)):
        assert all(one != two for one, two in pairs)
