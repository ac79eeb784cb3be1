from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership import probing
from pyhorde.cluster.membership.health import Health
from pyhorde.cluster.membership.probing import SWEEP_MOST, Prober
from pyhorde.config import MembershipConfig

LAN = MembershipConfig()
ME = Member(name="me", address="me:1", boot="me", generation=1)


def view(*boots: str, **statuses: Status) -> View:
    others = tuple(
        replace(ME, name=boot, boot=boot, status=statuses.get(boot, Status.ALIVE)) for boot in boots
    )
    return View(ME, (ME, *others))


def started(now: float = 100.0) -> Prober:
    prober = Prober(LAN, random.Random(1), Health())
    prober.start(now)
    return prober


def test_the_first_probe_comes_at_a_random_moment_of_the_first_interval():
    firsts = []
    for seed in range(20):
        prober = Prober(LAN, random.Random(seed), Health())
        prober.start(100.0)
        firsts.append(prober.next_deadline())
    assert all(100.0 <= first <= 101.0 for first in firsts)
    assert len(set(firsts)) == 20


def test_one_probe_runs_at_a_time_and_one_begins_per_interval():
    prober = started()
    assert prober.begin(view("a"), 99.0) is None
    probe = prober.begin(view("a"), 101.0)
    assert probe is not None and probe.boot == "a"
    assert prober.begin(view("a"), 110.0) is None
    prober.answered("a", 100.0)
    assert prober.begin(view("a"), 101.9) is None
    assert prober.next_deadline() == 102.0
    assert prober.begin(view("a"), 102.0) is not None


def test_each_member_is_probed_once_per_round():
    prober, rounds = started(), []
    for turn in range(12):
        probe = prober.begin(view("a", "b", "c"), 101.0 + turn)
        assert probe is not None
        rounds.append(probe.boot)
        prober.answered(probe.boot, 100.0)
    assert all(set(rounds[i : i + 3]) == set("abc") for i in range(0, 12, 3))


def test_only_members_that_are_alive_are_probed():
    prober = started()
    mixed = view("a", "b", "c", a=Status.SUSPECT, b=Status.DEAD)
    for turn in range(4):
        probe = prober.begin(mixed, 101.0 + turn)
        assert probe is not None and probe.boot == "c"
        prober.answered("c", 100.0)


def test_a_member_that_went_since_the_round_began_is_skipped():
    prober = started()
    probe = prober.begin(view("a", "b", "c"), 101.0)
    assert probe is not None
    prober.answered(probe.boot, 100.0)
    left = sorted({"a", "b", "c"} - {probe.boot})
    probe = prober.begin(view(left[0]), 102.0)
    assert probe is not None and probe.boot == left[0]


def test_with_nobody_to_probe_the_turn_passes():
    prober = started()
    assert prober.begin(view(), 101.0) is None
    assert prober.next_deadline() == 102.0
    assert prober.overdue(200.0) is None
    assert prober.failed(200.0, {}) is None


def test_an_unanswered_ping_goes_through_others_and_then_fails():
    prober = started()
    probe = prober.begin(view("a"), 101.0)
    assert probe is not None
    assert prober.next_deadline() == 101.5
    assert prober.overdue(101.4) is None
    assert prober.failed(101.4, {}) is None
    assert prober.overdue(101.5) is probe
    assert prober.overdue(101.6) is None
    assert prober.next_deadline() == pytest.approx(101.95)
    assert prober.failed(101.9, {}) is None
    assert prober.failed(101.96, {}).boot == "a"
    assert prober.failed(103.0, {}) is None


def test_others_get_their_time_even_when_they_are_asked_late():
    prober = started()
    prober.begin(view("a"), 101.0)
    prober.overdue(104.0)
    assert prober.failed(104.0, {}) is None
    assert prober.failed(104.46, {}).boot == "a"


def test_only_the_probed_member_answers_the_probe():
    prober = started()
    prober.begin(view("a"), 101.0)
    prober.answered("b", 100.0)
    assert prober.overdue(101.5) is not None
    prober.answered("a", 100.0)
    assert prober.failed(103.0, {}) is None


def test_credit_moves_the_whole_probe():
    prober = started()
    prober.begin(view("a"), 101.0)
    prober.credit(8.0)
    assert prober.overdue(109.4) is None
    assert prober.overdue(109.5) is not None
    prober.credit(8.0)
    assert prober.failed(117.9, {}) is None
    assert prober.failed(118.0, {}).boot == "a"
    prober.credit(8.0)
    assert prober.next_deadline() == pytest.approx(126.0)


