"""The one decision: a table of situations, and what holds in every situation there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.crdt import Dot
from pyhorde.runtime.reconcile import (
    Action,
    Adopt,
    AskAgain,
    Bury,
    CellPhase,
    DropClaims,
    Nothing,
    Reclaim,
    Republish,
    Situation,
    Stop,
    Yield,
    decide,
)
from pyhorde.runtime.record import Claim, Life, Spec

FORMER, LIFE, RIVAL = Life(1, "s"), Life(2, "s"), Life(2, "other start")
SPEC = Spec("m:T", b"", "permanent", "checkpoint", 1, LIFE)
TEMPORARY = replace(SPEC, restart="temporary")
ME, OTHER = "boot-me", "boot-other"


def claim(boot: str, epoch: int, life: Life = LIFE) -> Claim:
    return Claim("name", Dot(boot, 1), epoch, boot, "m:T", life)


def situation(*claims: Claim, **changes: Any) -> Situation:
    """An orphan whose home is here and whose past is known, unless told otherwise."""
    phase = changes.get("phase", CellPhase.NONE)
    spec = changes.get("spec", SPEC)
    now = spec.life.number if spec is not None else None
    plain = Situation(
        spec=SPEC,
        claims=tuple(sorted(claims, key=lambda c: (c.life.number == now, c.rank), reverse=True)),
        phase=phase,
        life=LIFE if phase is not CellPhase.NONE else None,
        boot=ME,
        home_is_here=True,
        may_adopt=True,
        traces=True,
        graceful=False,
        floor=max([4, *(c.epoch for c in claims)]),
        strays=False,
        orphan_since=10.0,
        now=10.5,
        adopt_delay=2.0,
    )
    return replace(plain, **changes)


ACTIVE, YIELDING = CellPhase.ACTIVE, CellPhase.YIELDING
FIRST, LEAVING = CellPhase.FIRST, CellPhase.LEAVING
mine, theirs = claim(ME, 4), claim(OTHER, 5)


@pytest.mark.parametrize(
    ("given_situation", "expected"),
    [
        # nothing should run
        (situation(spec=None), Nothing()),
        (situation(theirs, spec=None), Nothing()),
        (situation(mine, spec=None), DropClaims((mine,))),
        (situation(mine, spec=None, phase=ACTIVE), Stop("terminated")),
        (situation(spec=None, phase=ACTIVE), Stop("terminated")),
        (situation(mine, theirs, spec=None, phase=YIELDING), Stop("terminated")),
        # leftovers
        (situation(mine), DropClaims((mine,))),
        (situation(mine, theirs), DropClaims((mine,))),
        # it runs here
        (situation(mine, phase=ACTIVE), Nothing()),
        (situation(phase=ACTIVE), Nothing()),
        (situation(mine, theirs, phase=ACTIVE), Yield(theirs)),
        (situation(claim(ME, 6), theirs, phase=ACTIVE), Nothing()),
        (situation(claim(ME, 5), theirs, phase=ACTIVE), Yield(theirs)),
        (situation(theirs, phase=ACTIVE), Yield(theirs)),
        # others have passed its epoch meanwhile
        (situation(mine, phase=ACTIVE, floor=9), Reclaim()),
        (situation(mine, theirs, phase=ACTIVE, floor=9), Yield(theirs)),
        # a state was saved beside it that nobody took in
        (situation(mine, phase=ACTIVE, strays=True), Reclaim()),
        (situation(mine, theirs, phase=ACTIVE, strays=True), Yield(theirs)),
        # it lost a conflict
        (situation(mine, theirs, phase=YIELDING), Nothing()),
        (situation(mine, phase=YIELDING), Reclaim()),
        (situation(claim(ME, 6), theirs, phase=YIELDING), Reclaim()),
        (situation(phase=YIELDING), Nothing()),
        # it is of another life than the spec
        (situation(claim(ME, 9, FORMER), phase=ACTIVE, life=FORMER), Stop("terminated")),
        (situation(claim(ME, 9, FORMER), theirs, phase=ACTIVE, life=FORMER), Stop("terminated")),
        (situation(mine, claim(OTHER, 9, FORMER), phase=ACTIVE), Reclaim()),
        # it began at once with another one, on the other side of a split
        (situation(claim(ME, 4, RIVAL), theirs, phase=ACTIVE, life=RIVAL), Yield(theirs)),
        (situation(claim(ME, 9, RIVAL), theirs, phase=ACTIVE, life=RIVAL), Republish()),
        (situation(claim(ME, 9, RIVAL), phase=ACTIVE, life=RIVAL), Republish()),
        (situation(claim(ME, 9, RIVAL), phase=ACTIVE, life=RIVAL, floor=10), Reclaim()),
        # it runs elsewhere
        (situation(theirs), Nothing()),
        (situation(claim(OTHER, 9, RIVAL)), Nothing()),
        (situation(claim(OTHER, 9, FORMER)), Adopt(10)),
        # an orphan
        (situation(), Adopt(5)),
        (situation(floor=0), Adopt(1)),
        (situation(home_is_here=False), Nothing()),
        (situation(may_adopt=False), Nothing()),
        (situation(traces=False), AskAgain(12.0)),
        (situation(traces=False, now=11.999), AskAgain(12.0)),
        (situation(traces=False, now=12.0), Adopt(5)),
        (situation(traces=False, home_is_here=False), Nothing()),
        (situation(spec=TEMPORARY), Bury(4)),
        (situation(spec=TEMPORARY, graceful=True), Adopt(5)),
        (situation(spec=TEMPORARY, traces=False), AskAgain(12.0)),
        (situation(spec=TEMPORARY, home_is_here=False), Nothing()),
        # work under way is left alone
        (situation(phase=FIRST), Nothing()),
        (situation(spec=None, phase=FIRST), Nothing()),
        (situation(mine, theirs, phase=FIRST), Nothing()),
        (situation(phase=LEAVING), Nothing()),
        (situation(mine, spec=None, phase=LEAVING), Nothing()),
        (situation(mine, theirs, phase=LEAVING), Nothing()),
    ],
)
def test_every_situation_has_its_action(given_situation: Situation, expected: Action):
    assert decide(given_situation) == expected


lives = st.sampled_from([FORMER, LIFE, RIVAL])
claims = st.lists(
    st.builds(claim, st.sampled_from([ME, OTHER, "boot-b", "boot-z"]), st.integers(1, 4), lives),
    max_size=5,
    unique_by=lambda c: c.boot,
)
situations = st.builds(
    lambda found, phase, life, **changes: situation(
        *found, phase=phase, life=None if phase is CellPhase.NONE else life, **changes
    ),
    claims,
    phase=st.sampled_from(CellPhase),
    life=lives,
    spec=st.sampled_from([None, SPEC, TEMPORARY]),
    home_is_here=st.booleans(),
    may_adopt=st.booleans(),
    traces=st.booleans(),
    graceful=st.booleans(),
    floor=st.integers(4, 9),
    strays=st.booleans(),
    now=st.floats(0, 20),
)


@given(situations)
def test_every_situation_gives_one_of_the_known_actions(s: Situation):
    assert isinstance(decide(s), get_args(Action))


@given(situations)
def test_a_name_is_adopted_only_at_home_by_a_node_that_may_and_that_has_no_cell(s: Situation):
    action = decide(s)
    if isinstance(action, Adopt | Bury):
        assert s.home_is_here and s.may_adopt and s.spec is not None
        assert s.phase is CellPhase.NONE
        assert not [c for c in s.claims if c.life.number >= s.spec.life.number]
    if isinstance(action, Adopt):
        assert all(c.epoch < action.epoch for c in s.claims) and action.epoch > s.floor


@given(situations)
def test_while_a_start_or_a_move_is_under_way_nothing_else_is_begun(s: Situation):
    for phase in (FIRST, LEAVING):
        assert decide(replace(s, phase=phase)) == Nothing()


@given(situations)
def test_what_is_done_to_a_cell_is_done_only_where_there_is_one(s: Situation):
    if isinstance(decide(s), Stop | Yield | Reclaim | Republish):
        assert s.phase in (ACTIVE, YIELDING)


@given(situations)
def test_whoever_yields_yields_to_the_first_in_rank_of_the_present_life(s: Situation):
    action = decide(s)
    if isinstance(action, Yield):
        assert s.spec is not None and s.phase is ACTIVE
        number = s.spec.life.number
        assert action.winner.boot != ME and action.winner.life.number == number
        mine = [c for c in s.claims if c.boot == ME and c.life.number == number]
        assert all(c.rank < action.winner.rank for c in mine)


@given(situations)
def test_a_name_is_claimed_anew_only_by_its_owner(s: Situation):
    if isinstance(decide(s), Reclaim | Republish):
        assert s.spec is not None
        valid = [c for c in s.claims if c.life.number == s.spec.life.number]
        assert valid and max(valid, key=lambda c: c.rank).boot == ME


@given(situations)
def test_only_own_claims_are_dropped(s: Situation):
    action = decide(s)
    if isinstance(action, DropClaims):
        assert action.claims and all(c.boot == ME for c in action.claims)


@given(
    st.lists(
        st.builds(
            claim,
            st.text(min_size=1, max_size=3),
            st.integers(1, 3),
            st.sampled_from([LIFE, RIVAL]),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda c: c.boot,
    )
)
def test_of_all_who_claim_a_name_exactly_one_is_not_told_to_yield(found: list[Claim]):
    told = [decide(situation(*found, boot=c.boot, phase=ACTIVE, life=c.life)) for c in found]
    stay = [action for action in told if not isinstance(action, Yield)]
    assert len(stay) == 1 and isinstance(stay[0], Nothing | Reclaim | Republish)
    winners = {action.winner for action in told if isinstance(action, Yield)}
    assert winners <= {max(found, key=lambda c: c.rank)}


@given(situations)
def test_what_was_decided_does_not_depend_on_when_it_is_asked_but_for_orphans(s: Situation):
    now, later = decide(s), decide(replace(s, now=s.now + 100))
    if not isinstance(now, AskAgain):
        assert now == later
    else:
        assert isinstance(later, Adopt | Bury)
