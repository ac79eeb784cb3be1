"""``python -m pyhorde.testing``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pyhorde.testing import workloads
from pyhorde.testing.command import main
from pyhorde.testing.faults import KINDS, Fault
from pyhorde.testing.plans import Plan
from pyhorde.testing.safeguards import SAFEGUARDS
from pyhorde.testing.workloads import Accounting

TINY = "--nodes 2 --minutes 1 --jobs 1 --recheck 0 --pace 10"
ONE = f"{TINY} --seeds 1"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing days leave a file behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workloads, "ALL", (Accounting,))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every day fails."""

    async def audit(self: Any) -> None:
        self.problem("all is lost")

    monkeypatch.setattr(Accounting, "audit", audit)


def command(options: str) -> Result:
    return CliRunner().invoke(main, options.split())


def said(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    return result.output


def test_good_days_end_with_0_and_figures():
    output = said(command(ONE), 0)
    assert "1 seeds" in output
    assert "simulated hours per CPU-minute" in output
    assert "all good" in output


@pytest.mark.usefixtures("broken")
def test_a_failing_day_ends_with_1_and_the_command_that_replays_it():
    output = said(command(f"{ONE} --first 7 --no-shrink --faults stall,reset"), 1)
    assert "seed 7 failed" in output
    assert "all is lost" in output
    replay = "python -m pyhorde.testing --seed 7 --nodes 2 --minutes 1 --faults stall,reset"
    assert f"replay: {replay} --pace 10.0\n" in output
    assert "all good" not in output
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("broken")
def test_the_replay_command_fails_in_the_same_way():
    output = said(command(f"{ONE} --first 3 --no-shrink"), 1)
    found = re.search(r"replay: python -m pyhorde.testing (.*)", output)
    assert found is not None
    again = said(command(f"{found[1]} --no-shrink --jobs 1 --recheck 0"), 1)
    assert output.split("replay")[0] == again.split("replay")[0]


@pytest.mark.usefixtures("broken")
def test_a_failing_day_is_made_smaller_and_saved_as_a_plan():
    output = said(command(f"{ONE} --faults reset --without answers"), 1)
    assert "the smallest plan found, 0 of" in output
    path = Path("horde-seed-0.json")
    replay = f"python -m pyhorde.testing --plan {path} --pace 10.0 --without answers"
    assert f"replay: {replay}\n" in output, "at another pace it is another day"
    assert Plan.load(path).faults == 0
    assert "all is lost" in said(command(f"--plan {path} --no-shrink --jobs 1"), 1)


@pytest.mark.usefixtures("broken")
def test_a_failing_saved_plan_is_replayed_from_its_file():
    Plan(5, 2, ((Fault(kind="reset", at=1, pairs=(("a", "b"),)),),)).save(Path("mine.json"))
    output = said(command("--plan mine.json --no-shrink --jobs 1"), 1)
    assert "seed 5 failed" in output
    assert "replay: python -m pyhorde.testing --plan mine.json" in output
    assert "--seed 5" not in output


def test_a_saved_plan_is_played():
    Plan(5, 2, ((Fault(kind="stall", at=1, lasts=2, on=("a",)),),)).save(Path("mine.json"))
    output = said(command("--plan mine.json --jobs 1"), 0)
    assert "1 faults" in output
    assert "1 stall" in output


@pytest.mark.usefixtures("broken")
def test_many_failures_are_not_all_shown():
    output = said(command(f"{TINY} --seeds 7 --no-shrink"), 1)
    assert output.count("replay:") == 5
    assert "also failed: 5, 6" in output


@pytest.mark.usefixtures("broken")
def test_the_first_failure_may_end_it():
    output = said(command(f"{TINY} --seeds 4 --until-failure --no-shrink"), 1)
    assert output.count("failed after") == 1
    assert "1 seeds" in output


def test_the_trace_of_a_seed_is_always_the_same():
    traces = [said(command(f"{ONE} --seed {seed} --trace"), 0) for seed in (4, 4, 5)]
    found = [re.search(r"seed (\d) trace ([0-9a-f]{32})\n", output) for output in traces]
    assert all(found)
    assert found[0][2] == found[1][2] != found[2][2]  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--faults earthquake,stall,flood", ["--faults", "earthquake, flood", "--list"]),
        ("--without seatbelts", ["--without", "seatbelts"]),
        ("--nodes 1", ["--nodes"]),
        ("--nodes 27", ["--nodes"]),
        ("--plan nowhere.json", ["--plan", "nowhere.json"]),
        ("--seeds 0", ["--seeds"]),
        ("--seed one", ["--seed", "one"]),
    ],
)
def test_what_cannot_be_run_is_a_usage_error_that_says_what_is_wrong(
    options: str, words: list[str]
):
    output = said(command(options), 2)
    assert all(word in output for word in words)
    assert "Traceback" not in output


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seed": 1, "nodes": 2, "rounds": [[{}]]}'])
def test_a_file_that_is_no_plan_is_a_usage_error(text: str):
    Path("bad.json").write_text(text)
    assert "--plan" in said(command("--plan bad.json"), 2)


def test_all_faults_and_safeguards_are_listed():
    output = said(command("--list"), 0)
    assert all(re.search(rf"^\s*{name} ", output, re.MULTILINE) for name in KINDS)
    assert all(re.search(rf"^\s*{name} ", output, re.MULTILINE) for name in SAFEGUARDS)


class Again:
    """What a second OS process says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
        self.answer = answer
        self.calls: list[tuple[list[str], dict[str, str]]] = []
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, words: list[str], *, env: dict[str, str], **_: Any) -> Any:
        self.calls.append((words, env))
        return subprocess.CompletedProcess(words, 0, self.answer, "")


def test_a_seed_that_differs_in_another_os_process_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    again = Again(monkeypatch, "seed 0 trace somethingelse")
    output = said(command(f"{ONE} --recheck 1"), 1)
    assert "seed 0 is not deterministic" in output
    assert "somethingelse" in output
    ((words, env),) = again.calls
    assert words[:3] == [sys.executable, "-m", "pyhorde.testing"]
    assert words[-1] == "--trace"
    assert env["PYTHONHASHSEED"] != os.environ.get("PYTHONHASHSEED", "random")


def test_a_seed_that_is_the_same_in_another_os_process_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
):
    Again(monkeypatch, said(command(f"{ONE} --trace"), 0))
    assert "1 run again in a new process: equal" in said(command(f"{ONE} --recheck 1"), 0)


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "pyhorde.testing", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "crash-during" in done.stdout
