# ruff: noqa: SLF001 - an event loop is made of asyncio's own parts
"""An asyncio event loop on virtual time.

Real tasks, futures and time-outs run on it. Every callback belongs to a *machine*, by a context
variable that tasks inherit. Callbacks of one machine run first-in first-out, as asyncio documents;
which machine runs next is drawn from the seed. When nothing is ready, the clock jumps to the next
timer. A machine can be stalled (its callbacks wait) or killed (they never run again, no ``finally``
included). Whatever would touch the real world raises :class:`OutsideWorld`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MACHINE: ContextVar[str] = ContextVar("machine", default="")
"""The machine a callback belongs to; empty for the test itself."""


class OutsideWorld(RuntimeError):
    """Simulated code tried to touch the real world."""


class Deadlock(RuntimeError):
    """Nothing is ready and nothing ever will be."""


class Livelock(RuntimeError):
    """Callbacks run on and on without the clock moving."""


STILL_LIMIT = 1_000_000


class SimLoop(asyncio.AbstractEventLoop):
    """The loop. ``seed`` decides every interleaving between machines."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(f"{seed}/schedule")
        self._now = 1000.0
        self._sequence = 0
        self._ready: dict[str, deque[asyncio.Handle]] = {}
        self._timers: list[tuple[float, int, str, asyncio.TimerHandle]] = []
        self._stalled: dict[str, float] = {}
        self._dead: set[str] = set()
        self._owner: dict[asyncio.Handle, str] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._closed = False
        self._running = False
        self._still = 0
        self._trace = blake2b(digest_size=16)
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        """What was reported to the loop's exception handler: unhandled errors."""

    # ---- machines -------------------------------------------------------------------------------

    def kill(self, machine: str) -> None:
        """Drop everything the machine would still do; nothing of it runs again."""
        self._dead.add(machine)
        self._ready.pop(machine, None)
        self._stalled.pop(machine, None)
        self._timers = [timer for timer in self._timers if timer[2] != machine]
        heapq.heapify(self._timers)

    def stall(self, machine: str, seconds: float) -> None:
        """The machine stands still for so long; then what waited runs."""
        until = self._now + seconds
        self._stalled[machine] = max(until, self._stalled.get(machine, 0.0))
        self._at(until, "", lambda: None)

    def run_as(self, machine: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work on a machine."""
        context = copy_context()
        context.run(MACHINE.set, machine)
        return self.create_task(work, context=context)

    def note(self, *what: object) -> None:
        """Put something into the trace whose hash proves that two runs are the same."""
        self._trace.update(repr((round(self._now, 9), *what)).encode())

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        return self._trace.hexdigest()

    # ---- running --------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until the awaitable is done and return its result."""
        task = asyncio.ensure_future(future, loop=self)
        before = events._get_running_loop()
        events._set_running_loop(self)
        self._running = True
        try:
            while not task.done():
                self._step()
        finally:
            self._running = False
            events._set_running_loop(before)
        return task.result()

    def _step(self) -> None:
        machines = [m for m, queue in self._ready.items() if queue and not self._is_stalled(m)]
        if not machines:
            self._jump()
            return
        machines.sort()
        machine = machines[self._rng.randrange(len(machines))] if machines[1:] else machines[0]
        handle = self._ready[machine].popleft()
        self._still += 1
        if self._still > STILL_LIMIT:
            raise Livelock(
                f"the clock stands at {self._now:.6f} and {machine!r} goes on: {handle!r}"
            )
        if not handle.cancelled():
            self.steps += 1
            self._trace.update(f"{self._now:.9f}{machine}".encode())
            handle._run()

    def _jump(self) -> None:
        held = []
        while self._timers:
            when, sequence, machine, handle = heapq.heappop(self._timers)
            if handle.cancelled() or machine in self._dead:
                continue
            stalled = self._stalled.get(machine, 0.0)
            if stalled > max(when, self._now):
                held.append((stalled, sequence, machine, handle))
                continue
            self._now = max(self._now, when)
            self._still = 0
            self._ready.setdefault(machine, deque()).append(handle)
            break
        else:
            if not held:
                raise Deadlock(self._stacks())
        for timer in held:
            heapq.heappush(self._timers, timer)
        self._due()

    def _due(self) -> None:
        """Move everything else that is due at this very moment."""
        while self._timers and self._timers[0][0] <= self._now:
            _, _, machine, handle = heapq.heappop(self._timers)
            if not handle.cancelled() and machine not in self._dead:
                self._ready.setdefault(machine, deque()).append(handle)

    def _is_stalled(self, machine: str) -> bool:
        return self._stalled.get(machine, 0.0) > self._now

    def _stacks(self) -> str:
        waiting = [task for task in self._tasks if not task.done()]
        return "nothing is ready and nothing is due; waiting: " + "; ".join(map(repr, waiting))

    # ---- what asyncio needs ---------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = context if context is not None else copy_context()
        machine = context.get(MACHINE, "")
        handle = asyncio.Handle(callback, args, self, context)
        if machine not in self._dead and not self._closed:
            self._ready.setdefault(machine, deque()).append(handle)
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
        machine = context.get(MACHINE, "")
        return self._at(when, machine, callback, *args, context=context)

    def _at(
        self,
        when: float,
        machine: str,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        if machine not in self._dead:
            heapq.heappush(self._timers, (when, self._sequence, machine, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 4096:
            self._tasks = [t for t in self._tasks if not t.done()]
        return task

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._closed:
            return
        if MACHINE.get() not in self._dead:
            self.failures.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        """End the run: what still waits is dropped without a word."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        logging.disable()
        events._set_running_loop(self)
        try:
            for task in self._tasks:
                _drop(task)
        finally:
            events._set_running_loop(None)
            logging.disable(logging.NOTSET)
            self._tasks.clear()
            self._ready.clear()


_OUTSIDE = (
    "add_reader add_signal_handler add_writer call_soon_threadsafe connect_accepted_socket "
    "connect_read_pipe connect_write_pipe create_connection create_datagram_endpoint "
    "create_server create_unix_connection create_unix_server getaddrinfo getnameinfo "
    "remove_reader remove_signal_handler remove_writer run_in_executor sendfile "
    "set_default_executor sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom "
    "sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls subprocess_exec "
    "subprocess_shell"
).split()


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OutsideWorld(
            f"{name}: threads, sockets, signals and subprocesses are real; use the World's network"
        )

    return refuse


for _name in _OUTSIDE:
    setattr(SimLoop, _name, _refusal(_name))


def _drop(task: asyncio.Task[Any]) -> None:
    """Unwind a task that will never go on, outside the run, so that nothing of it is noticed."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    if not task.done() and coroutine is not None:
        with contextlib.suppress(BaseException), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coroutine.close()
