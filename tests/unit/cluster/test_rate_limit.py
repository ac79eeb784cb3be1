"""What strangers cause is told now and then, and counted always."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyhorde.cluster.transport.rate_limit import BURST, RateLimit


def test_one_line_a_second_for_each_address_with_the_number_of_those_left_out():
    limit = RateLimit()
    assert limit.allow("refused", "a", 10.0) == (True, 0)
    assert limit.allow("refused", "a", 10.5) == (False, 1)
    assert limit.allow("refused", "a", 10.9) == (False, 2)
    assert limit.allow("refused", "a", 11.0) == (True, 2)
    assert limit.allow("refused", "a", 12.0) == (True, 0)


def test_one_address_does_not_silence_another_nor_one_kind_another():
    limit = RateLimit()
    assert limit.allow("refused", "a", 0.0) == (True, 0)
    assert limit.allow("refused", "b", 0.0) == (True, 0)
    assert limit.allow("dropped", "a", 0.0) == (True, 0)


def test_many_addresses_are_worth_no_more_than_some():
    limit = RateLimit()
    told = [limit.allow("refused", str(number), 0.0)[0] for number in range(10_000)]
    assert sum(told) == BURST
    assert limit.allow("refused", "new", 1.0) == (True, 10_000 - BURST)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.floats(0, 2))))
def test_every_line_is_told_or_counted_and_little_is_kept(calls: list[tuple[str, int, float]]):
    limit, now, told, counted = RateLimit(burst=5), 0.0, 0, 0
    for kind, address, pause in calls:
        now += pause
        allowed, suppressed = limit.allow(kind, str(address), now)
        if allowed:
            told, counted = told + 1, counted + suppressed
        assert all(len(seen.told) <= 5 for seen in limit._kinds.values())
    waiting = sum(seen.suppressed for seen in limit._kinds.values())
    assert told + counted + waiting == len(calls)
