"""Members whose node does not answer while its machine does: who believes it, and for how long."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.effects import Changed
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.messages import Gossip, PingRequest, Table, Update
from pyhorde.cluster.membership.suspicion import HOST_FRESH, UNHEARD, Company, Suspicion, bounds
from tests.unit.cluster.crowd import LAN, NOW, crowd, member, run_to, sends, updates
from tests.unit.cluster.pump import Pump, mesh

ALIVE, SUSPECT, STALLED, DEAD, LEFT = Status
SEEDS = range(5)
FIVE = Company(5, 4)


def blocked(names: str, seconds: float, *, seen_by: str | None = None, seed: int = 0) -> Pump:
    """Node ``b`` is blocked; those in ``seen_by`` (or all) hear whether its machine lives."""
    pump = mesh(names, seed=seed)
    pump.hosts_speak_to = set(names if seen_by is None else seen_by)
    pump.stall("b", seconds)
    return pump


def until_stalled(pump: Pump, *observers: str) -> None:
    pump.run_until(lambda: all(pump.status(o, "b") is STALLED for o in observers), 8.0)


def silence(pump: Pump, observer: str) -> float:
    """For how long ``observer`` had not heard ``b`` when it buried it."""
    (buried,) = pump.seen("b", DEAD, observer)
    return buried.at - pump.nodes[observer].core._signs.heard[buried.change.after.boot]


# ---- own evidence -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_blocked_node_is_stalled_and_alive_again_when_it_goes_on(names: str, seed: int):
    pump = blocked(names, 12.0, seed=seed)
    pump.run(13.0)
    assert all(pump.seen("b", STALLED, observer) for observer in set(names) - {"b"})
    assert not pump.seen("b", DEAD)
    pump.run_until(pump.agreed, 1.0)
    assert pump.record("a", "b").incarnation > 0


def test_where_the_operating_system_says_nothing_it_would_be_dead():
    pump = blocked("abc", 12.0, seen_by="")
    pump.run(13.0)
    assert pump.seen("b", DEAD, "a")


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_it_counts_as_dead_so_long_after_its_last_sign_of_life(names: str):
    pump = blocked(names, 120.0)
    pump.run_until(lambda: all(pump.status(o, "b") is DEAD for o in set(names) - {"b"}), 30.0)
    silences = [silence(pump, observer) for observer in set(names) - {"b"}]
    # Who has not heard it for longest decides for all.
    assert max(silences) == pytest.approx(LAN.stall_limit, abs=0.3)
    assert min(silences) > LAN.stall_limit - UNHEARD * LAN.probe_interval


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_when_its_machine_stops_to_live_too_it_is_dead_soon(names: str):
    pump = blocked(names, 120.0)
    until_stalled(pump, *(set(names) - {"b"}))
    pump.run(9.0)
    assert pump.status("a", "b") is STALLED
    pump.power_off("b")
    took = pump.run_until(pump.agreed, 10.0)
    assert took <= HOST_FRESH + LAN.probe_timeout + 0.3


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_what_a_machine_confirmed_before_it_was_asked_says_nothing(names: str, seed: int):
    """It lost power a moment after: nobody must wait for it as for one that is stalled."""
    pump = mesh(names, seed=seed)
    pump.hosts_speak_to = set(names)
    for name in set(names) - {"b"}:
        pump.do(name, "announce", draining=True)
    pump.run(0.01)
    pump.power_off("b")
    pump.run_until(lambda: all(pump.status(o, "b") is DEAD for o in set(names) - {"b"}), 12.0)
    assert not pump.seen("b", STALLED)


def accused(core: Membership, name: str = "m000", *accusers: str, at: float = NOW) -> Suspicion:
    """The core's suspicion of this member, after these have accused it."""
    suspect = member(name, status=SUSPECT)
    told = [Update(suspect, accuser).to_wire() for accuser in accusers or ("m001",)]
    core.received("boot-m001", Gossip(told), at)
    suspicion = core._suspicions.get(suspect.boot)
    assert suspicion is not None
    return suspicion


@pytest.mark.parametrize(
    ("later", "silent", "stalled"),
    [
        (0.4, 0.1, False),  # it has not had its time to answer
        (0.5, 0.1, True),
        (0.5, 0.5, False),  # confirmed when it was asked, not after
        (0.5, 0.49, True),
        (3.0, 2.9, True),
        (3.0, 3.1, False),
    ],
)
def test_a_machine_lives_that_confirms_a_question_which_its_node_does_not_answer(
    later: float, silent: float, stalled: bool
):
    core = crowd(4)
    suspicion = accused(core)
    effects = core.host_lives("boot-m000", silent, NOW + later)
    assert suspicion.stalled is stalled
    assert (core.view.by_name["m000"].status is STALLED) is stalled
    told = [updates(message) for _, message in sends(effects, Gossip)]
    said = Update(member("m000", status=STALLED), "me")
    assert told == ([[said]] * 4 if stalled else [])
    core.validate()


