"""``python -m tests.simulation.table [NAME...]``: which seed catches each missing safeguard.

Prints a row for each, and pins the smallest plan found in ``tests/simulation/corpus``.
"""

from __future__ import annotations

import json
import logging
import sys

from pyhorde.testing.plans import Plan
from pyhorde.testing.runner import Report, Task, run, shrink
from pyhorde.testing.safeguards import SAFEGUARDS
from tests.simulation.corpus import FOLDER, PACE

NODES = 5
MINUTES = 5.0
SEEDS = 200


def first_caught(name: str) -> Report | None:
    """The first seed that fails without the safeguard and ends well with it."""
    for seed in range(SEEDS):
        plan = Plan.draw(seed, NODES, MINUTES, SAFEGUARDS[name].faults)
        report = run(Task(plan, name, PACE))
        if report.failure:
            assert not run(Task(plan, pace=PACE)).failure
            return report
    return None


def pin(name: str, report: Report) -> None:
    data = json.loads(report.plan.to_json())
    found = report.failure.splitlines()[0][:200]
    text = json.dumps({"found": found, "without": name, **data}, indent=1)
    (FOLDER / f"without-{name}.json").write_text(text + "\n")


def main(names: list[str]) -> None:
    logging.getLogger("pyhorde").setLevel(logging.CRITICAL + 1)
    print("| without | kinds of faults | seed | faults left | what was found |")
    print("|---|---|---|---|---|")
    for name in names:
        kinds = ", ".join(SAFEGUARDS[name].faults)
        report = first_caught(name)
        if report is None:
            print(f"| `{name}` | {kinds} | none of {SEEDS} | | |", flush=True)
            continue
        smallest = shrink(report, Task(report.plan, name, PACE))
        pin(name, smallest)
        said = report.failure.replace("\n", " ")[:150]
        print(
            f"| `{name}` | {kinds} | {report.seed} | {smallest.plan.faults} | {said} |", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(SAFEGUARDS))
