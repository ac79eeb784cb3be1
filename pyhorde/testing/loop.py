# ruff: noqa: SLF001 - an event loop is made of asyncio's own parts
"""An asyncio event loop on virtual time.

Real tasks, futures and time-outs run on it. Every callback belongs to a *machine*, by a context
variable that tasks inherit. Callbacks of one machine run first-in first-out, as asyncio documents;
which machine runs next is drawn from the seed. When nothing is ready, the clock jumps to the next
timer. A machine can be stalled (its callbacks wait), slowed (each callback costs time) or killed
(they never run again, no ``finally`` included). Whatever would touch the real world raises
:class:`OutsideWorld`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import warnings
from array import array
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from hashlib import blake2b
from random import Random
from typing import Any, Final, TypeVar, TypeVarTuple

from pyhorde.testing.fence import Fenced, OutsideWorld

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MACHINE: ContextVar[str] = ContextVar("machine", default="")
"""The machine a callback belongs to; empty for the test itself."""

STILL_LIMIT = 1_000_000
"""So many callbacks without the clock moving are a livelock."""
_TRACE_BATCH: Final = 4096
_TASKS_KEPT: Final = 4096
_THREAD_MEAN: Final = 0.002


class Deadlock(RuntimeError):
    """Nothing is ready and nothing ever will be."""


class Livelock(RuntimeError):
    """Callbacks run on and on without the clock moving."""


class _Lane:
    """One machine's share of the loop: what is ready, in order, and how the machine is."""

    __slots__ = (
        "active", "busy_until", "cost", "countdown", "dead", "key", "number", "overdue", "ready",
        "stalled_until",
    )  # fmt: skip

    def __init__(self, key: str, number: int) -> None:
        self.key = key
        self.number = number
        self.ready: deque[asyncio.Handle] = deque()
        self.active = False
        self.dead = False
        self.stalled_until = 0.0
        self.overdue: list[tuple[float, int, asyncio.Handle]] = []
        """Timers that became due while the machine stood still."""
        self.busy_until = 0.0
        self.cost = 0.0
        self.countdown: tuple[int, Callable[[], None]] | None = None


