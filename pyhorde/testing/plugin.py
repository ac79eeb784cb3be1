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
import os
import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

MARKER = "horde"
SEEDS = 10
LIMIT = 4 * 3600.0
"""Virtual seconds after which a test is given up: it may wait for what never comes."""
OWN_SETTINGS = frozenset(("seeds", "first", "limit"))
KNOWN_SETTINGS = OWN_SETTINGS | {
    "nodes", "processes", "membership", "replication", "runtime", "datagrams", "wiring",
}  # fmt: skip
SHOWN = 60
"""Lines of the day's history in a report."""


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
    if marker is None:
        return
    if "horde_seed" not in metafunc.fixturenames:
        where = metafunc.definition.nodeid
        raise pytest.UsageError(f"{where}: marked `horde`, but has no argument `horde`")
    if _mistake(marker):  # said once, by the fixture
        metafunc.parametrize("horde_seed", [0], ids=["seed=0"])
        return
    count = metafunc.config.getoption("horde_seeds") or marker.kwargs.get("seeds", SEEDS)
    first = marker.kwargs.get("first", 0)
    only = metafunc.config.getoption("horde_seed")
    seeds = [only] if only is not None else range(first, first + count)
    metafunc.parametrize("horde_seed", seeds, ids=lambda seed: f"seed={seed}")


def _mistake(marker: pytest.Mark) -> str:
    """What would run another test than the one that was meant; empty if nothing does."""
    unknown = sorted(marker.kwargs.keys() - KNOWN_SETTINGS)
    if marker.args:
        return "name the marker's arguments: horde(nodes=3, ...)"
    if unknown:
        return f"horde has no {', '.join(unknown)}; it has {', '.join(sorted(KNOWN_SETTINGS))}"
    for name in ("seeds", "first"):
        if type(marker.kwargs.get(name, 1)) is not int:
            return f"{name} is a number, not {marker.kwargs[name]!r}"
    return ""


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
    if mistake := _mistake(marker):
        raise pytest.UsageError(f"{request.node.name}: {mistake}")
    settings = {k: v for k, v in marker.kwargs.items() if k not in OWN_SETTINGS}
    cluster = SimCluster(seed=horde_seed, **settings)
    yield cluster
    cluster.loop.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked coroutine function in its cluster's virtual time."""
    __tracebackhide__ = True
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
        __tracebackhide__ = True
        async with cluster:
            deadline = asyncio.timeout(limit)
            try:
                async with deadline:
                    await function(**arguments)
            except TimeoutError:
                if deadline.expired():
                    pytest.fail(f"not done within {limit:g} seconds of virtual time (limit=...)")
                raise

    chance = random.getstate()
    random.seed(f"{cluster.seed}/test")
    try:
        cluster.loop.run_until_complete(story())
    finally:
        random.setstate(chance)
        command = f'pytest "{_test_of(pyfuncitem)}" --horde-seed {cluster.seed}'
        day = cluster.history[-SHOWN:]
        lines = [f"replay: {command}", f"trace:  {cluster.loop.trace_hash}", "day:", *day]
        pyfuncitem.add_report_section("call", "horde", "\n".join(lines))
    return True


def _test_of(item: pytest.Function) -> str:
    """The test, as it is named where pytest was started; the seed alone is left out."""
    _, colons, name = item.nodeid.partition("::")
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"{path}{colons}{re.sub(r'.seed=-?[0-9]+.$', '', name)}"
