"""When a node that starts may begin: alone, among others that start, or in a cluster that runs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pyhorde.cluster.membership.joining import FOREVER, Joining, Situation, Standing
from pyhorde.cluster.membership.messages import Reached

PATIENCE = 2.0
ALONE = Situation(
    me="me",
    linked=frozenset(),
    others=frozenset(),
    missing=False,
    tried=True,
    waited=0.0,
    told=True,
    by_settled=False,
    shut_out=False,
)


def among(*others: str, linked: str | None = None, **changes) -> Situation:
    """A situation in which these are there, and linked unless told otherwise."""
    near = frozenset(others if linked is None else linked)
    return replace(ALONE, others=frozenset(others), linked=near, **changes)


def late(situation: Situation, times: float = 1.0) -> Situation:
    return replace(situation, waited=times * PATIENCE)


def agreed(situation: Situation, *boots: str) -> Joining:
    """A node in this situation to whom these have said the same as it says itself."""
    joining = Joining(PATIENCE)
    for boot in boots:
        joining.heard(boot, joining.says(situation))
    return joining


# ---- what a node says of itself -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "standing"),
    [
        (ALONE, Standing.MET),
        (among("a", "b"), Standing.MET),
        (among("a", "b", linked="a"), Standing.SEEKING),
        (among("a", missing=True), Standing.SEEKING),
        (replace(ALONE, missing=True), Standing.SEEKING),
        (late(among("a", "b", linked="a")), Standing.GAVE_UP),
        (late(among("a", missing=True)), Standing.GAVE_UP),
        (late(among("a", missing=True, tried=False)), Standing.SEEKING),
        (late(among("a", missing=True, shut_out=True)), Standing.SEEKING),
        (late(among("a")), Standing.MET),
    ],
)
def test_how_far_a_node_says_it_is(situation: Situation, standing: Standing):
    assert Joining(PATIENCE).says(situation).standing == standing


def test_those_who_see_the_same_members_say_the_same_whoever_they_are():
    boots = {"a", "b", "c"}
    said = {Joining(PATIENCE).says(replace(among(*(boots - {me})), me=me)).members for me in boots}
    assert len(said) == 1
    assert Joining(PATIENCE).says(among("a", "b")).members not in said


def test_it_is_said_once_for_each_change_and_each_link():
    joining = Joining(PATIENCE)
    seeking = among("a", "b", linked="a")
    assert joining.news(seeking) == [("a", joining.says(seeking))]
    assert joining.news(seeking) == []
    met = among("a", "b")
    assert joining.news(met) == [("a", joining.says(met)), ("b", joining.says(met))]
    assert joining.news(late(met)) == []
    assert joining.news(seeking) == [("a", joining.says(seeking))]
    more = among("a", "b", "c")
    assert [boot for boot, _ in joining.news(more)] == ["a", "b", "c"]


def test_a_new_link_to_the_same_boot_is_told_again_and_has_said_nothing():
    situation = among("a")
    joining = agreed(situation, "a")
    assert joining.news(situation)
    assert joining.is_over(situation)
    joining.news(among("a", linked=""))
    assert joining.news(situation) == [("a", joining.says(situation))]
    assert not joining.is_over(situation)


# ---- when it is over ----------------------------------------------------------------------------


def test_who_was_told_of_nobody_begins_at_once():
    assert Joining(PATIENCE).is_over(ALONE)


def test_whom_a_settled_node_has_told_all_needs_nobody_else():
    situation = among("a", "b", linked="a", missing=True, tried=False)
    assert Joining(PATIENCE).is_over(replace(situation, by_settled=True))
    assert not Joining(PATIENCE).is_over(situation)


@pytest.mark.parametrize("settled", [True, False])
def test_nothing_is_over_before_every_link_has_told_what_it_had(settled: bool):
    situation = among("a", told=False, by_settled=settled)
    assert not agreed(situation, "a").is_over(late(situation, 99.0))


def test_who_knows_others_and_is_linked_with_none_of_them_waits():
    situation = among("a", linked="", by_settled=True)
    assert not Joining(PATIENCE).is_over(late(situation, 99.0))


def test_those_who_start_together_begin_when_all_have_met_all():
    situation = among("a", "b")
    assert agreed(situation, "a", "b").is_over(situation)
    assert not agreed(situation, "a").is_over(situation)


@pytest.mark.parametrize("standing", [Standing.SEEKING, Standing.GAVE_UP])
def test_one_who_has_not_met_all_holds_up_the_others(standing: Standing):
    """It was told of somebody whom they were not told of."""
    situation = among("a", "b")
    joining = agreed(situation, "a")
    joining.heard("b", Reached(standing, joining.says(situation).members))
    assert not joining.is_over(situation)


def test_one_who_sees_other_members_holds_up_the_others():
    situation = among("a", "b")
    joining = agreed(situation, "a")
    joining.heard("b", joining.says(among("a", "b", "c")))
    assert not joining.is_over(situation)


def test_what_was_said_last_counts():
    situation = among("a")
    joining = agreed(situation, "a")
    joining.heard("a", Reached(Standing.SEEKING, 0))
    assert not joining.is_over(situation)
    joining.heard("a", joining.says(situation))
    assert joining.is_over(situation)


# ---- giving up ----------------------------------------------------------------------------------

LACKING = among("a", missing=True)


@pytest.mark.parametrize("standing", [Standing.MET, Standing.GAVE_UP])
def test_who_has_waited_and_tried_gives_up_on_those_who_do_not_answer(standing: Standing):
    joining = Joining(PATIENCE)
    joining.heard("a", Reached(standing, 0))
    assert not joining.is_over(replace(LACKING, waited=PATIENCE - 0.01))
    assert joining.is_over(late(LACKING))


def test_whom_nobody_answers_begins_alone_after_its_patience():
    situation = replace(ALONE, missing=True)
    assert not Joining(PATIENCE).is_over(replace(situation, waited=PATIENCE - 0.01))
    assert Joining(PATIENCE).is_over(late(situation))


@pytest.mark.parametrize("said", [None, Reached(Standing.SEEKING, 0)])
def test_it_does_not_give_up_before_those_it_met_have_but_not_for_ever(said: Reached | None):
    joining = Joining(PATIENCE)
    if said is not None:
        joining.heard("a", said)
    assert not joining.is_over(late(LACKING))
    assert not joining.is_over(late(LACKING, FOREVER - 0.01))
    assert joining.is_over(late(LACKING, FOREVER))


@pytest.mark.parametrize("changes", [{"tried": False}, {"shut_out": True}])
def test_who_has_not_tried_all_or_is_shut_out_does_not_give_up(changes: dict):
    joining = Joining(PATIENCE)
    joining.heard("a", Reached(Standing.GAVE_UP, 0))
    assert not joining.is_over(replace(late(LACKING, 99.0), **changes))


def test_of_two_halves_that_were_told_of_different_peers_neither_begins_alone():
    """Node b links them: it was told of both, and while c misses d nobody begins."""
    boots = "abcd"
    joinings = {boot: Joining(PATIENCE) for boot in boots}
    links = {frozenset(pair) for pair in ("ab", "bc")}

    def situation(me: str) -> Situation:
        linked = {other for other in boots if frozenset((me, other)) in links}
        knows = set(boots) - {me} if me != "a" or len(links) > 3 else {"b", "c"}
        return replace(
            ALONE, me=me, linked=linked, others=knows, missing=not knows <= linked, tried=False
        )

    def exchange() -> list[bool]:
        for _ in range(3):
            for me in boots:
                for boot, message in joinings[me].news(situation(me)):
                    joinings[boot].heard(me, message)
        return [joinings[me].is_over(situation(me)) for me in boots]

    assert exchange() == [False] * 4
    for pair in itertools.combinations(boots, 2):
        assert exchange() == [False] * 4
        links.add(frozenset(pair))
    assert exchange() == [True] * 4
