"""How an instance starts, freezes, goes on, and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde import Resume, call
from pyhorde.errors import (
    BadArguments,
    Ignore,
    NotHere,
    ProcessExited,
    StartFailed,
)
from pyhorde.runtime.cell import CUT_OFF_GRACE, Phase
from tests.unit.runtime.cells import (
    CODEC,
    Hostile,
    Rig,
    Worker,
    init,
    raising,
    running,
    starting,
)
from tests.unit.runtime.stage import outcome, turns, virtual_time


@pytest.mark.parametrize(
    ("cls", "type_name", "message"),
    [
        (starting(init=init(ValueError("no"))), "ValueError", "no"),
        (starting(init=init(TimeoutError("mine"))), "TimeoutError", "mine"),
        (starting(init=init(asyncio.CancelledError())), "CancelledError", "cancelled itself"),
        (starting(init=init(Hostile())), "Hostile", "cannot be had"),
        (starting(init=lambda self, resume: asyncio.sleep(99)), "TimeoutError", "took too long"),
        (starting(__init__=lambda self: 1 / 0), "ZeroDivisionError", ""),
        (starting(__init__=lambda self: len(5)), "TypeError", "no len"),
        (starting(load=lambda self, state, version: 1 / 0), "ZeroDivisionError", ""),
    ],
)
@virtual_time
async def test_a_start_that_fails_says_why(cls: type[Worker], type_name: str, message: str):
    rig = Rig(cls)
    with pytest.raises(StartFailed) as caught:
        await rig.start(Resume("clumsy", 7, 1, 1, "b"))
    assert caught.value.type_name == type_name and message in caught.value.message
    assert rig.cell.process is None and len(asyncio.all_tasks()) == 1


@virtual_time
async def test_constructor_arguments_that_do_not_fit_are_told_apart():
    rig = Rig()
    rig.cell.arguments = CODEC.encode([[1, 2, 3], {}])
    with pytest.raises(BadArguments):
        await rig.start()
    rig.cell.arguments = b"\xc1"
    with pytest.raises(StartFailed):
        await rig.start()


@virtual_time
async def test_a_process_may_choose_not_to_start():
    with pytest.raises(Ignore, match="not today"):
        await Rig(starting(init=init(Ignore("not today")))).start()


@virtual_time
async def test_state_is_restored_before_init_and_init_is_told():
    seen = []

    class Curious(Worker):
        async def init(self, resume: Resume | None) -> None:
            seen.append((self.state, resume))

        def load(self, state: Any, version: int) -> None:
            self.state = (state, version)

    past = Resume("graceful", 41, 3, 1, "b")
    await Rig(Curious).start(past)
    await Rig(Curious).start()
    assert seen == [((41, 3), past), (0, None)]


@virtual_time
async def test_a_failed_start_can_be_tried_again():
    tries = []

    class Shy(Worker):
        async def init(self, resume: Resume | None) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError

    rig = Rig(Shy)
    with pytest.raises(StartFailed):
        await rig.start()
    await rig.start()
    assert await rig.call("add") == 1


@virtual_time
async def test_a_start_that_is_given_up_from_outside_is_cancelled():
    rig = Rig(starting(init=lambda self, resume: asyncio.sleep(99)))
    task = asyncio.create_task(rig.start())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_a_freeze_sends_what_waits_elsewhere_and_waits_for_the_running_handler():
    rig, process = await running()
    held = rig.calling("hold", "kept")
    queued = rig.calling("add")
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    assert isinstance(await queued, NotHere)
    assert isinstance(await rig.calling("add"), NotHere)
    with pytest.raises(NotHere):
        rig.cast("note", 1)
    rig.cell.info("dropped")
    await turns()
    assert not freezing.done()
    process.gate.set()
    assert await held == "kept"
    await freezing
    assert process.state == 0 and process.log[-1] == ("end", "kept")


@virtual_time
async def test_a_frozen_process_still_gives_the_answers_it_gave_before():
    rig, _ = await running()
    await rig.call("add", request_id="x")
    await rig.cell.freeze()
    assert await rig.call("add", request_id="x") == 1


@virtual_time
async def test_after_a_thaw_the_same_instance_goes_on():
    rig, process = await running()
    await rig.call("add")
    await rig.cell.freeze()
    rig.cell.thaw()
    assert await rig.call("add") == 2
    assert rig.cell.process is process


@virtual_time
async def test_messages_without_a_sender_to_tell_wait_for_the_thaw():
    rig, process = await running()
    rig.cast("note", "cast before")
    rig.cell.info("before")
    await rig.cell.freeze()
    rig.cell.info("meanwhile")
    await turns()
    assert process.log == []
    rig.cell.thaw()
    await turns()
    assert process.log == ["cast before", "before", "meanwhile"]


@virtual_time
async def test_a_thaw_during_the_freeze_goes_on_with_the_handler_still_running():
    rig, process = await running()
    held = rig.calling("hold", "h")
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    await turns()
    rig.cell.thaw()
    after = rig.calling("add")
    process.gate.set()
    assert await held == "h" and await after == 1
    await freezing


@virtual_time
async def test_a_freeze_while_it_waits_for_a_restart_is_followed_by_the_restart():
    rig, _ = await running()
    rig.cast("crash")
    await turns()
    await rig.cell.freeze()
    rig.cell.thaw()
    assert len(rig.owner.exits) == 2 and rig.cell.phase is Phase.WAITING


@virtual_time
async def test_a_crash_during_a_freeze_is_followed_by_a_restart_after_the_thaw():
    rig, process = await running()
    rig.cast("hold_cast")
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    await turns()
    process.gate.set()
    await freezing
    assert rig.owner.exits == [] and rig.cell.process is None
    rig.cell.thaw()
    assert len(rig.owner.exits) == 1 and rig.cell.phase is Phase.WAITING


@virtual_time
async def test_a_stop_during_a_freeze_takes_effect_after_the_thaw():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    await turns()
    rig.cell.request_stop("asked")
    process.gate.set()
    await asyncio.gather(held, freezing)
    assert rig.owner.exits == []
    rig.cell.thaw()
    await turns()
    assert rig.owner.exits == [("asked", None)]


@virtual_time
async def test_a_freeze_waits_for_init():
    opened = asyncio.Event()
    rig = Rig(starting(init=lambda self, resume: opened.wait()))
    start = asyncio.create_task(rig.start())
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    await turns()
    assert not freezing.done()
    opened.set()
    await asyncio.gather(start, freezing)
    assert rig.cell.phase is Phase.FROZEN and rig.cell.process is not None
    rig.cell.thaw()
    assert await rig.call("add") == 1


@virtual_time
async def test_finish_lets_the_handler_end_and_runs_terminate():
    rig, process = await running()
    held = rig.calling("hold", "h")
    await turns()
    finishing = asyncio.create_task(rig.cell.finish("over"))
    await asyncio.sleep(1.0)
    assert process.ended == []
    process.gate.set()
    assert await finishing is True
    assert await held == "h" and process.ended == ["over"]


@virtual_time
async def test_a_handler_is_cut_off_when_its_time_is_up():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await rig.cell.finish("over") is False
    assert loop.time() - began == pytest.approx(Worker.shutdown)
    assert isinstance(await held, ProcessExited)
    assert process.log[-1] == ("end", "") and not rig.cell.is_busy


@virtual_time
async def test_terminate_is_cut_off_when_its_time_is_up():
    rig, process = await running()
    process.before_terminate = lambda: asyncio.sleep(99)
    assert await rig.cell.finish("over") is False


@virtual_time
async def test_init_is_cut_off_when_its_time_is_up_and_never_completes():
    rig = Rig(starting(init=lambda self, resume: asyncio.sleep(4)))
    start = asyncio.create_task(outcome(rig.start()))
    await turns()
    assert await rig.cell.finish("over") is False
    assert isinstance(await start, StartFailed)
    await asyncio.sleep(10)
    assert rig.cell.process is None and rig.cell.phase is Phase.FROZEN


@pytest.mark.parametrize(
    "error", [ValueError("no"), TimeoutError("mine"), asyncio.CancelledError()]
)
@virtual_time
async def test_a_terminate_that_raises_does_not_stop_the_end(error: BaseException):
    rig, process = await running()
    process.before_terminate = lambda: raising(error)
    assert await rig.cell.finish("over") is True


@virtual_time
async def test_without_a_time_limit_the_handler_may_take_as_long_as_it_likes():
    rig, process = await running(starting(shutdown=None))
    held = rig.calling("hold", "h")
    await turns()
    finishing = asyncio.create_task(rig.cell.finish("over"))
    await asyncio.sleep(10_000)
    assert not finishing.done()
    process.gate.set()
    assert await finishing is True and await held == "h"


@virtual_time
async def test_a_handler_that_ignores_its_cancellation_does_not_hold_the_end_up():
    rig, process = await running()
    clinging = rig.calling("clings")
    await turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await rig.cell.finish("over") is False
    assert loop.time() - began == pytest.approx(Worker.shutdown + CUT_OFF_GRACE)
    rig.cell.end(ProcessExited("name", "over"))
    assert isinstance(await clinging, ProcessExited)
    process.gate.set()
    await turns()


@virtual_time
async def test_a_process_that_ends_from_inside_its_own_handler_does_not_wait_for_itself():
    class Suicidal(Worker):
        @call
        async def leave(self) -> str:
            await self._context.cell.freeze()
            return "frozen"

    rig, _ = await running(Suicidal)
    assert await rig.call("leave") == "frozen"
    assert rig.cell.phase is Phase.FROZEN


@virtual_time
async def test_a_kill_cuts_the_running_handler_off_and_its_caller_hears_of_it():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    rig.cell.phase = Phase.FROZEN
    await rig.cell.kill()
    assert isinstance(await held, ProcessExited)
    assert process.log[-1] == ("end", "")
    assert rig.owner.exits == []


@virtual_time
async def test_at_the_end_what_waits_is_routed_on_but_what_runs_may_have_run():
    rig, _ = await running()
    running_call, queued = rig.calling("hold"), rig.calling("add")
    await turns()
    rig.cell.end(NotHere("name", "a"))
    assert isinstance(await queued, NotHere)
    assert isinstance(await running_call, ProcessExited)
    await rig.cell.kill()


@virtual_time
async def test_after_the_end_everything_is_sent_elsewhere_and_nothing_is_handled():
    rig, process = await running()
    rig.cell.end(ProcessExited("name", "over"))
    assert isinstance(await rig.calling("add"), NotHere)
    rig.cell.info("late")
    rig.cell.thaw()
    rig.cell.wait()
    await turns()
    assert process.log == [] and rig.cell.phase is Phase.ENDED
