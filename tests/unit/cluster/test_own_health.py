"""A node that doubts itself: what speaks against it, and what it does not do to others then."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.health import UNFIT, WORST, Health, Vitals
from pyhorde.cluster.membership.membership import Membership
from pyhorde.cluster.membership.messages import Ack, Gossip, Nack, PingRequest, Update
from pyhorde.cluster.membership.probing import INDIRECT_SHARE, Prober
from tests.unit.cluster.crowd import LAN, NOW, crowd, member, run_to, sends, updates
from tests.unit.cluster.pump import Pump, mesh

ALIVE, SUSPECT, STALLED, DEAD, LEFT = Status
WELL = Vitals().to_wire()


# ---- who answers for whom -----------------------------------------------------------------------


def unanswered(core: Membership) -> list[tuple[str, int]]:
    """A probe begins and is overdue: who was asked for help, and under which number."""
    while core._prober._probe is None:
        core.tick(core.next_deadline())
    probe, asked = core._prober._probe, []
    while probe.ends is None:
        requests = sends(core.tick(core.next_deadline()), PingRequest)
        asked = [(boot, request.seq) for boot, request in requests]
    return asked


def fail(core: Membership) -> None:
    """Wait for the probe's end; everybody but the one it is for is heard meanwhile."""
    assert core._prober._probe is not None
    target, failures = core._prober._probe.boot, core.statistics.failed_probes
    while core.statistics.failed_probes == failures:
        now = core.next_deadline()
        for boot in list(core._signs.heard):
            if boot != target:
                core._signs.again(boot, now)
        core.tick(now)


@pytest.mark.parametrize(("nacks", "score"), [(3, 0), (2, 1), (1, 2), (0, 3)])
def test_a_failed_probe_speaks_against_the_node_if_one_of_its_helpers_is_silent(
    nacks: int, score: int
):
    """Who hears 'no answer' from all of them has a good connection; its target has not."""
    core = crowd(6)
    asked = unanswered(core)
    assert len(asked) == 3
    for boot, seq in asked[:nacks]:
        core.received(boot, Nack(seq), core.next_deadline() - 0.01)
    fail(core)
    assert core.health.score == score


def test_without_anybody_to_ask_a_failed_probe_speaks_a_little_against_the_node():
    core = crowd(1)
    assert unanswered(core) == []
    fail(core)
    assert core.health.score == 1


def test_nacks_of_others_and_about_another_probe_do_not_count():
    core = crowd(6)
    asked = unanswered(core)
    assert core._prober._probe is not None
    helpers, target = {boot for boot, _ in asked}, core._prober._probe.boot
    (stranger, _) = sorted(set(core._signs.heard) - helpers - {target})
    for boot, seq in asked[:2]:
        core.received(boot, Nack(seq), core.next_deadline() - 0.01)
    core.received(stranger, Nack(asked[0][1]), core.next_deadline() - 0.01)
    core.received(asked[2][0], Nack(asked[0][1] + 1), core.next_deadline() - 0.01)
    fail(core)
    assert core.health.score == 1


def test_helpers_that_were_silent_are_probed_next():
    core = crowd(8)
    asked = unanswered(core)
    (boot, seq) = asked[0]
    core.received(boot, Nack(seq), core.next_deadline() - 0.01)
    fail(core)
    probed = []
    for _ in range(2):
        while core._prober._probe is None:
            core.tick(core.next_deadline())
        probed.append(core._prober._probe.boot)
        core.received(probed[-1], Ack(0, probed[-1], None, WELL, []), core.next_deadline())
    assert set(probed) == {helper for helper, _ in asked[1:]}


@pytest.mark.parametrize("status", [SUSPECT, STALLED, DEAD])
def test_only_members_in_good_standing_are_asked_for_help(status: Status):
    core = crowd(4)
    for name in ("m001", "m002"):
        doubt = Update(member(name, status=status), "m003")
        core.received("boot-m003", Gossip([doubt.to_wire()]), NOW)
    helpers = core._outbox.ask_others("boot-m000", 1)
    assert helpers == {"boot-m003"}
    assert [boot for boot, _ in sends(core._outbox.drain(), PingRequest)] == ["boot-m003"]


def test_in_a_cluster_of_which_one_is_dead_the_others_stay_well():
    pump = mesh("abcde")
    scores = []
    pump.power_off("b")
    while not pump.agreed():
        pump.run(0.02)
        scores += [node.core.health.score for node in pump.live]
    assert max(scores) == 0
    assert any(isinstance(message, Nack) for _, _, _, message in pump.sent)


