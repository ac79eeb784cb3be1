"""Cables between hosts fail, in one or both directions, while clients write."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import pytest

from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

NOTICED = 10.0
"""Seconds after which a silent node is held for dead at the latest."""
BUSY = 20.0
"""Seconds more, on a machine that is busy with other things."""
UPHILL = list(combinations("abcde", 2))
"""Of each pair one direction."""


async def test_both_sides_of_a_split_go_on_and_all_that_either_acknowledged_is_kept(scene: Scene):
    await scene.begin()
    scene.hosts.split("ab", "cde")
    await scene.runs_on("ab", "cde", within=NOTICED + BUSY)
    scene.note_events("member_dead")
    await scene.is_written("ab", "cde")
    await scene.heal()


async def test_cables_that_cut_nobody_off_cost_nobody_a_name(scene: Scene):
    homes = await scene.begin()
    hosts = scene.hosts
    faults = {
        "a fifth of all frames gets lost": partial(hosts.lose, 20),
        "one pair fails in one direction": partial(hosts.cut, [("b", "c")]),
        "one host holds two halves together": partial(hosts.split, "ab", "de"),
    }
    for what, begin in faults.items():
        begin()
        await nothing_moves(scene, homes, what)
        await healed(scene, what)

    hosts.cut_packets(UPHILL)
    before = await scene.truth.packets()
    await nothing_moves(scene, homes, "packets go one way")
    after = await scene.truth.packets()
    assert after["a"]["received"] > before["a"]["received"]
    assert after["e"]["received"] == before["e"]["received"]
    assert after["a"]["sent"] > before["a"]["sent"]
    await healed(scene, "packets go one way")

    await scene.end()
    scene.note_events("member_suspect")
    assert not scene.note_events("member_dead")
    assert not await scene.truth.moved(homes)


async def nothing_moves(scene: Scene, homes: dict[str, str], what: str) -> None:
    """For longer than it would take to give somebody up."""
    await scene.horde.hold(partial(scene.truth.moved, homes), f"{what}: nothing moves", NOTICED)


async def healed(scene: Scene, what: str) -> None:
    """End the fault; everybody works again."""
    assert scene.hosts.heal(), f"{what}: the fault has hit nothing"
    await scene.horde.until(scene.truth.not_met, f"{what}: all nodes see each other alive again")
    await scene.is_written("".join(scene.horde.names))
