"""The pytest plugin: tests of your processes in a simulated cluster, for many seeds each.

::

    @pytest.mark.horde(nodes=3, processes=[Meeting], seeds=20)
    async def test_a_meeting_survives(horde):
        ...

``horde`` is a :class:`~pyhorde.testing.SimCluster`, started; the whole test runs in virtual time.
A failure names its seed and the command that replays it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

MARKER = "horde"
SEEDS = 10
LIMIT = 3600.0
"""Virtual seconds after which a test is given up: it may wait for what never comes."""
OWN_SETTINGS = ("seeds", "first", "limit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which seeds to run."""
    group = parser.getgroup("pyhorde")
    group.addoption(
        "--horde-seed", type=int, metavar="N", help="run marked tests with just this seed"
    )
    group.addoption(
        "--horde-seeds", type=int, metavar="COUNT", help="run marked tests with so many seeds"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(nodes=3, processes=(), seeds={SEEDS}, first=0, limit={LIMIT:g}, ...): run the"
        " test in a simulated cluster, the fixture `horde`, once for each seed; further settings"
        " are SimCluster's",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed."""
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None or "horde_seed" not in metafunc.fixturenames:
        return
    count = metafunc.config.getoption("horde_seeds") or marker.kwargs.get("seeds", SEEDS)
    first = marker.kwargs.get("first", 0)
    only = metafunc.config.getoption("horde_seed")
    seeds = [only] if only is not None else range(first, first + count)
    metafunc.parametrize("horde_seed", seeds, ids=lambda seed: f"seed={seed}")


@pytest.fixture
def horde_seed() -> int:
    """The seed of this run."""
    return 0


@pytest.fixture
def horde(request: pytest.FixtureRequest, horde_seed: int) -> Iterator[SimCluster]:
    """A simulated cluster, started when the test begins."""
    from pyhorde.testing.cluster import SimCluster  # noqa: PLC0415 - most test runs need none

    marker = request.node.get_closest_marker(MARKER)
    if marker is None:
        raise pytest.UsageError(
            "the fixture `horde` needs its marker: @pytest.mark.horde(nodes=3, processes=[...])"
        )
    settings = {k: v for k, v in marker.kwargs.items() if k not in OWN_SETTINGS}
    cluster = SimCluster(seed=horde_seed, **settings)
    yield cluster
    cluster.loop.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked coroutine function in its cluster's virtual time."""
    cluster: Any = pyfuncitem.funcargs.get("horde")
    if cluster is None or pyfuncitem.get_closest_marker(MARKER) is None:
        return None
    function: Any = inspect.unwrap(pyfuncitem.obj)
    if not inspect.iscoroutinefunction(function):
        raise pytest.UsageError(f"{pyfuncitem.name}: a test in a simulated cluster is async")
    if pyfuncitem.instance is not None and not inspect.ismethod(function):
        function = function.__get__(pyfuncitem.instance)
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - as pytest's own call does
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    marker = pyfuncitem.get_closest_marker(MARKER)
    limit = float(marker.kwargs.get("limit", LIMIT)) if marker is not None else LIMIT

    async def story() -> None:
        async with cluster:
            deadline = asyncio.timeout(limit)
            try:
                async with deadline:
                    await function(**arguments)
            except TimeoutError:
                if deadline.expired():
                    pytest.fail(f"not done within {limit:g} seconds of virtual time (limit=...)")
                raise

    try:
        cluster.loop.run_until_complete(story())
    finally:
        command = f'pytest "{_without_seed(pyfuncitem)}" --horde-seed {cluster.seed}'
        pyfuncitem.add_report_section(
            "call", "horde", f"replay: {command}\ntrace:  {cluster.loop.trace_hash}"
        )
    return True


def _without_seed(item: pytest.Function) -> str:
    """The test's node id without what its parameters add."""
    return item.nodeid.partition("[")[0]
