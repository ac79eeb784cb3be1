from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pyhorde.cluster.placement import KEPT_TABLES, SLOTS, Placement, hash64

NAMES = [f"meeting-{i}" for i in range(2000)]
NODES = ("alpha", "beta", "gamma", "delta", "epsilon")
KNOWN = ["epsilon", "delta", "gamma", "alpha", "beta", "gamma"]


def homes(candidates: tuple[str, ...]) -> dict[str, str | None]:
    placement = Placement()
    return {name: placement.home(name, candidates) for name in NAMES}


def test_without_candidates_there_is_no_home():
    assert Placement().home("meeting-7", ()) is None


def test_homes_are_what_they_were_in_earlier_versions():
    """Nodes of two versions in one cluster must agree."""
    assert hash64("") == 0xE4A6A0577479B2B4
    assert hash64("meeting-7") == 0xEA2DE847B6F0D9D1
    placement = Placement()
    assert [placement.home(f"meeting-{i}", NODES) for i in range(6)] == KNOWN


def test_only_names_of_the_candidate_that_went_move():
    before, after = homes(NODES), homes(NODES[:-1])
    assert all(before[name] == after[name] for name in NAMES if before[name] != "epsilon")


def test_names_move_only_to_the_candidate_that_came_and_only_its_share():
    before, after = homes(NODES), homes((*NODES, "zeta"))
    moved = [name for name in NAMES if before[name] != after[name]]
    assert {after[name] for name in moved} == {"zeta"}
    assert len(NAMES) / 6 * 0.75 < len(moved) < len(NAMES) / 6 * 1.25


@given(name=st.text(), nodes=st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
def test_the_order_of_the_candidates_is_irrelevant(name: str, nodes: set[str]):
    placement = Placement()
    assert len({placement.home(name, order) for order in itertools.permutations(nodes)}) == 1


def test_every_candidate_gets_about_its_share():
    counts = Counter(homes(NODES).values())
    assert all(len(NAMES) / 5 * 0.75 < counts[node] < len(NAMES) / 5 * 1.25 for node in NODES)


def test_names_of_one_slot_share_a_home():
    placement = Placement()
    by_slot: dict[int, set[str | None]] = {}
    for i in range(3 * SLOTS):
        name = f"n{i}"
        by_slot.setdefault(hash64(name) % SLOTS, set()).add(placement.home(name, NODES))
    assert all(len(found) == 1 for found in by_slot.values())


def test_any_text_has_a_home():
    assert Placement().home("\ud800", ("a",)) == "a"


def test_memory_is_bounded_and_forgetting_changes_nothing():
    placement = Placement()
    first = placement.home("meeting-7", NODES)
    for i in range(KEPT_TABLES + 5):
        placement.home("meeting-7", (*NODES, f"extra-{i}"))
    assert len(placement._tables) == KEPT_TABLES
    assert placement.home("meeting-7", NODES) == first
