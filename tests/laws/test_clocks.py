"""Wrong clocks may cost fairness, never a write that came later, and they infect nobody."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pyhorde.crdt import HybridClock, Replica
from tests.laws.world import DAY, HOUR, MAX_SKEW, START, carry

laws = settings(max_examples=200, deadline=None, print_blob=True)
offsets = st.floats(-HOUR, HOUR) | st.sampled_from([0.0, DAY, -DAY])


@laws
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=30), st.data())
def test_a_causally_later_put_wins_whatever_the_clocks_say(
    puts: list[tuple[int, bool]], data: st.DataObject
) -> None:
    replicas = [Replica(origin, MAX_SKEW) for origin in "abc"]
    skews = [data.draw(offsets) for _ in replicas]
    last = replicas[0]
    for number, (who, delete) in enumerate(puts):
        writer, value = replicas[who], None if delete else b"%d" % number
        carry(last.deltas_for(writer.vector), writer, START + skews[who])
        assert writer.put("t", "k", value, START + number + skews[who])
        last = writer
        for replica, skew in zip(replicas, skews, strict=True):
            carry(writer.deltas_for(replica.vector), replica, START + skew)
            register = replica.register("t", "k")
            assert register is not None
            assert (register.value, register.deleted) == (value or b"", delete)


@laws
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_a_clock_a_day_ahead_drags_nobody_along(writers: list[int]) -> None:
    replicas = [Replica(origin, MAX_SKEW) for origin in "abc"]
    for number, who in enumerate(writers):
        ahead = DAY if who == 0 else 0.0
        replicas[who].put("t", f"k{number % 3}", b"", START + ahead)
        for replica in replicas:
            carry(replicas[who].deltas_for(replica.vector), replica, START)
    limit = int((START + MAX_SKEW) * 1000) << 16
    assert all(r.clock.last <= limit + len(writers) for r in replicas[1:])


@laws
@given(st.lists(st.tuples(offsets, st.integers(0, 2**50)), max_size=30))
def test_ticks_rise_whatever_is_observed(events: list[tuple[float, int]]) -> None:
    clock, last = HybridClock(MAX_SKEW), 0
    for offset, stamp in events:
        believed = clock.observe(stamp, START + offset)
        ticked = clock.tick(START + offset)
        assert ticked > last
        assert not believed or ticked > stamp
        last = ticked
