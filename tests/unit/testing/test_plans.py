"""Plans of bad days: drawn, saved, read again, and made smaller."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.testing.faults import KINDS, Fault
from pyhorde.testing.plans import ROUND, Drawing, Plan, machine_names

ROUNDING = 0.002
seeds = st.integers(0, 10**9)
sizes = st.integers(2, 9)
some_kinds = st.lists(st.sampled_from(sorted(KINDS)), max_size=3, unique=True)


def every_fault(plan: Plan) -> list[Fault]:
    return [fault for faults in plan.rounds for fault in faults]


# ---- drawing -------------------------------------------------------------------------------------


@given(seed=seeds, nodes=sizes, kinds=some_kinds)
def test_a_seed_always_draws_the_same_plan(seed: int, nodes: int, kinds: list[str]):
    assert Plan.draw(seed, nodes, 5, kinds) == Plan.draw(seed, nodes, 5, kinds)


def test_seeds_draw_different_plans():
    assert len({Plan.draw(seed, 5, 5) for seed in range(20)}) == 20


@given(seed=seeds, nodes=sizes, kinds=some_kinds)
def test_a_plan_has_only_the_kinds_that_were_asked_for(seed: int, nodes: int, kinds: list[str]):
    drawn = {fault.kind for fault in every_fault(Plan.draw(seed, nodes, 10, kinds))}
    assert drawn
    assert drawn <= set(kinds or KINDS)


@given(seed=seeds, nodes=sizes)
def test_all_faults_of_a_round_begin_and_end_within_it_in_order(seed: int, nodes: int):
    for faults in Plan.draw(seed, nodes, 10).rounds:
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        for fault in faults:
            assert fault.at >= 0
            assert fault.lasts >= 0
            assert fault.at + fault.lasts <= ROUND + ROUNDING


@given(seed=seeds, length=st.floats(5, 300))
def test_a_round_may_have_another_length(seed: int, length: float):
    for fault in Drawing(Random(seed), list("abc"), []).round(length):
        assert fault.at + fault.lasts <= length + ROUNDING


@given(seed=seeds, nodes=sizes)
def test_faults_are_about_machines_that_there_are_and_paths_between_two(seed: int, nodes: int):
    names = set(machine_names(nodes))
    for fault in every_fault(Plan.draw(seed, nodes, 10)):
        assert set(fault.on) <= names
        assert all({one, two} <= names and one != two for one, two in fault.pairs)


@pytest.mark.parametrize("nodes", [2, 5])
def test_every_kind_of_fault_is_drawn_for_some_seed(nodes: int):
    drawn = {fault.kind for seed in range(60) for fault in every_fault(Plan.draw(seed, nodes, 10))}
    assert drawn == KINDS.keys()


@given(seed=seeds)
def test_a_machine_that_is_alone_can_have_a_bad_day_too(seed: int):
    faults = Drawing(Random(seed), ["a"], []).round()
    assert all(fault.on == ("a",) or not fault.pairs for fault in faults)


def test_a_kind_that_there_is_not_is_refused_by_name():
    with pytest.raises(ValueError, match="earthquake"):
        Drawing(Random(1), list("abc"), ["earthquake"])


@pytest.mark.parametrize(("minutes", "rounds"), [(0.1, 1), (1, 1), (5, 3), (10, 6)])
def test_a_day_has_as_many_rounds_as_fit(minutes: float, rounds: int):
    assert len(Plan.draw(1, 3, minutes).rounds) == rounds


def test_machines_are_named_after_the_alphabet():
    assert machine_names(3) == ["a", "b", "c"]


# ---- as data -------------------------------------------------------------------------------------


@given(seed=seeds, nodes=sizes, kinds=some_kinds)
def test_a_fault_survives_the_way_through_json(seed: int, nodes: int, kinds: list[str]):
    for fault in every_fault(Plan.draw(seed, nodes, 5, kinds)):
        assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


@pytest.mark.parametrize("seed", range(5))
def test_a_saved_plan_is_read_again_as_it_was(seed: int, tmp_path: Path):
    plan = Plan.draw(seed, 4, 10)
    path = tmp_path / "plan.json"
    plan.save(path)
    assert Plan.load(path) == plan


def test_what_is_as_usual_is_not_written():
    fault = Fault(kind="crash", at=1.0, on=("a",))
    assert fault.to_json() == {"kind": "crash", "at": 1.0, "on": ("a",)}


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (3, "3"),
        ([], "no fault"),
        ({"kind": "crash"}, "no fault"),
        ({"at": 1}, "no fault"),
        ({"kind": "crash", "at": 1, "colour": "red"}, "colour"),
        ({"kind": "earthquake", "at": 1}, "earthquake"),
        ({"kind": ["crash"], "at": 1}, "crash"),
        ({"kind": "crash", "at": "soon", "on": ["a"]}, "soon"),
        ({"kind": "crash", "at": 1, "lasts": "long", "on": ["a"]}, "long"),
        ({"kind": "slow", "at": 1, "amount": None, "on": ["a"]}, "None"),
        ({"kind": "crash", "at": 1, "on": 7}, "7"),
        ({"kind": "crash", "at": 1, "on": [["a"]]}, "a"),
        ({"kind": "split", "at": 1, "pairs": 7}, "7"),
        ({"kind": "split", "at": 1, "pairs": [7]}, "7"),
        ({"kind": "split", "at": 1, "pairs": [["a", "b", "c"]]}, "c"),
    ],
)
def test_what_is_no_fault_is_refused_and_says_what_is_wrong(data: Any, named: str):
    with pytest.raises(ValueError, match=named):
        Fault.from_json(data)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "plan.json"),
        ("{", "plan.json"),
        ("[]", "a plan has a seed"),
        ('{"seed": 1, "nodes": 3}', "a plan has a seed"),
        ('{"seed": 1, "nodes": 3, "rounds": 5}', "rounds"),
        ('{"seed": 1, "nodes": 3, "rounds": [5]}', "rounds"),
        ('{"seed": null, "nodes": 3, "rounds": []}', "seed"),
        ('{"seed": 1, "nodes": "many", "rounds": []}', "nodes"),
        ('{"seed": 1, "nodes": 0, "rounds": []}', "nodes"),
        ('{"seed": 1, "nodes": 3, "rounds": [[{"kind": "?", "at": 1}]]}', "no kind of fault"),
        ('{"seed": 1, "nodes": 2, "rounds": [[{"kind": "crash", "at": 1, "on": ["z"]}]]}', "'z'"),
        ('{"seed": 1, "nodes": 2, "rounds": [[{"kind": "crash", "at": 1}]]}', "crash"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_and_says_what_is_wrong(
    text: str, named: str, tmp_path: Path
):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=named):
        Plan.load(path)


def test_a_plan_can_be_read_by_people():
    fault = Fault(kind="narrow", at=2, lasts=5, pairs=(("a", "b"),), amount=4000)
    text = str(Plan(7, 2, ((fault,), (Fault(kind="crash", at=1, on=("b",)),))))
    lines = text.splitlines()
    assert lines[0] == "seed 7, 2 nodes"
    assert [line.strip() for line in lines[1:]] == [
        "round 1",
        "2.00 s  narrow a>b 4000 for 5 s",
        "round 2",
        "1.00 s  crash b",
    ]


# ---- smaller plans -------------------------------------------------------------------------------


def big(guilty: Fault) -> Plan:
    """A plan of three rounds with one guilty fault among many."""
    others = [Fault(kind="reset", at=i, pairs=(("a", "b"),)) for i in range(9)]
    return Plan(1, 3, (tuple(others), (*others[:4], guilty, *others[4:]), tuple(others)))


def test_shrinking_finds_the_one_guilty_fault_and_how_short_it_may_be():
    guilty = Fault(kind="stall", at=3, lasts=40, on=("a",))

    def fails(plan: Plan) -> bool:
        return any(f.kind == "stall" and f.lasts >= 4 for f in every_fault(plan))

    found = big(guilty).shrink(fails)
    assert found.rounds == ((guilty.lasting(5),),)
    assert (found.seed, found.nodes) == (1, 3)


def test_shrinking_keeps_two_faults_that_are_guilty_together():
    one, two = (Fault(kind=kind, at=3, on=("a",)) for kind in ("crash", "power"))
    plan = big(one)
    plan = Plan(1, 3, (*plan.rounds[:2], (*plan.rounds[2], two)))

    def fails(tried: Plan) -> bool:
        return {"crash", "power"} <= {fault.kind for fault in every_fault(tried)}

    found = plan.shrink(fails)
    assert sorted(fault.kind for fault in every_fault(found)) == ["crash", "power"]


def counting(verdict: bool) -> tuple[list[Plan], Callable[[Plan], bool]]:
    tried: list[Plan] = []

    def fails(plan: Plan) -> bool:
        tried.append(plan)
        return verdict

    return tried, fails


def test_shrinking_stops_after_so_many_tries():
    tried, fails = counting(verdict=False)
    plan = big(Fault(kind="stall", at=3, lasts=40, on=("a",)))
    assert plan.shrink(fails, most_tries=7) == plan
    assert len(tried) == 7


def test_shrinking_what_always_fails_ends_with_next_to_nothing():
    _, fails = counting(verdict=True)
    assert Plan.draw(1, 5, 10).shrink(fails).faults == 0


@given(seed=seeds)
def test_every_smaller_plan_is_smaller(seed: int):
    plan = Plan.draw(seed, 3, 5)

    def size(one: Plan) -> tuple[int, int, float]:
        return len(one.rounds), one.faults, sum(f.lasts for f in every_fault(one))

    for smaller in plan.smaller():
        assert size(smaller) != size(plan)
        assert all(new <= old for new, old in zip(size(smaller), size(plan), strict=True))
