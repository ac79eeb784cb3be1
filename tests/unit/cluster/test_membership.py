"""Scenarios with several cores wired together; the pump checks invariants after every event."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import Changed, Send, YieldName
from pyhorde.cluster.membership.health import Vitals
from pyhorde.cluster.membership.messages import Ack, Gossip, Ping, PingRequest, Table, Update
from pyhorde.cluster.membership.roster import read_row
from pyhorde.cluster.membership.suspicion import Suspicions
from pyhorde.config import MembershipConfig
from tests.unit.cluster.pump import Pump, accuse, mesh

LAN = MembershipConfig()
ALIVE, SUSPECT, STALLED, DEAD, LEFT = Status
WELL = Vitals().to_wire()
SEEDS = range(5)


# ---- joining ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcdefgh"])
def test_nodes_that_know_each_other_agree_within_a_moment(names: str):
    pump = Pump(names)
    pump.run_until(pump.agreed, 1.0)
    assert all(node.core.me.incarnation == 0 for node in pump.live)


def test_one_peer_is_enough_to_meet_everybody():
    pump = Pump()
    pump.boot("a")
    for name in "bcd":
        pump.addresses = {"a": "a:1"}
        pump.boot(name)
    pump.addresses = {name: f"{name}:1" for name in "abcd"}
    pump.run_until(pump.agreed, 2.0)


def test_a_quiet_cluster_stays_quiet():
    pump = mesh("abc")
    pump.run(60.0)
    assert pump.events == []
    probes = [m for _, _, _, m in pump.sent if isinstance(m, Ping | Ack)]
    assert len(probes) == pytest.approx(3 * 60 * 2, rel=0.05)
    assert not any(m.updates for m in probes)


def test_announcements_reach_everyone():
    pump = mesh("abc")
    pump.do("a", "announce", draining=True)
    pump.do("a", "announce", types=("T", "S"))
    pump.do("a", "announce", generation=9)
    pump.run(0.1)
    record = pump.record("c", "a")
    assert (record.draining, record.types, record.generation) == (True, ("T", "S"), 9)
    assert record.incarnation == 3


def test_an_announcement_whose_message_was_lost_arrives_with_the_next_ack():
    """The ack carries the record itself: a number alone would make others invent the rest."""
    pump = mesh("ab")
    pump.loses = lambda a, b, message: isinstance(message, Gossip)
    pump.do("a", "announce", draining=True)
    pump.run(3.0)
    assert pump.record("b", "a") == pump.nodes["a"].me


# ---- leaving ------------------------------------------------------------------------------------


def test_who_left_is_not_reported_dead():
    pump = mesh("abc")
    pump.do("b", "leave")
    pump.run(0.05)
    pump.stop("b")
    pump.run(30.0)
    assert [pump.status(observer, "b") for observer in "ac"] == [LEFT, LEFT]
    assert not pump.seen("b", SUSPECT) and not pump.seen("b", DEAD)


def test_left_is_final_for_a_boot():
    pump = mesh("abc")
    record = pump.record("a", "b")
    pump.do("b", "leave")
    pump.run(0.05)
    for status in (ALIVE, SUSPECT, DEAD):
        accusation = Gossip([Update(record.at(status), "c").to_wire()])
        for name in "ab":
            node = pump.nodes[name]
            pump._run(node, node.core.received("x", accusation, pump.now))
    twin = Update(replace(record, boot="zz", generation=9, address="elsewhere:1"))
    assert pump.nodes["b"].core.received("x", Gossip([twin.to_wire()]), pump.now) == []
    pump.run(5.0)
    assert {pump.status(observer, "b") for observer in "abc"} == {LEFT}
    assert pump.nodes["b"].me.incarnation == 1


def test_a_leave_that_one_node_missed_reaches_it_with_the_next_ack():
    pump = mesh("abc")
    pump.loses = lambda a, b, message: isinstance(message, Gossip) and b == "c"
    pump.do("b", "leave")
    pump.run(4.0)
    assert pump.status("c", "b") is LEFT


# ---- names and boots ----------------------------------------------------------------------------


@pytest.mark.parametrize("boot", ["00000000-low", "ffffffff-high"])
@pytest.mark.parametrize("seen_dead", [True, False])
def test_a_restart_takes_its_name_over_though_its_clock_stood_still(boot: str, seen_dead: bool):
    pump = mesh("abc")
    old = pump.nodes["b"].me
    pump.stop("b")
    pump.run(1.0 if seen_dead else 0.0)
    pump.boot("b", boot=boot)
    pump.run_until(pump.agreed, 2.0)
    assert not pump.yielded
    assert pump.record("a", "b").identity > old.identity


def test_a_new_boot_counts_whatever_is_said_about_the_old():
    pump = mesh("abc")
    old = pump.nodes["b"].me
    pump.stop("b")
    pump.boot("b", generation=1)
    pump.run_until(pump.agreed, 2.0)
    pump.events.clear()
    core, now = pump.nodes["a"].core, pump.now
    for status in Status:
        said = Update(replace(old, incarnation=99).at(status), "c", evidence=True)
        assert core.received("x", Gossip([said.to_wire()]), now) == []
        core.received("x", Table([[said.member.to_wire(), 5.0, ""]], reply=False), now)
        core.refused(old.boot, now)
        core.unlinked(old.boot, now)
    assert pump.record("a", "b") == pump.nodes["b"].me


def test_the_table_of_a_node_that_slept_resurrects_nobody():
    pump = mesh("abc")
    pump.cut = {frozenset("ac"), frozenset("bc")}
    pump.stop("b")
    pump.run(0.5)
    pump.boot("b")
    pump.run(60.0)
    pump.cut.clear()
    pump.run_until(pump.agreed, 20.0)
    assert pump.record("c", "b") == pump.nodes["b"].me


def test_a_node_yields_when_a_live_node_elsewhere_has_the_better_right_to_its_name():
    pump = mesh("abc")
    node = pump.nodes["b"]
    rival = replace(node.me, boot="rival", address="elsewhere:1", generation=9)
    (effect,) = node.core.received("x", Gossip([Update(rival).to_wire()]), pump.now)
    assert effect == YieldName(rival)


def test_a_node_tells_a_rival_of_the_lesser_right():
    pump = mesh("abc")
    node = pump.nodes["b"]
    rival = replace(node.me, boot="00000000", address="elsewhere:1")
    effects = node.core.received("x", Gossip([Update(rival).to_wire()]), pump.now)
    assert effects == [Send("x", Gossip([Update(node.me).to_wire()]))]


def test_a_dead_holder_elsewhere_does_not_keep_its_name():
    pump = mesh("abc")
    node = pump.nodes["b"]
    former = replace(node.me, boot="zz", address="elsewhere:1", generation=9, status=DEAD)
    node.core.received("x", Gossip([Update(former).to_wire()]), pump.now)
    assert node.me.generation == 10


@pytest.mark.parametrize("seed", range(8))
def test_of_two_live_nodes_of_one_name_exactly_one_stays(seed: int):
    """They start on either side of a partition, so that neither is refused by the other's peers."""
    pump = mesh("acd", seed=seed)
    pump.cut = {frozenset(pair) for pair in ("ac", "ad")}
    pump.run(30.0)
    pump.addresses |= {"b": "b:1"}
    first = pump.boot("b", address="b:1")
    first.dialer.seeds = ("a:1",)
    pump.run(1.0)
    second = pump.boot("b", address="b:2")
    second.dialer.seeds = ("c:1",)
    pump.nodes["b-first"] = first
    pump.run(1.0)
    pump.cut.clear()
    pump.run_until(lambda: first.listening != second.listening, 20.0)
    pump.run(20.0)
    assert len(pump.yielded) == 1
    assert pump.agreed()


