"""``async with SimCluster`` under a real event loop, whichever it is."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import uvloop

from pyhorde.testing import Deadlock, SimCluster, SimLoop, Violation
from tests.unit.testing.cast import Counter

HOUR = 3600.0


def under_debug_mode(story: Any) -> Any:
    return asyncio.run(story, debug=True)


Runner = Callable[[Any], Any]
any_loop = pytest.mark.parametrize(
    "run", [asyncio.run, uvloop.run, under_debug_mode], ids=["asyncio", "uvloop", "debug"]
)


def a_cluster(nodes: int = 2, seed: int = 1) -> SimCluster:
    return SimCluster(nodes=nodes, seed=seed, processes=[Counter])


async def idle() -> SimCluster:
    """A cluster whose nodes have not been started: nothing moves in it by itself."""
    return SimCluster(nodes=[], seed=1)


@any_loop
def test_inside_time_is_virtual_and_afterwards_the_real_loop_goes_on(run: Runner):
    async def story() -> str:
        real = asyncio.get_running_loop()
        task = asyncio.current_task()
        began = time.monotonic()
        async with a_cluster() as cluster:
            assert asyncio.get_running_loop() is cluster.loop
            ref = await cluster.start_child(Counter, "it")
            assert await ref.increment() == 1
            await asyncio.sleep(60)
        assert time.monotonic() - began < 30
        assert asyncio.get_running_loop() is real
        assert asyncio.current_task() is task
        assert cluster.loop.is_closed()
        before = real.time()
        await asyncio.sleep(0.01)
        assert real.time() - before >= 0.005
        await asyncio.wait_for(asyncio.create_task(asyncio.sleep(0)), 5)
        return "the result"

    assert run(story()) == "the result"


@any_loop
def test_what_the_body_raises_comes_out_as_it_is(run: Runner):
    async def story() -> None:
        with pytest.raises(LookupError, match="mine"):
            async with a_cluster():
                raise LookupError("mine")
        await asyncio.sleep(0)

    run(story())


@any_loop
def test_an_error_out_of_the_whole_coroutine_comes_out_as_it_is(run: Runner):
    async def story() -> None:
        async with a_cluster():
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run(story())


def test_a_failing_start_comes_out_as_it_is(monkeypatch: pytest.MonkeyPatch):
    async def fail(self: SimCluster) -> None:
        await asyncio.sleep(1)
        raise LookupError("no start")

    monkeypatch.setattr(SimCluster, "start_all", fail)

    async def story() -> None:
        async with a_cluster():
            raise AssertionError

    with pytest.raises(LookupError, match="no start"):
        asyncio.run(story())


def test_after_a_failing_start_the_real_loop_goes_on(monkeypatch: pytest.MonkeyPatch):
    async def fail(self: SimCluster) -> None:
        raise LookupError("no start")

    monkeypatch.setattr(SimCluster, "start_all", fail)

    async def story() -> None:
        real = asyncio.get_running_loop()
        with pytest.raises(LookupError):
            async with a_cluster():
                raise AssertionError
        assert asyncio.get_running_loop() is real
        await asyncio.sleep(0)

    asyncio.run(story())


@any_loop
def test_a_deadlock_is_raised_where_the_body_waits(run: Runner):
    async def story() -> None:
        waited = []

        async def wait_in_vain() -> None:
            async with await idle():
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    waited.append("cleaned up")

        with pytest.raises(Deadlock):
            await wait_in_vain()
        assert waited == ["cleaned up"]
        await asyncio.sleep(0)

    run(story())


def test_a_deadlock_reaches_a_body_that_goes_on_waiting():
    async def story() -> None:
        caught = 0
        async with await idle():
            for _ in range(3):
                try:
                    await asyncio.get_running_loop().create_future()
                except Deadlock:
                    caught += 1
        assert caught == 3

    asyncio.run(story())


def test_a_violation_is_raised_at_the_end_of_the_body():
    async def story() -> None:
        async with a_cluster() as cluster:
            cluster.invariants.report(25, "something")
        raise AssertionError

    with pytest.raises(Violation, match="something"):
        asyncio.run(story())


def test_the_bodys_own_error_comes_before_a_violation():
    async def story() -> None:
        async with a_cluster() as cluster:
            cluster.invariants.report(25, "something")
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(story())


def in_a_cluster(body: Callable[[SimCluster], Awaitable[None]]) -> None:
    async def story() -> None:
        async with a_cluster() as cluster:
            await body(cluster)

    began = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - began < 30


def test_timeouts_inside_take_virtual_time():
    async def body(cluster: SimCluster) -> None:
        began = cluster.loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HOUR / 60):
                await asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(HOUR), HOUR / 60)
        assert cluster.loop.time() == pytest.approx(began + HOUR / 30)

    in_a_cluster(body)


def test_tasks_inside_can_be_cancelled_and_awaited():
    async def body(cluster: SimCluster) -> None:
        task = asyncio.create_task(asyncio.sleep(HOUR))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.TaskGroup() as group:
            one, two = (group.create_task(asyncio.sleep(5, n)) for n in (1, 2))
        assert (one.result(), two.result()) == (1, 2)
        assert await asyncio.gather(asyncio.sleep(1, "a"), asyncio.sleep(2, "b")) == ["a", "b"]

    in_a_cluster(body)


def test_the_body_can_cancel_itself():
    async def body(cluster: SimCluster) -> None:
        me = asyncio.current_task()
        assert me is not None
        me.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1)
        me.uncancel()
        await asyncio.sleep(1)

    in_a_cluster(body)


def test_several_tasks_of_a_real_loop_may_each_have_a_cluster():
    async def one(seed: int) -> str:
        await asyncio.sleep(0)
        async with a_cluster(seed=seed) as cluster:
            ref = await cluster.start_child(Counter, "it")
            await asyncio.sleep(5)
            assert await ref.increment() == 1
        await asyncio.sleep(0)
        return cluster.loop.trace_hash

    async def story() -> None:
        traces = await asyncio.gather(*map(one, (1, 2, 1)))
        assert traces[0] == traces[2] != traces[1]

    asyncio.run(story())


def test_one_coroutine_may_have_one_cluster_after_the_other_and_one_in_another_function():
    async def inner() -> str:
        async with a_cluster() as cluster:
            await asyncio.sleep(1)
        return cluster.loop.trace_hash

    async def story() -> None:
        assert await inner() == await inner()

    asyncio.run(story())


def test_a_run_is_the_same_under_every_loop():
    async def story() -> str:
        async with a_cluster() as cluster:
            await (await cluster.start_child(Counter, "it")).increment()
        return cluster.loop.trace_hash

    assert len({run(story()) for run in (asyncio.run, uvloop.run, under_debug_mode)}) == 1


def test_on_a_simulated_loop_nothing_is_borrowed():
    async def story(cluster: SimCluster) -> None:
        async with cluster:
            assert cluster.live.keys() == {"a", "b"}
        assert not cluster.loop.is_closed()

    SimCluster.run(story, nodes=2)


def test_nothing_is_left_behind_that_complains(caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        asyncio.get_running_loop().slow_callback_duration = math.inf  # a busy machine is no leak
        async with a_cluster() as cluster:
            left = asyncio.create_task(asyncio.sleep(HOUR))
            _ = cluster.loop.run_as("a#1", asyncio.sleep(HOUR))
            await asyncio.sleep(1)
            assert not left.done()

    asyncio.run(story(), debug=True)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_the_real_loop_stands_still_meanwhile():
    async def story() -> None:
        ticks: list[int] = []
        asyncio.get_running_loop().call_soon(ticks.append, 1)
        async with await idle():
            asyncio.get_running_loop().call_soon(ticks.append, 2)
            seen = len(ticks)
            await asyncio.sleep(HOUR)
        assert ticks[:seen] == [1][:seen]
        assert sorted(ticks) == [1, 2]

    asyncio.run(story())


def test_a_result_of_the_simulated_loop_is_a_plain_result():
    loop = SimLoop(1)
    assert loop.run_until_complete(asyncio.sleep(1, "done")) == "done"
    loop.close()
    assert partial(loop.is_closed)()
