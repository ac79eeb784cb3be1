"""The workloads: exact accounts, starts and stops, races for a name, and meetings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from pyhorde.errors import HordeError, NameNotFound, NameTaken
from pyhorde.runtime.process import Process, Resume, call
from pyhorde.testing.registry_work import Notices, Tenancies
from pyhorde.testing.work import CALL_TIMEOUT, Workload


class Ledger(Process):
    """Keeps what it is given, in order; a merge keeps what either side had."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state: list[str] = []

    @call
    async def add(self, entry: str) -> int:
        """Write one entry; returns how many there are."""
        self.state.append(entry)
        return len(self.state)

    @call
    async def entries(self) -> list[str]:
        """All of them."""
        return self.state

    async def merge(self, other: Resume) -> None:
        """Both sides of a partition wrote: all entries count, none twice."""
        mine = set(self.state)
        self.state += [entry for entry in other.state if entry not in mine]


class Accounting(Workload):
    """Exact accounting of every call: acknowledged means written, once, for ever."""

    processes = (Ledger,)
    clients = 2
    ledgers = 3

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.names = [f"{self.prefix}ledger-{i}" for i in range(self.ledgers)]
        self._given: dict[str, set[str]] = {name: set() for name in self.names}
        self._acknowledged: dict[str, set[str]] = {name: set() for name in self.names}

    async def prepare(self) -> None:
        for name in self.names:
            await self.started(Ledger, name)

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        name = self._rng.choice(self.names)
        entry = f"{number}-{len(self._given[name])}"
        self._given[name].add(entry)
        try:
            await self.ask(name, "add", entry, over=over)
        except TimeoutError:
            return
        self._acknowledged[name].add(entry)

    async def audit(self) -> None:
        for name in self.names:
            held = await self.ask(name, "entries")
            lost = self._acknowledged[name] - set(held)
            if lost:
                self.problem(f"{name} lost {sorted(lost)} of {len(self._acknowledged[name])}")
            twice = sorted({entry for entry in held if held.count(entry) > 1})
            if twice:
                self.problem(f"{name} holds {twice} more than once")
            strange = set(held) - self._given[name]
            if strange:
                self.problem(f"{name} holds {sorted(strange)}, which nobody wrote")

    async def tidy(self) -> None:
        await self.stopped(self.names)


class Holder(Process):
    """Knows what it was started with."""

    durability = "checkpoint"

    def __init__(self, value: str = "") -> None:
        self.state: str = value

    @call
    async def value(self) -> str:
        """What it was started with."""
        value: str = self.state
        return value


class Churn(Workload):
    """Starts and stops: a confirmed start runs, a confirmed stop does not, whatever happens."""

    processes = (Holder,)

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._count = 0
        self._running: set[str] = set()
        self._ended: set[str] = set()
        self._unknown: set[str] = set()

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        machines = self.access.machines()
        if not machines:
            return
        machine = machines[self._rng.randrange(len(machines))]
        if self._running and self._rng.random() < 0.5:
            name = self._rng.choice(sorted(self._running))
            await self._end(machine, name)
        else:
            self._count += 1
            await self._begin(machine, f"{self.prefix}holder-{self._count}")

    async def _begin(self, machine: str, name: str) -> None:
        try:
            await self.access.start_through(machine, Holder, name, [name])
        except (HordeError, ConnectionError):
            self._unknown.add(name)
        else:
            self._running.add(name)
            self.done += 1

    async def _end(self, machine: str, name: str) -> None:
        self._running.discard(name)
        self._unknown.add(name)
        try:
            await self.access.stop_through(machine, name)
        except (HordeError, ConnectionError):
            return
        self._unknown.discard(name)
        self._ended.add(name)
        self.done += 1

    async def audit(self) -> None:
        for name in sorted(self._running):
            value = await self.ask(name, "value")
            if value != name:
                self.problem(f"{name} holds {value!r}")
        for name in sorted(self._ended):
            for machine in self.access.machines():
                await self._look_for(name, machine)

    async def _look_for(self, name: str, machine: str) -> None:
        try:
            await self.access.call_through(
                machine, name, "value", [], {}, timeout=CALL_TIMEOUT, request_id=None
            )
        except NameNotFound:
            return
        self.problem(f"{name} was ended, and answers through {machine}")

    async def tidy(self) -> None:
        await self.stopped(sorted(self._running | self._unknown))


