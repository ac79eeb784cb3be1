"""Cables between hosts fail, in one or both directions, while clients write."""

from __future__ import annotations

from functools import partial

import pytest

from tests.netns.scene import Scene

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

NOTICED = 10.0
"""Seconds after which a silent node is held for dead at the latest."""
BUSY = 20.0
"""Seconds more, on a machine that is busy with other things."""


async def test_both_sides_of_a_split_go_on_and_all_that_either_acknowledged_is_kept(scene: Scene):
    await scene.begin()
    scene.hosts.split("ab", "cde")
    await scene.runs_on("ab", "cde", within=NOTICED + BUSY)
    scene.note_events("member_dead")
    await scene.is_written("ab", "cde")
    await scene.heal()


async def test_a_cable_that_fails_in_one_direction_costs_nobody_a_name(scene: Scene):
    homes = await scene.begin()
    scene.hosts.cut([("b", "c")])
    await scene.horde.hold(partial(scene.truth.moved, homes), "every ledger stays", NOTICED * 1.5)
    await scene.heal()
    scene.note_events("member_suspect")
    assert not scene.note_events("member_dead")
    assert not await scene.truth.moved(homes)


async def test_a_host_that_both_sides_reach_holds_them_together(scene: Scene):
    homes = await scene.begin()
    scene.hosts.split("ab", "de")
    await scene.horde.hold(partial(scene.truth.moved, homes), "every ledger stays", NOTICED * 1.5)
    await scene.heal()
    scene.note_events("member_suspect")
    assert not scene.note_events("member_dead")
    assert not await scene.truth.moved(homes)
