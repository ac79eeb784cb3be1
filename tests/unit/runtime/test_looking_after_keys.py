"""What the supervisor does for the registry besides running processes."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde.crdt import Replica
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.process import Process, Resume, cast
from pyhorde.runtime.retiring import RETIRE_AFTER
from tests.unit.runtime.stage import Stage, turns, virtual_time


@pytest.mark.parametrize("in_sync", [False, True])
@virtual_time
async def test_nobody_is_retired_by_a_node_that_does_not_know_yet_what_ran_there(in_sync: bool):
    async with Stage() as stage:
        stage.cluster.in_sync = in_sync
        gone = Replica("boot-gone")
        gone.add("key", None, table="u:", label=b"p")
        stage.bring(gone)
        await asyncio.sleep(RETIRE_AFTER + 3)
        assert ("boot-gone" in stage.replica.retired) == in_sync


class Doomed(Process):
    """Holds a key, crashes when told, and cannot be started again."""

    durability = "none"

    async def init(self, resume: Resume | None) -> None:
        if resume is not None:
            raise RuntimeError("not again")
        stages[-1].registry.register("key", None, self.name)

    @cast
    async def crash(self) -> None:
        raise RuntimeError("crash")


stages: list[Stage] = []


@virtual_time
async def test_a_process_that_waits_for_its_restart_holds_no_keys():
    async with Stage(Doomed, max_restarts=0) as stage:
        stages.append(stage)
        await stage.face.start_child(Doomed, "p")
        assert stage.registry.lookup("key") is not None
        await stage.router.cast("p", "crash", [], {})
        await turns()  # it has not been tried again yet, which would release them too
        assert stage.cells["p"].phase is Phase.WAITING
        assert stage.registry.lookup("key") is None
