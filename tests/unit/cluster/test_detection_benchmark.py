"""``benchmarks/detection.py``: what it prints, and that its world is what it says."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from benchmarks import detection as benchmark
from benchmarks.detection import Experiment, Figure
from pyhorde.cluster.member import Status
from pyhorde.config import MembershipConfig

# The benchmark has put its directory on the path, and they must be the modules it uses.
import detection_streams  # isort: skip
import detection_trials as trials  # isort: skip
from detection_streams import RTO, Stream  # isort: skip
from detection_world import World  # isort: skip


def world(size: int = 3, **conditions: Any) -> World:
    made = World("seed", size, MembershipConfig(), **conditions)
    made.run(5.0)
    return made


# ---- the table ----------------------------------------------------------------------------------


def test_a_quick_run_prints_a_line_for_each_figure(capsys: pytest.CaptureFixture[str]):
    arguments = ["--quick", "--only", "kill", "--most", "3", "--jobs", "1"]
    assert benchmark.main(arguments) == 0
    head, *rows, _, last = capsys.readouterr().out.splitlines()
    assert "goal" in head
    assert rows[0].startswith("kill -9, 3 nodes: all know, p50 ")
    assert rows[0].endswith("met")
    assert len(rows) == 3
    assert last.endswith("0 goals missed")


@pytest.mark.parametrize(("value", "floor", "code"), [(1, None, 0), (3, None, 1), (1, 2, 1)])
def test_a_missed_goal_is_named_and_is_the_exit_code(
    value: float,
    floor: float | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    figure = Figure("figure", benchmark.largest("it"), goal=2, floor=floor)

    def trial(seed: str, size: int) -> dict[str, float]:
        return {"it": value}

    experiment = Experiment("some", "title", trial, {"size": 3}, 2, 1, [figure])
    monkeypatch.setitem(benchmark.GROUPS, "some", lambda: iter([experiment]))
    assert benchmark.main(["--only", "some", "--jobs", "1"]) == code
    assert ("  title: figure" in capsys.readouterr().out.splitlines()) == bool(code)


def test_a_part_of_the_trials_gave_at_most_the_quantile():
    results = [{"it": float(n)} for n in range(100, 0, -1)]
    assert benchmark.quantile("it", 0.5)(results) == 50
    assert benchmark.quantile("it", 0.99)(results) == 99


# ---- the trials ---------------------------------------------------------------------------------


def test_a_trial_is_determined_by_its_seed():
    one, other, same = (trials.death(seed, 3, "silent", loss=0.2) for seed in "aba")
    assert one == same != other


def test_the_death_of_a_silent_host_is_noticed_by_all_of_a_large_cluster():
    found = trials.death("seed", 20, "silent")
    assert 0 < found["first"] <= found["all"] < math.inf


def test_noise_that_the_rules_do_not_withstand_is_noticed(monkeypatch: pytest.MonkeyPatch):
    hasty = MembershipConfig(suspicion_mult=1.0, suspicion_max_mult=1.0)
    monkeypatch.setitem(trials.PROFILES, "default", hasty)
    assert trials.noise("seed", 3, 900.0, loss=0.6)["deaths"] > 0


# ---- the world ----------------------------------------------------------------------------------


def test_after_a_false_death_the_dead_one_is_dialled_and_alive_again():
    made = world()
    sleeper, *others = made.nodes
    made.stall(sleeper, 30.0)
    made.run(29.0)
    assert {node.core.view.by_boot[sleeper.boot].status for node in others} == {Status.DEAD}
    made.run(10.0)
    assert all(len(node.core.view.present) == 3 and not node.unlinked for node in made.nodes)


def test_the_host_of_a_stalled_node_confirms_and_a_silent_one_does_not():
    made = world()
    node, stalled, silent = made.nodes
    made.stall(stalled, 3.0)
    made.silence(silent)
    for peer in (stalled, silent):
        made._stream(node, peer).write("something")
    made.run(2.0)
    assert made._stream(node, stalled).silence() < 2.5 < made._stream(node, silent).silence()


class Link:
    """Two ends and a lossy way between them."""

    def __init__(self, loss: float) -> None:
        self.inner = World("seed", 1, MembershipConfig(), loss=loss)
        self.came: list[Any] = []
        self.is_up = True
        self.deaf = False
        self.stream = Stream(self.inner, lambda: self.is_up, self.came.append, self.give_up)

    def give_up(self) -> None:
        self.deaf = True


@pytest.mark.parametrize("loss", [0.0, 0.3, 0.6])
def test_a_stream_brings_everything_once_and_in_order(loss: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detection_streams, "DEAF_AFTER", math.inf)
    link, rng = Link(loss), random.Random(1)
    for number in range(200):
        link.stream.write(number)
        link.inner.run(rng.uniform(0, RTO))
    link.inner.run(1000.0)
    assert link.came == list(range(200))


def test_a_stream_to_nobody_is_given_up():
    link = Link(0.0)
    link.stream.write("something")
    link.inner.run(1.0)
    link.is_up = False
    link.stream.write("something else")
    link.inner.run(20.0)
    assert link.came == ["something"]
    assert link.deaf