def test_the_question_was_asked_when_the_probe_went_over_the_stream():
    """Its node has had most of its time before it is even suspected."""
    core = crowd(1)
    run_to(core, NOW + 1.0)
    probe = core._prober._probe
    assert probe is not None
    overdue = probe.overdue
    run_to(core, overdue + 0.46)
    suspicion = core._suspicions.get("boot-m000")
    assert suspicion is not None
    assert suspicion.asked == overdue < suspicion.started


def test_a_machine_of_nobody_under_suspicion_is_no_news():
    core = crowd(4)
    assert core.host_lives("boot-m000", 0.0, NOW) == []
    assert core.host_lives("stranger", 0.0, NOW) == []
    assert core.view.by_name["m000"].status is ALIVE


def test_it_is_said_once_that_somebody_is_stalled():
    core = crowd(4)
    accused(core)
    assert core.host_lives("boot-m000", 0.1, NOW + 1.0)
    for later in (1.2, 1.4, 2.0):
        assert core.host_lives("boot-m000", 0.1, NOW + later) == []


def test_a_confirmation_that_came_out_of_order_takes_nothing_back():
    core = crowd(4)
    suspicion = accused(core)
    core.host_lives("boot-m000", 0.1, NOW + 2.0)
    core.host_lives("boot-m000", 1.0, NOW + 2.1)
    assert suspicion.host_seen == pytest.approx(NOW + 1.9)


# ---- the word of others -------------------------------------------------------------------------


def test_those_who_cannot_see_for_themselves_believe_one_who_can():
    pump = blocked("abcd", 13.0, seen_by="a")
    until_stalled(pump, "a", "c", "d")
    pump.run(8.0)
    assert not pump.seen("b", DEAD)
    for observer in "cd":
        suspicion = pump.nodes[observer].core._suspicions.get(pump.nodes["b"].me.boot)
        assert suspicion is not None
        assert suspicion.vouchers == {"a"}


def test_who_confirms_that_somebody_is_silent_does_not_vouch_for_its_machine():
    pump = blocked("abcde", 120.0, seen_by="a")
    pump.loses = lambda a, b, message: isinstance(message, Table)
    until_stalled(pump, "a", "c", "d", "e")
    pump.run(5.0)
    suspicion = pump.nodes["a"].core._suspicions.get(pump.nodes["b"].me.boot)
    assert suspicion is not None
    assert suspicion.confirmed >= 1
    assert suspicion.vouchers == set()


@pytest.mark.parametrize("end", ["stop", "power_off"])
def test_the_word_of_one_that_is_gone_itself_does_not_count(end: str):
    pump = blocked("abcd", 120.0, seen_by="a")
    until_stalled(pump, "a", "c", "d")
    getattr(pump, end)("a")
    pump.run_until(lambda: all(pump.status(o, "b") is DEAD for o in "cd"), 14.0)
    assert all(silence(pump, observer) < LAN.stall_limit - 2.0 for observer in "cd")


@pytest.mark.parametrize("status", [SUSPECT, STALLED, DEAD, LEFT])
def test_only_a_voucher_that_is_alive_counts(status: Status):
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002", "m003")
    vouches(core, "m003")
    core.tick(NOW + 0.1)
    assert suspicion.vouched
    core.received("boot-m001", Gossip([Update(member("m003", status=status)).to_wire()]), NOW + 0.1)
    core.tick(NOW + 0.2)
    assert not suspicion.vouched
    assert suspicion.deadline(FIVE, LAN) == NOW + bounds(5, LAN)[0]


def vouches(core: Membership, voucher: str, *, at: float = NOW, name: str = "m000") -> list:
    stalled = Update(member(name, status=STALLED), voucher)
    return core.received("boot-m001", Gossip([stalled.to_wire()]), at)


@pytest.mark.parametrize("voucher", ["", "me", "stranger"])
def test_hearsay_and_the_word_of_strangers_or_in_the_own_name_win_no_time(voucher: str):
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002", "m003")
    vouches(core, voucher)
    core.tick(NOW + 0.1)
    assert core.view.by_name["m000"].status is STALLED
    assert suspicion.deadline(FIVE, LAN) == NOW + bounds(5, LAN)[0]


