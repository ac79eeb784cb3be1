"""The runner: a day is run and reported, whatever happens, and failing plans become smaller."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from pyhorde.runtime.answers import RecentAnswers
from pyhorde.testing import workloads
from pyhorde.testing.faults import Fault
from pyhorde.testing.plans import ROUND, Plan
from pyhorde.testing.runner import Report, Task, run, run_many, shrink, summary
from pyhorde.testing.workloads import Accounting, Churn

QUIET = Plan(1, 2, ((),))
CRASH = Fault(kind="crash", at=5, lasts=3, on=("a",))
STALL = Fault(kind="stall", at=20, lasts=2, on=("b",))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one small workload."""
    monkeypatch.setattr(workloads, "ALL", (Accounting,))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, few: None) -> None:
    """A workload that complains about every day on which a machine was crashed."""

    async def audit(self: Any) -> None:
        if any(m.boots > 1 for m in self.access._cluster.machines.values()):
            self.problem("somebody was crashed")

    monkeypatch.setattr(Accounting, "audit", audit)


@pytest.mark.usefixtures("few")
def test_a_good_day_is_reported_with_its_figures():
    report = run(Task(Plan(3, 2, ((CRASH, STALL),))))
    assert report.failure == "", report.details
    assert report.seed == 3
    assert report.faults == Counter(crash=1, stall=1)
    assert report.requests > 10
    assert report.simulated > ROUND
    assert report.steps > 1000
    assert report.cpu > 0
    assert len(report.trace) == 32


@pytest.mark.usefixtures("few")
def test_a_day_is_the_same_each_time_and_another_seed_is_another_day():
    one, again, other = (run(Task(Plan(seed, 2, ((STALL,),)))) for seed in (3, 3, 4))
    assert (one.trace, one.steps, one.requests) == (again.trace, again.steps, again.requests)
    assert one.trace != other.trace


@pytest.mark.usefixtures("few")
def test_clients_that_are_in_a_hurry_ask_more():
    slow, fast = (run(Task(QUIET, pace=pace)) for pace in (10.0, 1.0))
    assert fast.requests > 2 * slow.requests


@pytest.mark.usefixtures("few")
def test_each_round_has_accounts_of_its_own():
    report = run(Task(Plan(1, 2, ((), ()))))
    assert report.failure == ""
    assert report.simulated > 2 * ROUND


@pytest.mark.usefixtures("broken")
def test_accounts_that_do_not_fit_are_reported():
    report = run(Task(Plan(1, 2, ((CRASH,),))))
    assert report.failure.startswith("Violation: the accounts do not fit, after round 1")
    assert "somebody was crashed" in report.failure
    assert "Traceback" in report.details
    assert report.trace


@pytest.mark.usefixtures("few")
def test_any_other_error_is_reported_too(monkeypatch: pytest.MonkeyPatch):
    async def prepare(self: Any) -> None:
        raise KeyError("a mistake in the workload")

    monkeypatch.setattr(Accounting, "prepare", prepare)
    report = run(Task(QUIET))
    assert report.failure == "KeyError: 'a mistake in the workload'"


@pytest.mark.usefixtures("few")
def test_a_day_ends_as_soon_as_something_is_wrong(monkeypatch: pytest.MonkeyPatch):
    async def prepare(self: Any) -> None:
        loop: Any = asyncio.get_running_loop()
        loop.call_later(3, lambda: 1 / 0)

    monkeypatch.setattr(Accounting, "prepare", prepare)
    report = run(Task(QUIET))
    assert report.failure.startswith("Violation: violated, first at")
    assert "(25)" in report.failure
    assert report.simulated < 10


@pytest.mark.usefixtures("few")
def test_a_safeguard_is_off_for_just_this_day(monkeypatch: pytest.MonkeyPatch):
    on = vars(RecentAnswers)["__contains__"]
    during: list[object] = []

    async def audit(self: Any) -> None:
        during.append(vars(RecentAnswers)["__contains__"])

    monkeypatch.setattr(Accounting, "audit", audit)
    run(Task(QUIET, without="answers"))
    run(Task(QUIET))
    off, on_again = during
    assert off is not on
    assert on_again is on


@pytest.mark.usefixtures("few")
def test_many_days_are_reported_one_by_one():
    reports = run_many((Task(Plan(seed, 2, ((),))) for seed in (1, 2)), jobs=1)
    assert [report.seed for report in reports] == [1, 2]


def test_days_run_side_by_side_in_os_processes_are_the_same_days():
    tasks = [Task(Plan(seed, 2, ((),)), pace=20.0) for seed in (1, 2)]
    together = {report.seed: report.trace for report in run_many(tasks, jobs=2)}
    assert together == {1: run(tasks[0]).trace, 2: run(tasks[1]).trace}


@pytest.mark.usefixtures("broken")
def test_shrinking_gives_the_report_of_the_smallest_plan_that_fails_in_the_same_way():
    task = Task(Plan(1, 2, ((STALL, CRASH), (STALL,))))
    report = run(task)
    smaller = shrink(report, task)
    assert [fault.kind for faults in smaller.plan.rounds for fault in faults] == ["crash"]
    assert "somebody was crashed" in smaller.failure


@pytest.mark.usefixtures("few")
def test_a_plan_that_fails_in_another_way_is_no_smaller_one(monkeypatch: pytest.MonkeyPatch):
    task = Task(Plan(1, 2, ((STALL, CRASH),)))
    report = Report(task.plan, failure="Deadlock: nothing is ready")

    async def prepare(self: Any) -> None:
        raise KeyError

    monkeypatch.setattr(Accounting, "prepare", prepare)
    assert shrink(report, task) is report


def test_a_summary_has_the_figures_of_all_days():
    reports = [
        Report(QUIET, simulated=3600.0, cpu=60.0, requests=7, faults=Counter(crash=2)),
        Report(QUIET, simulated=3600.0, cpu=60.0, requests=3, faults=Counter(stall=1)),
    ]
    text = summary(reports)
    assert text.startswith("2 seeds, 2.0 simulated hours in 2.0 CPU-minutes: 1.0 simulated hours")
    assert text.endswith("10 requests, 3 faults")
    assert summary([])


def test_starts_and_stops_are_accounted_for_as_well(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workloads, "ALL", (Churn,))
    report = run(Task(Plan(2, 2, ((CRASH,),)), pace=1.0))
    assert report.failure == "", report.details
