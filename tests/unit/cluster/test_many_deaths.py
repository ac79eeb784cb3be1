"""Several members that go at once are found as soon as one would be."""

from __future__ import annotations

import itertools

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.membership import Membership
from tests.unit.cluster.pump import Pump

P50, P99 = 9.0, 11.0
"""Seconds within which everybody knows, by default."""


def settled(names: list[str], seed: int) -> Pump:
    pump = Pump(names, None, seed)
    pump.run_until(pump.agreed, 15.0)
    pump.run(10 + seed % 7 / 7)
    return pump


def known(pump: Pump, wanted: dict[str, set[str]]) -> list[float]:
    """Seconds until each observer knows that each of these is dead."""
    began, seconds = pump.now, {}

    def all_known() -> bool:
        for observer, dead in wanted.items():
            for name in dead:
                if (observer, name) in seconds:
                    continue
                if pump.status(observer, name) is Status.DEAD:
                    seconds[observer, name] = pump.now - began
        return len(seconds) == sum(map(len, wanted.values()))

    pump.run_until(all_known, 60.0)
    return sorted(seconds.values())


def islands(seed: int) -> list[float]:
    names = [f"n{number}" for number in range(6)]
    pump = settled(names, seed)
    sides = [set(names[start : start + 2]) for start in range(0, 6, 2)]
    for one, other in itertools.combinations(sides, 2):
        pump.cut |= {frozenset(pair) for pair in itertools.product(one, other)}
    return known(pump, {name: set(names) - side for side in sides for name in side})


def half_of_forty(seed: int) -> list[float]:
    names = [f"n{number:02}" for number in range(40)]
    pump = settled(names, seed)
    for name in names[20:]:
        pump.power_off(name)
    return known(pump, {name: set(names[20:]) for name in names[:20]})


def test_islands_of_two_in_a_cluster_of_six_know_of_the_others():
    seconds = sorted(found for seed in range(20) for found in islands(seed))
    assert seconds[len(seconds) // 2] <= P50
    assert seconds[int(0.99 * len(seconds))] <= P99


def test_half_of_forty_that_lose_power_at_once_are_known_everywhere():
    seconds = half_of_forty(1)
    assert seconds[len(seconds) // 2] <= P50
    assert seconds[int(0.99 * len(seconds))] <= P99


def test_asked_one_after_the_other_they_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Membership, "_sweep", lambda *_: None)
    assert max(found for seed in range(20) for found in islands(seed)) > P99


def test_nobody_is_doubted_because_one_goes():
    names = [f"n{number}" for number in range(8)]
    for seed in range(5):
        pump = settled(names, seed)
        pump.power_off("n0")
        known(pump, {name: {"n0"} for name in names[1:]})
        doubted = {
            event.change.after.name for event in pump.events if not event.change.after.present
        }
        assert doubted == {"n0"}
        for name in names[1:]:
            assert not pump.seen(name, Status.SUSPECT)


def test_on_a_lossy_network_nobody_is_buried_for_the_asking():
    names = [f"n{number}" for number in range(6)]
    for seed in range(3):
        pump = settled(names, seed)
        pump.loses = lambda a, b, m, rng=pump.rng: rng.random() < 0.2
        pump.run(60)
        for name in names:
            assert not pump.seen(name, Status.DEAD)


def test_what_is_found_out_at_once_is_told_at_once():
    pump = settled([f"n{number}" for number in range(12)], 0)
    for number in range(6, 12):
        pump.power_off(f"n{number}")
    before = len(pump.sent)
    known(pump, {f"n{number}": {f"n{n}" for n in range(6, 12)} for number in range(6)})
    gossips = [sent for sent in pump.sent[before:] if type(sent[3]).__name__ == "Gossip"]
    by_moment = itertools.groupby(gossips, key=lambda sent: (sent[0], sent[1]))
    assert all(len({target for _, _, target, _ in some}) >= 1 for _, some in by_moment)
    assert max(len(sent[3].updates) for sent in gossips) > 1
