"""What may be said of members, and what is refused with the whole message that says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership.effects import YieldName
from pyhorde.cluster.membership.messages import Ack, Gossip, Ping, Table, Update
from pyhorde.cluster.membership.plausible import (
    FAR,
    FIRST_INCARNATION,
    MAX_AHEAD,
    MAX_MEMBERS,
    MAX_NEWS,
)
from tests.unit.cluster.pump import Pump, mesh


def fresh(**changes: Any) -> Member:
    made = Member(name="x", address="x:1", boot="boot-x", generation=1)
    return replace(made, **changes)


def say(pump: Pump, message: Any) -> None:
    """What ``b`` says to ``a``."""
    node = pump.nodes["a"]
    pump._run(node, node.core.received(pump.nodes["b"].me.boot, message, pump.now))


def gossip(*members: Member) -> Gossip:
    return Gossip([Update(member).to_wire() for member in members])


def bad(pump: Pump) -> dict[str, Member]:
    a, c = pump.nodes["a"].me, pump.record("a", "c")
    late = a.generation + FAR + 1_000_000
    return {
        "a generation": fresh(generation=late),
        "a generation of somebody known": replace(c, boot="boot-2", generation=late),
        "the own name": replace(a, boot="boot-2", generation=late, address="z:1"),
        "an incarnation": replace(c, incarnation=c.incarnation + MAX_AHEAD + 1),
        "the own incarnation": replace(a, incarnation=2**52, status=Status.SUSPECT),
        "an incarnation of somebody new": fresh(incarnation=FIRST_INCARNATION + 1),
        "a boot that is another one's": fresh(boot=c.boot),
    }


@pytest.mark.parametrize("what", bad(mesh("abc")))
def test_a_record_that_cannot_be_is_refused_with_all_that_comes_with_it(what: str):
    pump = mesh("abc")
    record, good = bad(pump)[what], fresh(name="good", boot="boot-good", address="good:1")
    me, before = pump.nodes["a"].me, pump.nodes["a"].core.view
    row = [record.to_wire(), 0.0, ""]
    updates = [Update(good).to_wire(), Update(record).to_wire()]
    messages = [
        Gossip(updates),
        Table([[good.to_wire(), 0.0, ""], row], reply=False),
        Ping(1, me.boot, 0, [0, 0, 0], updates),
        Ack(1, record.boot, record.to_wire(), [0, 0, 0], []),
    ]
    for message in messages:
        with pytest.raises(ValueError, match=r"far from what can be|the boot of"):
            say(pump, message)
        assert pump.nodes["a"].core.view is before
    assert not pump.yielded


def test_who_is_linked_must_be_possible_too():
    pump = mesh("ab")
    core = pump.nodes["a"].core
    with pytest.raises(ValueError, match="far from what can be"):
        core.linked(fresh(generation=2**52), pump.now)
    assert "x" not in core.view.by_name


def test_what_is_just_possible_is_taken_and_can_be_risen_above():
    pump = mesh("abc")
    node = pump.nodes["c"]
    core = pump.nodes["a"].core
    latest = core._plausible.latest(pump.now)
    poisoned = replace(node.me, boot="boot-other", generation=latest, status=Status.DEAD)
    say(pump, gossip(poisoned))
    assert pump.record("a", "c").generation == latest
    pump.run(5)
    assert pump.status("a", "c") is Status.ALIVE
    assert pump.record("a", "c").generation == latest + 1


def test_there_is_an_end_to_members_and_to_news():
    pump = mesh("ab")
    some = [fresh(name=f"g{n}", boot=f"boot-{n}", address=f"g{n}:1") for n in range(MAX_NEWS + 1)]
    before = pump.nodes["a"].core.view
    with pytest.raises(ValueError, match="pieces of news"):
        say(pump, gossip(*some))
    rows = [
        [fresh(name=f"g{n}", boot=f"boot-{n}", address=f"g{n}:1").to_wire(), 0.0, ""]
        for n in range(MAX_MEMBERS - 1)
    ]
    with pytest.raises(ValueError, match="members"):
        say(pump, Table(rows, reply=False))
    with pytest.raises(ValueError, match="members"):
        say(pump, Table(rows * 2, reply=False))
    assert pump.nodes["a"].core.view is before


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "127.0.0.1:7609/latest/meta-data/?x="},
        {"address": "a b:1"},
        {"address": "http://a:1"},
        {"address": "a:99999999"},
        {"address": "a"},
        {"name": "a\x1b[31m"},
        {"boot": "a\nb"},
        {"types": ("a\u202eb",)},
    ],
)
def test_texts_that_are_no_addresses_or_cannot_be_read_are_refused(changes: dict[str, Any]):
    with pytest.raises(ValueError, match="member"):
        Member.from_wire(fresh(**changes).to_wire())


@pytest.mark.parametrize(
    "address", ["a:1", "10.0.0.1:7411", "[fe80::1%eth0]:7411", "a_b.c-d:65535"]
)
def test_addresses_stay(address: str):
    assert Member.from_wire(fresh(address=address).to_wire()).address == address


def test_nobody_stops_for_a_name_that_another_boot_cannot_have():
    pump = mesh("ab")
    taken = replace(pump.nodes["a"].me, boot=pump.nodes["b"].me.boot, generation=5)
    with pytest.raises(ValueError, match="the boot of"):
        say(pump, gossip(taken))
    assert not [e for e in pump.nodes["a"].core._outbox.drain() if isinstance(e, YieldName)]