def test_without_nacks_they_would_take_it_for_their_own_fault():
    pump = mesh("abcde")
    pump.loses = lambda a, b, message: isinstance(message, Nack)
    pump.power_off("b")
    scores = []
    while not pump.agreed():
        pump.run(0.02)
        scores += [node.core.health.score for node in pump.live]
    assert max(scores) > 0


# ---- what else speaks against it ----------------------------------------------------------------


def test_to_have_to_refute_speaks_against_a_node_once_for_each_doubt():
    core = crowd(3)
    doubt = Gossip([Update(core.me.at(SUSPECT), "m000").to_wire()])
    core.received("boot-m000", doubt, NOW)
    assert (core.health.score, core.me.incarnation) == (1, 1)
    core.received("boot-m001", doubt, NOW)
    assert (core.health.score, core.me.incarnation) == (1, 1)
    assert core.statistics.refutations == 1


def test_to_meet_traces_of_an_earlier_boot_does_not():
    core = crowd(3)
    former = replace(core.me, boot="former", generation=9, status=DEAD)
    core.received("boot-m000", Gossip([Update(former).to_wire()]), NOW)
    assert core.me.generation == 10
    assert core.health.score == 0


@pytest.mark.parametrize(("late", "score"), [(0.2, 0), (0.3, 1), (1.5, 3), (3.0, 3), (900.0, 3)])
def test_the_longer_a_node_stood_still_the_less_it_trusts_itself(late: float, score: int):
    core = crowd(3)
    core.tick(core.next_deadline() + late)
    assert core.health.score == score


# ---- what it does then --------------------------------------------------------------------------


def prober(score: int) -> tuple[Prober, Health]:
    health = Health()
    health.worse(score)
    made = Prober(LAN, random.Random(1), health)
    made.start(NOW)
    return made, health


def view() -> View:
    me = Member(name="me", address="me:1", boot="me", generation=1)
    return View(me, (replace(me, name="a", boot="a"), me))


@pytest.mark.parametrize("score", [0, 1, 3, WORST])
def test_the_worse_its_health_the_longer_it_waits(score: int):
    one, _ = prober(score)
    began = NOW + 1.0
    probe = one.begin(view(), began)
    assert probe is not None
    assert probe.overdue == began + LAN.probe_timeout * (1 + score)
    assert one.overdue(probe.overdue) is probe
    rest = LAN.probe_interval - LAN.probe_timeout
    assert probe.ends == pytest.approx(probe.overdue + rest * INDIRECT_SHARE * (1 + score))
    assert probe.ends <= began + LAN.probe_interval * (1 + score)
    one.answered("a", probe.ends)
    assert one.next_deadline() == began + LAN.probe_interval * (1 + score)


def test_it_gets_better_with_each_answer_in_time():
    one, health = prober(3)
    for score in (2, 1, 0, 0):
        probe = one.begin(view(), one.next_deadline())
        assert probe is not None
        one.answered("a", probe.began + 0.01)
        assert health.score == score


def test_an_answer_that_came_through_others_or_too_late_does_not_make_it_better():
    one, health = prober(3)
    probe = one.begin(view(), NOW + 1.0)
    assert probe is not None
    one.overdue(probe.overdue)
    one.answered("a", probe.overdue + 0.01)
    assert health.score == 3


def test_a_node_that_was_overloaded_is_well_again_after_a_while():
    pump = mesh("abc")
    pump.stall("a", 5.0)
    pump.run(5.1)
    core = pump.nodes["a"].core
    assert core.health.score >= 2
    pump.run_until(lambda: core.health.score == 0, sum(range(2, WORST + 3)) * LAN.probe_interval)
    assert pump.agreed()


def suspecting(core: Membership) -> None:
    accusation = Update(member("m000", status=SUSPECT), "m001")
    core.received("boot-m001", Gossip([accusation.to_wire()]), NOW)


def own_accusations(core: Membership, until: float) -> list[Update]:
    """What this node says against others by itself until then."""
    told = [updates(message) for _, message in sends(run_to(core, until), Gossip)]
    return [update for news in told for update in news if update.accuser == "me"]


