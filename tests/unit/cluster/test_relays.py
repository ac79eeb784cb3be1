"""Pushes in a large cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import isqrt

import pytest

from pyhorde.cluster.replication.messages import SyncAck, SyncData, SyncRequest
from pyhorde.cluster.replication.relays import relays, share
from tests.unit.cluster.pair import CONFIG, Pair, met

BOOTS = [f"n{number:02}" for number in range(41)]
ORIGIN, *OTHERS = BOOTS
LARGE = replace(CONFIG, relay_above=30)


@pytest.fixture
def crowd() -> Pair:
    """Forty-one nodes."""
    made = met(BOOTS, LARGE)
    made.round(2)
    made.sent.clear()
    return made


def chosen_by(boot: str) -> list[str]:
    return relays(boot, [each for each in BOOTS if each != boot])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10, 16, 17, 40, 100])
def test_relays_and_their_shares_are_everybody_once(count: int):
    boots = [f"boot-{number}" for number in range(count)]
    chosen = relays("origin", boots)
    assert len(chosen) == isqrt(count - 1) + 1
    served = [each for relay in chosen for each in share("origin", relay, boots)]
    assert Counter([*chosen, *served]) == Counter(boots)
    longest = max(len(share("origin", relay, boots)) for relay in chosen)
    assert longest <= isqrt(count) + 1


def test_who_is_no_relay_passes_nothing_on():
    chosen = chosen_by(ORIGIN)
    for boot in OTHERS:
        assert bool(share(ORIGIN, boot, OTHERS)) == (boot in chosen)


def test_relays_do_not_depend_on_the_order_of_the_members():
    assert relays("x", OTHERS) == relays("x", OTHERS[::-1])
    assert share("x", relays("x", OTHERS)[0], set(OTHERS)) == share(
        "x", relays("x", OTHERS)[0], OTHERS
    )


def test_different_origins_have_different_relays():
    load = Counter(relay for boot in BOOTS for relay in chosen_by(boot))
    assert len(load) > 30
    assert max(load.values()) < 20


def test_a_push_goes_to_few_and_reaches_all_in_two_hops(crowd: Pair):
    crowd.write(ORIGIN)
    crowd.tick(ORIGIN)
    direct = crowd.of(SyncData)
    assert [to for _, to in direct] == sorted(chosen_by(ORIGIN))
    assert len(direct) == 7
    crowd.deliver()
    copies = crowd.of(SyncData)
    assert Counter(to for _, to in copies) == Counter(OTHERS)
    assert {sender for sender, _ in copies} == {ORIGIN, *chosen_by(ORIGIN)}
    assert crowd.converged()


def test_the_origin_hears_from_everybody_that_it_came(crowd: Pair):
    crowd.write(ORIGIN)
    seq = crowd.replica(ORIGIN).seq
    crowd.tick(ORIGIN)
    assert {crowd[ORIGIN].acked(other) for other in OTHERS} == {seq - 1}
    crowd.deliver()
    assert {crowd[ORIGIN].acked(other) for other in OTHERS} == {seq}
    confirmations = crowd.of(SyncAck)
    assert sorted(confirmations) == sorted((other, ORIGIN) for other in OTHERS)


def test_with_few_peers_everybody_is_pushed_directly():
    pair = met(BOOTS[:31], LARGE)
    pair.write(ORIGIN)
    pair.flush()
    assert len(pair.of(SyncData)) == 30
    assert not any(push.relay or push.relayed for push in pair.pushes(ORIGIN))


def test_the_share_of_a_dead_relay_gets_it_within_two_sync_intervals(crowd: Pair):
    dead = chosen_by(ORIGIN)[0]
    served = share(ORIGIN, dead, OTHERS)
    crowd.write(ORIGIN)
    crowd.tick(ORIGIN)
    crowd.waiting = [w for w in crowd.waiting if w[1] != dead]
    crowd.deliver()
    seq = crowd.replica(ORIGIN).seq
    late = [other for other in OTHERS if crowd.replica(other).known(ORIGIN) < seq]
    assert sorted(late) == sorted([dead, *served]) and served
    for _ in range(2):
        crowd.now += 1.25 * CONFIG.sync_interval
        crowd.run(ORIGIN, crowd[ORIGIN].tick(crowd.now))
        crowd.deliver(loses=lambda message: isinstance(message, SyncRequest))
    assert {crowd.replica(other).known(ORIGIN) for other in served} == {seq}
    assert {crowd[ORIGIN].acked(other) for other in served} == {seq}
    crowd.round(2)
    assert crowd.converged()


def test_those_who_have_it_are_not_pushed_it_again(crowd: Pair):
    crowd.write(ORIGIN)
    crowd.tick(ORIGIN)
    crowd.deliver()
    crowd.sent.clear()
    for _ in range(3):
        crowd.now += 1.25 * CONFIG.sync_interval
        crowd.run(ORIGIN, crowd[ORIGIN].tick(crowd.now))
        crowd.deliver()
    assert crowd.pushes(ORIGIN) == []


def test_where_views_differ_all_get_it_all_the_same():
    """Each relay misses another node, and thinks that others count on it."""
    pair = met(BOOTS[:12], replace(CONFIG, relay_above=3))
    names = BOOTS[:12]
    for number in range(1, 11):
        pair.unlink(names[number], names[number + 1])
    pair.sent.clear()
    for number in range(5):
        pair.write(ORIGIN, f"k{number}")
        pair.flush()
    for _ in range(3):
        pair.now += 1.25 * CONFIG.sync_interval
        pair.run(ORIGIN, pair[ORIGIN].tick(pair.now))
        pair.deliver(loses=lambda message: isinstance(message, SyncRequest))
    seq = pair.replica(ORIGIN).seq
    assert {pair[ORIGIN].acked(other) for other in names[1:]} == {seq}
    assert {pair.replica(other).known(ORIGIN) for other in names} == {seq}


def test_a_relay_that_misses_something_passes_nothing_on(crowd: Pair):
    relay = chosen_by(ORIGIN)[0]
    crowd.write(ORIGIN)
    crowd.tick(ORIGIN)
    crowd.waiting = [w for w in crowd.waiting if w[1] != relay]
    crowd.deliver()
    crowd.write(ORIGIN)
    message = crowd[ORIGIN]._pushes.after(crowd.replica(ORIGIN).seq - 1)[1]
    effects = crowd[relay].received(ORIGIN, message, crowd.now, crowd.now)
    assert [type(effect.message) for effect in effects if hasattr(effect, "message")] == [
        SyncAck,
        SyncRequest,
    ]
    crowd.run(relay, effects)
    crowd.deliver()
    crowd.round(3)
    assert crowd.converged()


def test_a_relayed_push_is_not_passed_on_again_and_confirmed_to_its_origin_only(crowd: Pair):
    relay = chosen_by(ORIGIN)[0]
    served = share(ORIGIN, relay, OTHERS)[0]
    crowd.write(ORIGIN)
    message = crowd[ORIGIN]._pushes.after(crowd.replica(ORIGIN).seq - 1)[1]
    again = replace(message, relay=False, relayed=True)
    crowd.give(served, relay, again)
    assert crowd.of(SyncData) == []
    assert crowd.of(SyncAck) == [(served, ORIGIN)]
    crowd.waiting.clear()
    crowd.tick(ORIGIN)
    crowd.deliver()
    assert crowd.converged()
