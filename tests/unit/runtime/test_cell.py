"""One process and its mailbox: order, results, crashes, stops - and user code at its worst."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde import Resume
from pyhorde.errors import (
    BadArguments,
    CannotTravel,
    MailboxFull,
    NotReplicated,
    ProcessExited,
    RemoteError,
    UnknownMethod,
)
from pyhorde.runtime.cell import BURST, Phase
from tests.unit.runtime.cells import (
    CODEC,
    Rig,
    Worker,
    lost,
    running,
)
from tests.unit.runtime.stage import turns, virtual_time


@virtual_time
async def test_a_call_gets_the_result_of_its_method():
    rig, _ = await running()
    assert await rig.call("add", 2) == 2
    assert await rig.call("plain") == 2


@virtual_time
async def test_messages_are_handled_in_the_order_in_which_they_came():
    rig, process = await running()
    for n in range(20):
        rig.cast("note", n) if n % 2 else rig.cell.info(n)
    await rig.call("plain")
    assert process.log == list(range(20))


@virtual_time
async def test_one_handler_runs_at_a_time():
    rig, process = await running()
    calls = [rig.calling("hold", str(n)) for n in range(3)]
    await turns()
    assert process.log == [("begin", "0", 1)]
    process.gate.set()
    assert await asyncio.gather(*calls) == ["0", "1", "2"]
    assert [entry[2] for entry in process.log if entry[0] == "begin"] == [1, 1, 1]


@virtual_time
async def test_messages_wait_until_the_process_has_started():
    rig = Rig()
    waiting = rig.calling("add")
    rig.cell.info("early")
    await turns()
    assert not waiting.done()
    process = await rig.start()
    assert await waiting == 1
    assert await rig.call("add") == 2
    assert process.log == ["early"]


@virtual_time
async def test_an_idle_process_has_no_task():
    rig, _ = await running()
    await rig.call("add")
    await turns()
    assert not rig.cell.is_busy and len(asyncio.all_tasks()) == 1


@virtual_time
async def test_a_busy_mailbox_never_starves_the_loop():
    rig, _ = await running()
    for n in range(10 * BURST):
        rig.cast("note", n)
    seen = []
    while rig.cell.statistics.waiting:
        seen.append(rig.cell.statistics.waiting)
        await asyncio.sleep(0)
    assert len(seen) >= 10


@virtual_time
async def test_failing_calls_do_not_starve_the_loop_either():
    rig, _ = await running()
    calls = [rig.calling("no_such_method") for _ in range(5 * BURST)]
    await turns(1)
    steps = 0
    while rig.cell.statistics.waiting:
        steps += 1
        await asyncio.sleep(0)
    assert steps >= 5
    await asyncio.gather(*calls)


@virtual_time
async def test_a_full_mailbox_takes_no_more_and_forgets_what_it_refused():
    rig, process = await running(mailbox_limit=2)
    held = rig.calling("hold")
    await turns()
    rig.cast("note", 1)
    rig.cast("note", 2)
    with pytest.raises(MailboxFull) as caught:
        await rig.call("add", request_id="again")
    assert (caught.value.name, caught.value.limit) == ("name", 2)
    with pytest.raises(MailboxFull):
        rig.cast("note", 3)
    process.gate.set()
    await held
    assert await rig.call("add", request_id="again") == 1
    assert process.log[-2:] == [1, 2]


@virtual_time
async def test_a_timer_that_finds_the_mailbox_full_harms_nobody():
    rig, process = await running(mailbox_limit=1)
    held = rig.calling("hold")
    await turns()
    rig.cast("note", "kept")
    rig.cell.info("dropped")
    process.gate.set()
    await held
    await rig.call("plain")
    assert "kept" in process.log and "dropped" not in process.log


@virtual_time
async def test_a_call_that_raises_tells_its_caller_and_the_process_lives_on():
    rig, process = await running()
    error = await rig.calling("fail", "why")
    assert isinstance(error, RemoteError)
    assert (error.type_name, error.message) == ("ValueError", "why")
    assert rig.owner.exits == [] and rig.cell.process is process
    assert await rig.call("add") == 2


@virtual_time
async def test_a_call_that_cancels_itself_is_an_error_like_any_other():
    rig, _ = await running()
    error = await rig.calling("cancel_itself")
    assert isinstance(error, RemoteError) and error.type_name == "CancelledError"
    assert await rig.call("add") == 1


@virtual_time
async def test_an_exception_whose_text_raises_is_still_told():
    rig, _ = await running()
    error = await rig.calling("fail_hostile")
    assert isinstance(error, RemoteError) and error.type_name == "Hostile"
    assert rig.owner.exits == []


@virtual_time
async def test_the_text_of_an_exception_is_bounded_and_can_travel():
    rig, _ = await running()
    error = await rig.calling("fail_badly")
    assert isinstance(error, RemoteError)
    assert len(error.message.encode()) <= 5000
    assert rig.cell.answers.latest()


@pytest.mark.parametrize("what", ["object", "big", "surrogate"])
@virtual_time
async def test_a_result_that_cannot_travel_is_refused_and_the_process_lives_on(what: str):
    rig, _ = await running()
    assert isinstance(await rig.calling("give", what), CannotTravel)
    assert rig.owner.exits == [] and await rig.call("add") == 1


@pytest.mark.parametrize("method", ["nothing", "init", "terminate", "note", "__init__", ""])
@virtual_time
async def test_a_call_of_what_is_no_call_is_refused(method: str):
    rig, _ = await running()
    error = await rig.calling(method)
    assert isinstance(error, UnknownMethod) and "add" in error.known


@virtual_time
async def test_arguments_that_do_not_fit_are_refused():
    rig, process = await running()
    assert isinstance(await rig.calling("add", 1, 2, 3), BadArguments)
    assert isinstance(await rig.calling("plain", 1), BadArguments)
    assert process.state == 0


@virtual_time
async def test_arguments_that_cannot_be_read_are_refused():
    rig, _ = await running()
    for rubbish in (b"", b"\xc1", CODEC.encode(5), CODEC.encode([1, 2, 3]), CODEC.encode([1, 2])):
        with pytest.raises((CannotTravel, BadArguments, RemoteError)):
            await rig.cell.call("add", rubbish, str(rubbish))
    assert rig.owner.exits == []


@virtual_time
async def test_a_type_error_inside_the_method_is_the_methods_own():
    rig, _ = await running()
    error = await rig.calling("add", "text")
    assert isinstance(error, RemoteError) and error.type_name == "TypeError"


@pytest.mark.parametrize(
    ("method", "error"), [("crash", "ValueError"), ("crash_by_cancelling", "SelfCancelled")]
)
@virtual_time
async def test_a_cast_that_raises_is_reported_and_what_waits_is_kept(method: str, error: str):
    rig, _ = await running()
    rig.cast(method)
    rig.cast("note", "kept")
    waiting = rig.calling("add")
    await turns()
    assert [kind for _, kind in rig.owner.exits] == [error]
    assert rig.cell.phase is Phase.WAITING and not waiting.done()
    process = await rig.start()
    assert await waiting == 1
    assert process.log == ["kept"]
    assert rig.cell.statistics.failed == 1


@virtual_time
async def test_a_message_whose_handler_raises_is_reported_too():
    rig, _ = await running()
    rig.cell.info("crash")
    await turns()
    assert rig.owner.exits == [("ValueError: info", "ValueError")]


@virtual_time
async def test_a_cast_of_what_is_no_cast_is_dropped_and_the_process_lives_on():
    rig, process = await running()
    rig.cast("nothing")
    rig.cast("add")
    rig.cast("note")
    rig.cast("note", 1, 2)
    rig.cell.cast("note", b"\xc1")
    await rig.call("plain")
    assert rig.owner.exits == [] and process.log == []


@virtual_time
async def test_nothing_is_left_of_an_instance_that_crashed():
    rig, _ = await running()
    rig.cast("crash")
    await turns()
    assert rig.cell.process is None


@virtual_time
async def test_a_stop_takes_effect_after_the_reply():
    rig, _ = await running()
    waiting = rig.calling("end", "done")
    after = rig.calling("add")
    assert await waiting == "bye"
    await turns()
    assert rig.owner.exits == [("done", None)]
    assert rig.cell.phase is Phase.WAITING and not after.done()
    rig.cell.end(ProcessExited("name", "done"))
    assert isinstance(await after, ProcessExited)


@virtual_time
async def test_a_stop_asked_for_in_init_takes_effect_without_any_message():
    class Short(Worker):
        async def init(self, resume: Resume | None) -> None:
            self._context.request_stop("normal")

    rig, _ = await running(Short)
    await turns()
    assert rig.owner.exits == [("normal", None)]


@virtual_time
async def test_a_stop_asked_for_between_two_messages_takes_effect_at_once():
    rig, process = await running()
    process._context.request_stop("idle")
    await turns()
    assert rig.owner.exits == [("idle", None)]


@virtual_time
async def test_every_handler_is_followed_by_its_keeper():
    rig, _ = await running()
    await rig.call("add")
    rig.cast("note", 1)
    rig.cell.info("x")
    await rig.calling("fail")
    await rig.merge(lost("one"))
    assert rig.keeper.kept == [1, 1, 1, 2, 2]


@virtual_time
async def test_a_cast_whose_effect_cannot_be_kept_harms_nobody():
    rig, process = await running()
    rig.keeper.error = NotReplicated("the state")
    rig.cast("note", 1)
    rig.cast("note", 2)
    await turns()
    assert process.log == [1, 2] and rig.owner.exits == []


@virtual_time
async def test_statistics_count_what_was_done():
    rig, _ = await running()
    await rig.call("add")
    await rig.calling("fail")
    rig.cast("note", 1)
    await rig.call("plain")
    await turns()
    figures = rig.cell.statistics
    assert (figures.handled, figures.failed, figures.waiting) == (4, 1, 0)
