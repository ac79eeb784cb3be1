"""The hybrid clock, stamp by stamp."""

import pytest

from pyhorde.crdt.hlc import COUNTER_BITS, HybridClock

DAY = 86400.0


def at(seconds: float) -> int:
    return int(seconds * 1000) << COUNTER_BITS


def test_a_tick_carries_the_wall_clock():
    assert HybridClock().tick(1.5) == 1500 << COUNTER_BITS


def test_ticks_count_on_when_the_wall_clock_stands_still():
    clock = HybridClock()
    assert [clock.tick(1.0) - at(1.0) for _ in range(3)] == [0, 1, 2]


def test_ticks_count_on_when_the_wall_clock_falls():
    clock = HybridClock()
    clock.tick(DAY)
    assert clock.tick(1.0) == at(DAY) + 1


def test_ticks_count_on_before_the_epoch():
    clock = HybridClock()
    assert [clock.tick(-DAY), clock.tick(-DAY)] == [1, 2]


def test_a_full_counter_carries_into_the_milliseconds():
    clock = HybridClock()
    clock.last = at(1.0) + 2**COUNTER_BITS - 1
    assert clock.tick(1.0) == 1001 << COUNTER_BITS


@pytest.mark.parametrize("seconds", [0.5, 1.0])
def test_at_least_changes_nothing_when_the_clock_is_past_it(seconds: float):
    assert HybridClock().tick(1.0, at_least=at(seconds)) == at(1.0)


@pytest.mark.parametrize("ahead", [1, at(0.5)])
def test_at_least_is_believed_when_it_is_within_the_skew(ahead: int):
    clock = HybridClock(max_skew=0.5)
    assert clock.tick(1.0, at_least=at(1.0) + ahead) == at(1.0) + ahead
    assert clock.tick(1.0) == at(1.0) + ahead + 1


def test_at_least_is_given_but_not_believed_when_it_is_too_far_ahead():
    clock = HybridClock(max_skew=0.5)
    assert clock.tick(1.0, at_least=at(1.5) + 1) == at(1.5) + 1
    assert clock.last == at(1.0)


def test_an_observed_stamp_is_overtaken_by_the_next_tick():
    clock = HybridClock(max_skew=0.5)
    assert clock.observe(at(1.5), wall=1.0)
    assert clock.tick(1.0) == at(1.5) + 1


def test_an_observed_stamp_changes_nothing_when_it_is_old():
    clock = HybridClock()
    clock.tick(2.0)
    assert clock.observe(at(1.0), wall=2.0)
    assert clock.last == at(2.0)


def test_an_observed_stamp_is_not_believed_when_it_is_too_far_ahead():
    clock = HybridClock(max_skew=0.5)
    clock.tick(1.0)
    assert not clock.observe(at(1.5) + 1, wall=1.0)
    assert clock.last == at(1.0)