class Races(Workload):
    """Several machines start one name at once: while all is well exactly one succeeds."""

    processes = (Holder,)

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._count = 0
        self._possible: dict[str, set[str]] = {}
        """Per name, what its process may hold: what those gave that were not refused."""
        self._won: set[str] = set()

    async def prepare(self) -> None:
        name, outcomes = await self._race()
        won = [value for value, outcome in outcomes.items() if outcome is None]
        if len(won) != 1:
            self.problem(f"{len(won)} starts of {name} succeeded: {outcomes}")

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        if self._rng.random() < 0.3:
            await self._race()

    async def _race(self) -> tuple[str, dict[str, BaseException | None]]:
        self._count += 1
        name = f"{self.prefix}race-{self._count}"
        machines = list(self.access.machines())
        values = [f"{name}/{machine}" for machine in machines]
        starts = [
            self.access.start_through(machine, Holder, name, [value])
            for machine, value in zip(machines, values, strict=True)
        ]
        results = await asyncio.gather(*starts, return_exceptions=True)
        outcomes = dict(zip(values, results, strict=True))
        for outcome in results:
            if not isinstance(outcome, HordeError | ConnectionError | None):
                raise outcome
        self._possible[name] = {
            value for value, outcome in outcomes.items() if not isinstance(outcome, NameTaken)
        }
        if any(outcome is None for outcome in results):
            self._won.add(name)
            self.done += 1
        return name, outcomes

    async def audit(self) -> None:
        for name in sorted(self._won):
            value = await self.ask(name, "value")
            if value not in self._possible[name]:
                self.problem(f"{name} holds {value!r}, whose start was refused")

    async def tidy(self) -> None:
        await self.stopped(self._possible)


class Talk(Process):
    """A meeting: lines in order, and a timer that goes on whoever runs it."""

    durability = "replicated"
    tick = 5.0

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"lines": {}, "ticks": 0}

    async def init(self, resume: Resume | None) -> None:
        """Wind up the clock, at each start anew."""
        self.send_after(self.tick, "tick")

    @call
    async def say(self, speaker: str, number: int) -> int:
        """One line; the same number again changes nothing. Returns how many there are."""
        lines = self.state["lines"].setdefault(speaker, [])
        if number not in lines:
            lines.append(number)
        return len(lines)

    @call
    async def minutes(self) -> dict[str, Any]:
        """All of it."""
        return self.state

    async def handle_info(self, message: Any) -> None:
        """A tick."""
        self.state["ticks"] += 1
        self.send_after(self.tick, message)

    async def merge(self, other: Resume) -> None:
        """Keep what either of the two heard."""
        for speaker, theirs in other.state["lines"].items():
            mine = self.state["lines"].get(speaker, [])
            self.state["lines"][speaker] = sorted({*mine, *theirs})


class Meetings(Workload):
    """Speakers say line after line; none is lost, all are in order, and the timer goes on."""

    processes = (Talk,)
    clients = 2

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.name = f"{self.prefix}meeting"
        self._said = [0] * self.clients

    async def prepare(self) -> None:
        await self.started(Talk, self.name)

    async def step(self, number: int, over: Callable[[], bool]) -> None:
        try:
            await self.ask(self.name, "say", f"speaker-{number}", self._said[number], over=over)
        except TimeoutError:
            return
        self._said[number] += 1

    async def audit(self) -> None:
        before = await self.ask(self.name, "minutes")
        for number, said in enumerate(self._said):
            lines = before["lines"].get(f"speaker-{number}", [])
            if lines[:said] != list(range(said)):
                self.problem(f"speaker {number} said 0 to {said - 1}, the minutes have {lines}")
        await asyncio.sleep(2 * Talk.tick)
        after = await self.ask(self.name, "minutes")
        if after["ticks"] <= before["ticks"]:
            self.problem("the meeting's timer stands still")

    async def tidy(self) -> None:
        await self.stopped([self.name])


class Clock(Process):
    """Ticks as long as it lives; what it shows is nowhere else."""

    durability = "none"
    tick = 0.5

    def __init__(self) -> None:
        self.state = 0

    async def init(self, resume: Resume | None) -> None:
        """Wind it up, at each start anew."""
        self.send_after(self.tick, "tick")

    @call
    async def shows(self) -> int:
        """How many ticks so far."""
        return int(self.state)

    async def handle_info(self, message: Any) -> None:
        """A tick."""
        self.state += 1
        self.send_after(self.tick, message)


class Clocks(Workload):
    """Timers go on, whatever happens to their process: a clock that runs, ticks."""

    processes = (Clock,)
    clients = 0
    clocks = 2

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.names = [f"{self.prefix}clock-{i}" for i in range(self.clocks)]

    async def prepare(self) -> None:
        for name in self.names:
            await self.started(Clock, name)

    async def audit(self) -> None:
        before = [await self.ask(name, "shows") for name in self.names]
        await asyncio.sleep(4 * Clock.tick)
        for name, shown in zip(self.names, before, strict=True):
            if await self.ask(name, "shows") <= shown:
                self.problem(f"{name} stands still")

    async def tidy(self) -> None:
        await self.stopped(self.names)


ALL: tuple[type[Workload], ...] = (
    Accounting,
    Churn,
    Races,
    Meetings,
    Clocks,
    Tenancies,
    Notices,
)
"""Every workload."""


def processes(workloads: Iterable[type[Workload]] = ALL) -> list[type[Process]]:
    """The process classes that nodes must offer for these workloads."""
    return list({cls: None for workload in workloads for cls in workload.processes})
