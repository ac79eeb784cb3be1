"""Two live copies of one name: the loser hands over and ends, whatever state it is in."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from pyhorde import Process, Resume, call, cast
from pyhorde.crdt import Dot
from pyhorde.errors import ProcessExited
from pyhorde.runtime.messages import Reply, YieldRequest
from pyhorde.runtime.record import Claim, encode_claim
from tests.unit.runtime.stage import Stage, member, outcome, turns, until, virtual_time

TYPE = f"{__name__}:Twin"


class Twin(Process):
    durability = "none"
    shutdown = 2.0
    trouble: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.state = 0
        self.ended: list[str] = []

    @call
    async def add(self, by: int = 1) -> int:
        self.state += by
        return int(self.state)

    @call
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @cast
    async def crash(self) -> None:
        raise ValueError("crash")

    async def init(self, resume: Resume | None) -> None:
        if "init" in self.trouble:
            self.trouble["inits"] += 1
            await asyncio.sleep(1.0)
            raise self.trouble["init"]

    async def merge(self, other: Resume) -> None:
        self.state += other.state

    async def terminate(self, reason: str) -> None:
        self.ended.append(reason)

    def dump(self) -> Any:
        if "dump" in self.trouble:
            raise self.trouble["dump"]
        return self.state


@pytest.fixture(autouse=True)
def _forget() -> None:
    Twin.trouble.clear()


def staged() -> Stage:
    return Stage(Twin, others=(member("b", TYPE),))


async def started(stage: Stage) -> Any:
    """A process that is known to run on this node."""
    data = stage.codec.encode([[], {}])
    await stage.starter._start_here("name", TYPE, data, "start")
    return stage.cells["name"]


def rival(stage: Stage, epoch: int = 9) -> None:
    """Node ``b`` claims the name too."""
    spec = stage.names.spec("name")
    assert spec is not None
    other = stage.other("b")
    stage.take(other)
    said = Claim("name", Dot("boot-b", 0), epoch, "b", TYPE, spec.life)
    other.add("name", encode_claim(said))
    stage.bring(other)


async def request(stage: Stage) -> YieldRequest:
    await until(lambda: stage.cluster.messages(YieldRequest), "the request to merge")
    found: YieldRequest = stage.cluster.messages(YieldRequest)[-1]
    return found


async def on(cell: Any, method: str, *args: Any) -> Any:
    return await cell.call(method, Stage(Twin).codec.encode([list(args), {}]), f"{method}{args}")


@virtual_time
async def test_the_loser_hands_its_state_over_and_ends_when_the_winner_has_it():
    async with staged() as stage:
        cell = await started(stage)
        await on(cell, "add", 5)
        process = cell.process
        rival(stage)
        sent = await request(stage)
        assert stage.codec.decode(sent.state) == 5 and sent.answers[0][0] == "add(5,)"
        assert stage.cells["name"] is cell
        stage.cluster.deliver("boot-b", Reply(sent.id, b"", None))
        await until(lambda: stage.cells == {}, "the end of the loser")
        assert process.ended == ["superseded by b at epoch 9"]
        assert [claim.node for claim in stage.names.visible("name")] == ["b"]
        assert stage.names.spec("name") is not None


@virtual_time
async def test_a_loser_whose_handler_hangs_is_cut_off():
    async with staged() as stage:
        cell = await started(stage)
        await on(cell, "add", 5)
        hanging = asyncio.create_task(outcome(on(cell, "hang")))
        await turns()
        rival(stage)
        assert isinstance(await hanging, ProcessExited)
        sent = await request(stage)
        stage.cluster.deliver("boot-b", Reply(sent.id, b"", None))
        await until(lambda: stage.cells == {}, "the end of the loser")


@virtual_time
async def test_a_loser_whose_state_cannot_be_had_gives_way_all_the_same():
    async with staged() as stage:
        cell = await started(stage)
        await on(cell, "add", 5)
        Twin.trouble["dump"] = ValueError("no")
        rival(stage)
        sent = await request(stage)
        assert sent.state is None
        stage.cluster.deliver("boot-b", Reply(sent.id, b"", None))
        await until(lambda: stage.cells == {}, "the end of the loser")


@virtual_time
async def test_a_loser_that_fails_to_start_is_not_started_again_while_it_gives_way():
    async with staged() as stage:
        cell = await started(stage)
        Twin.trouble.update(init=ValueError("no"), inits=0)
        cell.cast("crash", stage.codec.encode([[], {}]))
        await asyncio.sleep(0.5)
        rival(stage)
        sent = await request(stage)
        tries = Twin.trouble["inits"]
        await asyncio.sleep(8.0)
        assert sent.state is None and Twin.trouble["inits"] == tries == 1
        stage.cluster.deliver("boot-b", Reply(sent.id, b"", None))
        await until(lambda: stage.cells == {}, "the end of the loser")


@virtual_time
async def test_a_loser_whose_winner_is_gone_goes_on():
    async with staged() as stage:
        cell = await started(stage)
        await on(cell, "add", 5)
        rival(stage)
        await request(stage)
        stage.cluster.lose("b")
        await until(lambda: stage.names.owner("name"), "an owner")
        ref = stage.router
        assert await ref.call("name", "add", [1], {}) == 6
        owner = stage.names.owner("name")
        assert owner is not None and owner.node == "a" and owner.epoch > 9


@virtual_time
async def test_the_winner_takes_the_losers_state_in_once_and_says_so():
    async with staged() as stage:
        cell = await started(stage)
        rival(stage, epoch=0)
        state = stage.codec.encode(7)
        for number in (1, 2):
            sent = YieldRequest(number, "name", 0, "b/1", 1, state, [])
            stage.cluster.deliver("boot-b", sent)
        await until(lambda: len(stage.cluster.messages(Reply)) == 2, "both replies")
        assert all(reply.error is None for reply in stage.cluster.messages(Reply))
        assert cell.process.state == 7


@pytest.mark.parametrize("state", [b"\xc1", b"", b"\xc7\x01\x7fx"])
@virtual_time
async def test_a_state_that_cannot_be_read_is_refused_and_the_winner_lives(state: bytes):
    async with staged() as stage:
        cell = await started(stage)
        stage.cluster.deliver("boot-b", YieldRequest(1, "name", 0, "b/1", 1, state, []))
        stage.cluster.deliver("boot-b", YieldRequest(2, "gone", 0, "b/1", 1, state, []))
        await until(lambda: len(stage.cluster.messages(Reply)) == 2, "both replies")
        codes = {reply.id: reply.error[0] for reply in stage.cluster.messages(Reply)}
        assert codes == {1: "cannot_travel", 2: "not_here"}
        assert await on(cell, "add") == stage.codec.encode(1)
