"""One wrong message of one member: nothing that it says outlives it.

Members are trusted not to lie; they are not trusted to be without faults. ``d`` says it to ``a``,
once or all the time, and is gone. Then everything works on the others, a restarted node gets in,
and so does a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.membership import plausible
from pyhorde.cluster.membership.messages import Gossip, Table, Update
from pyhorde.cluster.replication import replication
from pyhorde.cluster.replication.messages import SyncAck, SyncData
from pyhorde.crdt import Delta, Segment
from pyhorde.crdt.delta import RegisterRow
from pyhorde.node import Node
from pyhorde.testing import SimCluster
from tests.simulation.stories import Notes, ask, begin

AFTER = 10.0
"""Seconds after its end in which all is well again."""
FAR_STAMP, FAR_EVENT = 2**61 - 1, 2**40 - 1


def news(*members: Member) -> Gossip:
    return Gossip([Update(member).to_wire() for member in members])


def data(delta: Delta) -> SyncData:
    return SyncData(delta.to_wire(), last=True, answer=False)


def register(node: Node, **changes: Any) -> SyncData:
    me = node.view.me.boot
    stamp = int(node._world.wall() * 1000) << 16
    row = RegisterRow("meta", "huge", 0, stamp, me, me, node._replica.seq + 1, b"v", False)
    return data(Delta((row._replace(**changes),)))


def ghosts(node: Node, count: int) -> Iterator[Member]:
    for number in range(count):
        boot = f"{number:032x}"
        address = f"ghost-{number}:7411"
        yield Member(name=f"ghost-{number}", address=address, boot=boot, generation=1)


MESSAGES: dict[str, Callable[[Node], Any]] = {
    "marks": lambda d: data(Delta(marks={"stamp/spec": FAR_STAMP, "stamp/meta": FAR_STAMP})),
    "counting marks": lambda d: data(Delta(marks={"epoch": 2**60, "life": 2**60})),
    "a stamp": lambda d: register(d, stamp=FAR_STAMP),
    "a rank": lambda d: register(d, rank=2**53),
    "a large value": lambda d: register(d, value=bytes(7 * 1024 * 1024)),
    "a generation": lambda d: news(
        replace(d.view.by_name["b"], boot="f" * 32, generation=2**53 - 1, status=Status.DEAD)
    ),
    "an incarnation": lambda d: news(
        replace(d.view.by_name["b"], incarnation=2**53 - 1, status=Status.SUSPECT)
    ),
    "somebody's name": lambda d: news(
        replace(d.view.me, name="a", address="d:7411", generation=2**50)
    ),
    "an address": lambda d: news(replace(d.view.me, name="odd", address="d:7411/latest/?x=")),
    "ghosts": lambda d: news(*ghosts(d, 2000)),
    "a table of ghosts": lambda d: Table(
        [[ghost.to_wire(), 0.0, ""] for ghost in ghosts(d, 5000)], reply=False
    ),
    "another's sequence": lambda d: data(
        Delta(segments=(Segment(d.view.by_name["b"].boot, 0, FAR_EVENT, complete=False),))
    ),
    "its own sequence": lambda d: data(
        Delta(segments=(Segment(d.view.me.boot, 0, FAR_EVENT, complete=False),))
    ),
    "the receiver's sequence": lambda d: data(
        Delta(segments=(Segment(d.view.by_name["a"].boot, 0, FAR_EVENT, complete=False),))
    ),
    "a confirmation": lambda d: SyncAck({d.view.by_name["a"].boot: FAR_EVENT}),
}


def says(cluster: SimCluster, message: Any) -> bool:
    """``d`` sends it to ``a`` over its link."""
    links = cluster.node("d").cluster_parts.links
    return links.send(cluster.node("a").view.me.boot, message)


async def works(cluster: SimCluster, word: str) -> None:
    """Every node starts, calls, and writes; and reads what the others wrote."""
    for machine in cluster.live:
        await begin(cluster, machine, f"{word}-{machine}")
        await ask(cluster, machine, f"{word}-{machine}", "keep", machine)
        cluster.node(machine).registry.put_meta(f"{word}-{machine}", machine)
    for machine in cluster.live:
        for other in cluster.live:
            assert await ask(cluster, machine, f"{word}-{other}", "kept") == [other]
    assert await cluster.until(
        lambda: all(
            node.registry.meta(f"{word}-{other}") == other
            for node in cluster.live.values()
            for other in cluster.live
        ),
        AFTER,
    )


async def one_wrong_message(cluster: SimCluster, what: str) -> None:
    for machine in "abcd":
        await cluster.start(machine)
    await begin(cluster, "a", "before")
    await ask(cluster, "a", "before", "keep", "x")
    message = MESSAGES[what](cluster.node("d"))
    assert says(cluster, message)
    await asyncio.sleep(1)
    for _ in range(10):  # it goes on, as a fault does
        says(cluster, message)
        await asyncio.sleep(0.2)
    cluster.crash("d")
    assert await cluster.until(lambda: not cluster.apart(), AFTER)
    assert await ask(cluster, "b", "before", "kept") == ["x"]
    await works(cluster, "after")
    cluster.crash("b")
    await cluster.restart("b")
    await cluster.start("e")
    assert await cluster.until(lambda: not cluster.apart(), AFTER)
    await works(cluster, "again")
    names = {member.name for node in cluster.live.values() for member in node.view.members}
    assert names <= set("abcde"), "nobody was made up"
    frames = [node.statistics()["sent_frames_total"] for node in cluster.live.values()]
    assert max(frames) < 20_000, "nobody has to say a thing again and again"
    assert cluster.node("a").statistics()["links"] == 3


def story(what: str) -> Callable[[SimCluster], Any]:
    async def told(cluster: SimCluster) -> None:
        await one_wrong_message(cluster, what)

    return told


@pytest.mark.parametrize("what", MESSAGES)
def test_nothing_that_a_member_says_outlives_it(what: str):
    SimCluster.run(story(what), nodes=5, seed=7, processes=[Notes])


@pytest.mark.parametrize(
    ("what", "where", "switch"),
    [
        ("marks", replication, "check"),
        ("a generation", plausible.Plausible, "check"),
        ("somebody's name", plausible.Plausible, "check"),
    ],
)
def test_without_its_bound_it_does(what: str, where: Any, switch: str, monkeypatch: Any):
    monkeypatch.setattr(where, switch, lambda *_: None)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is that goes wrong first
        SimCluster.run(story(what), nodes=5, seed=7, processes=[Notes])


def test_another_ones_events_are_learned_anew_when_they_were_made_up(
    monkeypatch: pytest.MonkeyPatch,
):
    """Where the bound lets it through, the origin itself says that it is wrong."""
    monkeypatch.setattr(replication, "AHEAD", 2**41)
    SimCluster.run(story("another's sequence"), nodes=5, seed=7, processes=[Notes])


def test_who_is_asked_by_nobody_else_counts_what_it_refused():
    async def told(cluster: SimCluster) -> None:
        await cluster.start_all()
        says(cluster, MESSAGES["a generation"](cluster.node("d")))
        await asyncio.sleep(1)
        assert cluster.node("a").statistics()["refused_frames_total"] >= 1
        assert cluster.node("b").statistics()["refused_frames_total"] == 0

    SimCluster.run(told, nodes=4, seed=3, processes=[Notes])
