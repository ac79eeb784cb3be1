"""A registered key is a way to reach the process that holds it."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde.cluster.member import Status
from pyhorde.errors import CallTimeout, NameNotFound
from pyhorde.runtime.messages import CallRequest, CastMessage, Reply
from pyhorde.runtime.ref import Ref
from tests.unit.runtime.rooms import Room, claims, heard, room, runs
from tests.unit.runtime.stage import Stage, outcome, turns, until, virtual_time


def ref(stage: Stage, key: str) -> Ref[Room]:
    return Ref(key, stage.router, Room)


@virtual_time
async def test_the_process_that_holds_a_key_is_called_through_it():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        assert await ref(stage, "door").call(Room.register, "window", 2) == "room"
        await ref(stage, "window").cast(Room.note, "hello")
        await turns()
        assert heard(stage) == ["hello"] and stage.cluster.sent == []


@virtual_time
async def test_a_key_of_another_node_is_called_there_by_the_name_of_its_process():
    async with room() as stage:
        claims(stage, "door")
        calling = asyncio.create_task(ref(stage, "door").call("register", "k", 1))
        await until(lambda: stage.cluster.messages(CallRequest), "the request")
        (request,) = stage.cluster.messages(CallRequest)
        assert request.name == "theirs"
        stage.cluster.deliver("boot-b", Reply(request.id, stage.codec.encode("done"), None))
        assert await calling == "done"
        await ref(stage, "door").cast("note", 1)
        assert [each.name for each in stage.cluster.messages(CastMessage)] == ["theirs"]


@virtual_time
async def test_a_call_follows_a_key_to_whoever_holds_it_then():
    async with room() as stage:
        claims(stage, "door")
        stage.cluster.unlink("boot-b")
        calling = asyncio.create_task(ref(stage, "door").call("register", "k", 1))
        await asyncio.sleep(1)
        assert not calling.done()
        stage.cluster.see(stage.cluster.view.by_name["b"].at(Status.DEAD))
        stage.names.end("theirs", "over")
        stage.registry.register("door", 2, "room")
        assert await outcome(calling) == "room"


@virtual_time
async def test_a_call_waits_while_the_holder_of_its_key_runs_nowhere():
    async with room() as stage:
        claims(stage, "door")
        other = stage.other("b")
        other.remove(other.claims("theirs")[0].dot)
        stage.bring(other)
        with pytest.raises(CallTimeout):
            await ref(stage, "door").options(timeout=2.0).call("register", "k", 1)


@virtual_time
async def test_a_key_that_nobody_holds_any_more_is_unknown():
    async with room() as stage:
        with pytest.raises(NameNotFound):
            await ref(stage, "door").call("register", "k", 1)
        stage.registry.register("door", 1, "room")
        stage.registry.unregister("door", "room")
        with pytest.raises(NameNotFound):
            await ref(stage, "door").call("register", "k", 1)
        with pytest.raises(NameNotFound):
            await ref(stage, "door").cast("note", 1)


@virtual_time
async def test_a_key_of_a_process_that_is_no_more_is_unknown():
    async with room() as stage:
        runs(stage, "theirs")
        other = stage.other("b")
        other.add("door", None, table="u:", label=b"nobody")
        stage.bring(other)
        with pytest.raises(NameNotFound):
            await ref(stage, "door").call("register", "k", 1)


@virtual_time
async def test_a_name_comes_before_a_key_and_keys_of_other_registries_are_no_targets():
    async with room("it") as stage:
        claims(stage, "it")
        assert await ref(stage, "it").call("register", "k", 1) == "it"
        stage.registries.unique("seats").register("seat", 1, "room")
        with pytest.raises(NameNotFound):
            await ref(stage, "seat").call("register", "k", 1)