class SimLoop(Fenced):
    """The loop. ``seed`` decides every interleaving between machines."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        rng = Random(f"{seed}/schedule")
        self._draw = rng.random
        self._threads = Random(f"{seed}/threads")
        self._now = 1000.0
        self._sequence = 0
        self._lanes: dict[str, _Lane] = {}
        self._active: list[_Lane] = []
        self._timers: list[tuple[float, int, _Lane, asyncio.Handle]] = []
        self._tasks: list[tuple[str, asyncio.Task[Any]]] = []
        self._tasks_limit = _TASKS_KEPT
        self._closed = False
        self._running = False
        self._still = 0
        self._trace = blake2b(digest_size=16)
        self._events = array("d")
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        """What was reported to the loop's exception handler: unhandled errors."""
        self.on_close: list[Callable[[], object]] = []
        """Called once, at the end of the run."""
        self.on_awake: list[Callable[[str, bool], None]] = []
        """Called with a machine's key when its stall ends: first with False, before the timers
        that became due meanwhile, then with True, after them."""

    # ---- machines -------------------------------------------------------------------------------

    def kill(self, machine: str) -> None:
        """Drop everything the machine would still do; nothing of it runs again."""
        lane = self._lane(machine)
        lane.dead = True
        lane.ready.clear()
        lane.overdue.clear()
        self._suspend(lane)
        self._timers = [timer for timer in self._timers if timer[2] is not lane]
        heapq.heapify(self._timers)

    def is_dead(self, machine: str) -> bool:
        """Whether the machine was killed."""
        return self._lane(machine).dead

    def stall(self, machine: str, seconds: float) -> None:
        """The machine stands still for so long.

        Then it does what was ready, sees what the network brought (``on_awake``), its overdue
        timers, and the rest of what the network brought: the order of a real event loop.
        """
        lane = self._lane(machine)
        lane.stalled_until = max(self._now + seconds, lane.stalled_until)
        self._suspend(lane)
        self.at(lane.stalled_until, self._awake, lane)

    def is_stalled(self, machine: str) -> bool:
        """Whether the machine stands still now."""
        return self._lane(machine).stalled_until > self._now

    def slow(self, machine: str, seconds: float) -> None:
        """From now on each callback of the machine takes so long; 0 ends it."""
        self._lane(machine).cost = seconds

    def after_steps(self, machine: str, steps: int, then: Callable[[], None] | None) -> None:
        """Call ``then`` when the machine has run so many more callbacks; None takes it back."""
        self._lane(machine).countdown = (max(1, steps), then) if then is not None else None

    def run_as(self, machine: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work on a machine."""
        context = copy_context()
        context.run(MACHINE.set, machine)
        return self.create_task(work, context=context)

    def unfinished(self, machine: str) -> list[asyncio.Task[Any]]:
        """The machine's tasks that are not done."""
        return [task for key, task in self._tasks if key == machine and not task.done()]

    def unheard(self, machine: str | None = None) -> list[asyncio.Task[Any]]:
        """Tasks that failed, and whose failure nobody has looked at, on machines that live.

        Of one machine, if given; the empty one is the test itself.
        """
        self._tasks = [t for t in self._tasks if not t[1].done() or _is_unheard(t[1])]
        failed = [(key, t) for key, t in self._tasks if t.done() and not self.is_dead(key)]
        return [t for key, t in failed if (key == machine if machine is not None else key)]

    def note(self, *what: object) -> None:
        """Put something into the trace whose hash proves that two runs are the same."""
        self._flush_trace()
        self._trace.update(repr((self._now, *what)).encode())

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        self._flush_trace()
        return self._trace.hexdigest()

    def mark(self, number: float) -> None:
        """Put a number into the trace, cheaply."""
        self._events.append(number)

    def _flush_trace(self) -> None:
        self._trace.update(self._events.tobytes())
        del self._events[:]

    def _lane(self, machine: str) -> _Lane:
        lane = self._lanes.get(machine)
        if lane is None:
            lane = self._lanes[machine] = _Lane(machine, len(self._lanes))
        return lane

    # ---- running --------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until the awaitable is done and return its result."""
        task = asyncio.ensure_future(future, loop=self)
        before = events._get_running_loop()
        events._set_running_loop(self)
        self._running = True
        try:
            while not task.done():
                if self._active:
                    self._step()
                else:
                    self._jump()
        finally:
            self._running = False
            events._set_running_loop(before)
        return task.result()

    def _step(self) -> None:
        active = self._active
        count = len(active)
        lane = active[int(self._draw() * count)] if count > 1 else active[0]
        handle = lane.ready.popleft()
        if not lane.ready:
            self._suspend(lane)
        if handle._cancelled:
            return
        self.steps += 1
        self._still += 1
        trace = self._events
        trace.append(self._now)
        trace.append(lane.number)
        if len(trace) > _TRACE_BATCH:
            self._flush_trace()
            self._check_livelock(lane, handle)
        if lane.countdown is not None:
            self._count_down(lane)
            if lane.dead:
                return
        handle._run()
        if lane.cost and not lane.dead:
            lane.busy_until = self._now + lane.cost
            self._suspend(lane)
            self.at(lane.busy_until, self._resume, lane)

    def _count_down(self, lane: _Lane) -> None:
        assert lane.countdown is not None
        left, then = lane.countdown
        lane.countdown = (left - 1, then) if left > 1 else None
        if left <= 1:
            then()

    def _check_livelock(self, lane: _Lane, handle: asyncio.Handle) -> None:
        if self._still > STILL_LIMIT:
            raise Livelock(
                f"the clock stands at {self._now - 1000:.6f} s and"
                f" {lane.key or 'the test itself'} goes on: {handle!r}"
            )

    def _resume(self, lane: _Lane) -> None:
        """The lane may run, if it has anything to run."""
        held = lane.busy_until > self._now or lane.stalled_until > self._now
        if lane.ready and not lane.active and not held:
            lane.active = True
            self._active.append(lane)

    def _suspend(self, lane: _Lane) -> None:
        if lane.active:
            lane.active = False
            self._active.remove(lane)

    def _awake(self, lane: _Lane) -> None:
        if lane.dead or lane.stalled_until > self._now:
            return
        for hook in self.on_awake:
            hook(lane.key, False)
        lane.ready.extend(handle for _, _, handle in sorted(lane.overdue, key=_by_time))
        lane.overdue.clear()
        lane.ready.append(asyncio.Handle(self._see_the_rest, (lane,), self, _NOBODY))
        self._resume(lane)

    def _see_the_rest(self, lane: _Lane) -> None:
        """The overdue timers have run: now comes what else the network brought."""
        for hook in self.on_awake:
            hook(lane.key, True)

    def _jump(self) -> None:
        """Nothing is ready: go to the moment of the next timer and take all that are due then."""
        timers = self._timers
        found = False
        while timers and (not found or timers[0][0] <= self._now):
            when, sequence, lane, handle = heapq.heappop(timers)
            if handle._cancelled or lane.dead:
                continue
            found = True
            if when > self._now:
                self._now = when
                self._still = 0
            # Overdue ones are still there at the very end of a stall: they come first.
            if lane.stalled_until > self._now or lane.overdue:
                lane.overdue.append((when, sequence, handle))
            else:
                lane.ready.append(handle)
                self._resume(lane)
        if not found:
            raise Deadlock(self._stacks())

    def _stacks(self) -> str:
        waiting = [task for _, task in self._tasks if not task.done()]
        return "nothing is ready and nothing is due; waiting: " + "; ".join(map(repr, waiting))

    # ---- what asyncio needs ---------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = context if context is not None else copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        lane = self._lane(context.get(MACHINE, ""))
        if not lane.dead and not self._closed:
            lane.ready.append(handle)
            self._resume(lane)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = context if context is not None else copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._push(when, self._lane(context.get(MACHINE, "")), handle)
        return handle

    def at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call back at a moment, as the world does: on behalf of no machine."""
        self._push(when, self._lane(""), asyncio.Handle(callback, args, self, _NOBODY))

    def _push(self, when: float, lane: _Lane, handle: asyncio.Handle) -> None:
        self._sequence += 1
        if not lane.dead:
            heapq.heappush(self._timers, (when, self._sequence, lane, handle))

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        context = context if context is not None else copy_context()
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append((context.get(MACHINE, ""), task))
        if len(self._tasks) > self._tasks_limit:
            # Tasks of the killed stay: were they collected, their ``finally`` would run.
            self._tasks = [t for t in self._tasks if not t[1].done() or _is_unheard(t[1])]
            self._tasks_limit = 2 * len(self._tasks) + _TASKS_KEPT
        return task

    def run_in_executor(
        self, executor: Any, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run the function in one go, a drawn while later; what it does itself is its own affair.

        Only the default executor exists. What the function raises, the awaiting code gets.
        """
        if executor is not None:
            raise OutsideWorld("run_in_executor: executors of your own are real threads")
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if not done.done():
                try:
                    done.set_result(func(*args))
                except Exception as error:  # noqa: BLE001 - the awaiting code gets it
                    done.set_exception(error)

        self.call_later(self._threads.expovariate(1 / _THREAD_MEAN), work)
        return done

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed and not self.is_dead(MACHINE.get()):
            self.failures.append(context)

    def close(self) -> None:
        """End the run: what still waits is dropped without a word."""
        if self._closed:
            return
        self._closed = True
        for hook in self.on_close:
            hook()
        for lane in self._lanes.values():
            lane.ready.clear()
        self._active.clear()
        self._timers.clear()
        before = events._get_running_loop()
        disabled = logging.root.manager.disable
        logging.disable()
        events._set_running_loop(self)
        try:
            while self._tasks:  # what unwinds may begin more
                _drop(self._tasks.pop()[1])
        finally:
            events._set_running_loop(before)
            logging.disable(disabled)


def _is_unheard(task: asyncio.Task[Any]) -> bool:
    return bool(task._log_traceback)


def _by_time(timer: tuple[float, int, asyncio.Handle]) -> tuple[float, int]:
    return timer[0], timer[1]


_NOBODY = Context()


def _drop(task: asyncio.Task[Any]) -> None:
    """Unwind a task that will never go on, outside the run, so that nothing of it is noticed."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    if not task.done() and coroutine is not None:
        with contextlib.suppress(BaseException), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coroutine.close()
