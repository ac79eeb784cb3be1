"""Workloads on the registry: each defect of a registry is found."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde.runtime.keyed import Entry
from pyhorde.testing.registry_work import Notices, Tenancies
from tests.unit.testing.test_workloads import Memory, problems


def a_door(memory: Memory) -> str:
    return min(memory.node.registry.held)


def lose_a_key(memory: Memory, _: Any) -> None:
    del memory.node.registry.held[a_door(memory)]


def give_a_key_away(memory: Memory, _: Any) -> None:
    held = memory.node.registry.held
    door = a_door(memory)
    others = {"x-tenant-0", "x-tenant-1"} - {held[door].process}
    held[door] = Entry(door, 0, min(others), "a")


def keep_a_key_of_nobody(memory: Memory, _: Any) -> None:
    memory.node.registry.held["x-door-99"] = Entry("x-door-99", 0, "x-tenant-0", "a")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_a_key, "thinks that it holds"),
        (give_a_key_away, "thinks that it holds"),
        (keep_a_key_of_nobody, "does not know"),
    ],
)
def test_a_key_that_is_lost_given_away_or_left_over_is_named(damage: Any, said: str):
    found = problems(Tenancies, damage)
    assert found
    assert any(said in text for text in found)


async def test_a_tenant_forgets_the_key_it_lost_but_not_one_it_has_again():
    memory = Memory()
    for name in ("one", "two"):
        await memory.start_through("a", Tenancies.processes[0], name)
    one, two = memory.alive["one"], memory.alive["two"]
    assert await one.take("door")
    assert not await two.take("door")
    await one.handle_info(("key_lost", "door", "b"))
    assert await one.holds() == ["door"]
    del memory.node.registry.held["door"]
    await one.handle_info(("key_lost", "door", "b"))
    assert await one.holds() == []


def bring_back(memory: Memory, work: Any) -> None:
    memory.node.registry.metadata[work.deleted[-1]] = 7


def lose_a_notice(memory: Memory, work: Any) -> None:
    del memory.node.registry.metadata[list(work.kept)[-1]]


def change_a_notice(memory: Memory, work: Any) -> None:
    memory.node.registry.metadata[list(work.kept)[-1]] = 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [(bring_back, "is back"), (lose_a_notice, "is None"), (change_a_notice, "is 0")],
)
def test_a_notice_that_is_back_lost_or_changed_is_named(damage: Any, said: str):
    found = problems(Notices, damage)
    assert found
    assert all(said in text for text in found)
