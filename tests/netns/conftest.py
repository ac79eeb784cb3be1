"""Five hosts for each test."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.accounts import Accounts
from tests.netns.hosts import Hosts, Unavailable
from tests.netns.nodes import Horde
from tests.netns.scene import Scene
from tests.netns.truth import Truth

HORDE = pytest.StashKey[Horde]()
REQUIRED = "CI_NETNS_REQUIRED"
"""With 1 in this variable, a machine that cannot run these tests fails them."""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Hosts that reach each other; whatever runs on them is killed, and they are removed."""
    five = Hosts(*"abcde")
    try:
        five.open()
    except Unavailable as why:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{why}; {REQUIRED}=1 forbids to skip this", pytrace=False)
        pytest.skip(str(why))
    try:
        yield five
    finally:
        five.close()


@pytest.fixture
async def horde(
    hosts: Hosts, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Horde]:
    """A node for each host, not started; whatever the test starts is killed."""
    async with Horde(hosts, tmp_path) as five:
        request.node.stash[HORDE] = five
        yield five


@pytest.fixture
async def met(horde: Horde) -> Horde:
    """All nodes have met."""
    for node in horde.nodes.values():
        await node.boot()
    await horde.until(Truth(horde).not_met, "all nodes see each other alive")
    return horde


@pytest.fixture
async def scene(met: Horde) -> AsyncIterator[Scene]:
    """All nodes have met, and clients write into ledgers. What is measured, pytest -rP shows."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    async with Accounts(met, seed) as accounts:
        here = Scene(met.hosts, met, Truth(met), accounts)
        yield here
    print(", ".join(f"{what} {figure:.4g}" for what, figure in here.figures.items()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failure comes with the end of each node's log."""
    report = yield
    horde = item.stash.get(HORDE, None)
    if report.failed and horde is not None:
        report.sections.append(("logs of the nodes", horde.logs.tails()))
    return report
