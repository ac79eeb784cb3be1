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
    Recover,
    Situation,
    Stop,
    Yield,
    decide,
)
from pyhorde.runtime.record import Claim, Spec

SPEC = Spec("m:T", b"", "permanent", "checkpoint", 1, "start")
TEMPORARY = replace(SPEC, restart="temporary")
ME, OTHER = "boot-me", "boot-other"


def claim(boot: str, epoch: int, seq: int = 1) -> Claim:
    return Claim("name", Dot(boot, seq), epoch, boot, "name", "m:T", None)


def situation(*claims: Claim, **changes: Any) -> Situation:
    """An orphan whose home is here and whose past is known, unless told otherwise."""
    plain = Situation(
        spec=SPEC,
        claims=tuple(sorted(claims, key=lambda c: c.rank, reverse=True)),
        phase=CellPhase.NONE,
        boot=ME,
        home_is_here=True,
        may_adopt=True,
        traces=True,
        graceful=False,
        floor=4,
        orphan_since=10.0,
        now=10.5,
        adopt_delay=2.0,
    )
    return replace(plain, **changes)


ACTIVE, YIELDING = CellPhase.ACTIVE, CellPhase.YIELDING
mine, theirs = claim(ME, 3), claim(OTHER, 5)


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
        (situation(spec=None, phase=CellPhase.FIRST), Nothing()),
        (situation(mine, spec=None, phase=CellPhase.LEAVING), Nothing()),
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
        # it lost a conflict
        (situation(mine, theirs, phase=YIELDING), Nothing()),
        (situation(mine, phase=YIELDING), Recover()),
        (situation(claim(ME, 6), theirs, phase=YIELDING), Recover()),
        (situation(phase=YIELDING), Nothing()),
        # it runs elsewhere
        (situation(theirs), Nothing()),
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
        (situation(phase=CellPhase.FIRST), Nothing()),
        (situation(phase=CellPhase.LEAVING), Nothing()),
        (situation(mine, theirs, phase=CellPhase.LEAVING), Nothing()),
        (situation(mine, theirs, phase=CellPhase.FIRST), Nothing()),
    ],
)
def test_every_situation_has_its_action(given_situation: Situation, expected: Action):
    assert decide(given_situation) == expected


claims = st.lists(
    st.builds(claim, st.sampled_from([ME, OTHER, "boot-b", "boot-z"]), st.integers(1, 4)),
    max_size=5,
    unique_by=lambda c: c.boot,
)
situations = st.builds(
    lambda found, **changes: situation(*found, **changes),
    claims,
    spec=st.sampled_from([None, SPEC, TEMPORARY]),
    phase=st.sampled_from(CellPhase),
    home_is_here=st.booleans(),
    may_adopt=st.booleans(),
    traces=st.booleans(),
    graceful=st.booleans(),
    floor=st.integers(0, 9),
    now=st.floats(0, 20),
)


@given(situations)
def test_every_situation_gives_one_of_the_known_actions(s: Situation):
    assert isinstance(decide(s), get_args(Action))


@given(situations)
def test_a_name_is_adopted_only_as_an_orphan_at_home_by_a_node_that_may(s: Situation):
    action = decide(s)
    if isinstance(action, Adopt | Bury | AskAgain):
        assert not s.claims and s.home_is_here and s.may_adopt and s.spec is not None
        assert s.phase is CellPhase.NONE
    if isinstance(action, Adopt):
        assert action.epoch > s.floor


@given(situations)
def test_while_a_start_or_a_move_is_under_way_nothing_else_is_begun(s: Situation):
    for phase in (CellPhase.FIRST, CellPhase.LEAVING):
        assert decide(replace(s, phase=phase)) == Nothing()


@given(situations)
def test_what_is_done_to_a_cell_is_done_only_where_there_is_one(s: Situation):
    if isinstance(decide(s), Stop | Yield | Recover):
        assert s.phase in (CellPhase.ACTIVE, CellPhase.YIELDING)


@given(situations)
def test_only_a_claim_of_higher_rank_is_yielded_to(s: Situation):
    action = decide(s)
    if isinstance(action, Yield):
        assert action.winner.boot != ME
        assert all(c.rank < action.winner.rank for c in s.claims if c.boot == ME)


@given(situations)
def test_only_own_claims_are_dropped(s: Situation):
    action = decide(s)
    if isinstance(action, DropClaims):
        assert action.claims and all(c.boot == ME for c in action.claims)


@given(
    st.lists(
        st.builds(claim, st.text(min_size=1, max_size=3), st.integers(1, 3)),
        min_size=1,
        max_size=6,
        unique_by=lambda c: c.boot,
    )
)
def test_of_all_who_claim_a_name_exactly_one_is_not_told_to_yield(found: list[Claim]):
    told = [decide(situation(*found, boot=c.boot, phase=ACTIVE)) for c in found]
    assert [action for action in told if not isinstance(action, Yield)] == [Nothing()]
    winners = {action.winner for action in told if isinstance(action, Yield)}
    assert winners <= {max(found, key=lambda c: c.rank)}


@given(situations)
def test_the_same_situation_gives_the_same_action(s: Situation):
    assert decide(s) == decide(s)