@pytest.mark.parametrize(("score", "confirms"), [(UNFIT - 1, True), (UNFIT, False)])
def test_the_silence_that_an_unfit_node_hears_confirms_nothing(score: int, confirms: bool):
    core = crowd(4)
    suspecting(core)
    core.health.worse(score)
    said = own_accusations(core, NOW + 2.1)
    assert bool(said) is confirms
    suspicion = core._suspicions.get("boot-m000")
    assert suspicion is not None
    assert ("me" in suspicion.accusers) is confirms


@pytest.mark.parametrize(("score", "vouches"), [(UNFIT - 1, True), (UNFIT, False)])
def test_an_unfit_node_does_not_vouch_for_a_machine_either(score: int, vouches: bool):
    """That a node does not answer may be its own fault, and is the other half of 'stalled'."""
    core = crowd(4)
    suspecting(core)
    core.health.worse(score)
    for passed in (0.2, 0.4, 0.55):
        core.tick(NOW + passed)
    assert bool(core.host_lives("boot-m000", 0.1, NOW + 0.6)) is vouches
    assert (core.view.by_name["m000"].status is STALLED) is vouches


def test_a_node_that_is_fit_again_confirms():
    core = crowd(4)
    suspecting(core)
    core.health.worse(UNFIT)
    assert own_accusations(core, NOW + 2.1) == []
    core.health.better()
    assert {update.member.name for update in own_accusations(core, NOW + 2.5)} >= {"m000"}


# ---- nobody at all is heard ---------------------------------------------------------------------


def cut_off(names: str) -> Pump:
    pump = mesh(names)
    pump.cut = {frozenset(("a", other)) for other in names[1:]}
    pump.sent.clear()
    pump.run_until(lambda: bool(pump.nodes["a"].core.suspects), 5.0)
    return pump


def test_who_hears_nobody_suspects_all_at_once_and_tells_nobody():
    pump = cut_off("abcde")
    assert [pump.status("a", name) for name in "bcde"] == [SUSPECT] * 4
    began = {event.at for name in "bcde" for event in pump.seen(name, SUSPECT, "a")}
    assert len(began) == 1
    pump.run(0.5)
    assert not any(isinstance(m, Gossip) for _, a, _, m in pump.sent if a == "a")


def test_who_hears_somebody_suspects_only_whom_it_probed():
    pump = mesh("abcde")
    pump.power_off("b")
    cores = [node.core for node in pump.live]
    pump.run_until(lambda: any(core.statistics.failed_probes for core in cores), 8.0)
    (core,) = [core for core in cores if core.statistics.failed_probes]
    assert core.suspects == [pump.nodes["b"].me.boot]
    assert any(isinstance(m, Gossip) for _, a, _, m in pump.sent if a == core.me.name)


def test_the_last_one_buries_all_the_others_together():
    pump = cut_off("abcde")
    pump.run_until(lambda: all(pump.status("a", name) is DEAD for name in "bcde"), 15.0)
    buried = [event.at for name in "bcde" for event in pump.seen(name, DEAD, "a")]
    assert max(buried) - min(buried) < 0.3


def test_who_was_cut_off_for_a_moment_only_comes_back_without_a_death():
    pump = cut_off("abcde")
    pump.run(2.0)
    pump.cut.clear()
    pump.run_until(pump.agreed, 3.0)
    assert not any(event.change.after.status is DEAD for event in pump.events)


def test_one_sign_of_life_since_the_probe_began_is_enough_not_to_be_alone():
    for heard in (True, False):
        core = crowd(5)
        unanswered(core)
        assert core._prober._probe is not None
        if heard:
            other = next(b for b in core._signs.heard if b != core._prober._probe.boot)
            ack = Ack(999, other, None, WELL, [])
            core.received(other, ack, core.next_deadline() - 0.01)
        failures = core.statistics.failed_probes
        while core.statistics.failed_probes == failures:
            core.tick(core.next_deadline())
        assert len(core.suspects) == (1 if heard else 5)


def test_who_hears_nobody_tells_nobody_in_a_large_cluster_either():
    core = crowd(35)
    gone = [Update(member(f"m{n:03}", status=DEAD)).to_wire() for n in range(10)]
    core.received("boot-m020", Gossip(gone), NOW)
    core._outbox._news._queue.clear()
    unanswered(core)
    effects = []
    while not core.suspects:
        effects = core.tick(core.next_deadline())
    assert len(core.suspects) == 25
    assert sends(effects, Gossip) == []
