"""The simulated event loop: order, time, stalls, kills, threads, and a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from pyhorde.testing import Deadlock, Livelock, OutsideWorld, SimLoop
from pyhorde.testing import loop as sim_loop
from pyhorde.testing.loop import MACHINE


def play(story: Callable[[SimLoop], Any], seed: int = 1) -> SimLoop:
    """Run a story on a new loop, and close it."""
    loop = SimLoop(seed)
    try:
        loop.run_until_complete(story(loop))
    finally:
        loop.close()
    return loop


def since_start(loop: SimLoop) -> float:
    return round(loop.time() - 1000, 6)


# ---- order ---------------------------------------------------------------------------------------


def orders(seed: int) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []

    async def start(loop: SimLoop, machine: str) -> None:
        for number in range(6):
            loop.call_soon(seen.append, (machine, number))

    async def story(loop: SimLoop) -> None:
        await asyncio.gather(*(loop.run_as(m, start(loop, m)) for m in ("a", "b", "c")))
        await asyncio.sleep(1)

    play(story, seed)
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_callbacks_of_one_machine_run_in_the_order_they_were_asked_for(seed: int):
    for machine in "abc":
        assert [n for m, n in orders(seed) if m == machine] == list(range(6))


def test_the_seed_decides_which_machine_is_next():
    found = {tuple(orders(seed)) for seed in range(5)}
    assert len(found) > 1
    assert orders(3) == orders(3)


def test_timers_of_one_moment_run_in_the_order_they_were_set():
    seen: list[int] = []

    async def story(loop: SimLoop) -> None:
        for number in range(10):
            loop.call_at(loop.time() + 5, seen.append, number)
        await asyncio.sleep(6)

    play(story)
    assert seen == list(range(10))


def test_a_cancelled_callback_and_a_cancelled_timer_never_run():
    seen: list[str] = []

    async def story(loop: SimLoop) -> None:
        loop.call_soon(seen.append, "soon").cancel()
        loop.call_later(1, seen.append, "later").cancel()
        await asyncio.sleep(2)

    play(story)
    assert seen == []


def test_a_task_stays_on_the_machine_that_started_it():
    machines: list[str] = []

    async def inner() -> None:
        await asyncio.sleep(1)
        machines.append(MACHINE.get())

    async def outer() -> None:
        machines.append(MACHINE.get())
        await asyncio.create_task(inner())

    async def story(loop: SimLoop) -> None:
        await loop.run_as("a#1", outer())
        machines.append(MACHINE.get())

    play(story)
    assert machines == ["a#1", "a#1", ""]


# ---- machines that stand still, are slow, or are killed ------------------------------------------


def stalled(timers: list[float], start: float, seconds: float, seed: int = 1) -> list[object]:
    """What a machine sees that has these timers and stands still for a while."""
    seen: list[object] = []

    async def machine(loop: SimLoop) -> None:
        now = 1000.0
        for timer in timers:
            loop.call_at(now + timer, seen.append, timer)

    async def story(loop: SimLoop) -> None:
        await loop.run_as("a#1", machine(loop))
        await asyncio.sleep(start)
        loop.stall("a#1", seconds)
        loop.on_awake.append(lambda key, rest: seen.append(f"{key} {'rest' if rest else 'first'}"))
        await asyncio.sleep(60)

    play(story, seed)
    return [entry for entry in seen if not isinstance(entry, str)]


def test_overdue_timers_run_in_the_order_of_their_times():
    assert stalled([4, 2, 3, 20], 1, 10) == [2, 3, 4, 20]


@pytest.mark.parametrize("seed", range(2))
def test_a_timer_due_at_the_very_end_of_a_stall_comes_after_the_overdue_ones(seed: int):
    assert stalled([11, 3, 2], 1, 10, seed) == [2, 3, 11]


def test_what_was_ready_when_a_machine_stalled_runs_before_its_overdue_timers():
    seen: list[str] = []

    async def machine(loop: SimLoop) -> None:
        loop.call_later(1, seen.append, "timer")
        loop.stall("a#1", 10)
        loop.call_soon(seen.append, "ready")

    async def story(loop: SimLoop) -> None:
        _ = loop.run_as("a#1", machine(loop))
        await asyncio.sleep(5)
        assert seen == []
        assert loop.is_stalled("a#1")
        await asyncio.sleep(6)

    play(story)
    assert seen == ["ready", "timer"]


def test_the_network_is_told_of_the_end_of_a_stall_before_and_after_the_overdue_timers():
    told: list[tuple[str, bool]] = []

    async def story(loop: SimLoop) -> None:
        loop.on_awake.append(lambda key, rest: told.append((key, rest)))
        loop.stall("a#1", 2)
        loop.stall("a#1", 5)
        await asyncio.sleep(4)
        assert told == []
        await asyncio.sleep(2)

    play(story)
    assert told == [("a#1", False), ("a#1", True)]


def test_a_shorter_stall_does_not_end_a_longer_one():
    async def story(loop: SimLoop) -> None:
        loop.stall("a#1", 10)
        loop.stall("a#1", 1)
        await asyncio.sleep(5)
        assert loop.is_stalled("a#1")
        await asyncio.sleep(5)
        assert not loop.is_stalled("a#1")

    play(story)


def test_each_callback_of_a_slow_machine_takes_its_time_and_others_go_on():
    slow: list[float] = []
    fast: list[float] = []

    async def machine(loop: SimLoop, seen: list[float]) -> None:
        for _ in range(4):
            seen.append(since_start(loop))
            await asyncio.sleep(0)

    async def story(loop: SimLoop) -> None:
        loop.slow("slow#1", 0.5)
        await asyncio.gather(
            loop.run_as("slow#1", machine(loop, slow)), loop.run_as("fast#1", machine(loop, fast))
        )
        loop.slow("slow#1", 0)
        await asyncio.sleep(1)
        begin = loop.time()
        await loop.run_as("slow#1", machine(loop, []))
        assert loop.time() == begin

    play(story)
    assert slow == [0, 0.5, 1.0, 1.5]
    assert fast == [0, 0, 0, 0]


def test_after_so_many_callbacks_of_a_machine_the_world_steps_in():
    seen: list[object] = []

    async def machine() -> None:
        for number in range(10):
            seen.append(number)
            await asyncio.sleep(0)

    async def story(loop: SimLoop) -> None:
        loop.after_steps("a#1", 3, lambda: seen.append("now"))
        await asyncio.gather(loop.run_as("a#1", machine()), loop.run_as("b#1", asyncio.sleep(0)))

    play(story)
    assert seen == [0, 1, "now", *range(2, 10)]


def test_a_countdown_that_kills_does_so_before_the_callback():
    seen: list[int] = []

    async def machine() -> None:
        for number in range(10):
            seen.append(number)
            await asyncio.sleep(0)

    async def story(loop: SimLoop) -> None:
        loop.after_steps("a#1", 3, lambda: loop.kill("a#1"))
        _ = loop.run_as("a#1", machine())
        await asyncio.sleep(1)

    play(story)
    assert seen == [0, 1]


def test_a_countdown_can_be_taken_back():
    seen: list[str] = []

    async def story(loop: SimLoop) -> None:
        loop.after_steps("a#1", 2, lambda: seen.append("now"))
        loop.after_steps("a#1", 2, None)
        await loop.run_as("a#1", asyncio.sleep(1))

    play(story)
    assert seen == []


def test_nothing_of_a_killed_machine_runs_again_neither_timers_nor_tasks_nor_their_finally():
    seen: list[str] = []
    tasks: list[object] = []

    async def sleeper() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            seen.append("finally")

    async def machine(loop: SimLoop) -> None:
        loop.call_later(1, seen.append, "timer")
        loop.call_soon(seen.append, "soon")
        tasks.append(asyncio.create_task(sleeper()))
        loop.kill("a#1")
        loop.call_soon(seen.append, "after")
        loop.call_later(1, seen.append, "later")
        await asyncio.sleep(0)
        seen.append("went on")

    async def story(loop: SimLoop) -> None:
        _ = loop.run_as("a#1", machine(loop))
        await asyncio.sleep(5)
        assert loop.is_dead("a#1")
        gc.collect()
        assert seen == []

    play(story)


def test_timers_that_became_due_in_a_stall_are_gone_with_the_machine():
    seen: list[str] = []

    async def machine(loop: SimLoop) -> None:
        loop.call_later(1, seen.append, "timer")

    async def story(loop: SimLoop) -> None:
        await loop.run_as("a#1", machine(loop))
        loop.stall("a#1", 5)
        await asyncio.sleep(2)
        loop.kill("a#1")
        await asyncio.sleep(10)

    play(story)
    assert seen == []


def test_the_unfinished_tasks_of_a_machine_are_named():
    async def story(loop: SimLoop) -> None:
        task = loop.run_as("a#1", asyncio.sleep(1))
        _ = loop.run_as("b#1", asyncio.sleep(1))
        assert loop.unfinished("a#1") == [task]
        await task
        assert loop.unfinished("a#1") == []

    play(story)


def test_tasks_that_are_done_are_let_go_of_and_others_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_loop, "_TASKS_KEPT", 8)

    async def story(loop: SimLoop) -> None:
        waiting = loop.run_as("a#1", asyncio.sleep(100))
        for _ in range(100):
            await asyncio.create_task(asyncio.sleep(0))
        assert loop.unfinished("a#1") == [waiting]
        assert len(loop._tasks) < 50

    play(story)


# ---- threads -------------------------------------------------------------------------------------


def test_a_function_for_a_thread_runs_in_this_thread_a_drawn_while_later():
    async def story(loop: SimLoop) -> None:
        ran_in = await asyncio.to_thread(threading.get_ident)
        assert ran_in == threading.get_ident()
        assert loop.time() > 1000

    loops = [play(story, seed) for seed in (1, 1, 2)]
    assert loops[0].time() == loops[1].time() != loops[2].time()


def test_what_the_function_raises_the_awaiting_code_gets():
    def fail() -> None:
        raise OSError("no room")

    async def story(loop: SimLoop) -> None:
        with pytest.raises(OSError, match="no room"):
            await loop.run_in_executor(None, fail)

    assert play(story).failures == []


def test_a_cancelled_thread_function_does_not_run():
    seen: list[str] = []

    async def story(loop: SimLoop) -> None:
        loop.run_in_executor(None, seen.append, "ran").cancel()
        await asyncio.sleep(1)

    assert play(story).failures == []
    assert seen == []


def test_an_executor_of_ones_own_is_refused():
    async def story(loop: SimLoop) -> None:
        with ThreadPoolExecutor() as pool, pytest.raises(OutsideWorld, match="threads"):
            await loop.run_in_executor(pool, print)

    play(story)


def test_a_killed_machine_does_not_finish_what_it_gave_to_a_thread():
    seen: list[str] = []

    async def story(loop: SimLoop) -> None:
        _ = loop.run_as("a#1", asyncio.to_thread(seen.append, "ran"))
        await asyncio.sleep(0)
        loop.kill("a#1")
        await asyncio.sleep(1)

    play(story)
    assert seen == []


# ---- what ends a run -----------------------------------------------------------------------------


def test_a_deadlock_names_the_tasks_that_wait():
    async def waits_in_vain() -> None:
        await asyncio.get_running_loop().create_future()

    async def story(loop: SimLoop) -> None:
        await asyncio.gather(waits_in_vain())

    with pytest.raises(Deadlock, match="waits_in_vain"):
        play(story)


def test_a_livelock_names_the_machine_that_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_loop, "STILL_LIMIT", 100)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - just this is to be found
            await asyncio.sleep(0)

    async def story(loop: SimLoop) -> None:
        await loop.run_as("a#1", spin())

    with pytest.raises(Livelock, match="s and a#1 goes on"):
        play(story)


def test_a_livelock_of_timers_that_are_due_at_once_is_found_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_loop, "STILL_LIMIT", 100)

    async def story(loop: SimLoop) -> None:
        def again() -> None:
            loop.call_at(loop.time(), again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock):
        play(story)


def test_many_callbacks_while_the_clock_moves_are_no_livelock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_loop, "STILL_LIMIT", 100)

    async def story(loop: SimLoop) -> None:
        for _ in range(5000):
            await asyncio.sleep(0.001)

    play(story)


def test_a_failing_callback_is_kept_for_the_checks_and_the_loop_goes_on():
    async def story(loop: SimLoop) -> None:
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    (failure,) = play(story).failures
    assert isinstance(failure["exception"], ZeroDivisionError)


def test_the_loop_that_ran_before_runs_again_afterwards():
    async def outside() -> None:
        real = asyncio.get_running_loop()
        play(lambda _: asyncio.sleep(1))
        assert asyncio.get_running_loop() is real

    asyncio.run(outside())


@pytest.mark.filterwarnings("error")
def test_closing_drops_what_still_waits_without_a_word(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    more: list[object] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            more.append(asyncio.create_task(asyncio.sleep(100)))
            logging.getLogger("stubborn").error("cut off")
            await asyncio.sleep(100)

    async def never_begun() -> None:
        raise AssertionError

    async def fails() -> None:
        raise ValueError("nobody hears this")

    async def story(loop: SimLoop) -> None:
        for key in ("a#1", "b#1"):
            _ = loop.run_as(key, stubborn())
            _ = loop.run_as(key, fails())
        await asyncio.sleep(1)
        loop.kill("b#1")
        _ = loop.run_as("b#1", never_begun())
        _ = loop.run_as("a#1", never_begun())

    loop = play(story)
    assert loop.is_closed()
    loop.close()
    del loop
    gc.collect()
    assert caplog.records == []
    assert capsys.readouterr().err == ""
    assert not logging.root.manager.disable


def test_after_a_deadlock_a_loop_closes_without_a_word(caplog: pytest.LogCaptureFixture):
    async def story(loop: SimLoop) -> None:
        await loop.create_future()

    with suppress(Deadlock):
        play(story)
    gc.collect()
    assert caplog.records == []


# ---- the trace -----------------------------------------------------------------------------------


def trace(seed: int, *marks: float, note: object = "note") -> str:
    async def story(loop: SimLoop) -> None:
        for mark in marks:
            loop.mark(mark)
            await asyncio.sleep(1)
        loop.note("something", note)

    return play(story, seed).trace_hash


def test_equal_runs_have_equal_traces():
    assert trace(1, 10, 20) == trace(1, 10, 20)


@pytest.mark.parametrize("other", [(10, 21), (20, 10), (10,), (10, 20, 30)])
def test_a_run_with_other_numbers_has_another_trace(other: tuple[int, ...]):
    assert trace(1, 10, 20) != trace(1, *other)


def test_a_run_with_another_note_has_another_trace():
    assert trace(1, 10, note="one") != trace(1, 10, note="two")


def test_looking_at_the_trace_on_the_way_changes_nothing():
    async def story(loop: SimLoop, *, look: bool) -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            if look:
                assert loop.trace_hash

    looked, unlooked = (play(lambda one, f=f: story(one, look=f)) for f in (True, False))
    assert looked.trace_hash == unlooked.trace_hash


@pytest.mark.parametrize(
    "outside", ["create_connection", "create_server", "subprocess_exec", "add_reader", "sock_recv"]
)
def test_what_touches_the_real_world_is_refused_by_name(outside: str):
    with pytest.raises(OutsideWorld, match=outside):
        getattr(SimLoop(1), outside)()
