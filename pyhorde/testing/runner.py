"""Runs bad days: one seed, many seeds, a plan again, and the smallest plan that still fails."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from random import Random

from pyhorde.testing import safeguards, workloads
from pyhorde.testing.cluster import SimCluster
from pyhorde.testing.faults import Player
from pyhorde.testing.invariants import LOG, Violation
from pyhorde.testing.losses import Losses
from pyhorde.testing.plans import ROUND, Plan

QUIET_LIMIT = 60.0
"""Seconds after the last fault within which the cluster has to be at rest."""
PACE = 5.0
SHRINK_TRIES = 150


@dataclass(frozen=True, slots=True)
class Task:
    """One day to be run: a drawn plan or a given one."""

    plan: Plan
    without: str = ""
    """A safeguard that is switched off."""
    pace: float = PACE
    """Mean seconds between two requests of one client; there are six."""


@dataclass(slots=True)
class Report:
    """How one day went."""

    plan: Plan
    trace: str = ""
    """The hash of everything that happened: equal for equal runs."""
    simulated: float = 0.0
    """Seconds of virtual time."""
    cpu: float = 0.0
    """Seconds of CPU time that took."""
    steps: int = 0
    requests: int = 0
    """Requests that clients got answered."""
    faults: Counter[str] = field(default_factory=Counter)
    """What happened, by kind."""
    failure: str = ""
    """What was wrong; empty for a good end."""
    details: str = ""

    @property
    def seed(self) -> int:
        return self.plan.seed


def run(task: Task) -> Report:
    """Run one day. Never raises: what went wrong is in the report."""
    report = Report(task.plan)
    began = time.process_time()
    off: AbstractContextManager[object] = nullcontext()
    if task.without:
        off = safeguards.SAFEGUARDS[task.without].off()
    cluster = SimCluster(
        nodes=task.plan.nodes, seed=task.plan.seed, processes=workloads.processes()
    )
    try:
        with off, _quiet():
            cluster.loop.run_until_complete(_until_broken(_Day(cluster, task, report)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed has found it
        report.failure = f"{type(error).__name__}: {error}"
        report.details = "".join(traceback.format_exception(error))
    report.trace, report.steps = cluster.loop.trace_hash, cluster.loop.steps
    report.simulated = cluster.loop.time() - 1000
    cluster.loop.close()
    report.cpu = time.process_time() - began
    return report


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed of what nodes log; errors end the day on which they come."""
    level, propagate = LOG.level, LOG.propagate
    LOG.setLevel(logging.ERROR)
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.propagate = propagate


async def _until_broken(day: _Day) -> None:
    """Run the day, and end it as soon as something is wrong that must never be."""
    cluster = day.cluster
    running = asyncio.ensure_future(day.run())
    await asyncio.wait([running, cluster.invariants.broken], return_when="FIRST_COMPLETED")
    if not running.done():
        cluster.check_always()
    await running


class _Day:
    """One seed's day, from the first start to the last audit."""

    def __init__(self, cluster: SimCluster, task: Task, report: Report) -> None:
        self.cluster = cluster
        self._plan = task.plan
        self._pace = task.pace
        self._report = report
        self._over = False

    async def run(self) -> None:
        cluster = self.cluster
        rng = Random(f"{self._plan.seed}/clocks")
        for name in cluster.machines:
            cluster.drift_clock(name, rng.uniform(-2e-4, 2e-4))
            cluster.jump_clock(name, rng.choice((0.0, 0.0, rng.uniform(-300, 300))))
        await cluster.start_all()
        player = Player(cluster, Losses(cluster))
        for number in range(len(self._plan.rounds)):
            await self._round(number, player)
            self._report.faults = Counter(player.played)
        await cluster.settle(QUIET_LIMIT)

    async def _round(self, number: int, player: Player) -> None:
        cluster, seed = self.cluster, self._plan.seed
        works = [
            kind(cluster.outside, Random(f"{seed}/{number}/{i}"), f"r{number}-", self._pace)
            for i, kind in enumerate(workloads.ALL)
        ]
        for work in works:
            await work.prepare()
        await cluster.settle(QUIET_LIMIT)
        self._over = False
        clients = [
            asyncio.ensure_future(work.work(client, lambda: self._over))
            for work in works
            for client in range(work.clients)
        ]
        end = cluster.loop.time() + ROUND
        await player.play(self._plan.rounds[number])
        await asyncio.sleep(max(0.0, end - cluster.loop.time()))
        self._over = True
        await asyncio.gather(*clients)
        await cluster.settle(QUIET_LIMIT)
        for work in works:
            await work.audit()
        self._report.requests += sum(work.done for work in works)
        problems = [problem for work in works for problem in work.problems]
        if problems:
            raise Violation("the accounts do not fit", f"after round {number + 1}", problems)
        for work in works:
            await work.tidy()


def run_many(tasks: Iterable[Task], jobs: int) -> Iterator[Report]:
    """Run days side by side in ``jobs`` OS processes; reports come as they are ready."""
    if jobs <= 1:
        yield from map(run, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting: set[Future[Report]] = set()
        for task in tasks:
            waiting.add(pool.submit(run, task))
            if len(waiting) >= 2 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        for future in waiting:
            yield future.result()


def shrink(report: Report, task: Task) -> Report:
    """The report of the smallest plan found that fails in the same way."""
    kind = _kind_of(report.failure)
    best = report

    def fails(plan: Plan) -> bool:
        nonlocal best
        tried = run(Task(plan, task.without, task.pace))
        if _kind_of(tried.failure) == kind:
            best = tried
            return True
        return False

    report.plan.shrink(fails, SHRINK_TRIES)
    return best


def _kind_of(failure: str) -> str:
    """What failed, without the names and times of this run: an invariant's number, if it is one."""
    number = re.search(r"\((\d+)\)", failure)
    return number[0] if number else failure.partition(",")[0]


def summary(reports: Sequence[Report]) -> str:
    """Figures about many days, in a line."""
    simulated = sum(report.simulated for report in reports) / 3600
    cpu = sum(report.cpu for report in reports) / 60
    requests = sum(report.requests for report in reports)
    faults = sum(sum(report.faults.values()) for report in reports)
    speed = simulated / cpu if cpu else 0.0
    return (
        f"{len(reports)} seeds, {simulated:.1f} simulated hours in {cpu:.1f} CPU-minutes: "
        f"{speed:.1f} simulated hours per CPU-minute; {requests} requests, {faults} faults"
    )
