"""What a node tells whom when the cluster is large: its cost for each must not grow with it."""

from __future__ import annotations

import pytest

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.dissemination import MAX_PER_MESSAGE
from pyhorde.cluster.membership.membership import SMALL, TABLE_EVERY
from pyhorde.cluster.membership.messages import Gossip, Ping, Table, Update
from pyhorde.cluster.membership.outbox import FANOUT, PASS_ON, RUMOURS
from tests.unit.cluster.crowd import LAN, NOW, core_of, crowd, member, sends, updates

LARGE = 100


# ---- what a node finds out ----------------------------------------------------------------------


@pytest.mark.parametrize(("links", "told"), [(5, 5), (FANOUT, FANOUT), (LARGE, FANOUT)])
def test_a_finding_is_told_to_all_links_up_to_a_bound(links: int, told: int):
    core = crowd(links)
    gossip = sends(core.announce(NOW, draining=True), Gossip)
    assert len({boot for boot, _ in gossip}) == len(gossip) == told
    assert all(updates(message)[0].member == core.me for _, message in gossip)


def test_of_many_it_is_not_always_the_same_who_are_told():
    core = crowd(LARGE)
    told = set()
    for turn in range(30):
        told |= {boot for boot, _ in sends(core.announce(NOW, types=(str(turn),)), Gossip)}
    assert len(told) == LARGE


# ---- what a node hears --------------------------------------------------------------------------


def heard(core, *names: str, status: Status = Status.DEAD, sender: str = "boot-m000"):
    told = [Update(member(name, status=status)).to_wire() for name in names]
    return core.received(sender, Gossip(told), NOW)


def test_in_a_small_cluster_what_is_heard_only_rides_on_probes():
    core = crowd(FANOUT)
    assert sends(heard(core, "m007"), Gossip) == []
    assert len(core._outbox._news) == 1


def test_in_a_large_cluster_what_is_heard_is_passed_on_to_a_few_at_once():
    core = crowd(FANOUT + 1)
    gossip = sends(heard(core, "m007", "m008"), Gossip)
    assert len({boot for boot, _ in gossip}) == PASS_ON
    for _, message in gossip:
        assert [(u.member.name, u.member.status) for u in updates(message)] == [
            ("m007", Status.DEAD),
            ("m008", Status.DEAD),
        ]


def test_what_is_known_already_is_not_passed_on():
    core = crowd(LARGE)
    heard(core, "m007")
    assert heard(core, "m007") == []


def test_who_accuses_is_passed_on_too():
    core = crowd(LARGE)
    accused = Update(member("m007", status=Status.SUSPECT), "m009", evidence=True)
    effects = core.received("boot-m000", Gossip([accused.to_wire()]), NOW)
    for _, message in sends(effects, Gossip):
        assert updates(message) == [accused]


@pytest.mark.parametrize(("rows", "told"), [(RUMOURS, PASS_ON), (RUMOURS + 1, 0)])
def test_a_table_full_of_news_is_not_passed_on(rows: int, told: int):
    """Whoever joins learns of everybody at once; all know that but itself."""
    core = crowd(LARGE)
    table = [[member(f"new-{n:03}").to_wire(), 0.0, ""] for n in range(rows)]
    effects = core.received("boot-m000", Table(table, reply=False), NOW)
    assert core.roster.size == 1 + LARGE + rows
    assert len(sends(effects, Gossip)) == told


def test_rumours_that_were_too_many_are_not_passed_on_with_the_next_ones():
    core = crowd(LARGE)
    table = [[member(f"new-{n:03}").to_wire(), 0.0, ""] for n in range(RUMOURS + 1)]
    core.received("boot-m000", Table(table, reply=False), NOW)
    for _, message in sends(heard(core, "m007"), Gossip):
        assert [u.member.name for u in updates(message)] == ["m007"]


def test_a_finding_reaches_everybody_of_a_large_cluster_though_nobody_tells_all():
    """Thirty are told, each of those who hear it first tells three: simulated in rounds."""
    cores = {f"boot-m{n:03}": core_of(f"m{n:03}") for n in range(LARGE)}
    for core in cores.values():
        for other in cores.values():
            if other is not core:
                core.linked(other.me, NOW)
    source = cores["boot-m000"]
    under_way = sends(source.announce(NOW, draining=True), Gossip)
    most, hops = len(under_way), 0
    while under_way and hops < 20:
        hops += 1
        coming = []
        for boot, message in under_way:
            sent = sends(cores[boot].received("boot-m001", message, NOW), Gossip)
            most = max(most, len(sent))
            coming += sent
        under_way = coming
    knows = [core.view.by_name["m000"].draining for core in cores.values()]
    assert sum(knows) >= 0.9 * LARGE
    assert most == FANOUT


# ---- tables -------------------------------------------------------------------------------------


def tables_in(core, seconds: float) -> int:
    """How many tables it offers when it ticks for so long; everybody answers."""
    count, now = 0, NOW
    while now < NOW + seconds:
        now = max(now + 0.01, core.next_deadline())
        effects = core.tick(now)
        count += len(sends(effects, Table))
        for boot in {boot for boot, _ in sends(effects, Ping)}:
            core._signs.again(boot, now)
            core._prober.answered(boot, now)
    return count


@pytest.mark.parametrize(("size", "times"), [(5, 1), (SMALL - 1, 1), (49, 5), (99, 10)])
def test_the_larger_the_cluster_the_more_seldom_tables_are_exchanged(size: int, times: int):
    core = crowd(size)
    pause = TABLE_EVERY * times * LAN.probe_interval
    assert tables_in(core, 10 * pause) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("size", [5, FANOUT])
def test_in_a_small_cluster_everybody_one_meets_gets_the_table(size: int):
    core = core_of()
    for number in range(size):
        (boot, _) = sends(core.linked(member(f"m{number:03}"), NOW), Table)[0]
        assert boot == f"boot-m{number:03}"


def test_in_a_large_cluster_only_some_get_the_table_and_the_others_the_own_record():
    core = crowd(9 * FANOUT)
    tables = 0
    for number in range(3 * FANOUT):
        newcomer = member(f"new-{number:03}")
        effects = core.linked(newcomer, NOW)
        greeted = [boot for boot, _ in sends(effects, Table)]
        informed = [
            boot
            for boot, message in sends(effects, Gossip)
            if updates(message) == [Update(core.me)]
        ]
        assert greeted + informed == [newcomer.boot]
        tables += len(greeted)
    assert 1 <= tables <= 25


# ---- pings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, LARGE, 300])
def test_a_probe_costs_the_same_in_a_cluster_of_any_size(size: int):
    core = crowd(size)
    for number in range(min(size, 20)):
        renewed = Update(member(f"m{number:03}", incarnation=1))
        core.received("boot-m000", Gossip([renewed.to_wire()]), NOW)
    effects = core.tick(core.next_deadline())
    pings = sends(effects, Ping)
    assert 1 <= len(pings) <= 2
    assert all(len(ping.updates) <= MAX_PER_MESSAGE for _, ping in pings)
