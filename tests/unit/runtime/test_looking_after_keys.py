"""What the supervisor does for the registry besides running processes."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde.crdt import Replica
from pyhorde.runtime.retiring import RETIRE_AFTER
from tests.unit.runtime.stage import Stage, virtual_time


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