def test_two_live_nodes_that_claim_one_address_do_not_outbid_each_other_for_ever():
    pump = mesh("ac")
    twins = [pump.boot("b", address="b:1", boot=boot) for boot in ("boot-1", "boot-2")]
    pump.nodes["b-first"] = twins[0]
    for twin in twins:
        twin.dialer.seeds = ("a:1", "c:1")
    pump.run(60.0)
    assert len(pump.yielded) == 1
    assert sum(twin.listening for twin in twins) == 1
    assert max(twin.me.generation for twin in twins) <= 2


def test_a_linked_boot_of_the_own_name_is_alive_wherever_it_says_it_is():
    pump = mesh("ab")
    node = pump.nodes["b"]
    twin = replace(node.me, boot="zz", generation=9)
    effects = node.core.linked(twin, pump.now)
    assert YieldName(twin) in effects


# ---- forgetting ---------------------------------------------------------------------------------

BRIEF = replace(LAN, former_member_ttl=60.0)


def test_former_members_are_forgotten_by_all_though_they_exchange_tables():
    pump = mesh("abc", BRIEF)
    pump.stop("b")
    pump.run(61.0)
    assert [pump.status(observer, "b") for observer in "ac"] == [None, None]
    pump.run(30.0)
    assert [pump.status(observer, "b") for observer in "ac"] == [None, None]


