"""What nodes write down of each other, and who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pyhorde import ClusterEvent, Node
from pyhorde.cluster.journal import BEGINNING
from tests.integration.clusters import Horde, until
from tests.integration.processes import Tally


async def first(events: Any, wanted: Callable[[ClusterEvent], bool]) -> ClusterEvent:
    """The next event that is wanted."""
    async with asyncio.timeout(30):
        async for event in events:
            if wanted(event):
                return event
    raise AssertionError("the events ended")


def about(kind: str, member: str) -> Callable[[ClusterEvent], bool]:
    return lambda event: event.kind == kind and event.fields.get("member") == member


async def test_a_crash_is_told_with_its_evidence(horde: Horde, trio: tuple[Node, ...]):
    a, _, c = trio
    events = a.cluster.events()
    boot = c.view.me.boot
    await horde.crash(c)
    lost = await first(events, about("link_lost", "c"))
    assert lost.fields["boot"] == boot
    dead = await first(events, about("member_dead", "c"))
    assert dead.fields["before"] == "suspect"
    assert dead.fields["boot"] == boot
    assert dead.fields["cause"] in ("re-dial refused, confirmed by b", "told by b")


async def test_the_story_of_a_node_begins_with_its_links_and_being_in_sync(
    horde: Horde, trio: tuple[Node, ...]
):
    b = trio[1]
    events = b.cluster.events(BEGINNING)
    assert (await first(events, about("link_up", "a"))).id.startswith(b.view.me.boot[:8])
    assert (await first(events, about("member_alive", "a"))).fields["before"] is None
    synced = await first(b.cluster.events(BEGINNING), lambda event: event.kind == "in_sync")
    assert synced.fields["unreachable"] == []


async def test_a_drain_is_told_with_its_figures_and_ends_the_events(
    horde: Horde, trio: tuple[Node, ...]
):
    a, _, c = trio
    watching, own = a.cluster.events(), c.cluster.events()
    for n in range(6):
        await a.start_child(Tally, f"n{n}")
    here = len(c.supervisor.local())
    await c.drain()
    kinds = {event.kind: event.fields async for event in own}
    assert kinds["draining"]["processes"] == here
    assert kinds["drained"] == {"total": here, "moved": here, "left_behind": []}
    assert "member_left" in kinds
    left = await first(watching, about("member_left", "c"))
    assert left.fields["before"] == "draining"


async def test_a_cordon_is_told_on_every_node(horde: Horde, trio: tuple[Node, ...]):
    watching = [node.cluster.events() for node in trio]
    await trio[0].cluster.cordon("b")
    for events in watching:
        await first(events, about("cordoned", "b"))
    await trio[2].cluster.uncordon("b")
    for events in watching:
        await first(events, about("uncordoned", "b"))


async def test_what_members_say_of_themselves_is_known_to_the_others(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, _ = trio
    for n in range(9):
        await a.start_child(Tally, f"n{n}")
    wanted = len(b.supervisor.local())
    boot = b.view.me.boot

    def told() -> bool:
        vitals = a.cluster_parts.detector.vitals(boot)
        return vitals is not None and vitals.processes == wanted

    await until(told, "a has heard how much runs on b")


async def test_the_figures_of_detection_rise_with_a_death(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    assert [node.statistics()["deaths_declared_total"] for node in (a, b)] == [0, 0]
    await horde.crash(c)
    await horde.all_see({"c": "dead"})
    figures = [node.statistics() for node in (a, b)]
    assert sum(each["deaths_declared_total"] for each in figures) >= 1
    assert min(each["suspicions_total"] for each in figures) >= 1
    await until(lambda: a.statistics()["probes_total"] > 0, "a probes")
