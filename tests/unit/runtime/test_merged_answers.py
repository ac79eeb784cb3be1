"""Requests that wait while a duplicate, which has answered them, is merged in."""

from __future__ import annotations

import asyncio

from pyhorde import Process, Resume, call
from tests.unit.runtime.cells import CODEC, Rig, lost, running
from tests.unit.runtime.stage import turns, virtual_time


class Summing(Process):
    durability = "replicated"

    def __init__(self) -> None:
        self.state: list[str] = []

    @call
    async def add(self, entry: str) -> int:
        self.state.append(entry)
        return len(self.state)

    async def merge(self, other: Resume) -> None:
        self.state += [entry for entry in other.state if entry not in self.state]


@virtual_time
async def test_a_request_that_waits_behind_a_merge_which_brings_its_answer_is_not_run_again():
    rig: Rig
    rig, process = await running(Summing)
    rig.keeper.open.clear()  # an earlier call waits for its copies
    first = rig.calling("add", "one", request_id="1")
    await turns()
    answers = [["2", True, CODEC.encode(1)]]  # the loser has answered this one
    merging = asyncio.create_task(rig.merge(lost(["two"]), answers))
    await turns()
    again = rig.calling("add", "two", request_id="2")
    await turns()
    rig.keeper.open.set()
    await asyncio.gather(first, merging, again)
    assert process.state == ["one", "two"]
    assert await again == 1
