"""A repeated request is answered, not run again; a duplicate is merged once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.errors import (
    NotHere,
    NotReplicated,
    ProcessExited,
    RemoteError,
)
from tests.unit.runtime.cells import (
    CODEC,
    Rig,
    lost,
    running,
)
from tests.unit.runtime.stage import outcome, turns, virtual_time


@virtual_time
async def test_a_repeated_request_runs_once_while_queued_running_and_answered():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    queued = [rig.calling("add", request_id="x") for _ in range(3)]
    await turns()
    assert rig.cell.statistics.waiting == 1
    process.gate.set()
    assert await asyncio.gather(held, *queued) == ["", 1, 1, 1]
    assert await rig.call("add", request_id="x") == 1
    process.gate.clear()
    running_now = [rig.calling("hold", "y", request_id="y") for _ in range(2)]
    await turns()
    running_now.append(rig.calling("hold", "y", request_id="y"))
    await turns()
    process.gate.set()
    assert await asyncio.gather(*running_now) == ["y"] * 3
    assert process.log.count(("begin", "y", 1)) == 1


@virtual_time
async def test_an_error_is_an_answer_and_is_not_run_again():
    rig, process = await running()
    errors = [await rig.calling("fail", request_id="x") for _ in range(2)]
    assert [e.message for e in errors] == ["no", "no"] and process.state == 1


@virtual_time
async def test_a_caller_that_gives_up_does_not_take_the_answer_from_the_others():
    rig, process = await running()
    first = rig.calling("hold", "z", request_id="x")
    second = rig.calling("hold", "z", request_id="x")
    await turns()
    first.cancel()
    process.gate.set()
    assert await second == "z"


@virtual_time
async def test_an_answer_that_is_not_safe_yet_is_not_given_again_either():
    rig, process = await running()
    rig.keeper.open.clear()
    first = rig.calling("add", request_id="x")
    await turns()
    again = rig.calling("add", request_id="x")
    await turns()
    assert process.state == 1 and not first.done() and not again.done()
    rig.keeper.open.set()
    assert await first == await again == 1


@virtual_time
async def test_an_unsafe_effect_is_told_and_the_repeat_gets_the_answer_once_it_is_safe():
    rig, process = await running()
    rig.keeper.error = NotReplicated("the state")
    assert isinstance(await rig.calling("add", request_id="x"), NotReplicated)
    assert isinstance(await rig.calling("add", request_id="x"), NotReplicated)
    rig.keeper.error = None
    assert await rig.call("add", request_id="x") == 1
    assert process.state == 1


@virtual_time
async def test_a_keeper_that_breaks_leaves_no_caller_without_an_answer():
    rig, _ = await running()
    rig.keeper.error = ZeroDivisionError("broken")
    assert isinstance(await rig.calling("add"), ProcessExited)
    assert rig.owner.exits == [("ZeroDivisionError: broken", "ZeroDivisionError")]


@virtual_time
async def test_answers_come_along_from_where_the_process_ran_before():
    rig, _ = await running()
    await rig.call("add", request_id="x")
    await rig.calling("fail", request_id="y")
    saved = rig.cell.answers.latest()
    other = Rig()
    await other.start(answers=saved)
    assert await other.call("add", request_id="x") == 1
    assert isinstance(await other.calling("add", request_id="y"), RemoteError)
    assert await other.call("add") == 1


@pytest.mark.parametrize("rubbish", [[], [1], ["x"], ["x", True, 5], [1, 2, 3], None, "text"])
@virtual_time
async def test_malformed_answers_do_not_keep_a_process_from_starting(rubbish: Any):
    rig = Rig()
    await rig.start(answers=[rubbish, ["x", True, CODEC.encode(7)]])
    assert await rig.call("add", request_id="x") == 7


@virtual_time
async def test_only_so_many_answers_are_kept():
    rig, _ = await running(recent_answers=3)
    for n in range(10):
        await rig.call("add", request_id=str(n))
    assert [entry[0] for entry in rig.cell.answers.latest()] == ["7", "8", "9"]


@virtual_time
async def test_only_so_many_bytes_of_answers_travel_newest_first():
    rig, _ = await running()
    for n in range(10):
        await rig.calling("fail", "x" * 4000, request_id=str(n))
    latest = rig.cell.answers.latest(room=20_000)
    assert [entry[0] for entry in latest] == ["6", "7", "8", "9"]
    assert rig.cell.answers.latest(room=0) == []


@virtual_time
async def test_merge_runs_once_for_each_loser():
    rig, process = await running()
    await rig.merge(lost("one"))
    await rig.merge(lost("one"))
    await rig.merge(lost("two", node="c/1"))
    await rig.merge(lost("three", epoch=2))
    assert process.log == [("merge", "one"), ("merge", "two"), ("merge", "three")]


@virtual_time
async def test_a_loser_that_asks_again_before_it_is_answered_is_merged_once():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    merges = [asyncio.create_task(rig.merge(lost("one"))) for _ in range(3)]
    await turns()
    process.gate.set()
    await asyncio.gather(held, *merges)
    assert process.log.count(("merge", "one")) == 1


@pytest.mark.parametrize("trouble", ["raise", "hang", "cancel"])
@virtual_time
async def test_a_merge_in_trouble_is_over_within_its_time_and_the_winner_lives(trouble: str):
    rig, _ = await running()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rig.merge(lost(trouble))
    assert loop.time() - began <= 3.1
    assert rig.owner.exits == [] and await rig.call("add") == 1


@virtual_time
async def test_a_loser_is_answered_only_when_what_was_merged_is_safe():
    rig, process = await running()
    rig.keeper.open.clear()
    merging = asyncio.create_task(rig.merge(lost("one")))
    await turns()
    assert process.log == [("merge", "one")] and not merging.done()
    rig.keeper.open.set()
    await merging


@virtual_time
async def test_what_the_loser_answered_is_answered_by_the_winner_and_not_run_again():
    loser, _ = await running()
    await loser.call("add", 7, request_id="theirs")
    await loser.call("add", 7, request_id="both")
    rig, process = await running()
    await rig.call("add", request_id="both")
    await rig.merge(lost("one"), loser.cell.answers.latest())
    assert await rig.call("add", request_id="theirs") == 7
    assert await rig.call("add", request_id="both") == 1
    assert process.state == 1


@virtual_time
async def test_a_loser_hears_when_the_winner_goes_before_merging():
    rig, process = await running()
    held = rig.calling("hold")
    await turns()
    queued = asyncio.create_task(outcome(rig.merge(lost("one"))))
    await turns()
    freezing = asyncio.create_task(rig.cell.freeze())
    assert isinstance(await queued, NotHere)
    assert isinstance(await outcome(rig.merge(lost("one"))), NotHere)
    process.gate.set()
    await asyncio.gather(held, freezing)


@virtual_time
async def test_a_loser_hears_when_the_winner_is_cut_off_while_merging():
    rig, _ = await running()
    merging = asyncio.create_task(outcome(rig.merge(lost("gate"))))
    await turns()
    await rig.cell.finish("over")
    assert isinstance(await merging, NotHere)
