"""The simulated loop itself."""

import asyncio

import pytest

from pyhorde.testing import Deadlock, Livelock, OutsideWorld, SimLoop
from pyhorde.testing import loop as sim_loop


def test_time_passes_only_when_nothing_is_ready():
    loop = SimLoop(seed=1)
    start = loop.time()

    async def nap() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(nap()) == start + 3600


def test_waiting_for_what_never_comes_is_a_deadlock():
    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    loop = SimLoop(seed=1)
    with pytest.raises(Deadlock, match="wait_for_ever"):
        loop.run_until_complete(wait_for_ever())


def test_spinning_without_the_clock_moving_is_a_livelock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_loop, "STILL_LIMIT", 1000)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - just this is to be found
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="the clock stands"):
        SimLoop(seed=1).run_until_complete(spin())


def test_a_killed_machine_does_nothing_more_not_even_in_finally():
    loop, done = SimLoop(seed=1), []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            done.append("finally")

    async def story() -> None:
        _ = loop.run_as("a#1", work())
        await asyncio.sleep(0.5)
        loop.kill("a#1")
        await asyncio.sleep(5)

    loop.run_until_complete(story())
    assert done == []


def test_a_stalled_machine_goes_on_where_it_stood():
    loop, times = SimLoop(seed=1), []

    async def beat() -> None:
        while True:
            await asyncio.sleep(1)
            times.append(round(loop.time() - 1000, 3))

    async def story() -> None:
        _ = loop.run_as("a#1", beat())
        await asyncio.sleep(1.5)
        loop.stall("a#1", 10)
        await asyncio.sleep(12)

    loop.run_until_complete(story())
    assert times == [1, 11.5, 12.5, 13.5][: len(times)]
    assert len(times) >= 3


def test_the_real_world_is_out_of_reach():
    async def look_outside() -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    with pytest.raises(OutsideWorld, match="getaddrinfo"):
        SimLoop(seed=1).run_until_complete(look_outside())


@pytest.mark.parametrize("seed", [1, 2])
def test_equal_seeds_give_equal_traces_and_others_do_not(seed: int):
    def trace(number: int) -> str:
        loop = SimLoop(number)

        async def machine() -> None:
            for _ in range(10):
                await asyncio.sleep(0.001)

        async def story() -> None:
            await asyncio.gather(*(loop.run_as(f"m{i}", machine()) for i in range(4)))

        loop.run_until_complete(story())
        return loop.trace_hash

    assert trace(seed) == trace(seed)
    assert trace(seed) != trace(seed + 1)
