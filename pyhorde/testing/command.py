"""The command behind ``python -m pyhorde.testing``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pyhorde.testing.faults import KINDS
from pyhorde.testing.plans import Plan
from pyhorde.testing.runner import PACE, Report, Task, run_many, shrink, summary
from pyhorde.testing.safeguards import SAFEGUARDS

MOST_SHOWN = 5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seeds",
    default=20,
    type=click.IntRange(min=1),
    show_default=True,
    help="How many days to run.",
)
@click.option("--first", default=0, show_default=True, help="The first seed; the others follow.")
@click.option("--seed", type=int, help="Run just this one: the way to replay a failure.")
@click.option("--plan", type=click.Path(path_type=Path, exists=True), help="Play a saved plan.")
@click.option("--nodes", default=5, show_default=True, type=click.IntRange(2, 26))
@click.option(
    "--minutes",
    default=10.0,
    type=click.FloatRange(0.1, 10_000),
    show_default=True,
    help="Virtual minutes of each day.",
)
@click.option("--faults", default="", help="Only these kinds, separated by commas.")
@click.option(
    "--pace",
    default=PACE,
    type=click.FloatRange(min=0.01),
    show_default=True,
    help="Seconds between a client's requests.",
)
@click.option(
    "--jobs",
    default=os.cpu_count() or 1,
    type=click.IntRange(min=1),
    show_default="all cores",
    help="Processes.",
)
@click.option(
    "--recheck", default=1, show_default=True, help="Run so many again in a new OS process."
)
@click.option("--without", type=click.Choice(sorted(SAFEGUARDS)), help="Switch a safeguard off.")
@click.option("--until-failure", is_flag=True, help="Stop at the first failure.")
@click.option("--shrink/--no-shrink", "shrinks", default=True, help="Make failing plans smaller.")
@click.option("--trace", is_flag=True, help="Print the hash of each run: equal for equal runs.")
@click.option("--list", "lists", is_flag=True, help="List faults and safeguards, and end.")
def main(**options: object) -> None:
    """Run whole clusters through bad days, in virtual time, each from its seed.

    Real nodes, real processes, simulated machines and network. Clients account for every request
    while machines crash, stall and are cut off from each other. Then all faults end, the cluster
    has to come to rest, and everything that must hold is checked. Ends with 1 if anything failed.
    """
    console = Console(highlight=False, soft_wrap=True)
    if options["lists"]:
        _list(console)
        return
    days = _Days(console, options)
    sys.exit(days.run())


class _Days:
    """One run of the command."""

    def __init__(self, console: Console, options: dict[str, object]) -> None:
        self._console = console
        self._options = options
        self._nodes = int(str(options["nodes"]))
        self._minutes = float(str(options["minutes"]))
        self._kinds = [k.strip() for k in str(options["faults"]).split(",") if k.strip()]
        unknown = sorted(set(self._kinds) - KINDS.keys())
        if unknown:
            raise click.BadParameter(
                f"no kind of fault: {', '.join(unknown)}; --list shows them", param_hint="--faults"
            )
        self._without = str(options["without"] or "")
        if self._without and not self._kinds:
            self._kinds = list(SAFEGUARDS[self._without].faults)
        self._reports: list[Report] = []

    def run(self) -> int:
        """Run all days; the exit code."""
        tasks = list(self._tasks())
        if not tasks:
            raise click.UsageError("nothing to run: --seeds is 0")
        for report in self._watched(tasks):
            self._reports.append(report)
            if report.failure and self._options["until_failure"]:
                break
        failed = sorted((r for r in self._reports if r.failure), key=lambda r: r.seed)
        for report in failed[:MOST_SHOWN]:
            self._show(report)
        if len(failed) > MOST_SHOWN:
            seeds = ", ".join(str(report.seed) for report in failed[MOST_SHOWN:])
            self._console.print(f"also failed: {seeds}")
        if self._options["trace"]:
            for report in self._reports:
                self._console.print(f"seed {report.seed} trace {report.trace}")
        differing = 0 if failed else self._recheck()
        self._console.print(summary(self._reports))
        self._console.print(self._kinds_line(), style="dim")
        if not failed and not differing:
            self._console.print("[green]all good[/]")
        return 1 if failed or differing else 0

    def _tasks(self) -> Iterator[Task]:
        options, pace = self._options, float(str(self._options["pace"]))
        if options["plan"] is not None:
            try:
                plan = Plan.load(Path(str(options["plan"])))
            except (ValueError, TypeError) as error:
                raise click.BadParameter(str(error), param_hint="--plan") from error
            yield Task(plan, self._without, pace)
            return
        first, count = int(str(options["first"])), int(str(options["seeds"]))
        if options["seed"] is not None:
            first, count = int(str(options["seed"])), 1
        for seed in range(first, first + count):
            plan = Plan.draw(seed, self._nodes, self._minutes, self._kinds)
            yield Task(plan, self._without, pace)

    def _watched(self, tasks: list[Task]) -> Iterator[Report]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task("bad days", total=len(tasks))
            failed = 0
            for report in run_many(tasks, min(int(str(self._options["jobs"])), len(tasks))):
                failed += bool(report.failure)
                words = f"bad days, {failed} failed" if failed else "bad days"
                progress.update(bar, advance=1, description=words)
                yield report

    def _show(self, report: Report) -> None:
        print_ = self._console.print
        print_(f"[red]seed {report.seed} failed[/] after {report.simulated:.0f} s")
        print_(report.failure, markup=False)
        print_(f"replay: {self._replay(report.seed)}", markup=False)
        if not self._options["shrinks"]:
            return
        smaller = shrink(
            report, Task(report.plan, self._without, float(str(self._options["pace"])))
        )
        path = Path(f"horde-seed-{report.seed}.json")
        smaller.plan.save(path)
        print_(
            f"the smallest plan found, {smaller.plan.faults} of {report.plan.faults} faults:",
            markup=False,
        )
        print_(str(smaller.plan), markup=False)
        print_(smaller.failure, markup=False)
        print_(f"replay: {self._replay_plan(path)}", markup=False)

    def _replay_plan(self, path: Path) -> str:
        words = ["python -m pyhorde.testing", f"--plan {path}", *self._replay_options()]
        return " ".join(words)

    def _replay_options(self) -> list[str]:
        words = [f"--pace {self._options['pace']}"] if self._options["pace"] != PACE else []
        words += [f"--without {self._without}"] if self._without else []
        return words

    def _replay(self, seed: int) -> str:
        if self._options["plan"] is not None:
            return self._replay_plan(Path(str(self._options["plan"])))
        words = ["python -m pyhorde.testing", f"--seed {seed}", f"--nodes {self._nodes}"]
        words.append(f"--minutes {self._minutes:g}")
        words += [f"--faults {','.join(self._kinds)}"] if self._kinds else []
        return " ".join([*words, *self._replay_options()])

    def _recheck(self) -> int:
        """Run some again in new OS processes with another hash seed; how many differ."""
        if self._options["trace"]:
            return 0
        differing = 0
        some = [] if self._options["plan"] else self._reports[: int(str(self._options["recheck"]))]
        for report in some:
            command = [sys.executable, *self._replay(report.seed).split()[1:], "--trace"]
            environment = {**os.environ, "PYTHONHASHSEED": "12345"}
            done = subprocess.run(  # noqa: S603 - this very program
                command, env=environment, capture_output=True, text=True, check=False
            )
            if f"seed {report.seed} trace {report.trace}" not in done.stdout:
                differing += 1
                self._console.print(f"[red]seed {report.seed} is not deterministic[/]")
                self._console.print(f"here {report.trace}; again: {done.stdout}{done.stderr}")
        if some and not differing:
            self._console.print(f"{len(some)} run again in a new process: equal event by event")
        return differing

    def _kinds_line(self) -> str:
        faults: Counter[str] = Counter()
        for report in self._reports:
            faults.update(report.faults)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))


def _list(console: Console) -> None:
    for title, entries in (
        ("faults", {name: kind.about for name, kind in KINDS.items()}),
        ("safeguards", {name: guard.about for name, guard in SAFEGUARDS.items()}),
    ):
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, about in entries.items():
            table.add_row(name, about)
        console.print(table)
