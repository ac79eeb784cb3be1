from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pyhorde.cluster.waiting import Waiting, resolve
from tests.unit.runtime.stage import turns, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def begun(work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
    task = asyncio.create_task(work)
    await turns()
    assert not task.done()
    return task


@virtual_time
async def test_a_change_wakes_everybody_who_waits_for_one():
    waiting = Waiting()
    tasks = [await begun(waiting.for_change(60.0)) for _ in range(3)]
    waiting.changed()
    assert await asyncio.gather(*tasks) == [True] * 3
    assert waiting._watchers == {}


@virtual_time
async def test_a_change_from_before_is_none():
    waiting = Waiting()
    waiting.changed()
    assert not await waiting.for_change(1.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 7.5])
def test_without_a_change_the_time_out_ends_it(seconds: float):
    @virtual_time
    async def wait():
        waiting, began = Waiting(), now()
        assert not await waiting.for_change(seconds)
        assert not await waiting.for_confirmation(1, seconds)
        assert now() - began == pytest.approx(2 * max(0.0, seconds))
        assert waiting._watchers == waiting._unconfirmed == {}

    wait()


@virtual_time
async def test_a_confirmation_wakes_those_whose_event_it_covers():
    waiting = Waiting()
    early, late = [await begun(waiting.for_confirmation(seq, 60.0)) for seq in (5, 6)]
    waiting.confirmed(4)
    await turns()
    assert not early.done() and not late.done()
    waiting.confirmed(5)
    assert await early
    assert not late.done()
    waiting.confirmed(9)
    assert await late
    assert waiting._unconfirmed == {}


@virtual_time
async def test_a_change_is_no_confirmation_and_a_confirmation_is_no_change():
    waiting = Waiting()
    change = await begun(waiting.for_change(60.0))
    confirmation = await begun(waiting.for_confirmation(5, 60.0))
    waiting.confirmed(99)
    await turns()
    assert confirmation.done() and not change.done()
    confirmation = await begun(waiting.for_confirmation(5, 60.0))
    waiting.changed()
    await turns()
    assert change.done() and not confirmation.done()
    waiting.all()
    assert await confirmation


@virtual_time
async def test_when_somebody_comes_or_goes_all_look_again():
    waiting = Waiting()
    tasks = [
        await begun(waiting.for_change(60.0)),
        await begun(waiting.for_confirmation(99, 60.0)),
    ]
    waiting.all()
    assert await asyncio.gather(*tasks) == [True, True]


@virtual_time
async def test_who_is_cancelled_leaves_no_trace_and_does_not_stop_the_others():
    waiting = Waiting()
    gone, stays = [await begun(waiting.for_change(60.0)) for _ in range(2)]
    unconfirmed = await begun(waiting.for_confirmation(1, 60.0))
    for task in (gone, unconfirmed):
        task.cancel()
    await turns()
    waiting.all()
    assert await stays
    assert gone.cancelled() and unconfirmed.cancelled()
    assert waiting._watchers == waiting._unconfirmed == {}


@virtual_time
async def test_who_is_woken_and_out_of_time_at_once_is_told_once():
    waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    resolve(waiter, True)
    resolve(waiter, False)
    assert await waiter


@virtual_time
async def test_who_was_woken_in_time_leaves_no_timer():
    """Calls wait for confirmations all the time, each with a time-out of many seconds."""
    waiting = Waiting()
    loop: Any = asyncio.get_running_loop()
    for _ in range(20):
        task = await begun(waiting.for_confirmation(1, 60.0))
        waiting.confirmed(1)
        assert await task
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []
