"""Which ends are followed by a restart, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.config import RuntimeConfig
from pyhorde.runtime.restart import RestartBudget, restarts

CONFIG = RuntimeConfig(max_restarts=3, max_seconds=5.0, restart_delay_max=30.0)


@pytest.mark.parametrize(
    ("restart", "reason", "again"),
    [
        ("permanent", "normal", True),
        ("permanent", "ValueError: no", True),
        ("transient", "normal", False),
        ("transient", "shutdown", False),
        ("transient", "ValueError: no", True),
        ("transient", "Normal", True),
        ("temporary", "normal", False),
        ("temporary", "ValueError: no", False),
    ],
)
def test_the_restart_type_and_the_reason_decide(restart: str, reason: str, again: bool):
    assert restarts(restart, reason) is again


def test_the_first_restarts_come_at_once_and_then_each_waits_twice_as_long():
    budget = RestartBudget(CONFIG)
    now, delays = 0.0, []
    for _ in range(8):
        delays.append(budget.delay(now))
        now += delays[-1]
    assert delays == pytest.approx([0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.6])


def test_the_wait_is_bounded_and_the_process_is_never_given_up():
    budget = RestartBudget(CONFIG)
    now = 0.0
    delays = []
    for _ in range(200):
        delays.append(budget.delay(now))
        now += delays[-1]
    assert delays == sorted(delays)
    assert delays[-1] == CONFIG.restart_delay_max


def test_living_a_little_between_failures_does_not_shorten_the_wait():
    budget = RestartBudget(CONFIG)
    now, delays = 0.0, []
    for _ in range(20):
        delays.append(budget.delay(now))
        now += delays[-1] + 1.2
    assert delays == sorted(delays)
    assert delays[-1] == CONFIG.restart_delay_max


@pytest.mark.parametrize("most", [1, 3, 64, 200])
def test_exactly_so_many_restarts_come_at_once(most: int):
    budget = RestartBudget(RuntimeConfig(max_restarts=most))
    delays = [budget.delay(0.0) for _ in range(most + 1)]
    assert delays[:most] == [0.0] * most and delays[most] > 0


def test_a_process_that_behaved_for_a_while_has_its_budget_back():
    budget = RestartBudget(CONFIG)
    for _ in range(5):
        budget.delay(0.0)
    assert budget.delay(100.0) == 0.0


def test_restarts_far_apart_never_wait():
    budget = RestartBudget(CONFIG)
    assert [budget.delay(n * 5.1) for n in range(50)] == [0.0] * 50


def test_without_any_budget_every_restart_waits():
    budget = RestartBudget(RuntimeConfig(max_restarts=0))
    assert budget.delay(0.0) > 0


@given(st.lists(st.floats(0, 100), max_size=300), st.integers(0, 5))
def test_a_delay_is_never_negative_and_never_above_the_bound(gaps: list[float], most: int):
    budget = RestartBudget(RuntimeConfig(max_restarts=most, restart_delay_max=7.0))
    now = 0.0
    for gap in gaps:
        now += gap
        assert 0.0 <= budget.delay(now) <= 7.0