def test_a_node_that_joins_later_forgets_a_former_member_with_the_others():
    pump = mesh("abc", BRIEF)
    pump.stop("b")
    pump.run(40.0)
    pump.boot("d")
    pump.run(1.0)
    assert pump.status("d", "b") is DEAD
    pump.run(20.5)
    assert [pump.status(observer, "b") for observer in "acd"] == [None] * 3


def test_news_of_the_end_of_a_member_nobody_remembers_is_no_news():
    pump = mesh("ab")
    core, now = pump.nodes["a"].core, pump.now
    gone = replace(pump.record("a", "b"), name="x", boot="x")
    for status in (DEAD, LEFT):
        assert core.received("y", Gossip([Update(gone.at(status)).to_wire()]), now) == []
        row = [gone.at(status).to_wire(), LAN.former_member_ttl + 1, ""]
        assert core.received("y", Table([row], reply=False), now) == []
    assert pump.status("a", "x") is None


def test_a_former_member_in_a_table_is_remembered_but_is_no_news():
    pump = mesh("ab")
    core, now = pump.nodes["a"].core, pump.now
    gone = replace(pump.record("a", "b"), name="x", boot="x", status=DEAD)
    (effect,) = core.received("y", Table([[gone.to_wire(), 5.0, ""]], reply=False), now)
    assert effect == Changed(None, gone, "told by y")
    assert len(core._outbox._news) == 0


# ---- tables -------------------------------------------------------------------------------------


def test_dead_in_a_table_is_a_suspicion_that_the_teller_shares():
    pump = mesh("abc")
    core, record = pump.nodes["a"].core, pump.record("a", "b")
    teller = pump.nodes["c"].me.boot
    core.received(teller, Table([[record.at(DEAD).to_wire(), 3.0, ""]], reply=False), pump.now)
    suspicion = core._suspicions.get(record.boot)
    assert pump.status("a", "b") is SUSPECT
    assert suspicion is not None and suspicion.accusers == {"c"}


def test_suspect_in_a_table_is_hearsay_and_confirms_nothing():
    pump = mesh("abc")
    core, record = pump.nodes["a"].core, pump.record("a", "b")
    table = Table([[record.at(SUSPECT).to_wire(), 0.0, ""]], reply=False)
    core.received(pump.nodes["c"].me.boot, table, pump.now)
    suspicion = core._suspicions.get(record.boot)
    assert pump.status("a", "b") is SUSPECT
    assert suspicion is not None and suspicion.accusers == set()
    core.received(pump.nodes["c"].me.boot, table, pump.now)
    assert suspicion.accusers == set()


