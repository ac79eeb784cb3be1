from __future__ import annotations

import random

import pytest

from pyhorde.cluster.member import Member
from pyhorde.cluster.membership.suspicion import (
    Company,
    Suspicion,
    Suspicions,
    bounds,
    confirmations_wanted,
    timeout,
)
from pyhorde.config import MembershipConfig

LAN = MembershipConfig()


def among(size: int) -> Company:
    """One of so many is suspected."""
    return Company(size, size - 1)


@pytest.mark.parametrize(
    ("size", "shortest"),
    [(0, 4.0), (1, 4.0), (2, 4.0), (10, 4.0), (50, 6.796), (100, 8.0), (1000, 12.0)],
)
def test_bounds_grow_with_the_logarithm_of_the_size(size: int, shortest: float):
    assert bounds(size, LAN) == pytest.approx((shortest, 2 * shortest), abs=0.001)


def test_bounds_follow_the_settings():
    config = MembershipConfig(probe_interval=2.0, suspicion_mult=3.0, suspicion_max_mult=5.0)
    assert bounds(3, config) == (6.0, 30.0)


@pytest.mark.parametrize(("size", "wanted"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (1000, 2)])
def test_confirmations_are_wanted_as_soon_as_anybody_can_give_one(size: int, wanted: int):
    assert confirmations_wanted(among(size), LAN) == wanted


@pytest.mark.parametrize(
    ("size", "sound", "wanted"),
    [(6, 2, 1), (6, 3, 2), (40, 20, 2), (6, 1, 1), (3, 1, 1), (2, 1, 0)],
)
def test_nobody_waits_for_suspects_to_agree_but_for_one_if_there_were_others(
    size: int, sound: int, wanted: int
):
    assert confirmations_wanted(Company(size, sound), LAN) == wanted


@pytest.mark.parametrize(
    ("confirmed", "wanted", "seconds"),
    [(0, 0, 4.0), (0, 1, 8.0), (1, 1, 4.0), (0, 2, 8.0), (1, 2, 5.476), (2, 2, 4.0), (3, 2, 4.0)],
)
def test_the_time_falls_with_the_logarithm_of_the_confirmations(
    confirmed: int, wanted: int, seconds: float
):
    assert timeout(confirmed, wanted, 4.0, 8.0) == pytest.approx(seconds, abs=0.001)


def suspicion(*accusers: str, **changes) -> Suspicion:
    made = Suspicion("boot", 100.0, 100.0, 101.5, 100.0, **changes)
    for accuser in accusers:
        made.add(accuser, evidence=False)
    return made


@pytest.mark.parametrize(
    ("size", "accusers", "deadline"),
    [
        (2, "a", 104.0),
        (3, "a", 108.0),
        (3, "ab", 104.0),
        (3, "abcd", 104.0),
        (5, "", 108.0),
        (5, "a", 108.0),
        (5, "abc", 104.0),
    ],
)
def test_the_deadline_counts_those_who_agree_with_the_first_accuser(
    size: int, accusers: str, deadline: float
):
    assert suspicion(*accusers).deadline(among(size), LAN) == pytest.approx(deadline)


def test_once_the_last_check_runs_it_alone_decides():
    assert suspicion("a", last_check_until=117.0).deadline(among(3), LAN) == 117.0


def test_hearsay_is_no_accusation():
    heard = suspicion("")
    assert not heard.accusers
    assert heard.knows("", evidence=False)
    assert heard.knows("", evidence=True)


def test_evidence_of_a_known_accuser_is_news():
    known = suspicion("a")
    assert known.knows("a", evidence=False)
    assert not known.knows("a", evidence=True)
    known.add("a", evidence=True)
    assert known.knows("a", evidence=True)
    assert known.confirmed == 0


@pytest.mark.parametrize(
    ("accusers", "size", "now", "confirms"),
    [
        ("a", 3, 101.5, True),
        ("a", 3, 101.4, False),
        ("", 3, 101.5, True),
        ("me", 3, 101.5, False),
        ("a", 2, 101.5, False),
        ("abc", 5, 101.5, False),
        ("ab", 5, 101.5, True),
    ],
)
def test_who_gets_no_answer_confirms_while_confirmations_are_wanted(
    accusers: str, size: int, now: float, confirms: bool
):
    names = ["me"] if accusers == "me" else list(accusers)
    assert suspicion(*names).may_confirm("me", among(size), LAN, now) is confirms


def test_credit_moves_every_deadline_of_every_suspicion():
    suspicions = Suspicions(LAN, random.Random(0))
    running, checked = suspicions.open("x", 100.0), suspicions.open("y", 100.0)
    checked.last_check_until = 109.0
    confirm_at = running.confirm_at
    suspicions.credit(8.0)
    assert (running.started, running.next_probe) == (108.0, 108.0)
    assert running.confirm_at == confirm_at + 8.0
    assert running.last_check_until is None
    assert checked.last_check_until == 117.0


def test_a_suspicion_is_opened_once_and_asks_at_once():
    suspicions = Suspicions(LAN, random.Random(0))
    first = suspicions.open("x", 100.0)
    assert suspicions.open("x", 105.0) is first
    assert suspicions.get("x") is first
    assert list(suspicions.deadlines(among(3))) == [100.0]
    assert 101.0 <= first.confirm_at <= 102.0
    suspicions.drop("x")
    suspicions.drop("x")
    assert suspicions.get("x") is None


def test_those_dropped_on_the_way_are_not_visited():
    suspicions = Suspicions(LAN, random.Random(0))
    for boot in "xyz":
        suspicions.open(boot, 100.0)
    visited = []
    for found in suspicions:
        visited.append(found.boot)
        suspicions.drop("y")
    assert visited == ["x", "z"]


def other(boot: str) -> Member:
    return Member(name=boot, address=boot, boot=boot, generation=1)


@pytest.mark.parametrize(
    ("witnesses", "others", "proven"),
    [
        ({"x": ["me"]}, "x", "x"),
        ({"x": ["me"]}, "xy", ""),
        ({"x": ["me", "b"]}, "xy", "x"),
        ({"x": ["b", "c"]}, "xyz", ""),
        ({"x": ["me"], "y": ["me"]}, "xy", "xy"),
        ({"x": ["me"], "y": []}, "xy", ""),
        ({"x": ["me", "z"], "y": ["me"]}, "xyz", "x"),
    ],
)
def test_evidence_needs_one_other_witness_unless_nobody_else_is_there(
    witnesses: dict[str, list[str]], others: str, proven: str
):
    suspicions = Suspicions(LAN, random.Random(0))
    for boot, names in witnesses.items():
        opened = suspicions.open(boot, 100.0)
        for name in names:
            opened.add(name, evidence=True)
    found = suspicions.proven("me", [other(boot) for boot in others])
    assert "".join(s.boot for s in found) == proven
