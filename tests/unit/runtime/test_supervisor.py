"""Processes of one node from start to end, and what can come in between."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from pyhorde import Process, Resume, call, cast
from pyhorde.crdt import Dot
from pyhorde.errors import (
    CallTimeout,
    Ignore,
    Indeterminate,
    NameNotFound,
    NameTaken,
    NodeDraining,
    NotHere,
    ProcessExited,
    StartFailed,
    UnknownType,
)
from pyhorde.runtime.cell import Phase
from pyhorde.runtime.draining import Drain
from pyhorde.runtime.reconcile import CellPhase
from pyhorde.runtime.record import (
    SPECS,
    STATES,
    Claim,
    Ended,
    Spec,
    StateRecord,
    decode_spec,
    encode_claim,
)
from pyhorde.runtime.record import Life as LifeOf
from tests.unit.runtime.stage import Stage, member, outcome, turns, until, virtual_time


class Life(Process):
    """Writes down what happens to its instances."""

    durability = "replicated"
    shutdown = 2.0
    story: ClassVar[list[Any]] = []
    trouble: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.state = 0

    async def init(self, resume: Resume | None) -> None:
        self.story.append(("init", resume.kind if resume else None, self.state))
        await self._meet("init")
        self.story.append("ready")

    async def _meet(self, where: str) -> None:
        trouble = self.trouble.get(where)
        if isinstance(trouble, BaseException):
            raise trouble
        if trouble is not None:
            await trouble()

    @call
    async def add(self, by: int = 1) -> int:
        self.state += by
        await self._meet("add")
        return int(self.state)

    @call
    async def leave(self, reason: str = "normal") -> str:
        self.state += 1
        self.stop(reason)
        await self._meet("leave")
        return "bye"

    @cast
    async def crash(self) -> None:
        self.state += 1000
        raise ValueError("crash")

    async def handle_info(self, message: Any) -> None:
        self.story.append(("info", message))

    @call
    async def ring(self, seconds: float) -> None:
        self.send_after(seconds, "ring")

    async def terminate(self, reason: str) -> None:
        self.story.append(("terminate", reason))
        self.state += 100
        await self._meet("terminate")

    def dump(self) -> Any:
        if "dump" in self.trouble:
            raise self.trouble["dump"]
        return self.state

    def load(self, state: Any, version: int) -> None:
        if "load" in self.trouble:
            raise self.trouble["load"]
        self.state = state


class Transient(Life):
    restart = "transient"


class Temporary(Life):
    restart = "temporary"


class Checkpointed(Life):
    durability = "checkpoint"


class Afresh(Life):
    durability = "none"


@pytest.fixture(autouse=True)
def _forget() -> None:
    Life.story.clear()
    Life.trouble.clear()


def staged(*classes: type[Process], **settings: Any) -> Stage:
    return Stage(*(classes or (Life,)), **settings)


async def one(stage: Stage, cls: type[Process] = Life) -> Any:
    return await stage.face.start_child(cls, "name")


def gone(stage: Stage) -> bool:
    """Whether nothing at all is left of the name here."""
    return (
        stage.cells == {}
        and stage.supervisor.phases == {}
        and stage.names.spec("name") is None
        and stage.names.owner("name") is None
        and stage.names.state("name") is None
    )


# ---- crash and restart --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "kept"), [(Life, 5), (Checkpointed, 5), (Afresh, 0), (Transient, 5)]
)
@virtual_time
async def test_after_a_crash_it_starts_again_from_what_was_kept(cls: type[Life], kept: int):
    async with staged(cls) as stage:
        ref = await one(stage, cls)
        await ref.call("add", 5)
        await asyncio.sleep(2.0)
        await ref.cast("crash")
        assert await ref.call("add", 1) == kept + 1
        assert ("init", "restart", kept) in Life.story
        assert not [entry for entry in Life.story if entry[0] == "terminate"]
        assert stage.names.owner("name").epoch == 1


@virtual_time
async def test_a_process_that_keeps_crashing_is_tried_ever_more_slowly_and_never_given_up():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = ValueError("no")
        await ref.cast("crash")
        await asyncio.sleep(1000.0)
        tries = len(Life.story)
        assert 20 < tries < 60
        Life.trouble.clear()
        assert await ref.options(timeout=60.0).call("add", 1) == 1


@pytest.mark.parametrize("where", ["init", "load"])
@virtual_time
async def test_a_restart_that_fails_for_a_while_loses_nothing(where: str):
    async with staged() as stage:
        ref = await one(stage)
        await ref.call("add", 5)
        Life.trouble[where] = ValueError("not yet")
        await ref.cast("crash")
        waiting = asyncio.create_task(ref.options(timeout=100.0).call("add", 1))
        await asyncio.sleep(3.0)
        assert not waiting.done()
        Life.trouble.clear()
        assert await waiting == 6


@virtual_time
async def test_an_init_that_cancels_itself_is_tried_again_like_any_other_failure():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = asyncio.CancelledError()
        await ref.cast("crash")
        await asyncio.sleep(1.0)
        Life.trouble.clear()
        assert await ref.options(timeout=30.0).call("add", 1) == 1


@virtual_time
async def test_an_init_that_hangs_is_cut_off_and_tried_again():
    async with staged(start_timeout=3.0) as stage:
        ref = await one(stage)
        Life.trouble["init"] = lambda: asyncio.sleep(10_000)
        await ref.cast("crash")
        await asyncio.sleep(4.0)
        Life.trouble.clear()
        assert await ref.options(timeout=30.0).call("add", 1) == 1


@virtual_time
async def test_a_restart_that_chooses_not_to_start_ends_the_name():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = Ignore("enough")
        await ref.cast("crash")
        await until(lambda: gone(stage), "the end")
        assert isinstance(await outcome(ref.call("add")), NameNotFound)


@virtual_time
async def test_timers_of_an_instance_that_crashed_ring_no_more():
    async with staged() as stage:
        ref = await one(stage)
        await ref.call("ring", 1.0)
        Life.trouble["init"] = ValueError("no")
        await ref.cast("crash")
        await asyncio.sleep(2.0)
        Life.trouble.clear()
        await ref.options(timeout=60.0).call("add")
        assert ("info", "ring") not in Life.story
        await ref.call("ring", 1.0)
        await asyncio.sleep(1.5)
        assert ("info", "ring") in Life.story


@virtual_time
async def test_timers_of_an_instance_that_crashed_do_not_ring_for_the_next_one_either():
    async with staged(max_restarts=0) as stage:
        ref = await one(stage)
        await ref.call("ring", 0.05)
        await ref.cast("crash")
        await ref.call("add")
        await asyncio.sleep(1.0)
        assert ("init", "restart", 0) in Life.story
        assert ("info", "ring") not in Life.story


@virtual_time
async def test_what_is_left_of_an_instance_that_crashed_cannot_stop_the_next_one():
    async with staged(Transient) as stage:
        ref = await one(stage, Transient)
        former = stage.cells["name"].process
        await ref.cast("crash")
        await ref.call("add")
        former.stop("normal")
        await asyncio.sleep(1.0)
        assert await ref.call("add") == 2


# ---- ending by itself ---------------------------------------------------------------------


@virtual_time
async def test_a_stop_after_the_reply_ends_the_name_and_leaves_no_state_behind():
    async with staged(Transient) as stage:
        ref = await one(stage, Transient)
        assert await ref.call("leave") == "bye"
        await until(lambda: gone(stage), "the end")
        assert ("terminate", "normal") in Life.story


@virtual_time
async def test_a_permanent_process_that_stops_goes_on_with_all_that_terminate_left():
    async with staged(Checkpointed) as stage:
        ref = await one(stage, Checkpointed)
        await ref.call("leave")
        assert await ref.call("add", 0) == 101
        assert ("init", "restart", 101) in Life.story


@virtual_time
async def test_a_temporary_process_that_crashes_ends_without_terminate():
    async with staged(Temporary) as stage:
        ref = await one(stage, Temporary)
        await ref.call("add")
        await ref.cast("crash")
        await until(lambda: gone(stage), "the end")
        assert not [entry for entry in Life.story if entry[0] == "terminate"]


@virtual_time
async def test_a_transient_process_that_stops_with_another_reason_starts_again():
    async with staged(Transient) as stage:
        ref = await one(stage, Transient)
        await ref.call("leave", "trouble")
        assert await ref.call("add", 0) == 101


@virtual_time
async def test_a_stop_in_the_first_init_ends_the_name_again():
    class Brief(Transient):
        async def init(self, resume: Resume | None) -> None:
            self.stop()

    async with staged(Brief) as stage:
        await one(stage, Brief)
        await until(lambda: gone(stage), "the end")


# ---- ended from outside -------------------------------------------------------------------


@virtual_time
async def test_an_end_from_outside_runs_terminate_and_leaves_nothing():
    async with staged() as stage:
        ref = await one(stage)
        await ref.call("add")
        await stage.face.terminate_child("name")
        await until(lambda: gone(stage), "the end")
        assert Life.story[-1] == ("terminate", "terminated")
        with pytest.raises(NameNotFound):
            await stage.face.terminate_child("name")


@virtual_time
async def test_an_end_on_another_node_leaves_no_state_behind_that_was_saved_meanwhile():
    async with staged() as stage:
        ref = await one(stage)
        other = stage.other("b")
        stage.take(other)
        record = decode_spec(other.register(SPECS, "name").value)
        end = Ended(1, "terminated on b", record.life)
        other.put(SPECS, "name", end.encode(), stage.world.wall(), end.rank)
        await ref.call("add", 5)
        stage.bring(other)
        await until(lambda: gone(stage), "the end")


@virtual_time
async def test_an_end_during_a_handler_leaves_no_state_behind():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["add"] = lambda: asyncio.sleep(1.0)
        running = asyncio.create_task(outcome(ref.call("add", 5)))
        await asyncio.sleep(0.1)
        await stage.face.terminate_child("name")
        assert isinstance(await running, Indeterminate)
        await until(lambda: gone(stage), "the end")
        Life.trouble.clear()
        ref = await one(stage)
        await ref.cast("crash")
        assert await ref.call("add", 1) == 1


@virtual_time
async def test_an_end_during_a_restart_back_off_is_final():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = ValueError("no")
        await ref.cast("crash")
        await asyncio.sleep(2.0)
        waiting = asyncio.create_task(outcome(ref.options(timeout=50.0).call("add")))
        await turns()
        await stage.face.terminate_child("name")
        assert isinstance(await waiting, NameNotFound)
        await until(lambda: gone(stage), "the end")
        Life.trouble.clear()
        tries = len(Life.story)
        await asyncio.sleep(100.0)
        assert len(Life.story) == tries


@virtual_time
async def test_an_end_during_a_restarts_init_lets_it_finish_and_terminates_it():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = lambda: asyncio.sleep(1.0)
        await ref.cast("crash")
        await asyncio.sleep(0.1)
        await stage.face.terminate_child("name")
        await until(lambda: gone(stage), "the end")
        assert Life.story[-2:] == ["ready", ("terminate", "terminated")]


@virtual_time
async def test_an_end_during_an_init_that_chooses_not_to_start_happens_once():
    async def late() -> None:
        await asyncio.sleep(1.0)
        raise Ignore("after all")

    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = late
        await ref.cast("crash")
        await asyncio.sleep(0.1)
        stage.names.end("name", "over")
        await asyncio.sleep(5.0)
        assert gone(stage)
        Life.trouble.clear()
        assert await (await one(stage)).call("add") == 1


@virtual_time
async def test_an_init_that_outlives_its_name_leaves_nothing_behind():
    async def clinging() -> None:
        try:
            await asyncio.sleep(100.0)
        except asyncio.CancelledError:
            await asyncio.sleep(10.0)
            raise Ignore("so late") from None

    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = clinging
        await ref.cast("crash")
        await asyncio.sleep(0.1)
        await stage.face.terminate_child("name")
        await until(lambda: gone(stage), "the end")
        await asyncio.sleep(20.0)
        assert gone(stage)


@virtual_time
async def test_an_end_while_a_handler_hangs_is_over_in_bounded_time():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["add"] = lambda: asyncio.sleep(10_000)
        hanging = asyncio.create_task(outcome(ref.options(timeout=100.0).call("add")))
        await asyncio.sleep(0.1)
        await stage.face.terminate_child("name")
        assert isinstance(await hanging, ProcessExited)
        await until(lambda: gone(stage), "the end")


# ---- first starts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "error"), [(ValueError("no"), StartFailed), (Ignore("no"), Ignore)]
)
@virtual_time
async def test_a_first_start_that_fails_leaves_nothing_behind(trouble: Any, error: Any):
    async with staged() as stage:
        Life.trouble["init"] = trouble
        with pytest.raises(error):
            await one(stage)
        assert gone(stage) and stage.replica.seq == 0
        Life.trouble.clear()
        assert await (await one(stage)).call("add") == 1


@virtual_time
async def test_of_two_starts_of_a_name_the_second_hears_that_it_is_taken():
    async with staged() as stage:
        Life.trouble["init"] = lambda: asyncio.sleep(1.0)
        results = await asyncio.gather(*(outcome(one(stage)) for _ in range(5)))
        assert sum(isinstance(result, NameTaken) for result in results) == 4
        assert Life.story.count("ready") == 1


@virtual_time
async def test_of_two_starts_of_a_name_the_second_gets_its_turn_when_the_first_fails():
    async with staged() as stage:
        turn = iter([ValueError("first"), None])

        async def meet() -> None:
            await asyncio.sleep(0.5)
            if (error := next(turn)) is not None:
                raise error

        Life.trouble["init"] = meet
        results = await asyncio.gather(*(outcome(one(stage)) for _ in range(2)))
        assert sum(isinstance(result, StartFailed) for result in results) == 1
        assert await results[1].call("add") == 1


@virtual_time
async def test_a_start_that_was_overtaken_is_terminated_in_good_order():
    async with staged() as stage:
        Life.trouble["init"] = lambda: asyncio.sleep(1.0)
        starting = asyncio.create_task(outcome(one(stage)))
        await asyncio.sleep(0.5)
        stage.supervisor.draining = True
        stage.cluster.announce(draining=True)
        assert isinstance(await starting, NodeDraining)
        assert Life.story[-1] == ("terminate", "it is not needed here")
        assert gone(stage)


@virtual_time
async def test_an_end_of_a_name_whose_first_start_is_under_way_finds_nothing_yet():
    async with staged() as stage:
        Life.trouble["init"] = lambda: asyncio.sleep(1.0)
        starting = asyncio.create_task(one(stage))
        await asyncio.sleep(0.5)
        with pytest.raises(NameNotFound):
            await stage.face.terminate_child("name")
        assert await (await starting).call("add") == 1


@virtual_time
async def test_a_start_that_is_given_up_leaves_nothing_behind():
    async with staged() as stage:
        Life.trouble["init"] = lambda: asyncio.sleep(100.0)
        starting = asyncio.create_task(one(stage))
        await asyncio.sleep(0.5)
        starting.cancel()
        await asyncio.wait([starting])
        assert gone(stage)


@virtual_time
async def test_a_node_that_closes_gives_up_what_it_is_starting():
    stage = staged()
    async with stage:
        Life.trouble["init"] = lambda: asyncio.sleep(5.0)
        starting = asyncio.create_task(outcome(one(stage)))
        await asyncio.sleep(0.5)
    starting.cancel()
    await asyncio.wait([starting])
    assert gone(stage)


@virtual_time
async def test_a_type_that_nobody_offers_is_refused():
    async with staged() as stage:
        with pytest.raises(UnknownType):
            await stage.face.launch("m:Nothing", None, [], {})


@virtual_time
async def test_a_process_without_a_name_gets_one():
    async with staged() as stage:
        first = await stage.face.start_child(Life)
        second = await stage.face.start_child(Life)
        assert first.name != second.name and first.name.startswith("life-")
        assert [child.name for child in stage.face.which_children()] == sorted(
            [first.name, second.name]
        )
        assert stage.face.count_children() == 2


# ---- draining -----------------------------------------------------------------------------


async def drained(stage: Stage) -> Any:
    """A drain of a node after which nobody takes over."""
    return await Drain(stage.parts, stage.supervisor).run(10.0)


@virtual_time
async def test_a_drain_hands_over_the_state_that_terminate_left():
    async with staged() as stage:
        ref = await one(stage)
        await ref.call("add", 5)
        await drained(stage)
        record = stage.names.state("name")
        assert record is not None and record.kind == "graceful"
        assert stage.codec.decode(record.state) == 105
        assert stage.names.spec("name") is not None and stage.names.owner("name") is None


@virtual_time
async def test_a_process_that_asked_to_stop_is_not_handed_over():
    async with staged(Transient) as stage:
        ref = await one(stage, Transient)
        Life.trouble["leave"] = lambda: asyncio.sleep(1.0)
        leaving = asyncio.create_task(ref.call("leave"))
        await asyncio.sleep(0.1)
        await drained(stage)
        assert await leaving == "bye"
        assert gone(stage)


@virtual_time
async def test_a_process_that_waits_for_its_restart_is_handed_over_as_it_was_last_kept():
    async with staged() as stage:
        ref = await one(stage)
        await ref.call("add", 5)
        Life.trouble["init"] = ValueError("no")
        await ref.cast("crash")
        await asyncio.sleep(2.0)
        await drained(stage)
        record = stage.names.state("name")
        assert record is not None and record.kind == "checkpoint"
        assert stage.codec.decode(record.state) == 5
        assert stage.cells == {}
        tries = len(Life.story)
        await asyncio.sleep(100.0)
        assert len(Life.story) == tries


@virtual_time
async def test_a_process_that_starts_again_during_the_drain_never_runs_beside_its_successor():
    async with staged() as stage:
        ref = await one(stage)
        Life.trouble["init"] = lambda: asyncio.sleep(5.0)
        await ref.cast("crash")
        await asyncio.sleep(0.1)
        await drained(stage)
        assert stage.names.owner("name") is None
        ready = Life.story.count("ready")
        await asyncio.sleep(100.0)
        assert Life.story.count("ready") == ready


@pytest.mark.parametrize("where", ["dump", "terminate"])
@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
@virtual_time
async def test_one_process_in_trouble_does_not_hold_the_drain_of_others_up(
    where: str, error: BaseException
):
    if where == "dump" and isinstance(error, asyncio.CancelledError):
        return
    async with staged(Life, Afresh) as stage:
        ref = await one(stage)
        await stage.face.start_child(Afresh, "other")
        await ref.call("add", 5)
        Life.trouble[where] = error
        result = await drained(stage)
        assert result.total == 2 and stage.cells == {}
        record = stage.names.state("name")
        assert record is not None and stage.codec.decode(record.state) in (5, 105)


@virtual_time
async def test_while_it_drains_a_node_starts_and_adopts_nothing():
    async with staged() as stage:
        await one(stage)
        await drained(stage)
        assert isinstance(await outcome(stage.face.start_child(Life, "new")), NodeDraining)
        await asyncio.sleep(10.0)
        assert stage.cells == {}


# ---- the whole node -----------------------------------------------------------------------


@virtual_time
async def test_closing_cuts_everything_off_and_tells_the_truth_about_it():
    stage = staged()
    async with stage:
        ref = await one(stage)
        Life.trouble["add"] = lambda: asyncio.sleep(10_000)
        cell = stage.cells["name"]
        running = asyncio.create_task(outcome(cell.call("add", stage.codec.encode([[], {}]), "x")))
        await turns()
        queued = asyncio.create_task(outcome(cell.call("add", stage.codec.encode([[], {}]), "y")))
        await turns()
    assert isinstance(await running, ProcessExited)
    assert isinstance(await queued, NotHere)
    assert stage.cells == {} and ref.name == "name"
    await stage.supervisor.aclose()


@virtual_time
async def test_one_name_that_makes_trouble_does_not_keep_others_from_being_settled():
    async with staged(mailbox_limit=1) as stage:
        await one(stage)
        real = stage.supervisor.situation

        def situation(name: str) -> Any:
            if name == "a-bad-name":
                raise ValueError(name)
            return real(name)

        stage.supervisor.situation = situation  # type: ignore[method-assign]
        stage.names.end("name", "over")
        stage.supervisor.look_at({"a-bad-name"})
        await until(lambda: gone(stage), "the end")


@virtual_time
async def test_news_of_a_process_that_runs_elsewhere_and_is_well_costs_no_decision():
    async with staged(others=(member("b", "Life"),)) as stage:
        other, asked = stage.other("b"), []
        real = stage.supervisor.situation
        stage.supervisor.situation = lambda name: (asked.append(name), real(name))[1]  # type: ignore[method-assign]
        life = LifeOf(1, "start")
        dot = Dot(other.origin, 0)
        said = Claim("elsewhere", dot, 1, "b", "m:T", life)
        spec = Spec("m:T", b"", "permanent", "replicated", 1, life)
        other.add("elsewhere", encode_claim(said))
        other.put(SPECS, "elsewhere", spec.encode(), 0.0, spec.rank)
        stage.bring(other)
        for step in range(3):
            saved = StateRecord(1, "checkpoint", 1, "b", "", b"%d" % step, [], 1)
            other.put(STATES, f"{other.origin}/elsewhere", saved.encode(), 0.0, step + 10)
            stage.bring(other)
            await turns()
        assert asked == []
        stage.cluster.lose("b")
        await turns()
        assert asked == ["elsewhere"]


@virtual_time
async def test_a_process_that_ends_itself_from_its_own_handler_is_over_in_bounded_time():
    class Ending(Life):
        @call
        async def suicide(self) -> None:
            await self.node.face.terminate_child(self.name)

    async with staged(Ending) as stage:
        ref = await one(stage, Ending)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert isinstance(await outcome(ref.call("suicide")), ProcessExited | CallTimeout)
        await until(lambda: gone(stage), "the end")
        assert loop.time() - began < 15.0


@virtual_time
async def test_a_cell_is_local_from_the_moment_it_is_published():
    async with staged() as stage:
        Life.trouble["init"] = lambda: asyncio.sleep(1.0)
        starting = asyncio.create_task(one(stage))
        await asyncio.sleep(0.5)
        assert stage.supervisor.local() == []
        await starting
        assert [cell.name for cell in stage.supervisor.local()] == ["name"]
        assert stage.cells["name"].phase is Phase.RUNNING
        assert stage.supervisor.phases == {"name": CellPhase.ACTIVE}


@virtual_time
async def test_an_orphan_is_adopted_with_its_state_and_a_higher_epoch():
    async with Stage(Life, others=(member("b"),)) as stage:
        ref = await one(stage)
        await ref.call("add", 5)
        claims = stage.names.own_claims("name")
        cell = stage.cells["name"]
        stage.supervisor.phases["name"] = CellPhase.LEAVING
        await cell.freeze()
        cell.end(NotHere("name", "a"))
        stage.supervisor.remove(cell)
        stage.names.release(claims)
        assert await ref.call("add", 1) == 6
        owner = stage.names.owner("name")
        assert owner is not None and owner.epoch == 2
        assert ("init", "clumsy", 5) in Life.story
