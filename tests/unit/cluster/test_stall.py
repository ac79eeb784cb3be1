"""A node that stood still for long finds out what it missed before anything goes on."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde.cluster.event_loop.stall import OVERSLEPT, StallGuard

INTERVAL = 1.0


class World:
    """A clock that the test turns, and others who answer when it lets them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[float] = []
        self.answers = asyncio.Event()
        self.stall_guard = StallGuard(lambda: self.now, INTERVAL, self._catch_up)

    async def _catch_up(self, since: float) -> None:
        self.asked.append(since)
        await self.answers.wait()

    def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_node_whose_timer_runs_is_never_in_doubt():
    world = World()
    assert not world.stall_guard.is_doubtful  # nor is one that has not started
    for _ in range(10):
        world.stall_guard.ran()
        world.sleep(INTERVAL + OVERSLEPT)
        assert not world.stall_guard.is_doubtful
    assert world.asked == []


@pytest.mark.parametrize("first", ["a message", "the timer"])
async def test_after_a_long_sleep_it_is_in_doubt_until_the_others_have_told(first: str):
    world = World()
    world.stall_guard.ran()
    world.sleep(INTERVAL + OVERSLEPT + 0.1)
    if first == "the timer":  # it must not hide how late it is
        world.stall_guard.ran()
    assert world.stall_guard.is_doubtful
    sure = asyncio.create_task(world.stall_guard.sure())
    await asyncio.sleep(0)
    assert world.asked == [world.now] and not sure.done()
    world.answers.set()
    await sure
    assert not world.stall_guard.is_doubtful
    assert len(world.asked) == 1


async def test_timers_that_run_meanwhile_do_not_end_the_doubt():
    world = World()
    world.stall_guard.ran()
    world.sleep(20.0)
    assert world.stall_guard.is_doubtful
    world.stall_guard.ran()
    assert world.stall_guard.is_doubtful
    await world.stall_guard.aclose()


async def test_it_is_sure_when_others_cannot_be_asked():
    world = World()

    async def fails(since: float) -> None:
        raise ConnectionError(since)

    world.stall_guard = StallGuard(lambda: world.now, INTERVAL, fails)
    world.stall_guard.ran()
    world.sleep(20.0)
    assert world.stall_guard.is_doubtful
    await world.stall_guard.sure()
    assert not world.stall_guard.is_doubtful