def test_who_says_in_a_table_that_somebody_is_stalled_vouches_but_accuses_nobody():
    """Else whoever joins would bury those whom the others see."""
    core = crowd(4)
    row = [member("m000", status=STALLED).to_wire(), 0.0, "m003"]
    core.received("boot-m001", Table([row], False), NOW)
    suspicion = core._suspicions.get("boot-m000")
    assert suspicion is not None and suspicion.stalled
    assert suspicion.vouchers == {"m003"}  # who has seen it, not who tells
    assert suspicion.witnesses == set()


def test_a_second_voucher_counts_though_it_accused_before():
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002")
    vouches(core, "m001")
    vouches(core, "m002")
    assert suspicion.vouchers == {"m001", "m002"}
    core.validate()


def test_a_stalled_member_is_charged_in_the_name_of_one_who_vouches():
    """In the name of another the helper would take that one for a witness of its machine."""
    core = crowd(4)
    accused(core, "m000", "m001", "m002", "m003")
    vouches(core, "m002")
    core._outbox.ask_others("boot-m000", 1)
    for _, request in sends(core._outbox.drain(), PingRequest):
        assert Update.from_wire(request.updates[0]) == Update(
            member("m000", status=STALLED), "m002"
        )


def test_the_own_eyes_beat_the_word_of_others():
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002", "m003")
    vouches(core, "m003")
    core.tick(NOW + 0.1)
    assert suspicion.deadline(FIVE, LAN) == NOW + LAN.stall_limit - LAN.probe_timeout
    core.host_lives("boot-m000", 0.1, NOW + 0.2)
    assert suspicion.deadline(FIVE, LAN) == NOW + bounds(5, LAN)[0]
    core.host_lives("boot-m000", 0.1, NOW + 8.1)
    assert suspicion.deadline(FIVE, LAN) == NOW + 8.0 + HOST_FRESH


@pytest.mark.parametrize("seed", SEEDS)
def test_who_joins_meanwhile_does_not_bury_whom_the_others_see(seed: int):
    pump = blocked("abc", 13.0, seed=seed)
    until_stalled(pump, "a", "c")
    pump.hosts_speak_to.add("d")
    pump.run(0.5)
    pump.boot("d")
    pump.run(14.0)
    assert not pump.seen("b", DEAD)


def test_an_accusation_does_not_take_the_place_of_the_word_of_a_voucher_in_the_news():
    core = crowd(5)
    accused(core, "m000", "m001")
    vouches(core, "m002")
    accused(core, "m000", "m003")
    news = [Update.from_wire(raw) for raw in core._outbox._news.take(6)]
    assert any(u.member.status is STALLED and u.accuser == "m002" for u in news)


# ---- one doubt ----------------------------------------------------------------------------------


def test_a_suspicion_goes_on_when_its_suspect_turns_out_to_be_stalled():
    core = crowd(5)
    suspicion = accused(core, "m000", "m001", "m002")
    effects = vouches(core, "m003", at=NOW + 0.2)
    assert core._suspicions.get("boot-m000") is suspicion
    assert suspicion.accusers == {"m001", "m002", "m003"}
    assert suspicion.started == NOW
    changes = [effect for effect in effects if isinstance(effect, Changed)]
    assert [(c.before.status, c.after.status) for c in changes if c.before] == [(SUSPECT, STALLED)]
    core.validate()


def test_an_accusation_counts_though_its_accuser_has_not_heard_that_the_suspect_is_stalled():
    core = crowd(5)
    suspicion = accused(core, "m000", "m001")
    vouches(core, "m001")
    late = Update(member("m000", status=SUSPECT), "m002", evidence=True)
    core.received("boot-m002", Gossip([late.to_wire()]), NOW + 1.0)
    assert suspicion.accusers == {"m001", "m002"}
    assert suspicion.witnesses == {"m002"}
    assert core.view.by_name["m000"].status is STALLED
    core.validate()


def test_evidence_heard_while_somebody_is_stalled_completes_the_own():
    core = crowd(5)
    accused(core, "m000", "m001")
    vouches(core, "m001")
    core.unlinked("boot-m000", NOW + 1.0)
    core.refused("boot-m000", NOW + 1.0)
    assert core.view.by_name["m000"].status is STALLED
    late = Update(member("m000", status=SUSPECT), "m002", evidence=True)
    core.received("boot-m002", Gossip([late.to_wire()]), NOW + 1.0)
    assert core.view.by_name["m000"].status is DEAD


def test_a_refusal_is_told_as_evidence_and_not_as_a_sign_of_life():
    core = crowd(5)
    accused(core, "m000", "m001")
    vouches(core, "m001")
    core.unlinked("boot-m000", NOW + 1.0)
    for _, message in sends(core.refused("boot-m000", NOW + 1.0), Gossip):
        assert updates(message) == [Update(member("m000", status=SUSPECT), "me", evidence=True)]


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_stalled_node_that_is_killed_is_dead_everywhere_at_once(names: str):
    pump = blocked(names, 120.0)
    until_stalled(pump, *(set(names) - {"b"}))
    pump.stop("b")
    assert pump.run_until(pump.agreed, 0.5) < 0.1
    assert pump.seen("b", DEAD)[0].change.cause.startswith("re-dial refused")


