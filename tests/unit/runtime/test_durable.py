"""Keeping state: what is promised before an answer is given, and what is written when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde import Process, call
from pyhorde.errors import CannotTravel, Indeterminate, NotReplicated, ProcessExited
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.reconcile import CellPhase
from tests.unit.runtime.stage import Stage, outcome, turns, virtual_time

INTERVAL = 1.0


class Counting(Process):
    durability = "replicated"

    def __init__(self) -> None:
        self.state = 0
        self.trouble: BaseException | None = None

    @call
    async def add(self, by: int = 1) -> int:
        self.state += by
        return int(self.state)

    @call
    async def get(self) -> int:
        return int(self.state)

    @call
    async def slowly(self, seconds: float) -> None:
        self.state += 1
        await asyncio.sleep(seconds)

    @call
    async def copy(self) -> None:
        self.state += 1
        await self.checkpoint()

    @call
    async def spoil(self) -> int:
        self.state = object()
        return 1

    @call
    async def mend(self) -> None:
        self.state = 7
        self.trouble = None

    @call
    async def trip(self) -> int:
        self.trouble = ValueError("cannot dump")
        return 1

    def dump(self) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return self.state


class Sometimes(Counting):
    durability = "checkpoint"


class Never(Counting):
    durability = "none"


async def one(stage: Stage, cls: type[Process] = Counting) -> Cell:
    await stage.face.start_child(cls, "name")
    stage.cluster.asked.clear()
    cell: Cell = stage.cells["name"]
    return cell


def staged(cls: type[Process], **settings: Any) -> Stage:
    return Stage(
        cls,
        **{"checkpoint_interval": INTERVAL, "replicate_timeout": 3.0, "replicas": 2, **settings},
    )


def on(stage: Stage, method: str, *args: Any, request_id: str | None = None) -> Any:
    return outcome(stage.router.call("name", method, list(args), {}, request_id=request_id))


def saved(stage: Stage) -> Any:
    record = stage.names.state("name")
    return None if record is None else stage.codec.decode(record.state)


@virtual_time
async def test_a_replicated_answer_waits_for_its_copies():
    async with staged(Counting) as stage:
        await one(stage)
        stage.cluster.let_copies_arrive(arrive=False)
        waiting = asyncio.create_task(on(stage, "add"))
        await asyncio.sleep(1.0)
        assert not waiting.done() and saved(stage) == 1
        stage.cluster.let_copies_arrive()
        assert await waiting == 1
        assert stage.cluster.asked == [(stage.names.seq, 2, "the state of 'name'")]


@virtual_time
async def test_the_answer_travels_with_the_state_that_it_belongs_to():
    async with staged(Counting) as stage:
        await one(stage)
        await on(stage, "add", request_id="x")
        record = stage.names.state("name")
        assert record is not None
        assert [entry[0] for entry in record.answers] == ["x"]
        assert (record.epoch, record.kind, record.node, record.version) == (1, "checkpoint", "a", 1)


@pytest.mark.parametrize("cls", [Counting, Sometimes])
@virtual_time
async def test_a_state_that_has_not_changed_is_not_written_again(cls: type[Counting]):
    async with staged(cls) as stage:
        await one(stage, cls)
        await on(stage, "add")
        await asyncio.sleep(2 * INTERVAL)
        seq = stage.names.seq
        for _ in range(5):
            await on(stage, "get")
            await asyncio.sleep(2 * INTERVAL)
        assert stage.names.seq == seq


@virtual_time
async def test_an_unsafe_answer_is_withheld_and_a_repeat_gets_it_once_it_is_safe():
    async with staged(Counting) as stage:
        await one(stage)
        stage.cluster.let_copies_arrive(arrive=False)
        assert isinstance(await on(stage, "add", request_id="x"), NotReplicated)
        assert isinstance(await on(stage, "add", request_id="x"), NotReplicated)
        stage.cluster.let_copies_arrive()
        assert await on(stage, "add", request_id="x") == 1
        assert await on(stage, "get") == 1


@pytest.mark.parametrize("method", ["spoil", "trip"])
@virtual_time
async def test_an_answer_whose_state_could_not_be_kept_is_never_given_as_if_it_were(method: str):
    async with staged(Counting) as stage:
        cell = await one(stage)
        assert isinstance(await on(stage, method, request_id="x"), CannotTravel)
        assert isinstance(await on(stage, method, request_id="x"), CannotTravel)
        assert isinstance(await on(stage, "get"), CannotTravel)
        assert cell.statistics.restarts == 0
        assert await on(stage, "mend") is None
        assert await on(stage, method, request_id="x") == 1
        assert saved(stage) == 7


async def ended_meanwhile(stage: Stage) -> Cell:
    """The name has ended, and its process does not know yet."""
    cell = await one(stage)
    stage.supervisor.phases["name"] = CellPhase.LEAVING
    stage.names.end("name", "over")
    return cell


@virtual_time
async def test_the_owner_of_a_name_that_has_ended_tells_its_callers_that_it_does_not_know():
    async with staged(Counting) as stage:
        await ended_meanwhile(stage)
        assert isinstance(await on(stage, "add", request_id="x"), Indeterminate)
        assert isinstance(await on(stage, "add", request_id="x"), Indeterminate)
        assert saved(stage) is None


@virtual_time
async def test_the_owner_of_a_name_that_has_ended_hands_nothing_over():
    async with staged(Counting) as stage:
        cell = await ended_meanwhile(stage)
        with pytest.raises(Indeterminate):
            stage.supervisor.durable(cell).hand_over(cell, "drain")
        assert saved(stage) is None


@virtual_time
async def test_a_checkpoint_comes_at_most_an_interval_after_the_change():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        assert await on(stage, "add") == 1
        assert saved(stage) is None and stage.cluster.asked == []
        await asyncio.sleep(INTERVAL * 0.9)
        assert saved(stage) is None
        await asyncio.sleep(INTERVAL * 0.11)
        assert saved(stage) == 1


@virtual_time
async def test_checkpoints_come_under_constant_load_too():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        over = asyncio.get_running_loop().time() + 10 * INTERVAL

        async def load() -> None:
            while asyncio.get_running_loop().time() < over:
                await on(stage, "slowly", 0.3)

        callers = [asyncio.create_task(load()) for _ in range(3)]
        behind = []
        while asyncio.get_running_loop().time() < over:
            await asyncio.sleep(0.1)
            behind.append(stage.cells["name"].process.state - (saved(stage) or 0))
        assert max(behind) <= (INTERVAL + 0.3) / 0.3 + 1
        await asyncio.gather(*callers)


@virtual_time
async def test_a_checkpoint_is_never_taken_in_the_middle_of_a_handler():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        await on(stage, "add")
        slow = asyncio.create_task(on(stage, "slowly", 5 * INTERVAL))
        await asyncio.sleep(4 * INTERVAL)
        assert saved(stage) is None
        await slow
        assert saved(stage) == 2


@virtual_time
async def test_an_overdue_checkpoint_that_fails_does_not_fail_the_call():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        await on(stage, "spoil")
        slow = asyncio.create_task(on(stage, "slowly", 2 * INTERVAL))
        await asyncio.sleep(2.5 * INTERVAL)
        await slow
        later = await on(stage, "copy")
        assert not isinstance(later, CannotTravel)
        assert stage.cells["name"].statistics.restarts == 0


@virtual_time
async def test_a_repeat_is_not_held_up_by_a_promise_that_nobody_made():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        assert await on(stage, "add", request_id="x") == 1
        await asyncio.sleep(2 * INTERVAL)
        stage.cluster.let_copies_arrive(arrive=False)
        stage.cluster.asked.clear()
        assert await on(stage, "add", request_id="x") == 1
        assert [seq for seq, _, _ in stage.cluster.asked] in ([], [0])


@virtual_time
async def test_a_checkpoint_on_request_waits_for_its_copies():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        stage.cluster.let_copies_arrive(arrive=False)
        waiting = asyncio.create_task(on(stage, "copy"))
        await asyncio.sleep(1.0)
        assert saved(stage) == 1 and not waiting.done()
        stage.cluster.let_copies_arrive()
        assert await waiting is None


@virtual_time
async def test_without_durability_nothing_is_ever_written():
    async with staged(Never) as stage:
        await one(stage, Never)
        seq = stage.names.seq
        await on(stage, "add")
        await asyncio.sleep(10 * INTERVAL)
        assert stage.names.seq == seq and saved(stage) is None


@virtual_time
async def test_a_final_state_is_written_even_if_nothing_has_changed():
    async with staged(Counting) as stage:
        cell = await one(stage)
        await on(stage, "add")
        stage.supervisor.durable(cell).hand_over(cell, "drain")
        record = stage.names.state("name")
        assert record is not None and (record.kind, record.reason) == ("graceful", "drain")


@virtual_time
async def test_a_checkpoint_still_to_come_is_forgotten_when_the_process_ends():
    async with staged(Sometimes) as stage:
        await one(stage, Sometimes)
        await on(stage, "add")
        await stage.face.terminate_child("name")
        await asyncio.sleep(10 * INTERVAL)
        assert stage.names.state("name") is None and stage.cells == {}


@virtual_time
async def test_an_instance_that_is_over_writes_nothing_any_more():
    async with staged(Counting) as stage:
        cell = await one(stage)
        process: Any = cell.process
        await stage.face.terminate_child("name")
        await turns()
        with pytest.raises(ProcessExited):
            await process.checkpoint()
        process.stop("late")
        assert stage.names.state("name") is None
        assert stage.supervisor.phases.get("name", CellPhase.NONE) is CellPhase.NONE
