"""The thread that looks at the event loop: when it speaks up, and what it says."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine

import pytest
import uvloop

from pyhorde.cluster.event_loop.watchdog import (
    BLOCKED_AFTER,
    LOOK,
    STACK_BYTES,
    STACK_FRAMES,
    Vigil,
    WatchThread,
    stack_of,
)
from pyhorde.cluster.real import RealWorld

BUSY, ASLEEP = 1.0, 0.0


@pytest.mark.parametrize(
    ("looks", "told"),
    # Each look: when, how busy the CPU was since the last, and when the loop ran last.
    [
        ([(0.1, ASLEEP, 0.0), (0.2, ASLEEP, 0.1), (0.3, BUSY, 0.3)], [None, None, None]),
        ([(0.3, BUSY, 0.0), (0.5, BUSY, 0.0), (0.6, BUSY, 0.0)], [None, None, 0.6]),
        # Once for each beat.
        ([(0.3, BUSY, 0.0), (0.6, BUSY, 0.0), (0.7, BUSY, 0.0)], [None, 0.6, None]),
        ([(0.3, BUSY, 0.0), (0.6, BUSY, 0.0), (0.9, BUSY, 0.8)], [None, 0.6, None]),
        (
            [(0.3, BUSY, 0.0), (0.6, BUSY, 0.0), (0.9, BUSY, 0.7), (1.5, BUSY, 0.7)],
            [None, 0.6, None, 0.8],
        ),
        # Who sleeps in a handler uses no CPU, and the thread looks in time.
        ([(0.2, ASLEEP, 0.0), (0.4, ASLEEP, 0.0), (0.6, ASLEEP, 0.0)], [None, None, 0.6]),
        # Stopped as a whole, and then given time anew.
        ([(9.0, ASLEEP, 0.0), (9.1, BUSY, 9.05)], [None, None]),
        (
            [(9.0, ASLEEP, 0.0), (9.2, BUSY, 0.0), (9.4, BUSY, 0.0), (9.6, BUSY, 0.0)],
            [None, None, None, 0.6],
        ),
        # The interpreter's lock was held: the thread could not look, and the CPU was busy.
        ([(2.0, BUSY, 0.0)], [2.0]),
    ],
)
def test_when_it_speaks_up(looks: list[tuple[float, float, float]], told: list[float | None]):
    now = cpu = 0.0
    vigil = Vigil(now, cpu)
    ages = []
    for at, busy, beat in looks:
        cpu += (at - now) * busy
        now = at
        ages.append(vigil.look(now, cpu, beat))
    assert [age and round(age, 6) for age in ages] == told


@pytest.mark.parametrize(
    ("beat", "wait"),
    [(1.0, BLOCKED_AFTER), (0.9, BLOCKED_AFTER - 0.1), (0.55, LOOK), (0.1, LOOK)],
)
def test_it_looks_again_when_the_latest_beat_becomes_too_old(beat: float, wait: float):
    vigil = Vigil(0.0, 0.0)
    vigil.look(1.0, 1.0, beat)
    assert vigil.wait == pytest.approx(wait)


class Blocked:
    """A loop without a beat, whose handlers block until that has been noticed."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, str]] = []
        self.noticed = threading.Event()

    def tell(self, age: float, stack: str) -> None:
        self.told.append((age, stack, threading.current_thread().name))
        self.noticed.set()

    async def sleeps(self) -> None:
        while not self.noticed.is_set():
            time.sleep(0.05)  # noqa: ASYNC251 - just this is to be found

    async def computes(self) -> None:
        while not self.noticed.is_set():
            sum(range(1000))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("handler", [Blocked.sleeps, Blocked.computes])
def test_the_stack_shows_the_handler_that_blocks_and_not_what_runs_the_loop(
    handler: Callable[[Blocked], Coroutine[None, None, None]],
    loop: Callable[[], asyncio.AbstractEventLoop],
):
    blocked = Blocked()

    async def main() -> None:
        started = time.monotonic()
        dog = RealWorld().watch(lambda: started, blocked.tell)
        await asyncio.create_task(handler(blocked))
        dog.close()
        dog.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    ((age, stack, thread),) = blocked.told
    assert age > BLOCKED_AFTER
    assert thread == "pyhorde-watchdog"
    assert f"in {handler.__name__}" in stack.splitlines()[0]
    assert "asyncio" not in stack
    assert not [each for each in threading.enumerate() if each.name == thread]


def test_a_loop_that_beats_is_left_alone():
    looks = threading.Semaphore(0)

    def beat() -> float:
        looks.release()
        return time.monotonic()

    blocked = Blocked()
    dog = WatchThread(beat, blocked.tell)
    for _ in range(3):
        assert looks.acquire(timeout=30)
    dog.close()
    assert blocked.told == []


def test_a_watchdog_that_fails_says_so_and_takes_nothing_down(caplog: pytest.LogCaptureFixture):
    def beat() -> float:
        raise ValueError("no clock")

    dog = WatchThread(beat, lambda *_: None)
    dog._thread.join(30)
    dog.close()
    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.ERROR, "watchdog_failed")


def test_it_may_be_closed_by_what_it_calls():
    closed = threading.Event()

    def blocked(*_: object) -> None:
        dog.close()
        closed.set()

    started = time.monotonic()
    dog = WatchThread(lambda: started, blocked)
    assert closed.wait(30)
    dog._thread.join(30)
    assert not dog._thread.is_alive()


def here() -> str:
    return stack_of(threading.get_ident())


def nested(depth: int) -> str:
    return nested(depth - 1) if depth else here()


def test_of_a_deep_stack_the_innermost_frames_are_shown():
    stack = nested(STACK_FRAMES * 4)
    assert stack.count("File ") <= STACK_FRAMES
    assert "in here" in stack
    assert "in nested" in stack


def test_a_stack_is_bounded_in_bytes():
    name = "f" + "ü" * STACK_BYTES
    space = {"here": here}
    exec(f"def {name}():\n    return here()\ndef outer():\n    return {name}()", space)
    stack = space["outer"]()
    assert "in here" in stack
    assert len(stack.encode()) <= STACK_BYTES


def test_frames_of_the_runtime_around_a_handler_are_left_out():
    space: dict[str, object] = {"__name__": "pyhorde.runtime.cell", "handler": lambda: nested(1)}
    exec("async def run_handler():\n    return handler()", space)
    stack = asyncio.run(space["run_handler"]())
    assert "in nested" in stack
    assert "run_handler" not in stack


def test_when_the_runtime_itself_blocks_its_frames_are_shown():
    space: dict[str, object] = {"__name__": "pyhorde.runtime.cell", "stack_of": stack_of}
    exec("import threading\nasync def stuck():\n    return stack_of(threading.get_ident())", space)
    stack = asyncio.run(space["stuck"]())
    assert "in stuck" in stack


def test_a_thread_that_has_ended_has_no_stack():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.ident is not None
    assert stack_of(thread.ident) == "the thread has ended\n"