def test_a_ping_made_for_another_is_passed_on_once():
    prober = started()
    seq = prober.relay("asker", 7, 100.0)
    assert seq is not None
    relay = prober.relayed(seq)
    assert relay is not None and (relay.asker, relay.seq) == ("asker", 7)
    assert prober.relayed(seq) is None


def test_a_ping_made_for_another_expires():
    prober = started()
    seq = prober.relay("asker", 7, 100.0)
    assert seq is not None
    prober.expire(100.9)
    later = prober.relay("asker", 8, 100.9)
    assert later is not None
    prober.expire(101.0)
    assert prober.relayed(seq) is None
    assert prober.relayed(later) is not None


def test_pings_for_others_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probing, "MAX_RELAYS", 2)
    prober = started()
    assert prober.relay("asker", 1, 100.0) is not None
    assert prober.relay("asker", 2, 100.0) is not None
    assert prober.relay("asker", 3, 100.0) is None


def test_no_two_pings_of_a_node_have_the_same_number():
    prober = started()
    probe = prober.begin(view("a"), 101.0)
    assert probe is not None
    numbers = [probe.seq, prober.number(), prober.relay("x", 1, 101.0), prober.number()]
    assert len(set(numbers)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_nobody_waits_for_much_longer_than_a_round(seed: int):
    """With a new order for each round it would be up to two."""
    prober = Prober(LAN, random.Random(seed), Health())
    prober.start(0.0)
    names = "abcdefgh"
    members, now, turns = view(*names), 10.0, []
    for _ in range(60 * len(names)):
        probe = prober.begin(members, now)
        assert probe is not None
        turns.append(probe.boot)
        prober.answered(probe.boot, now)
        now += LAN.probe_interval
    for name in names:
        places = [place for place, boot in enumerate(turns) if boot == name]
        gaps = [after - before for before, after in itertools.pairwise(places)]
        assert max(gaps) <= len(names) + 1
    rounds = {tuple(turns[i : i + len(names)]) for i in range(0, len(turns), len(names))}
    assert len(rounds) > 20


# ---- several at once -----------------------------------------------------------------------------


def test_those_who_are_silent_are_asked_at_once_and_once_each():
    health = Health()
    prober = Prober(LAN, random.Random(0), health)
    assert prober.sweep(["a", "b"], 100.0) == ["a", "b"]
    assert prober.sweep(["b", "c"], 100.2) == ["c"]
    assert prober.is_probing and prober.next_deadline() == 100.5
    assert prober.swept(100.4, {}) == []
    assert prober.swept(100.5, {"a": 100.3}) == ["b"], "who was heard since is there"
    assert prober.swept(100.7, {"c": 99.0}) == ["c"]
    assert not prober.is_probing and health.score == 0


def test_so_many_are_asked_at_once_and_no_more():
    prober = Prober(LAN, random.Random(0), Health())
    asked = prober.sweep([f"m{number}" for number in range(1000)], 100.0)
    assert len(set(asked)) == SWEEP_MOST
    assert prober.sweep(["another"], 100.1) == []
    assert len(prober.swept(101.0, {})) == SWEEP_MOST
    assert prober.sweep(["another"], 101.0) == ["another"]


def test_who_stood_still_gives_those_it_asked_their_time():
    prober = Prober(LAN, random.Random(0), Health())
    prober.sweep(["a"], 100.0)
    prober.credit(5.0)
    assert prober.swept(105.4, {}) == []
    assert prober.swept(105.5, {"a": 104.0}) == ["a"]


@pytest.mark.parametrize(
    ("nacks", "heard", "points"),
    [("xyz", "", 0), ("x", "yz", 2), ("x", "", 0), ("", "", 1), ("", "xyz", 3), ("", "y", 1)],
)
def test_only_those_who_are_there_speak_against_this_node(nacks: str, heard: str, points: int):
    health = Health()
    prober = Prober(LAN, random.Random(0), health)
    prober.start(100.0)
    probe = prober.begin(view("a"), 101.0)
    assert probe is not None
    overdue = prober.overdue(102.0)
    assert overdue is probe
    probe.asked = frozenset("xyz")
    for helper in nacks:
        prober.nacked(helper, probe.seq)
    assert prober.failed(105.0, dict.fromkeys(heard, 102.5)) is probe
    assert health.score == points
