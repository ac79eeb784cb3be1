"""Fresh bad days, and that a seed is the same day everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyhorde.testing.plans import Plan
from pyhorde.testing.runner import Task, run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("nodes", [2, 3, 5, 7])
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_day_ends_well(seed: int, nodes: int):
    report = run(Task(Plan.draw(seed, nodes, minutes=5)))
    assert report.failure == "", report.details
    assert report.requests > 100 and sum(report.faults.values()) > 0


def test_a_seed_gives_the_same_run_in_two_processes_with_other_hash_seeds():
    program = (
        "from pyhorde.testing.plans import Plan; from pyhorde.testing.runner import Task, run;"
        "print(run(Task(Plan.draw(24, 3, 2))).trace)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
