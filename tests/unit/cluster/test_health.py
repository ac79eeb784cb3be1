from __future__ import annotations

import math
from typing import Any

import pytest

from pyhorde.cluster.membership.health import UNFIT, WORST, Health, Signs, Vitals

# ---- health -------------------------------------------------------------------------------------


def test_a_node_begins_well():
    health = Health()
    assert (health.score, health.factor, health.fit) == (0, 1, True)


@pytest.mark.parametrize(
    ("points", "score"),
    [([1], 1), ([3, 2], 5), ([WORST], WORST), ([WORST, 1], WORST), ([999], WORST), ([0], 0)],
)
def test_what_speaks_against_it_adds_up_to_the_worst(points: list[int], score: int):
    health = Health()
    for each in points:
        health.worse(each)
    assert health.score == score
    assert health.factor == 1 + score


def test_no_number_of_points_makes_it_better_but_an_answer():
    health = Health()
    health.worse(2)
    health.worse(-2)
    assert health.score == 2
    health.better()
    assert health.score == 1
    health.better()
    health.better()
    assert health.score == 0


@pytest.mark.parametrize(("score", "fit"), [(0, True), (UNFIT - 1, True), (UNFIT, False)])
def test_from_some_score_on_its_silence_means_nothing(score: int, fit: bool):
    health = Health()
    health.worse(score)
    assert health.fit is fit


# ---- vitals -------------------------------------------------------------------------------------


def test_vitals_survive_the_wire():
    vitals = Vitals(processes=12, health=3, lag=250)
    assert Vitals.from_wire(vitals.to_wire()) == vitals
    assert Vitals.from_wire(Vitals().to_wire()) == Vitals(0, 0, 0)


@pytest.mark.parametrize(
    "raw",
    [
        [],
        [1, 2],
        [1, 2, 3, 4],
        [1, 2, -1],
        [1, 2, 2**53],
        [1, 2, 3.0],
        [1, 2, math.nan],
        [True, 2, 3],
        [1, None, 3],
        ["1", 2, 3],
        [[1], 2, 3],
    ],
)
def test_malformed_vitals_are_a_value_error(raw: list[Any]):
    with pytest.raises(ValueError, match="vitals"):
        Vitals.from_wire(raw)


# ---- signs --------------------------------------------------------------------------------------


def test_nobody_has_been_heard_at_first():
    signs = Signs()
    assert signs.latest == -math.inf
    assert signs.heard == {}


def test_who_is_listened_to_is_noted_with_every_sign():
    signs = Signs()
    signs.of("a", 100.0)
    signs.of("b", 101.0)
    signs.again("a", 102.0)
    signs.note("a", Vitals(processes=1))
    assert signs.heard == {"a": 102.0, "b": 101.0}
    assert signs.latest == 102.0
    assert signs.vitals == {"a": Vitals(processes=1)}


def test_a_stranger_leaves_no_trace():
    """Anybody could send packets in the name of ever new boots."""
    signs = Signs()
    signs.of("a", 100.0)
    signs.again("stranger", 105.0)
    signs.note("stranger", Vitals(processes=9))
    assert signs.heard == {"a": 100.0}
    assert signs.vitals == {}
    assert signs.latest == 100.0


def test_those_whom_nobody_knows_any_more_are_named_and_forgotten():
    signs = Signs()
    for boot in "abc":
        signs.of(boot, 100.0)
        signs.note(boot, Vitals())
    assert sorted(signs.strangers({"b"})) == ["a", "c"]
    for boot in signs.strangers({"b"}):
        signs.forget(boot)
    signs.forget("nobody")
    assert set(signs.heard) == set(signs.vitals) == {"b"}
