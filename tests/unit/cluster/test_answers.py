"""Pings and their answers: which way they go, what they carry, and what that decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.effects import Send
from pyhorde.cluster.membership.fallback import BLOCKED
from pyhorde.cluster.membership.health import Vitals
from pyhorde.cluster.membership.membership import TABLE_EVERY, Membership
from pyhorde.cluster.membership.messages import Ack, Gossip, Nack, Ping, PingRequest, Table
from pyhorde.cluster.membership.outbox import Outbox
from tests.unit.cluster.crowd import LAN, NOW, core_of, crowd, member, run_to, sends
from tests.unit.cluster.pump import Pump, accuse, mesh

ALIVE, SUSPECT, STALLED, DEAD, LEFT = Status
WELL = Vitals().to_wire()


def of_kind(messages: list[Any], *kinds: type[Any]) -> int:
    return sum(isinstance(message, kinds) for _, _, _, message in messages)


# ---- the record in an ack -----------------------------------------------------------------------


@pytest.mark.parametrize("known", [0, 4, 6, -1])
def test_an_ack_carries_the_record_only_if_the_asker_has_not_got_it(known: int):
    core = crowd(1)
    for turn in range(4):
        core.announce(NOW, types=(str(turn),))
    assert core.me.incarnation == 4
    ((_, ack),) = sends(
        core.received("boot-m000", Ping(7, core.me.boot, known, WELL, []), NOW), Ack
    )
    assert (ack.seq, ack.boot) == (7, core.me.boot)
    assert ack.member == (None if known == 4 else core.me.to_wire())


def test_a_ping_says_which_incarnation_is_known():
    core = crowd(1)
    raised = replace(member("m000"), incarnation=5)
    core.received("boot-m000", Ack(1, raised.boot, raised.to_wire(), WELL, []), NOW)
    ((_, ping),) = set_of_pings(core.tick(core.next_deadline()))
    assert (ping.target, ping.known) == (raised.boot, 5)


def set_of_pings(effects: list[Any]) -> list[tuple[str, Ping]]:
    """Each ping once, though it goes both ways."""
    return list({ping.seq: (boot, ping) for boot, ping in sends(effects, Ping)}.values())


def test_in_a_quiet_cluster_no_ack_carries_a_record():
    pump = mesh("abc")
    pump.run(30.0)
    acks = [m for _, _, _, m in pump.sent if isinstance(m, Ack)]
    assert len(acks) >= 80
    assert all(ack.member is None for ack in acks)


def test_an_ack_without_a_record_answers_a_probe():
    core = crowd(1)
    core.tick(core.next_deadline())
    assert core._prober.is_probing
    core.received("boot-m000", Ack(1, "boot-m000", None, WELL, []), NOW + 1)
    assert not core._prober.is_probing
    assert core.statistics.failed_probes == 0


def test_an_ack_that_another_passes_on_is_a_sign_of_life_of_the_one_who_made_it():
    core = crowd(2)
    core.received("boot-m001", Ack(7, "boot-m000", None, [5, 0, 0], []), NOW + 0.1)
    assert core._signs.heard == {"boot-m000": NOW + 0.1, "boot-m001": NOW + 0.1}
    assert core.vitals("boot-m000") == Vitals(5, 0, 0)
    assert core.vitals("boot-m001") is None


def test_an_ack_that_is_passed_on_carries_the_record_in_any_case():
    """Who asked may know less than the helper, and is not the one that the answer was made for."""
    helper = crowd(2)
    request = PingRequest(33, "boot-m001", [])
    ((_, ping),) = set_of_pings(helper.received("boot-m000", request, NOW))
    answer = Ack(ping.seq, "boot-m001", None, WELL, [])
    ((boot, passed),) = sends(helper.received("boot-m001", answer, NOW), Ack)
    assert boot == "boot-m000"
    assert passed == Ack(33, "boot-m001", member("m001").to_wire(), WELL, [])


def test_what_is_passed_on_says_alive_whatever_the_helper_believed():
    helper = crowd(2)
    suspect = member("m001", status=SUSPECT)
    accusation = [[suspect.to_wire(), "m000", False]]
    request = PingRequest(33, "boot-m001", accusation)
    ((_, ping),) = set_of_pings(helper.received("boot-m000", request, NOW))
    assert helper.view.by_name["m001"].status is SUSPECT
    ((_, passed),) = sends(
        helper.received("boot-m001", Ack(ping.seq, "boot-m001", None, WELL, []), NOW), Ack
    )
    assert passed.member == member("m001").to_wire()


def test_an_ack_for_another_is_passed_on_by_the_stream_and_once():
    helper = crowd(2)
    ((_, ping),) = set_of_pings(helper.received("boot-m000", PingRequest(33, "boot-m001", []), NOW))
    ack = Ack(ping.seq, "boot-m001", None, WELL, [])
    (effect,) = helper.received("boot-m001", ack, NOW, packet=True)
    assert isinstance(effect, Send) and not effect.packet
    assert helper.received("boot-m001", ack, NOW) == []


def test_who_does_not_answer_for_another_is_reported_to_the_asker_once():
    helper = crowd(2)
    helper.received("boot-m000", PingRequest(33, "boot-m001", []), NOW)
    rest = LAN.probe_interval - LAN.probe_timeout
    assert sends(run_to(helper, NOW + 0.71 * rest), Nack) == []
    assert sends(run_to(helper, NOW + 0.73 * rest), Nack) == [("boot-m000", Nack(33))]
    assert sends(run_to(helper, NOW + 3.0), Nack) == []


def test_an_answer_that_comes_after_the_report_is_passed_on_all_the_same():
    helper = crowd(2)
    ((_, ping),) = set_of_pings(helper.received("boot-m000", PingRequest(33, "boot-m001", []), NOW))
    run_to(helper, NOW + 0.4)
    ack = Ack(ping.seq, "boot-m001", None, WELL, [])
    assert sends(helper.received("boot-m001", ack, NOW + 0.5), Ack)


def test_vitals_ride_on_pings_and_acks():
    pump = mesh("ab")
    pump.nodes["b"].core.describe(12, 0.25)
    boot = pump.nodes["b"].me.boot
    pump.run(2.5)
    assert pump.nodes["a"].core.vitals(boot) == Vitals(12, 0, 250)
    assert pump.nodes["b"].core.vitals(boot) == Vitals(12, 0, 250)
    assert pump.nodes["a"].core.vitals("stranger") is None


# ---- the way ------------------------------------------------------------------------------------


def test_the_first_ping_goes_both_ways_and_later_ones_as_packets():
    core = crowd(1)
    first = [effect for effect in core.tick(core.next_deadline()) if isinstance(effect, Send)]
    assert sorted(effect.packet for effect in first) == [False, True]
    ping = first[0].message
    core.received("boot-m000", Ack(ping.seq, "boot-m000", None, WELL, []), NOW + 1, packet=True)
    later = [effect for effect in core.tick(core.next_deadline()) if isinstance(effect, Send)]
    assert [effect.packet for effect in later if isinstance(effect.message, Ping)] == [True]


@pytest.mark.parametrize("packet", [True, False])
def test_a_ping_is_answered_the_way_it_came(packet: bool):
    core = crowd(1)
    ping = Ping(7, core.me.boot, 0, WELL, [])
    (effect,) = core.received("boot-m000", ping, NOW, packet=packet)
    assert isinstance(effect, Send) and effect.packet is packet


def test_where_packets_get_through_probes_are_packets_and_all_else_is_not():
    pump = mesh("abc")
    pump.run(10.0)
    pump.sent.clear()
    pump.sent_packets.clear()
    pump.run(40.0)
    assert of_kind(pump.sent_packets, Ping, Ack) == of_kind(pump.sent, Ping, Ack) > 200
    assert of_kind(pump.sent_packets, Gossip, Table, PingRequest, Nack) == 0
    assert pump.events == []


def blocked(names: str) -> Pump:
    pump = mesh(names)
    pump.loses_packet = lambda *_: True
    pump.run(6.0 * (len(names) - 1) * LAN.probe_interval)
    pump.sent.clear()
    pump.sent_packets.clear()
    return pump


def test_where_packets_stop_to_get_through_streams_take_over_and_nobody_notices():
    pump = blocked("abc")
    pump.run(60.0)
    assert pump.events == []
    assert of_kind(pump.sent, PingRequest) == 0


def test_packets_that_are_blocked_are_tried_now_and_then():
    pump = blocked("abc")
    pump.run(60.0)
    packets, all_pings = of_kind(pump.sent_packets, Ping), of_kind(pump.sent, Ping)
    assert 0 < packets < 0.15 * all_pings


def test_no_probe_fails_before_streams_take_over():
    """A packet without an answer is asked about over the stream as soon as it is overdue."""
    pump = mesh("ab")
    pump.loses_packet = lambda *_: True
    pump.run((BLOCKED + 2) * LAN.probe_interval)
    assert [node.core.statistics.failed_probes for node in pump.live] == [0, 0]


def test_without_asking_again_over_the_stream_they_would_fail(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Outbox, "ask_again", lambda self, boot, seq: None)
    pump = mesh("ab")
    pump.loses_packet = lambda *_: True
    pump.run((BLOCKED + 2) * LAN.probe_interval)
    assert all(node.core.statistics.failed_probes > 0 for node in pump.live)


def test_to_ask_again_over_the_stream_is_no_second_packet_without_an_answer():
    core = crowd(1)
    core.received("boot-m000", Ack(0, "boot-m000", None, WELL, []), NOW, packet=True)
    for lost in range(1, BLOCKED + 1):
        ways = [effect.packet for effect in run_until_answered(core)]
        assert ways == [True, False]
        assert core._outbox.fallback.works("boot-m000") is (lost < BLOCKED)


def run_until_answered(core: Membership) -> list[Send]:
    """The next probe, to which only the question over the stream is answered; its pings."""
    pings: list[Send] = []
    while not any(not ping.packet for ping in pings):
        now = core.next_deadline()
        effects = core.tick(now)
        pings += [e for e in effects if isinstance(e, Send) and isinstance(e.message, Ping)]
    core.received("boot-m000", Ack(0, "boot-m000", None, WELL, []), now)
    return pings


def test_packets_that_get_through_again_are_used_again():
    pump = blocked("abc")
    pump.loses_packet = lambda *_: False
    pump.run(24 * LAN.probe_interval)
    pump.sent.clear()
    pump.sent_packets.clear()
    pump.run(20.0)
    assert of_kind(pump.sent_packets, Ping) == of_kind(pump.sent, Ping)


def test_who_answers_packets_only_is_alive():
    """The stream is jammed, say by bulk: that is no reason to bury anybody."""
    pump = mesh("abc")
    pump.run(10.0)
    pump.loses_stream = lambda *_: True
    pump.run(60.0)
    assert not pump.seen("b", DEAD) and not pump.seen("b", SUSPECT)


def test_a_suspect_is_asked_in_every_way():
    pump = mesh("ab")
    pump.power_off("b")
    pump.run_until(lambda: pump.status("a", "b") is SUSPECT, 5.0)
    pump.sent.clear()
    pump.sent_packets.clear()
    pump.run(2.0)
    pings = of_kind(pump.sent_packets, Ping)
    assert 2 * pings == of_kind(pump.sent, Ping) >= 8


def test_who_is_asked_for_somebody_elses_sake_is_asked_in_every_way():
    core = crowd(1)
    asked = core.ask("boot-m000")
    assert sorted(effect.packet for effect in asked if isinstance(effect, Send)) == [False, True]
    assert len(set_of_pings(asked)) == 1
    assert core.ask("stranger") == []
    assert not core._prober.is_probing and core.suspects == []


def test_either_way_alone_is_enough_to_refute():
    for way in ("loses_packet", "loses_stream"):
        pump = mesh("abc")
        setattr(pump, way, lambda *_: True)
        accuse(pump, "a", "b")
        pump.run(LAN.probe_timeout + 0.1)
        assert pump.status("a", "b") is ALIVE, way
        assert pump.record("a", "b").incarnation == 1


def test_a_node_without_packets_sends_none_and_answers_none_by_packet():
    pump = Pump()
    pump.packets = False
    for name in "ab":
        pump.boot(name)
    pump.run(30.0)
    assert pump.agreed()
    assert pump.sent_packets == []
    core = core_of(packets=False)
    core.linked(member("m000"), NOW)
    (effect,) = core.received("boot-m000", Ping(1, core.me.boot, 0, WELL, []), NOW, packet=True)[
        -1:
    ]
    assert isinstance(effect, Send) and not effect.packet


def test_a_node_without_packets_pings_by_stream_whatever_comes_as_a_packet():
    core = core_of(packets=False)
    core.linked(member("m000"), NOW)
    core.received("boot-m000", Ack(9, "boot-m000", None, WELL, []), NOW, packet=True)
    sent = [effect for effect in run_to(core, NOW + 1.0) if isinstance(effect, Send)]
    assert {effect.packet for effect in sent if isinstance(effect.message, Ping)} == {False}


def test_nodes_with_and_without_packets_get_on():
    pump = Pump("a")
    pump.packets = False
    pump.boot("b")
    pump.addresses |= {"a": "a:1"}
    pump.run(60.0)
    assert pump.agreed()
    assert not pump.seen("a", SUSPECT) and not pump.seen("b", SUSPECT)


# ---- strangers ----------------------------------------------------------------------------------


def test_what_is_kept_of_boots_is_forgotten_with_them():
    brief = replace(LAN, former_member_ttl=30.0)
    pump = mesh("ab", brief)
    core = pump.nodes["a"].core
    for turn in range(4):
        pump.stop("b")
        pump.run(1.0)
        pump.boot("b", generation=turn + 2)
        pump.run(5.0)
    pump.run(2 * TABLE_EVERY + 1)
    here = {pump.nodes["b"].me.boot}
    assert set(core._signs.heard) == set(core._outbox.fallback._missed) == here
    pump.stop("b")
    pump.run(30.0 + 2 * TABLE_EVERY)
    assert core._signs.heard == core._signs.vitals == core._outbox.fallback._missed == {}


def test_messages_of_boots_that_were_never_linked_leave_no_trace():
    core = crowd(1)
    for number in range(50):
        boot = f"boot-x{number}"
        core.received(boot, Ping(1, core.me.boot, 0, [number, 0, 0], []), NOW, packet=True)
        core.received(boot, Nack(1), NOW)
    assert set(core._signs.heard) == {"boot-m000"}
    assert set(core._signs.vitals) <= {"boot-m000"}
    assert set(core._outbox.fallback._missed) == {"boot-m000"}
