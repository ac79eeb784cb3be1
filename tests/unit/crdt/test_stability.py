from __future__ import annotations

import pytest

from pyhorde.crdt import Replica
from pyhorde.crdt.delta import MAX_EVENT
from pyhorde.crdt.stability import Stability

WALL = 1000.0


def join(to: Replica, frm: Replica) -> None:
    for delta in frm.deltas_for(to.vector):
        to.join(delta, WALL)


def step(stability: Stability, vectors: list[dict[str, int]]) -> dict[str, int] | None:
    stable = stability.step({f"peer-{number}": each for number, each in enumerate(vectors)})
    return stable.events if stable is not None else None


@pytest.fixture
def replica() -> Replica:
    """It knows three own events, and two of ``b``'s."""
    made, other = Replica("a"), Replica("b")
    for number in range(3):
        made.add(f"a{number}", None)
    for number in range(2):
        other.add(f"b{number}", None)
    join(made, other)
    return made


def test_whoever_is_alone_has_seen_everything(replica: Replica):
    assert step(Stability(replica), []) == {"a": 3, "b": 2}


def test_what_everybody_has_is_stable(replica: Replica):
    assert step(Stability(replica), [{"a": 3, "b": 2}, {"a": 4, "b": 2}]) is None
    replica.add("a3", None)
    assert step(Stability(replica), [{"a": 4, "b": 2}]) == {"a": 4, "b": 2}


@pytest.mark.parametrize("behind", [{}, {"a": 2, "b": 2}, {"a": 3, "b": 1}, {"b": 2}])
def test_one_that_is_behind_holds_it_back(replica: Replica, behind: dict[str, int]):
    stability = Stability(replica)
    for _ in range(3):
        assert step(stability, [{"a": 3, "b": 2}, behind]) is None
    assert step(stability, [{"a": 3, "b": 2}, {"a": 3, "b": 2}]) == {"a": 3, "b": 2}


def test_what_anybody_knew_when_all_had_the_first_part_must_arrive_everywhere(replica: Replica):
    stability = Stability(replica)
    ahead = {"a": 3, "b": 2, "c": 5}
    assert step(stability, [ahead, {"a": 3, "b": 2}]) is None
    assert step(stability, [ahead, {"a": 3, "b": 2, "c": 4}]) is None
    assert step(stability, [ahead, {"a": 3, "b": 2, "c": 5}]) is None  # not here yet
    other = Replica("c")
    for number in range(5):
        other.add(f"c{number}", None)
    join(replica, other)
    assert step(stability, [ahead, {"a": 3, "b": 2, "c": 5}]) == {"a": 3, "b": 2}


def test_what_came_after_the_cuts_holds_nothing_back(replica: Replica):
    stability = Stability(replica)
    assert step(stability, [{"a": 3, "b": 2}, {"a": 2, "b": 2}]) is None
    replica.add("later", None)
    assert step(stability, [{"a": 3, "b": 2}, {"a": 3, "b": 2}]) is None  # own news are not there
    assert step(stability, [{"a": 4, "b": 2, "c": 7}, {"a": 4, "b": 2}]) == {"a": 3, "b": 2}


def test_after_a_round_the_next_one_begins(replica: Replica):
    stability = Stability(replica)
    assert step(stability, [{"a": 3, "b": 2}]) == {"a": 3, "b": 2}
    replica.add("more", None)
    assert step(stability, [{"a": 3, "b": 2}]) is None
    assert step(stability, [{"a": 4, "b": 2}]) == {"a": 4, "b": 2}


def test_origins_that_have_been_retired_since_are_not_waited_for(replica: Replica):
    stability = Stability(replica)
    assert step(stability, [{"a": 3, "b": 1}]) is None
    replica.retire("b")
    assert step(stability, [{"a": 3}]) == {"a": 3, "b": 2}


def test_a_peer_that_has_dropped_an_origin_is_not_waited_for(replica: Replica):
    assert step(Stability(replica), [{"a": 3, "b": MAX_EVENT}]) == {"a": 3, "b": 2}


def test_a_peer_that_had_dropped_an_origin_and_hears_it_again_ends_no_round_for_ever(
    replica: Replica,
):
    stability = Stability(replica)
    assert step(stability, [{"a": 3, "b": MAX_EVENT, "c": 9}]) is None
    other = Replica("c")
    for number in range(9):
        other.add(f"c{number}", None)
    join(replica, other)
    assert step(stability, [{"a": 3, "b": 2, "c": 9}]) == {"a": 3, "b": 2}


def test_a_round_says_after_which_event_of_its_own_each_had_seen_it(replica: Replica):
    stability = Stability(replica)
    assert stability.step({"b": {"a": 2, "b": 2}, "c": {"a": 3, "b": 2}}) is None
    replica.add("a3", None)
    stable = stability.step({"b": {"a": 3, "b": 4}, "c": {"a": 3, "b": 2, "c": 0}})
    assert stable is None  # b's news are not here yet
    other = Replica("b")
    for number in range(4):
        other.add(f"b{number}", None)
    join(replica, other)
    stable = stability.step({"b": {"a": 3, "b": 4}, "c": {"a": 4, "b": 4, "c": 0}})
    assert stable is None  # nor mine there
    stable = stability.step({"b": {"a": 4, "b": 4}, "c": {"a": 4, "b": 4}})
    assert stable is not None
    assert stable.heeding == {"a": 4, "b": 4, "c": 0}