def test_a_suspicion_by_hearsay_alone_ends_like_any_other():
    pump = mesh("ab")
    core, record = pump.nodes["a"].core, pump.record("a", "b")
    pump.power_off("b")
    table = Table([[record.at(SUSPECT).to_wire(), 0.0, ""]], reply=False)
    pump._run(pump.nodes["a"], core.received("x", table, pump.now))
    pump.run_until(pump.agreed, 6.0)
    assert "suspected by others" in pump.seen("b", DEAD)[0].change.cause


def test_an_unknown_suspect_is_a_member_under_suspicion():
    pump = mesh("ab")
    core = pump.nodes["a"].core
    stranger = replace(pump.record("a", "b"), name="x", boot="x", status=SUSPECT)
    core.received("y", Gossip([Update(stranger, "c").to_wire()]), pump.now)
    assert pump.status("a", "x") is SUSPECT
    core.validate()


def test_a_table_is_answered_with_the_own_one_when_that_is_asked_for():
    pump = mesh("ab")
    core = pump.nodes["a"].core
    (effect,) = core.received("x", Table([], reply=True), pump.now)
    assert isinstance(effect, Send) and isinstance(effect.message, Table)
    assert len(effect.message.members) == 2 and not effect.message.reply
    assert core.received("x", Table([], reply=False), pump.now) == []


def test_whole_tables_are_sent_when_two_meet_and_now_and_then_after():
    pump = mesh("abc")
    node, peer = pump.nodes["a"], pump.nodes["b"].me
    (effect,) = node.core.linked(peer, pump.now)
    assert isinstance(effect, Send) and effect.boot == peer.boot
    assert [read_row(raw)[0].name for raw in effect.message.members] == ["a", "b", "c"]
    pump.run(120.0)
    asked = [m for _, a, _, m in pump.sent if a == "a" and isinstance(m, Table) and m.reply]
    assert len(asked) == pytest.approx(6, abs=1)


def test_a_node_without_links_sends_no_table():
    pump = Pump("a")
    pump.run(30.0)
    assert pump.sent == []


def test_tables_repair_what_every_other_message_lost():
    pump = mesh("abc")
    pump.loses = lambda a, b, message: isinstance(message, Gossip | Ack) and b == "c"
    pump.do("a", "announce", draining=True)
    for node in pump.live:
        node.core._outbox._news._queue.clear()
    pump.run(40.0)
    assert pump.record("c", "a").draining


# ---- messages -----------------------------------------------------------------------------------


def test_a_ping_meant_for_another_boot_is_not_answered():
    pump = mesh("ab")
    assert pump.nodes["a"].core.received("x", Ping(1, "another boot", 0, WELL, []), pump.now) == []


def test_a_request_to_ping_somebody_without_a_link_is_dropped():
    pump = mesh("ab")
    assert pump.nodes["a"].core.received("x", PingRequest(1, "nobody", []), pump.now) == []


def test_requests_beyond_the_bound_are_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyhorde.cluster.membership.probing.MAX_RELAYS", 0)
    pump = mesh("ab")
    target = pump.nodes["b"].me.boot
    assert pump.nodes["a"].core.received("x", PingRequest(1, target, []), pump.now) == []


def test_an_ack_for_nobody_changes_nothing():
    pump = mesh("ab")
    ack = Ack(999, pump.nodes["b"].me.boot, pump.nodes["b"].me.to_wire(), WELL, [])
    assert pump.nodes["a"].core.received("x", ack, pump.now) == []


GOOD = Update(Member(name="n", address="n:1", boot="n", generation=1)).to_wire()


