"""How soon members are found dead that are, and how often those that are not.

::

    python benchmarks/detection.py [--quick] [--only silent,kill,noise,stall,slow,idle]
                                   [--seed N] [--jobs 2] [--most 1000]

The membership cores of 3 to 1,000 nodes in virtual time: the code that runs in a node, without its
shell (``detection_world.py``, ``detection_trials.py``). One line for each figure: what, how much,
the unit, the goal, what memberlist's rules give in such a world where that is known, and whether
the goal is met. ``--quick``: few and short trials, which show no more than that it works. Exit code
1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from detection_trials import (  # noqa: E402 - also where this is imported
    HOUR,
    Result,
    death,
    idle,
    noise,
    slow,
    stall,
)

# ---- the table -----------------------------------------------------------------------------------


@dataclass
class Figure:
    """What is made of the results of an experiment, in which unit, and what it should be at most.

    ``floor`` is what it should be at least; ``memberlist`` what memberlist's rules give under the
    same conditions (LAN defaults).
    """

    what: str
    of: Callable[[list[Result]], float]
    unit: str = "s"
    goal: float | None = None
    floor: float | None = None
    scale: float = 1.0
    memberlist: str = ""


@dataclass
class Experiment:
    """Trials of one kind under the same conditions, and the figures they give."""

    name: str
    title: str
    trial: Callable[..., Result]
    conditions: dict[str, Any]
    trials: int
    quick: int
    figures: list[Figure]
    quick_seconds: float | None = None
    """How long a trial lasts with ``--quick``, where it has a length."""
    results: list[Result] = field(default_factory=list)

    def rows(self) -> list[tuple[str, bool]]:
        """Each figure as a line, and whether its goal is missed."""
        return [self._row(figure, figure.of(self.results)) for figure in self.figures]

    def _row(self, figure: Figure, value: float) -> tuple[str, bool]:
        goal, missed = "", False
        if figure.goal is not None:
            goal = f"<= {figure.goal:,.4g}"
            missed = not value * figure.scale <= figure.goal
        if figure.floor is not None:
            goal = f"{figure.floor:,.4g} .. {figure.goal:,.4g}"
            missed = missed or value * figure.scale < figure.floor
        what = f"{self.title}: {figure.what}"
        shown = f"{value * figure.scale:,.4g}"
        verdict = ("MISSED" if missed else "met") if goal else ""
        figures = f"{shown:>9} {figure.unit:<5} {goal:<12} {figure.memberlist:<10}"
        return f"{what:<70} {figures} {verdict}".rstrip(), missed


def quantile(key: str, part: float) -> Callable[[list[Result]], float]:
    """That part of the trials gave at most this."""

    def of(results: list[Result]) -> float:
        values = sorted(result[key] for result in results)
        return values[max(0, math.ceil(part * len(values)) - 1)]

    return of


def total(key: str) -> Callable[[list[Result]], float]:
    return lambda results: sum(result[key] for result in results)


def mean(key: str) -> Callable[[list[Result]], float]:
    return lambda results: statistics.fmean(result[key] for result in results)


def largest(key: str) -> Callable[[list[Result]], float]:
    return lambda results: max(result[key] for result in results)


def deaths(key: str, middle: float | None, late: float | None) -> list[Figure]:
    """p50, p99 and the worst of a time until death is noticed."""
    who = {"first": "the first one knows", "all": "all know"}[key]
    return [
        Figure(f"{who}, p50", quantile(key, 0.5), goal=middle),
        Figure(f"{who}, p99", quantile(key, 0.99), goal=late),
        Figure(f"{who}, worst", largest(key)),
    ]


SILENT: list[tuple[int, str, float, float | None, float | None, int, int]] = [
    (3, "default", 0.0, 6.5, 8.5, 1000, 4),
    (3, "fast", 0.0, 3.3, 4.5, 1000, 2),
    (5, "default", 0.0, None, None, 500, 2),
    (5, "fast", 0.0, None, None, 500, 0),
    (50, "default", 0.0, 9.5, 14.5, 150, 1),
    (50, "fast", 0.0, 5.0, 7.0, 150, 0),
    (1000, "default", 0.0, 15.0, 18.0, 4, 0),
    (3, "default", 0.2, None, None, 500, 2),
    (50, "default", 0.2, None, None, 100, 0),
]


def silent_hosts() -> Iterator[Experiment]:
    """P8: a host without power."""
    for size, profile, loss, middle, late, trials, quick in SILENT:
        title = f"silent, {size:,} nodes, {profile}" + (f", {loss:.0%} loss" if loss else "")
        conditions = {"size": size, "how": "silent", "profile": profile, "loss": loss}
        figures = deaths("first", None, None) + deaths("all", middle, late)
        figures.append(Figure("live nodes held for dead", total("false"), "pairs", 0))
        yield Experiment("silent", title, death, conditions, trials, quick, figures)


def kills() -> Iterator[Experiment]:
    """kill -9."""
    for size, trials, quick in ((3, 500, 3), (5, 300, 0), (50, 100, 1), (1000, 2, 0)):
        title, conditions = f"kill -9, {size:,} nodes", {"size": size, "how": "kill"}
        goals = (1.0, 1.5) if size <= 50 else (None, None)
        figures = deaths("all", *goals)
        yield Experiment("kill", title, death, conditions, trials, quick, figures)


NOISE = [
    ("D1", 0.2, 3, 24, 0, "154"),
    ("D2", 0.3, 3, 24, 2, "772"),
    ("D3", 0.2, 50, 1, 0, "76"),
    ("D3", 0.3, 50, 1, 10, "219-278"),
]


def noises() -> Iterator[Experiment]:
    """D1 to D3: messages get lost, and nobody dies."""
    for (number, loss, size, hours, goal, memberlist), packets in product(NOISE, (True, False)):
        trials = hours if hours > 1 else 4
        way = "" if packets else ", no packets"
        title = f"{number} {loss:.0%} loss, {size} nodes, {hours} h{way}"
        conditions = {"size": size, "loss": loss, "packets": packets}
        conditions["seconds"] = hours * HOUR / trials
        figures = [
            Figure(
                "live nodes held for dead", total("deaths"), "pairs", goal, memberlist=memberlist
            ),
            Figure("suspicions a node and hour", mean("suspicions"), ""),
            Figure("messages a node and second", mean("sent"), "1/s"),
        ]
        quick = 1 if size == 3 else 0
        yield Experiment("noise", title, noise, conditions, trials, quick, figures, 300.0)


def stalls() -> Iterator[Experiment]:
    """D4: a blocked event loop, a machine that goes on."""
    for size, (length, every, trials) in product((3, 5), ((3, 20, 4), (8, 20, 4), (20, 60, 40))):
        title = f"D4 {size} nodes, one stalls for {length} s"
        # The world is busy for half an hour in each trial, or for one stall of twenty seconds.
        seconds = 1800.0 if length < 20 else every
        conditions = {"size": size, "length": length, "every": every, "seconds": seconds}
        figures = [Figure("the sleeper accuses others", total("accused"), "times", 0)]
        if length < 20:
            figures.append(Figure("held for dead", total("deaths"), "pairs", 0))
        if length == 8:
            figures.append(
                Figure("seen stalled by the first one, p50", quantile("usual seen", 0.5))
            )
            figures.append(Figure("seen stalled by the first one, worst", largest("seen"), goal=3))
        if length == 20:
            figures += [
                Figure("held for dead after, p50", quantile("dead", 0.5), goal=17, floor=13),
                Figure("held for dead after, worst", largest("dead"), goal=20),
                Figure("all see it alive after it woke, worst", largest("back"), goal=5),
            ]
        yield Experiment("stall", title, stall, conditions, trials, 1, figures, every * 3.0)


def slows() -> Iterator[Experiment]:
    """Lifeguard's point."""
    without = {4: "10", 10: "74", 20: "232"}
    for slowness in (4, 10, 20):
        title = f"4 of 50 handle messages up to {slowness} s late, 10 min"
        conditions = {"size": 50, "members": 4, "slowness": slowness, "seconds": 300.0}
        figures = [
            Figure("healthy held for dead", total("healthy"), "pairs", 0),
            Figure("late ones held for dead", total("late"), "pairs"),
        ]
        figures[0].memberlist = f"0 ({without[slowness]})"
        quick = 1 if slowness == 4 else 0
        yield Experiment("slow", title, slow, conditions, 2, quick, figures, 60.0)


