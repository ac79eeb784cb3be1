"""Keys that several processes hold: one stays, nobody lets go on hearsay, and losers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.crdt import Dot
from pyhorde.runtime.contests import ANSWER_WITHIN, AT_ONCE
from pyhorde.runtime.messages import KeyQuestion, Reply
from tests.unit.runtime.rooms import (
    Room,
    answer,
    claims,
    heard,
    questions,
    room,
    runs,
)
from tests.unit.runtime.stage import Stage, turns, until, virtual_time


async def contest(stage: Stage, table: str = "u:") -> Dot:
    """Node ``b`` holds ``door`` too, and its claim comes first."""
    stage.keys.table(table).claim("door", "room", None)
    dot = claims(stage, "door", table=table)
    await turns()
    return dot


@virtual_time
async def test_the_lower_lets_go_once_the_higher_says_that_it_still_holds_the_key():
    async with room() as stage:
        await contest(stage)
        ((boot, question),) = questions(stage)
        assert boot == "boot-b" and question.table == "u:" and len(question.seqs) == 1
        assert len(stage.keys.default.holders("door")) == 2 and heard(stage) == []
        assert stage.registry.lookup("door").node == "b" and stage.registry.count() == 3
        answer(stage, b"\1")
        await turns()
        (held,) = stage.keys.default.holders("door")
        assert held.node == "b" and stage.registry.count() == 3
        assert heard(stage) == [("key_lost", "door", "b")]
        assert stage.registry.keys("room") == ["room"]


@virtual_time
async def test_a_winner_that_has_withdrawn_meanwhile_costs_nobody_the_key():
    async with room() as stage:
        dot = await contest(stage)
        other = stage.other("b")
        other.remove(dot)
        answer(stage, b"\0")
        await turns()
        assert len(stage.keys.default.holders("door")) == 2
        stage.bring(other)
        await asyncio.sleep(5)
        assert stage.registry.lookup("door").process == "room" and heard(stage) == []
        assert stage.keys.default.contested() == []


@virtual_time
async def test_a_winner_that_cannot_be_asked_delays():
    async with room() as stage:
        stage.cluster.unlink("boot-b")
        await contest(stage)
        await asyncio.sleep(10)
        assert questions(stage) == [] and len(stage.keys.default.holders("door")) == 2
        stage.cluster.link("boot-b")
        await until(lambda: questions(stage), "the question")
        answer(stage, b"\1")
        await turns()
        assert heard(stage) == [("key_lost", "door", "b")]


@virtual_time
async def test_a_winner_that_does_not_answer_is_asked_again():
    async with room() as stage:
        await contest(stage)
        await asyncio.sleep(ANSWER_WITHIN)
        await until(lambda: len(questions(stage)) == 2, "the second question")
        assert heard(stage) == []
        answer(stage, b"\1")
        await turns()
        assert heard(stage) == [("key_lost", "door", "b")]


@pytest.mark.parametrize("wrong", [b"", b"\1\1"])
@virtual_time
async def test_an_answer_of_the_wrong_length_is_none(wrong: bytes):
    async with room() as stage:
        await contest(stage)
        answer(stage, wrong)
        await turns()
        assert len(stage.keys.default.holders("door")) == 2 and heard(stage) == []


@virtual_time
async def test_a_loser_that_let_go_while_it_asked_is_not_told():
    async with room() as stage:
        await contest(stage)
        assert stage.registry.unregister("door", "room")
        answer(stage, b"\1")
        await turns()
        assert heard(stage) == [] and stage.registry.lookup("door").node == "b"


@virtual_time
async def test_who_wins_just_waits():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        dot = claims(stage, "door", node="0")
        await asyncio.sleep(3)
        assert questions(stage) == [] and stage.registry.lookup("door").value == 1
        stage.other("0").remove(dot)
        stage.bring(stage.other("0"))
        assert stage.registry.count() == 3 and stage.keys.default.contested() == []


@virtual_time
async def test_a_registry_of_its_own_is_named_to_the_loser():
    async with room() as stage:
        await contest(stage, "u:seats")
        answer(stage, b"\1")
        await turns()
        assert heard(stage) == [("key_lost", "door", "b", "seats")]


@virtual_time
async def test_members_of_a_group_contest_nothing():
    async with room() as stage:
        await contest(stage, "d:seats")
        await asyncio.sleep(3)
        assert questions(stage) == []
        assert len(stage.keys.table("d:seats").holders("door")) == 2


@virtual_time
async def test_a_name_beats_a_key_of_the_same_text_and_nobody_is_asked():
    async with room() as stage:
        stage.registry.register("it", 1, "room")
        runs(stage, "it", "0")
        await turns()
        assert stage.registry.lookup("it").process == "it" and questions(stage) == []
        assert heard(stage) == [("key_lost", "it", "0")]
        assert stage.registry.count() == 2


@virtual_time
async def test_a_key_in_another_registry_may_be_called_like_a_process():
    async with room() as stage:
        stage.registries.unique("seats").register("it", 1, "room")
        runs(stage, "it")
        await asyncio.sleep(3)
        assert stage.registries.unique("seats").lookup("it").process == "room"


@virtual_time
async def test_a_duplicate_that_is_about_to_yield_wins_no_key_from_the_one_that_stays():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        name = stage.names.owner("room")
        stage.names.update(name, epoch=9)
        claims(stage, "door", process="room")
        runs(stage, "room", "b")
        assert stage.names.owner("room").node == "a"
        await asyncio.sleep(3)
        assert questions(stage) == [] and heard(stage) == []
        other = stage.other("b")
        for table in ("", "u:"):
            for claim in other.claims_of("boot-b", table):
                other.remove(claim.dot)
        stage.bring(other)
        assert stage.registry.lookup("door") == ("door", 1, "room", "a")


@virtual_time
async def test_a_storm_of_contested_keys_is_settled_in_few_questions():
    keys = [f"k{n}" for n in range(5000)]
    async with room() as stage:
        await stage.registry.register_many(keys, "room")
        runs(stage, "theirs")
        other = stage.other("b")
        other.add_all(keys, table="u:", label=b"theirs")
        stage.bring(other)
        done = 0
        while stage.keys.default.contested():
            await turns(1)
            for _, question in questions(stage)[done:]:
                answer(stage, b"\1" * len(question.seqs), done)
                done += 1
        assert done == 5000 / AT_ONCE
        await until(lambda: len(heard(stage)) == 5000, "every loss is told")
        assert {message[1] for message in heard(stage)} == set(keys)
        assert stage.registry.keys("room") == ["room"]


@virtual_time
async def test_what_others_ask_is_answered_from_what_is_claimed_here():
    async with room() as stage:
        table = stage.keys.default
        for key in ("one", "two"):
            stage.registry.register(key, None, "room")
        one, two = (table.holder(key).dot.seq for key in ("one", "two"))
        stage.registry.unregister("one", "room")
        stage.cluster.deliver("boot-b", KeyQuestion(7, "u:", [one, two, 10**9]))
        await turns()
        assert stage.cluster.messages(Reply) == [Reply(7, b"\0\1\0", None)]


@pytest.mark.parametrize("seqs", [[0], [-1], ["1"], [True], [None], [1.0]])
@virtual_time
async def test_a_question_about_no_events_is_refused(seqs: list[Any]):
    async with room() as stage:
        with pytest.raises(ValueError, match="no numbers"):
            stage.cluster.deliver("boot-b", KeyQuestion(7, "u:", seqs))


@virtual_time
async def test_a_loser_that_has_ended_meanwhile_is_no_trouble():
    async with room() as stage:
        await contest(stage)
        await stage.face.terminate_child("room")
        answer(stage, b"\1")
        await turns()
        assert stage.registry.lookup("door").node == "b"
        ref = await stage.face.start_child(Room, "room")
        assert ref.name == "room" and heard(stage) == []
