"""What waited while a node stood still is handled by whoever has the process now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.errors import NotHere
from pyhorde.runtime.gate import GIVES_WAY, OversleptGate
from tests.unit.runtime.cells import Rig
from tests.unit.runtime.stage import turns, virtual_time


class Gate:
    """Closed until the test opens it."""

    def __init__(self) -> None:
        self.is_closed = True
        self.opened = asyncio.Event()

    async def passed(self, name: str, runs: Callable[[], bool]) -> None:
        assert name == "name" and runs()
        await self.opened.wait()
        self.is_closed = False


async def gated() -> tuple[Rig, Gate]:
    rig, gate = Rig(), Gate()
    await rig.start()
    rig.cell.setting.gate = gate
    return rig, gate


@virtual_time
async def test_nothing_is_handled_before_the_gate_is_passed():
    rig, gate = await gated()
    asked = rig.calling("add", 1)
    await turns()
    assert not asked.done()
    gate.opened.set()
    assert await asked == 1


@virtual_time
async def test_what_waited_goes_on_to_the_new_owner_when_this_copy_is_lost():
    rig, gate = await gated()
    asked = rig.calling("add", 1)
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    await turns()
    gate.opened.set()
    await freezing
    assert isinstance(await asked, NotHere)


class Node:
    """A node in doubt, until it is told."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.owner = SimpleNamespace(boot="me")
        now = asyncio.get_running_loop().time
        parts: Any = SimpleNamespace(
            boot="me",
            names=SimpleNamespace(owner=lambda _: self.owner),
            world=SimpleNamespace(now=now),
            cluster=SimpleNamespace(
                stall_guard=SimpleNamespace(is_doubtful=True, sure=self.told.wait)
            ),
        )
        self.gate = OversleptGate(parts)


@virtual_time
async def test_the_gate_is_passed_when_the_others_have_told():
    node = Node()
    assert node.gate.is_closed
    passing = asyncio.create_task(node.gate.passed("it", lambda: True))
    await turns()
    assert not passing.done()
    node.told.set()
    await turns()
    assert passing.done()


@virtual_time
async def test_the_gate_waits_until_a_copy_that_is_lost_has_given_way():
    node, runs = Node(), [True]
    node.owner.boot = "other"
    node.told.set()
    passing = asyncio.create_task(node.gate.passed("it", lambda: runs[0]))
    await turns()
    assert not passing.done()
    runs[0] = False
    await asyncio.sleep(0.01)
    assert passing.done()


@virtual_time
async def test_a_copy_that_nobody_makes_give_way_goes_on_after_a_while():
    node = Node()
    node.owner.boot = "other"
    node.told.set()
    began = asyncio.get_running_loop().time()
    await node.gate.passed("it", lambda: True)
    assert asyncio.get_running_loop().time() - began == pytest.approx(GIVES_WAY, abs=0.01)