def idles() -> Iterator[Experiment]:
    """D5: what it costs when nothing happens."""
    for size, seconds in ((3, 600.0), (50, 200.0), (1000, 20.0)):
        figures = [
            Figure("packets a node and second", mean("packets"), "1/s"),
            Figure("stream messages a node and second", mean("streams"), "1/s"),
            Figure("messages a node and second", mean("sent"), "1/s", 2.2, memberlist="2.0"),
            Figure("CPU of the core, part of a processor", mean("cpu"), "%", 0.5, scale=100),
        ]
        title, conditions = f"D5 {size:,} nodes, idle", {"size": size, "seconds": seconds}
        quick = 1 if size < 1000 else 0
        yield Experiment("idle", title, idle, conditions, 1, quick, figures, 60.0)


GROUPS = {
    "silent": silent_hosts,
    "kill": kills,
    "noise": noises,
    "stall": stalls,
    "slow": slows,
    "idle": idles,
}


# ---- running -------------------------------------------------------------------------------------


def trial(work: tuple[Callable[..., Result], str, dict[str, Any]]) -> Result:
    run, seed, conditions = work
    return run(seed, **conditions)


def run(
    experiments: Iterable[Experiment],
    options: argparse.Namespace,
    spread: Callable[..., Iterable[Result]],
) -> list[str]:
    """Print the rows of all experiments; what is missed. ``spread`` is a kind of ``map``."""
    missed: list[str] = []
    for experiment in experiments:
        conditions, count = dict(experiment.conditions), experiment.trials
        if options.quick:
            count = experiment.quick
            if "seconds" in conditions and experiment.quick_seconds:
                conditions["seconds"] = experiment.quick_seconds
        if not count or conditions["size"] > options.most:
            continue
        seeds = [f"{options.seed}/{experiment.title}/{number}" for number in range(count)]
        work = [(experiment.trial, seed, conditions) for seed in seeds]
        experiment.results = list(spread(trial, work))
        for line, bad in experiment.rows():
            print(line, flush=True)
            missed += [line[:70].rstrip()] if bad else []
    return missed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few and short trials")
    every = ",".join(GROUPS)
    parser.add_argument("--only", default=every, help=f"which of {every}")
    parser.add_argument("--seed", type=int, default=1, help="all chance comes from it")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--most", type=int, default=1000, help="no clusters larger than this")
    options = parser.parse_args(arguments)
    print(f"{'':<70} {'':>9} {'unit':<5} {'goal':<12} memberlist")
    began = time.perf_counter()
    experiments = (each for name in options.only.split(",") for each in GROUPS[name]())
    if options.jobs == 1:
        missed = run(experiments, options, map)
    else:
        with multiprocessing.Pool(options.jobs) as pool:
            missed = run(experiments, options, pool.imap)
    print(f"\nin {time.perf_counter() - began:,.0f} s, {len(missed)} goals missed")
    for what in missed:
        print(f"  {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