@pytest.mark.parametrize(
    "message",
    [
        Ping(1, "x", 0, WELL, [GOOD, None]),
        Ping(1, "x", 0, WELL, [GOOD, [1, 2, 3]]),
        Ping(1, "x", 0, [0, 0], [GOOD]),
        Ping(1, "x", 0, [0, 0, -1], [GOOD]),
        PingRequest(1, "x", [GOOD, []]),
        Gossip([GOOD, [GOOD[0], 7, False]]),
        Gossip([GOOD, [GOOD[0], "a", False, 1]]),
        Ack(1, "n", [], WELL, [GOOD]),
        Ack(1, "n", GOOD[0], WELL, [GOOD, None]),
        Ack(1, "m", GOOD[0], WELL, [GOOD]),
        Ack(1, "n", GOOD[0], [True, 0, 0], [GOOD]),
        Table([[GOOD[0], 0.0, ""], [GOOD[0]]], reply=False),
        Table([[GOOD[0], 0.0, ""], None], reply=True),
        "no message",
    ],
)
def test_a_malformed_message_is_a_value_error_and_changes_nothing(message: object):
    pump = mesh("ab")
    core = pump.nodes["a"].core
    view = core.view
    with pytest.raises(ValueError, match=r"update|member|table|vitals|ack|no membership message"):
        core.received("x", message, pump.now)
    assert core.view is view
    assert core.announce(pump.now, draining=True)[0].after.draining


def test_news_is_not_spent_on_those_who_cannot_hear_it():
    pump = mesh("abc")
    node = pump.nodes["a"]
    boot = pump.nodes["b"].me.boot
    node.core.unlinked(boot, pump.now)
    node.core.announce(pump.now, draining=True)
    for _ in range(20):
        node.core._outbox.ping(boot, 1)
    assert len(node.core._outbox._news) == 1


@pytest.mark.parametrize(
    "message_copies", [lambda *_: 2, lambda a, b, m: 3 if isinstance(m, Table | Gossip) else 1]
)
def test_messages_that_arrive_twice_change_nothing(message_copies):
    pump = mesh("abc")
    pump.copies = message_copies
    pump.run(20.0)
    assert pump.events == []
    pump.stop("b")
    pump.run_until(pump.agreed, 1.0)
    assert len(pump.seen("b", DEAD)) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lossy_network_kills_nobody(seed: int):
    pump = mesh("abc", seed=seed)
    pump.loses = lambda *_: pump.rng.random() < 0.2
    pump.run(300.0)
    assert not any(event.change.after.status is DEAD for event in pump.events)


def test_slow_messages_kill_nobody():
    pump = mesh("abc")
    pump.delay = lambda *_: pump.rng.uniform(0, 2.0)
    pump.run(300.0)
    assert not any(event.change.after.status is DEAD for event in pump.events)


@pytest.mark.parametrize("mode", ["stop", "power_off"])
def test_a_death_is_noticed_in_spite_of_loss(mode: str):
    pump = mesh("abcde")
    pump.loses = lambda *_: pump.rng.random() < 0.2
    getattr(pump, mode)("b")
    pump.run_until(lambda: all(pump.status(o, "b") is DEAD for o in "acde"), 30.0)


def test_confirmations_make_detection_faster(monkeypatch: pytest.MonkeyPatch):
    def slowest() -> float:
        took = []
        for seed in range(10):
            pump = mesh("abc", seed=seed)
            pump.power_off("b")
            took.append(pump.run_until(pump.agreed, 30.0))
        return max(took)

    with_confirmations = slowest()
    monkeypatch.setattr(
        "pyhorde.cluster.membership.suspicion.Suspicion.may_confirm", lambda *_: False
    )
    assert with_confirmations < slowest() - 2.0


def test_validate_finds_a_suspect_without_a_suspicion(monkeypatch: pytest.MonkeyPatch):
    pump = mesh("ab")
    core = pump.nodes["a"].core
    accuse(pump, "a", "b")
    monkeypatch.setattr(core, "_suspicions", Suspicions(LAN, random.Random(0)))
    with pytest.raises(AssertionError):
        core.validate()
