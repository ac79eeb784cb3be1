"""Conditions of a path: what each of them costs a frame."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.testing.conditions import RESEND_FIRST, RESEND_MOST, Conditions, Path

GOOD = Conditions(latency_min=0.001, latency_mean=0.001)
LONGEST_RESEND = RESEND_FIRST * (2**RESEND_MOST - 1)


def delays(conditions: Conditions, count: int = 300, size: int = 100, seed: int = 1) -> list[float]:
    """Of frames that are sent one second after the other."""
    path = Path(conditions, Random(seed))
    return [path.delay(size, 1000.0 + i) for i in range(count)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@given(
    seed=st.integers(0, 1000),
    loss=st.floats(0, 1),
    every=st.sampled_from([0.0, 0.5, 5.0]),
    bandwidth=st.sampled_from([0.0, 1000.0]),
)
def test_a_seed_always_gives_the_same_delays(
    seed: int, loss: float, every: float, bandwidth: float
):
    bad = Conditions(loss=loss, burst_every=every, bandwidth=bandwidth)
    assert delays(bad, 20, seed=seed) == delays(bad, 20, seed=seed)
    assert min(delays(bad, 20, seed=seed)) >= bad.latency_min


def test_another_seed_gives_other_delays():
    assert delays(GOOD, seed=1) != delays(GOOD, seed=2)


def test_latency_is_a_minimum_and_an_exponential_part_of_the_given_mean():
    far = Conditions(latency_min=0.1, latency_mean=0.05)
    assert min(delays(far)) >= 0.1
    assert mean(delays(far, 2000)) == pytest.approx(0.15, rel=0.05)


def test_a_latency_without_a_random_part_is_just_that():
    assert delays(Conditions(latency_min=0.01, latency_mean=0.0), 3) == [0.01] * 3


def test_the_more_packets_are_lost_the_longer_it_takes():
    means = [mean(delays(replace(GOOD, loss=loss))) for loss in (0.0, 0.1, 0.3, 0.6)]
    assert means == sorted(means)
    assert means[1] > 3 * means[0]


def test_a_lost_packet_is_sent_again_after_a_while_that_doubles():
    for delay in delays(replace(GOOD, loss=0.5, latency_mean=1e-9)):
        resent = delay - GOOD.latency_min
        steps = [RESEND_FIRST * (2**n - 1) for n in range(RESEND_MOST + 1)]
        assert min(abs(resent - step) for step in steps) < 1e-6


def test_even_a_path_that_loses_everything_delivers_at_last():
    assert max(delays(replace(GOOD, loss=1.0))) == pytest.approx(LONGEST_RESEND, abs=0.1)


def test_in_a_burst_everything_is_lost_and_between_bursts_nothing():
    bursts = delays(replace(GOOD, burst_every=10.0, burst_for=2.0), 2000)
    hit = [delay for delay in bursts if delay >= RESEND_FIRST]
    assert 0.05 < len(hit) / len(bursts) < 0.4
    assert all(delay < 0.1 for delay in bursts if delay < RESEND_FIRST)


def test_bursts_hit_neighbours_together():
    path = Path(Conditions(burst_every=10.0, burst_for=2.0), Random(3))
    lost = [path.delay(100, 1000 + i / 10) >= RESEND_FIRST for i in range(3000)]
    changes = sum(one != two for one, two in pairwise(lost))
    assert 0 < changes < 0.3 * sum(lost)


def test_frames_wait_for_each_other_where_the_way_is_narrow():
    path = Path(replace(GOOD, bandwidth=1000.0), Random(1))
    first, second, third = (path.delay(500, 1000.0) for _ in range(3))
    assert 0.5 <= first < 0.6
    assert 1.0 <= second < 1.1
    assert 1.5 <= third < 1.6
    assert 0.5 <= path.delay(500, 1010.0) < 0.6, "the way was free again"


def test_where_there_is_no_limit_a_large_frame_takes_no_longer():
    assert delays(GOOD, size=10) == delays(GOOD, size=10_000_000)


# ---- packets -------------------------------------------------------------------------------------


def copies(conditions: Conditions, count: int = 2000, gap: float = 0.1) -> list[tuple[float, ...]]:
    """Of packets that are sent one after the other."""
    path = Path(conditions, Random(1))
    return [path.packet(100, 1000 + i * gap) for i in range(count)]


def test_a_packet_on_a_good_path_is_there_once_after_a_latency_of_its_own():
    found = copies(GOOD)
    assert {len(delays) for delays in found} == {1}
    assert mean([delay for (delay,) in found]) == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize("loss", [0.1, 0.5, 1.0])
def test_a_lost_packet_is_lost_with_one_draw(loss: float):
    lost = copies(replace(GOOD, loss=loss)).count(())
    assert lost / 2000 == pytest.approx(loss, abs=0.05)


def test_bursts_swallow_packets_that_are_neighbours():
    lost = [not delays for delays in copies(Conditions(burst_every=10.0, burst_for=2.0))]
    assert 0.05 < sum(lost) / len(lost) < 0.4
    assert 0 < sum(one != two for one, two in pairwise(lost)) < 0.3 * sum(lost)


def test_a_packet_is_doubled_with_the_given_probability_and_each_copy_has_its_delay():
    doubled = [delays for delays in copies(replace(GOOD, duplicate=0.2)) if len(delays) == 2]
    assert len(doubled) / 2000 == pytest.approx(0.2, abs=0.05)
    assert all(one != two for one, two in doubled)


def test_frames_are_never_doubled_and_take_no_longer_for_it():
    assert delays(replace(GOOD, duplicate=1.0)) == delays(GOOD)


def test_frames_and_packets_wait_for_each_other_where_the_way_is_narrow():
    path = Path(replace(GOOD, bandwidth=1000.0), Random(1))
    assert 0.5 <= path.delay(500, 1000.0) < 0.6
    (second,) = path.packet(500, 1000.0)
    assert 1.0 <= second < 1.1
    assert 1.5 <= path.delay(500, 1000.0) < 1.6


@pytest.mark.parametrize("name", ["loss", "duplicate"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_what_is_no_probability_is_refused_by_name(name: str, value: float):
    with pytest.raises(ValueError, match=name):
        Conditions(**{name: value})
