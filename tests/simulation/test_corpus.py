"""Every plan that ever found something ends well now, and badly without what mended it."""

from dataclasses import replace

import pytest

from pyhorde.testing.runner import Task, run
from pyhorde.testing.safeguards import SAFEGUARDS
from tests.simulation.corpus import PACE, Pinned, pinned

PINNED = pinned()
TRIES = 20


def ids(entry: Pinned) -> str:
    return entry.name


@pytest.mark.parametrize("entry", PINNED, ids=ids)
def test_a_day_that_once_went_wrong_ends_well(entry: Pinned):
    report = run(Task(entry.plan, pace=PACE))
    assert report.failure == "", f"{entry.found}\n{report.details}"


@pytest.mark.parametrize("entry", [e for e in PINNED if e.without], ids=ids)
def test_it_goes_wrong_again_without_its_safeguard(entry: Pinned):
    """The faults do it; the seed, which decides the interleaving, need not be the very same."""
    tries = (replace(entry.plan, seed=entry.plan.seed + other) for other in range(TRIES))
    assert any(run(Task(plan, entry.without, PACE)).failure for plan in tries)


def test_for_each_safeguard_there_is_a_plan_that_fails_without_it():
    assert SAFEGUARDS.keys() <= {entry.without for entry in PINNED}
