"""The meter of the event loop: lag from inside, blockages from a watchdog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyhorde.cluster.event_loop import lag as meter
from pyhorde.cluster.event_loop.lag import Blockage, LoopMeter


class Watched:
    """A world whose clock and whose watchdog do what the test says."""

    def __init__(self) -> None:
        self.time = 100.0
        self.beat: Callable[[], float] = lambda: 0.0
        self.blocked: Callable[[float, str], None] = lambda _, __: None
        self.closed = False

    def now(self) -> float:
        return self.time

    def watch(self, beat: Callable[[], float], blocked: Callable[[float, str], None]) -> Any:
        self.beat, self.blocked = beat, blocked
        return self

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def world() -> Watched:
    return Watched()


def look(started: LoopMeter) -> None:
    """The timer fires, at the world's time."""
    assert started._timer is not None
    started._timer.cancel()
    started._look()


async def test_a_blockage_is_told_once_the_loop_runs_again_with_its_whole_length(world: Watched):
    told: list[Blockage] = []
    measured = LoopMeter(world)
    measured.on_blocked = told.append
    measured.start()
    world.blocked(0.6, "the stack")
    assert (told, measured.blockages, measured.last) == ([], 1, Blockage(0.6, "the stack"))
    world.time += 2.0 + meter.BEAT
    look(measured)
    assert told == [measured.last] == [Blockage(2.0, "the stack")]
    world.time += meter.BEAT
    look(measured)
    assert len(told) == 1
    measured.close()
    assert world.closed


async def test_a_pause_that_nobody_explains_does_not_change_what_blocked_last(world: Watched):
    measured = LoopMeter(world)
    measured.start()
    world.blocked(0.6, "the stack")
    world.time += 0.6 + meter.BEAT
    look(measured)
    world.time += 30.0
    look(measured)
    assert measured.last is not None and measured.last.seconds == pytest.approx(0.6)
    assert measured.lag == pytest.approx(30.0 - meter.BEAT)
    measured.close()


async def test_the_longest_lag_is_forgotten_after_two_spans(world: Watched):
    measured = LoopMeter(world)
    measured.start()
    world.time += 1.0 + meter.BEAT
    look(measured)
    for _ in range(int(2 * meter.SPAN / meter.BEAT) - 8):
        world.time += meter.BEAT
        look(measured)
    assert measured.lag == pytest.approx(1.0)
    for _ in range(int(meter.SPAN / meter.BEAT)):
        world.time += meter.BEAT
        look(measured)
    assert measured.lag == 0.0
    assert world.beat() == world.time
    measured.close()


async def test_where_nobody_watches_nothing_is_measured(world: Watched):
    world.watch = lambda *_: None  # type: ignore[assignment]
    measured = LoopMeter(world)
    measured.start()
    assert measured._timer is None
    measured.close()
