"""Who is found dead, and who is not; the pump checks invariants after every event."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership import membership
from pyhorde.cluster.membership.effects import Redial, Send
from pyhorde.cluster.membership.identity import Identity
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.messages import Ack, Gossip, Ping, PingRequest, Table, Update
from pyhorde.cluster.membership.outbox import Outbox
from pyhorde.cluster.membership.probing import Prober
from pyhorde.cluster.membership.suspicion import Suspicions, bounds
from pyhorde.config import MembershipConfig
from tests.unit.cluster.pump import Pump, accuse, mesh

LAN = MembershipConfig()
ALIVE, SUSPECT, STALLED, DEAD, LEFT = Status
SEEDS = range(5)


def detection_bound(size: int) -> float:
    """Seconds until a silent member is dead everywhere.

    In the worst case it was probed first in one round and is last in the next. Then the probe, the
    shortest suspicion (confirmations come within two intervals), the last check, and news.
    """
    rounds = (2 * (size - 1) - 1) * LAN.probe_interval
    return rounds + LAN.probe_interval + bounds(size, LAN)[0] + LAN.probe_timeout + 1.0


# ---- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_silent_member_is_suspected_then_dead_within_the_bound(names: str, seed: int):
    pump = mesh(names, seed=seed)
    began = pump.now
    pump.power_off("b")
    pump.run_until(pump.agreed, detection_bound(len(names)))
    for observer in set(names) - {"b"}:
        suspected = pump.seen("b", SUSPECT, observer)[0].at
        dead = pump.seen("b", DEAD, observer)[0].at
        assert began < suspected < dead
        assert dead - suspected >= bounds(len(names), LAN)[0] - 1.0


def test_those_who_hear_of_a_suspicion_ask_for_themselves_and_confirm():
    pump = mesh("abc")
    pump.power_off("b")
    pump.run_until(pump.agreed, 15.0)
    assert "suspected by a, c" in pump.seen("b", DEAD)[0].change.cause


def test_without_a_confirmation_the_suspicion_takes_its_longest_time():
    pump = mesh("abc")
    pump.stall("c", 60.0)
    pump.power_off("b")
    pump.run_until(lambda: pump.status("a", "b") is DEAD, 30.0)
    suspected = pump.seen("b", SUSPECT, "a")[0].at
    assert pump.now - suspected >= bounds(3, LAN)[1]


def test_an_indirect_probe_keeps_a_member_alive_when_only_the_direct_way_is_silent():
    pump = mesh("abc")
    pump.cut.add(frozenset("ab"))
    pump.run(60.0)
    assert pump.events == []
    assert any(isinstance(message, PingRequest) for _, _, _, message in pump.sent)


def test_without_indirect_probes_it_would_be_suspected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Outbox, "ask_others", lambda self, boot, seq: frozenset())
    pump = mesh("abc")
    pump.cut.add(frozenset("ab"))
    pump.run(60.0)
    assert pump.seen("b", SUSPECT, "a")


def test_a_suspect_is_asked_again_until_it_is_decided():
    """Once would not do: that one ping, or its ack, may be the one that is lost."""
    pump = mesh("ab")
    pump.power_off("b")
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    pump.sent.clear()
    pump.run(bounds(2, LAN)[0] - 0.2)
    asked = {m.seq for _, a, _, m in pump.sent if a == "a" and isinstance(m, Ping)}
    assert len(asked) == pytest.approx(bounds(2, LAN)[0] / LAN.probe_timeout, abs=1)


def test_before_the_verdict_others_are_asked_once_more():
    pump = mesh("abc")
    pump.power_off("b")
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    pump.sent.clear()
    pump.run_until(lambda: pump.status("a", "b") is DEAD, 15.0)
    requests = [(at, m) for at, a, _, m in pump.sent if a == "a" and isinstance(m, PingRequest)]
    ((at, request),) = requests
    assert pump.now - at == pytest.approx(LAN.probe_timeout, abs=0.01)
    assert Update.from_wire(request.updates[0]).member == pump.record("a", "b").at(SUSPECT)


# ---- refutation ---------------------------------------------------------------------------------


def test_a_living_suspect_refutes_with_a_raised_incarnation():
    pump = mesh("abc")
    accuse(pump, "a", "b")
    assert pump.status("a", "b") is SUSPECT
    pump.run_until(pump.agreed, 1.0)
    pump.run(0.1)  # who had not heard of the suspicion hears that it is over
    assert {pump.record(observer, "b").incarnation for observer in "abc"} == {1}
    pump.run(30.0)
    assert not pump.seen("b", DEAD)


def test_without_refutation_it_would_die(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Identity, "answer", lambda *_: None)
    pump = mesh("abc")
    accuse(pump, "a", "b")
    pump.run(15.0)
    assert pump.seen("b", DEAD, "a")


def test_a_refutation_that_is_lost_comes_again_with_the_ack():
    pump = mesh("abc")
    pump.loses = lambda a, b, message: isinstance(message, Gossip)
    accuse(pump, "a", "b")
    pump.run(30.0)
    assert not pump.seen("b", DEAD)
    assert pump.agreed()


def test_an_ack_through_another_node_ends_the_suspicion():
    """The helper itself knows nothing of the suspicion; the request tells it what to tell."""
    pump = mesh("abc")
    pump.cut.add(frozenset("ab"))
    pump.loses = lambda a, b, message: isinstance(message, Gossip | Table)
    accuse(pump, "a", "b")
    pump.run(8.0 + LAN.probe_timeout + 0.5)
    assert not pump.seen("b", DEAD)
    assert pump.status("a", "b") is ALIVE


def test_the_last_check_saves_who_could_not_answer_before():
    pump = mesh("ab")
    pump.cut.add(frozenset("ab"))
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    due = pump.seen("b", SUSPECT)[0].at + bounds(2, LAN)[0]
    pump.run(due - pump.now - 0.02)
    pump.cut.clear()
    pump.run(2.0)
    assert not pump.seen("b", DEAD, "a")


def test_an_accusation_of_an_older_incarnation_is_ignored_and_answered():
    pump = mesh("abc")
    old = pump.record("a", "b")
    accuse(pump, "a", "b")
    pump.run_until(pump.agreed, 1.0)
    gossip = Gossip([Update(old.at(SUSPECT), "c").to_wire()])
    node = pump.nodes["a"]
    assert node.core.received(pump.nodes["c"].me.boot, gossip, pump.now) == []
    (answer,) = pump.nodes["b"].core.received(node.me.boot, gossip, pump.now)
    assert answer == Send(node.me.boot, Gossip([Update(pump.nodes["b"].me).to_wire()]))


def test_a_new_accusation_of_a_newer_incarnation_begins_from_nothing():
    """Who raised its incarnation refuted everything that was said before."""
    pump = mesh("abcd")
    pump.power_off("b")
    core, now = pump.nodes["a"].core, pump.now
    record = pump.record("a", "b")
    for accuser in "cd":
        core.received("x", Gossip([Update(record.at(SUSPECT), accuser).to_wire()]), now)
    newer = replace(record, incarnation=3, draining=True).at(SUSPECT)
    core.received("x", Gossip([Update(newer, "c").to_wire()]), now + 3.0)
    suspicion = core._suspicions.get(record.boot)
    assert suspicion is not None
    assert (suspicion.started, suspicion.accusers) == (now + 3.0, {"c"})
    assert pump.record("a", "b") == newer


def test_a_newer_suspicion_shows_that_a_member_held_for_dead_was_alive():
    pump = mesh("abc")
    core, record = pump.nodes["a"].core, pump.record("a", "b")
    core.received("x", Gossip([Update(record.at(DEAD), "c").to_wire()]), pump.now)
    newer = replace(record, incarnation=1).at(SUSPECT)
    core.received("x", Gossip([Update(newer, "c").to_wire()]), pump.now)
    assert pump.status("a", "b") is SUSPECT
    core.validate()


def test_an_ack_of_a_higher_incarnation_ends_the_suspicion():
    pump = mesh("abc")
    core = pump.nodes["a"].core
    raised = replace(pump.record("a", "b"), incarnation=1, draining=True)
    accuse(pump, "a", "b")
    core.received("anybody", Ack(99, raised.boot, raised.to_wire(), [0, 0, 0], []), pump.now)
    assert pump.record("a", "b") == raised
    core.validate()


def test_an_accusation_that_is_known_is_no_news():
    """Otherwise two nodes would tell each other the same for ever."""
    pump = mesh("abc")
    core, record = pump.nodes["a"].core, pump.record("a", "b").at(SUSPECT)
    for evidence in (False, True):
        gossip = Gossip([Update(record, "c", evidence).to_wire()])
        core.received("x", gossip, pump.now)
        core._outbox._news._queue.clear()
        assert core.received("x", gossip, pump.now) == []
        assert len(core._outbox._news) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_live_member_that_is_declared_dead_comes_back_at_once_when_linked(seed: int):
    pump = mesh("abc", seed=seed)
    dead = Gossip([Update(pump.record("a", "b").at(DEAD), "c").to_wire()])
    node = pump.nodes["a"]
    pump._run(node, node.core.received("nobody", dead, pump.now))
    assert pump.status("a", "b") is DEAD
    pump.run_until(pump.agreed, 5.0)
    assert pump.record("a", "b").incarnation == 1


def test_who_is_held_for_dead_hears_it_with_every_ack():
    pump = mesh("abc")
    pump.loses = lambda a, b, message: isinstance(message, Gossip | Table)
    dead = Gossip([Update(pump.record("a", "b").at(DEAD), "c").to_wire()])
    node = pump.nodes["a"]
    pump._run(node, node.core.received("nobody", dead, pump.now))
    node.core._outbox._news._queue.clear()
    pump.run_until(pump.agreed, 5.0)


@pytest.mark.parametrize("names", ["ab", "abcde"])
def test_a_partition_heals_and_everybody_is_alive_again(names: str):
    pump = mesh(names)
    pump.cut = {frozenset((x, y)) for x in names[:1] for y in names[1:]}
    pump.run_until(lambda: pump.status("a", "b") is DEAD and pump.status("b", "a") is DEAD, 60.0)
    for name in names[1:]:
        pump.break_link("a", name)
    pump.run(120.0)
    pump.cut.clear()
    pump.run_until(pump.agreed, 10.0)


# ---- evidence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_killed_node_is_dead_everywhere_at_once(names: str, seed: int):
    pump = mesh(names, seed=seed)
    pump.stop("b")
    assert pump.run_until(pump.agreed, 0.5) < 0.1
    assert pump.seen("b", DEAD)[0].change.cause.startswith("re-dial refused")


def test_with_two_nodes_the_own_evidence_is_enough():
    pump = mesh("ab")
    pump.stop("b")
    pump.run(0.1)
    assert pump.seen("b", DEAD, "a")[0].change.cause == "re-dial refused"


def test_with_three_nodes_the_confirming_one_is_named():
    pump = mesh("abc")
    pump.stop("b")
    pump.run(0.1)
    assert pump.seen("b", DEAD)[0].change.cause in (
        "re-dial refused, confirmed by a",
        "re-dial refused, confirmed by c",
    )


def test_evidence_that_nobody_confirms_is_only_a_suspicion():
    pump = mesh("abc")
    pump.stall("c", 5.0)
    pump.stop("b")
    pump.run(3.0)
    assert pump.status("a", "b") is SUSPECT
    pump.run_until(pump.agreed, 5.0)


def test_evidence_of_others_alone_is_only_a_suspicion():
    pump = mesh("abcd")
    core, record = pump.nodes["a"].core, pump.record("a", "b").at(SUSPECT)
    for witness in "cd":
        update = Update(record, witness, evidence=True)
        core.received("x", Gossip([update.to_wire()]), pump.now)
    assert pump.status("a", "b") is SUSPECT


@pytest.mark.parametrize("seed", SEEDS)
def test_when_two_of_three_die_at_once_the_survivor_buries_both_at_once(seed: int):
    pump = mesh("abc", seed=seed)
    pump.stop("b")
    pump.stop("c")
    pump.run_until(pump.agreed, 0.1)
    assert {pump.status("a", name) for name in "bc"} == {DEAD}


def test_a_broken_connection_alone_is_no_evidence():
    pump = mesh("abc")
    pump.break_link("a", "b")
    pump.run(10.0)
    assert pump.events == []


def test_the_end_of_a_link_to_a_present_member_asks_for_a_new_dial():
    pump = mesh("abc")
    node, boot = pump.nodes["a"], pump.nodes["b"].me.boot
    assert node.core.unlinked(boot, pump.now) == [Redial(pump.record("a", "b"))]
    assert node.core.unlinked("unknown", pump.now) == []


def test_a_refusal_at_the_address_of_a_linked_absent_or_own_boot_says_nothing():
    pump = mesh("abc")
    node = pump.nodes["a"]
    pump.do("b", "leave")
    pump.run(0.1)
    pump.events.clear()
    for boot in (node.me.boot, pump.nodes["c"].me.boot, pump.nodes["b"].me.boot, "unknown"):
        assert node.core.refused(boot, pump.now) == []


def test_another_boot_at_the_address_is_evidence_against_the_old_one():
    pump = mesh("abc")
    pump.stop("b")
    old = pump.nodes["b"].me.boot
    pump.addresses["d"] = pump.addresses.pop("b")
    pump.boot("d")
    pump.run_until(pump.agreed, 2.0)
    assert pump.nodes["a"].core.view.by_boot[old].status is DEAD


# ---- stalls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_an_observer_that_stood_still_declares_nobody_dead(names: str, seed: int):
    pump = mesh(names, seed=seed)
    pump.run(random.Random(seed).uniform(0, 3))
    pump.stall("a", 3.5)
    pump.run(30.0)
    assert not any(event.change.after.status is DEAD for event in pump.events)
    assert pump.agreed()


@pytest.mark.parametrize("offset", [0.1, 0.6, 4.0, 5.0, 5.4])
def test_a_stall_of_eight_seconds_at_any_point_of_a_suspicion_kills_nobody(offset: float):
    """The messages that arrived meanwhile are read only after the tick that comes late."""
    pump = mesh("ab")
    pump.cut.add(frozenset("ab"))
    pump.run(offset)
    pump.stall("a", 8.0)
    pump.cut.clear()
    pump.run(20.0)
    assert not pump.seen("b", DEAD, "a")


def stalled_during_the_last_check() -> Pump:
    pump = mesh("ab")
    pump.cut.add(frozenset("ab"))
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    pump.run(bounds(2, LAN)[0] + 0.2)
    pump.stall("a", 8.0)
    pump.cut.clear()
    pump.run(20.0)
    return pump


def test_a_stall_during_the_last_check_does_not_shorten_it():
    assert not stalled_during_the_last_check().seen("b", DEAD, "a")


def test_without_the_credit_it_would(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Suspicions, "credit", lambda self, seconds: None)
    assert stalled_during_the_last_check().seen("b", DEAD, "a")


def stalled_while_an_ack_was_under_way() -> Pump:
    pump = mesh("ab")
    pump.delay = lambda a, b, message: 0.7 if isinstance(message, Ack) else 0.0
    prober = pump.nodes["a"].core._prober
    pump.run_until(lambda: prober._probe is not None and prober._probe.ends is not None, 5.0)
    pump.stall("a", 2.0)
    pump.run(5.0)
    return pump


def test_a_stall_during_a_probe_suspects_nobody():
    assert not stalled_while_an_ack_was_under_way().seen("b", SUSPECT)


def test_without_the_credit_somebody_would_be_suspected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Prober, "credit", lambda self, seconds: None)
    assert stalled_while_an_ack_was_under_way().seen("b", SUSPECT)


def test_a_suspicion_that_begins_after_a_stall_is_not_credited_with_it():
    """A machine that slept for an hour must not need an hour to notice a death."""
    pump = mesh("abc")
    core, record = pump.nodes["a"].core, pump.record("a", "b").at(SUSPECT)
    woke = pump.now + 3600.0
    core.received("x", Gossip([Update(record, "c").to_wire()]), woke)
    core.tick(woke + 0.01)
    suspicion = core._suspicions.get(record.boot)
    assert suspicion is not None and suspicion.started == woke


def test_events_before_the_start_are_not_late():
    pump = mesh("ab")
    peer = pump.nodes["b"].me
    core = Membership(replace(peer, name="z", boot="z"), LAN, random.Random(0))
    core.linked(peer, 5000.0)
    core.start(5000.1)
    assert 5000.1 <= core.next_deadline() <= 5000.1 + LAN.probe_interval


def ticks_of(pump: Pump, name: str, seconds: float) -> int:
    core, found = pump.nodes[name].core, []
    tick = core.tick
    core.tick = lambda now: (found.append(now), tick(now))[1]  # type: ignore[method-assign]
    pump.run(seconds)
    return len(found)


def test_a_node_that_judges_nobody_ticks_once_for_each_probe():
    assert ticks_of(mesh("abcde"), "a", 20.0) == pytest.approx(20, abs=2)


def test_while_somebody_is_judged_a_node_ticks_often_enough_to_notice_that_it_stood_still():
    pump = mesh("abc")
    pump.power_off("b")
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    assert ticks_of(pump, "a", 2.0) >= 2.0 / membership.BEAT - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stall_while_nobody_is_judged_puts_the_next_probe_off_by_an_interval_at_most(seed: int):
    pump = mesh("abc", seed=seed)
    pump.run(random.Random(seed).uniform(0, 3))
    pump.stall("a", 60.0)
    pump.run(60.01)
    core = pump.nodes["a"].core
    assert core.next_deadline() <= pump.now + LAN.probe_interval * (core.health.factor + 1)
    pump.run(10.0)
    assert pump.agreed()
