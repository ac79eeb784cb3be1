"""The pytest plugin, as a user's own test run sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HEAD = """
import asyncio
import pytest
from pyhorde.runtime.process import Process, call

class Counter(Process):
    durability = "replicated"
    def __init__(self):
        self.state = 0
    @call
    async def increment(self):
        self.state += 1
        return self.state
"""
_ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
AUTO = (*_ASYNCIO, "--asyncio-mode=auto")
STRICT = (*_ASYNCIO, "--asyncio-mode=strict")
PLUGIN = ("-p", "pyhorde.testing.plugin")


@dataclass
class Ran:
    """How a run of pytest ended."""

    code: int
    output: str

    def counted(self, **expected: int) -> None:
        words = self.output.strip().splitlines()[-1]
        found = {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) (\w+)", words)}
        assert {k: found.get(k, 0) for k in expected} == expected, self.output

    @property
    def replays(self) -> list[str]:
        return re.findall(r"replay: pytest (.*)", self.output)

    @property
    def traces(self) -> list[str]:
        return re.findall(r"trace:  ([0-9a-f]{32})", self.output)


@dataclass
class Project:
    """A folder with tests in it, for a pytest of its own."""

    path: Path

    def run(self, *options: str, as_installed: bool = False) -> Ran:
        """Without other plugins, unless it is to be ``as_installed``: that is faster."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers"]
        environment = dict(os.environ)
        if not as_installed:
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            command += PLUGIN
        done = subprocess.run(
            [*command, *options],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def write(self, tests: str, head: str = HEAD) -> None:
        (self.path / "test_it.py").write_text(head + tests)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return Project(tmp_path)


GOOD = """
@pytest.mark.horde(nodes=2, processes=[Counter], seeds=3)
async def test_it(horde, horde_seed):
    assert horde.seed == horde_seed
    assert sorted(horde.live) == ["a", "b"]
    assert asyncio.get_running_loop() is horde.loop
    ref = await horde.start_child(Counter, "it")
    assert await ref.increment() == 1
    await asyncio.sleep(600)

class TestInAClass:
    @pytest.fixture
    def three(self):
        return 3

    @pytest.mark.horde(nodes=2, seeds=1, first=5)
    async def test_it(self, horde, three, tmp_path):
        assert (three, horde.seed) == (3, 5)
        assert tmp_path.exists()

def test_plain():
    pass
"""


@pytest.mark.parametrize("options", [(), AUTO, STRICT], ids=["without", "auto", "strict"])
def test_a_marked_test_runs_once_for_each_seed_whoever_else_runs_coroutines(
    project: Project, options: tuple[str, ...]
):
    project.write(GOOD)
    ran = project.run("-v", *options)
    ran.counted(passed=5, failed=0, error=0)
    for node in ("test_it[seed=0]", "test_it[seed=2]", "TestInAClass::test_it[seed=5]"):
        assert node in ran.output
    assert ran.replays == []


SOME_FAIL = """
@pytest.mark.horde(nodes=2, seeds=4)
async def test_it(horde):
    await asyncio.sleep(1)
    assert horde.seed % 2 == 0

class TestInAClass:
    @pytest.mark.parametrize("word", ["x"])
    @pytest.mark.horde(nodes=2, seeds=2)
    async def test_it(self, horde, word):
        assert horde.seed == 0, word
"""


def test_a_failing_seed_shows_the_command_that_replays_just_it_with_the_same_trace(
    project: Project,
):
    project.write(SOME_FAIL)
    ran = project.run(*AUTO)
    ran.counted(passed=3, failed=3)
    assert ran.replays == [
        '"test_it.py::test_it" --horde-seed 1',
        '"test_it.py::test_it" --horde-seed 3',
        '"test_it.py::TestInAClass::test_it[seed=1-x]" --horde-seed 1',
    ]
    node, *option = ran.replays[1].split()
    again = project.run(*AUTO, node.strip('"'), *option)
    again.counted(passed=0, failed=1)
    assert again.replays == ran.replays[1:2]
    assert again.traces == ran.traces[1:2]
    assert ran.traces[0] != ran.traces[1]


SEEDS = """
@pytest.mark.horde(nodes=[])
async def test_ten(horde):
    pass

@pytest.mark.horde(nodes=[], seeds=2, first=5)
async def test_two(horde):
    pass
"""


INSTALLED = ("-p", "no:asyncio", "-p", "no:xdist")


@pytest.mark.parametrize(
    ("options", "as_installed", "ten", "two"),
    [
        (INSTALLED, True, [*range(10)], [5, 6]),
        (("--horde-seeds", "3"), False, [0, 1, 2], [5, 6, 7]),
        (("--horde-seed", "42"), False, [42], [42]),
    ],
    ids=["as-marked", "so-many", "just-one"],
)
def test_the_marker_says_which_seeds_and_a_whole_run_may_say_otherwise(
    project: Project, options: tuple[str, ...], as_installed: bool, ten: list[int], two: list[int]
):
    project.write(SEEDS)
    ran = project.run("-v", *options, as_installed=as_installed)
    ran.counted(passed=len(ten) + len(two), failed=0)
    for name, seeds in (("test_ten", ten), ("test_two", two)):
        found = re.findall(rf"{name}\[seed=(\d+)\]", ran.output)
        assert list(map(int, found)) == seeds


def test_the_marker_explains_itself(project: Project):
    ran = project.run("--markers")
    assert "@pytest.mark.horde(nodes=3, processes=(), seeds=10" in ran.output


WRONG = """
async def test_no_marker(horde):
    pass

@pytest.mark.horde(nodes=2, seeds=1)
def test_not_async(horde):
    pass

@pytest.mark.horde(nodes=2, seeds=1, colour="red")
async def test_no_such_setting(horde):
    pass
"""


def test_what_is_wrong_with_a_test_is_said_clearly(project: Project):
    project.write(WRONG)
    ran = project.run(*AUTO)
    ran.counted(passed=0, failed=1, error=2)
    assert "needs its marker: @pytest.mark.horde(" in ran.output
    assert "test_not_async[seed=0]: a test in a simulated cluster is async" in ran.output
    assert "colour" in ran.output
    assert "INTERNALERROR" not in ran.output


ENDS_BADLY = """
@pytest.mark.horde(nodes=2, seeds=1)
async def test_violation(horde):
    horde.invariants.report(25, "something is wrong")

@pytest.mark.horde(nodes=[], seeds=1)
async def test_waits_for_ever(horde):
    await asyncio.get_running_loop().create_future()

@pytest.mark.horde(nodes=2, seeds=1)
async def test_skips(horde):
    pytest.skip("not today")

@pytest.mark.xfail(strict=True)
@pytest.mark.horde(nodes=2, seeds=1)
async def test_fails_as_expected(horde):
    raise ValueError

@pytest.mark.horde(nodes=2, seeds=1)
async def test_leaves_much_behind(horde):
    _ = asyncio.create_task(asyncio.sleep(1000))
    horde.crash("a")
"""


def test_every_way_to_end_is_reported_as_pytest_does(project: Project):
    project.write(ENDS_BADLY)
    ran = project.run("-rA", *AUTO)
    ran.counted(passed=1, failed=2, skipped=1, xfailed=1, error=0)
    assert "something is wrong" in ran.output
    assert "not done within 14400 seconds of virtual time" in ran.output


def test_other_tests_pay_nothing_for_the_plugin(project: Project):
    project.write(
        """
import sys
def test_plain():
    for module in ("pyhorde.node", "pyhorde.testing.cluster"):
        assert module not in sys.modules
""",
        head="",
    )
    project.run().counted(passed=1)


WAITS = """
@pytest.mark.horde(nodes=2, processes=[Counter], seeds=1, limit=50)
async def test_waits_for_what_never_comes(horde):
    await asyncio.get_running_loop().create_future()
"""


def test_a_test_that_waits_for_ever_fails_after_its_limit_of_virtual_time(project: Project):
    project.write(WAITS)
    ran = project.run()
    ran.counted(failed=1)
    assert "not done within 50 seconds of virtual time" in ran.output
    assert ran.replays
