"""Every plan that ever found something ends well now, and badly without what mended it."""

import pytest

from pyhorde.testing.runner import Task, run
from pyhorde.testing.safeguards import SAFEGUARDS
from tests.simulation.corpus import Pinned, pinned

PINNED = pinned()


def ids(entry: Pinned) -> str:
    return entry.name


@pytest.mark.parametrize("entry", PINNED, ids=ids)
def test_a_day_that_once_went_wrong_ends_well(entry: Pinned):
    report = run(Task(entry.plan))
    assert report.failure == "", f"{entry.found}\n{report.details}"


@pytest.mark.parametrize("entry", [e for e in PINNED if e.without], ids=ids)
def test_it_goes_wrong_again_without_its_safeguard(entry: Pinned):
    assert run(Task(entry.plan, entry.without)).failure


def test_for_each_safeguard_there_is_a_plan_that_fails_without_it():
    assert SAFEGUARDS.keys() <= {entry.without for entry in PINNED}
