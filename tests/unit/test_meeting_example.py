"""The meeting of the examples, called directly as the plain object it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import examples
from examples.counter import Counter
from examples.meeting import DurableMeeting, Meeting
from pyhorde import Resume

TRANSCRIPT = Path(examples.__file__).parent / "transcript.txt"


def resume(kind: str = "clumsy", state: object = None) -> Resume:
    return Resume(kind=kind, state=state, version=1, epoch=3, node="b", reason="test")


async def fed(*lines: tuple[int, str]) -> Meeting:
    meeting = Meeting("Review")
    for number, text in lines:
        await meeting.add_line(number, text)
    return meeting


async def test_a_line_given_twice_is_stored_once() -> None:
    meeting = Meeting()
    assert await meeting.add_line(1, "Ada: the budget is fine") == 1
    assert await meeting.add_line(1, "Ada: something else") == 1
    assert await meeting.lines() == ["Ada: the budget is fine"]
    assert (await meeting.summary())["keywords"] == ["budget"]


async def test_a_gap_is_reported_as_missing_until_it_is_filled() -> None:
    meeting = await fed((1, "Ada: one"), (4, "Ada: four"))
    summary = await meeting.summary()
    assert (summary["lines"], summary["last"], summary["missing"]) == (2, 4, [2, 3])
    await meeting.add_line(3, "Ada: three")
    await meeting.add_line(2, "Ada: two")
    assert (await meeting.summary())["missing"] == []


async def test_the_order_of_arrival_does_not_matter() -> None:
    lines = [
        (1, "[09:00:00] * Ada joined"),
        (2, "[09:00:04] * Bo joined"),
        (3, "[09:00:09] Bo: latency, latency, budget"),
        (4, "[09:00:14] * Ada left"),
    ]
    straight, backwards = await fed(*lines), await fed(*reversed(lines))
    assert await straight.summary() == await backwards.summary()
    assert await straight.present() == ["Bo"]
    assert (await straight.summary())["keywords"] == ["latency", "budget"]


@pytest.mark.parametrize(("number", "text"), [(0, "x"), (-1, "x"), (10**9, "x"), (1, "  ")])
async def test_a_line_without_a_sane_number_or_a_text_is_refused(number: int, text: str) -> None:
    meeting = Meeting()
    with pytest.raises(ValueError, match="needs a number"):
        await meeting.add_line(number, text)
    assert (await meeting.summary())["last"] == 0


async def test_how_it_was_resumed_is_part_of_the_summary() -> None:
    meeting = Meeting()
    await meeting.init(None)
    await meeting.init(resume("graceful"))
    moves = (await meeting.summary())["moves"]
    assert moves == [{"kind": "graceful", "from": "b", "epoch": 3}]


async def test_merge_keeps_what_either_copy_heard() -> None:
    winner = await fed((1, "* Ada joined"), (3, "Ada: customers"))
    loser = await fed((1, "* Ada joined"), (2, "* Bo joined"), (4, "Bo: deploy"))
    await winner.note("ours")
    await loser.note("theirs")
    await winner.merge(resume("conflict", loser.state))
    whole = ["* Ada joined", "* Bo joined", "Ada: customers", "Bo: deploy"]
    assert await winner.lines() == whole
    assert await winner.present() == ["Ada", "Bo"]
    summary = await winner.summary()
    assert summary["keywords"] == ["customers", "deploy"]
    assert summary["notes"] == ["ours", "theirs"]


async def test_search_ignores_case_and_lines_come_in_slices() -> None:
    meeting = await fed((1, "Ada: Deploy today"), (2, "Bo: no"), (3, "Ada: the deploy"))
    assert await meeting.search("dePLOY") == ["Ada: Deploy today", "Ada: the deploy"]
    assert await meeting.lines(1, 1) == ["Bo: no"]
    assert await meeting.lines(5) == []


async def test_the_whole_transcript_is_well_formed_and_everybody_leaves() -> None:
    lines = TRANSCRIPT.read_text(encoding="utf-8").splitlines()
    form = re.compile(r"\[\d\d:\d\d:\d\d\] (\* \w+ (joined|left)|\w+: \S.*)")
    assert [line for line in lines if not form.fullmatch(line)] == []
    meeting = await fed(*enumerate(lines, 1))
    summary = await meeting.summary()
    assert 300 <= summary["lines"] == len(lines) <= 400
    assert summary["present"] == []
    assert len(summary["keywords"]) == 5


def test_durability_is_the_only_difference_between_the_two() -> None:
    assert (Meeting.durability, DurableMeeting.durability) == ("checkpoint", "replicated")


async def test_the_counter_counts() -> None:
    counter = Counter(10)
    assert await counter.increment(5) == 15
    await counter.reset()
    assert await counter.get() == 0