def test_a_higher_incarnation_ends_it_and_later_words_about_the_old_one_count_for_nothing():
    core = crowd(4)
    accused(core)
    vouches(core, "m001")
    raised = replace(member("m000"), incarnation=1)
    core.received("boot-m000", Gossip([Update(raised).to_wire()]), NOW + 1.0)
    assert core.view.by_name["m000"] == raised
    assert core._suspicions.get("boot-m000") is None
    vouches(core, "m002", at=NOW + 1.0)
    assert core.view.by_name["m000"] == raised


def test_a_stalled_member_refutes_what_it_hears_when_it_goes_on():
    core = crowd(2)
    said = Update(core.me.at(STALLED), "m000")
    effects = core.received("boot-m000", Gossip([said.to_wire()]), NOW)
    (change,) = [effect for effect in effects if isinstance(effect, Changed)]
    assert (change.after.status, change.after.incarnation) == (ALIVE, 1)


def test_when_somebody_stalls_during_the_last_check_that_check_does_not_decide():
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002", "m003")
    for number in range(1, 4):
        core._signs.again(f"boot-m{number:03}", NOW + 4.0)
    suspicion.last_check_until = NOW + 4.5
    core.host_lives("boot-m000", 0.1, NOW + 4.2)
    assert suspicion.last_check_until is None
    assert suspicion.deadline(FIVE, LAN) == pytest.approx(NOW + 4.1 + HOST_FRESH)


# ---- this node's own pauses ---------------------------------------------------------------------


def test_credit_moves_everything_that_a_verdict_hangs_on():
    suspicion = Suspicion("x", 100.0, 101.0, 102.0, 103.0)
    suspicion.last_sign, suspicion.host_seen, suspicion.last_check_until = 99.0, 104.0, 105.0
    suspicion.stalled = True
    suspicion.shift(8.0)
    assert (suspicion.started, suspicion.next_probe, suspicion.confirm_at) == (108.0, 109.0, 110.0)
    assert (suspicion.asked, suspicion.last_sign, suspicion.host_seen) == (111.0, 107.0, 112.0)
    assert suspicion.last_check_until == 113.0


def test_credit_does_not_invent_a_sign_of_life():
    suspicion = Suspicion("x", 100.0, 100.0, 101.0, 100.0)
    suspicion.shift(8.0)
    assert suspicion.last_check_until is None
    assert suspicion.host_seen == suspicion.last_sign == -math.inf


@pytest.mark.parametrize("pause", [1.0, 5.0, 30.0])
def test_an_observer_that_stood_still_does_not_bury_whom_it_watched(pause: float):
    """Both pauses overlap, as when a whole machine room stands still."""
    pump = blocked("ab", 9.0 + pause)
    until_stalled(pump, "a")
    pump.run(4.0)
    pump.stall("a", pause)
    pump.run(20.0 + pause)
    assert not pump.seen("b", DEAD, "a")
    assert pump.agreed()


@pytest.mark.parametrize(("pause", "announced"), [(1.9, False), (2.1, True), (60.0, True)])
def test_after_a_long_pause_a_node_says_by_itself_that_it_lives(pause: float, announced: bool):
    """Others suspect it by now; it does not wait until it hears so."""
    core = crowd(3)
    effects = core.tick(core.next_deadline() + pause)
    told = [updates(message) for _, message in sends(effects, Gossip)]
    assert told == ([[Update(replace(core.me, incarnation=1))]] * 3 if announced else [])
    assert core.me.incarnation == announced
    assert core.statistics.stalls == 1


def test_a_node_that_has_left_says_nothing_after_a_pause():
    core = crowd(3)
    core.leave(NOW)
    left = core.me
    effects = core.tick(core.next_deadline() + 60.0)
    assert sends(effects, Gossip) == []
    assert core.me is left


def test_a_pause_while_a_member_is_watched_costs_that_member_nothing():
    core = crowd(4)
    suspicion = accused(core, "m000", "m001", "m002", "m003")
    run_to(core, NOW + 1.0)
    core.host_lives("boot-m000", 0.1, NOW + 1.0)
    before = suspicion.deadline(FIVE, LAN)
    core.tick(core.next_deadline() + 10.0)
    assert suspicion.deadline(FIVE, LAN) == pytest.approx(before + 10.0, abs=0.3)
