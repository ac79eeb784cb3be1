"""What is told to those who listen to a registry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyhorde.cluster.member import Status
from pyhorde.runtime.watching import (
    Event,
    MetaChanged,
    Missed,
    Registered,
    Unreadable,
    Unregistered,
    Watch,
)
from tests.unit.runtime.rooms import ABOVE, Room, claims, room, runs
from tests.unit.runtime.stage import Stage, turns, virtual_time


async def told(watch: Watch) -> list[Event]:
    """All that is waiting to be read."""
    found: list[Event] = []
    while True:
        reading = asyncio.ensure_future(anext(watch))
        await turns(3)
        if not reading.done():
            reading.cancel()
            await asyncio.wait([reading])
            return found
        found.append(reading.result())


@virtual_time
async def test_own_writes_are_told_one_by_one():
    async with room() as stage:
        with stage.registry.listen() as events:
            stage.registry.register("door", 1, "room")
            stage.registry.register("door", 2, "room")
            stage.registry.update_value("door", "room", lambda n: n + 1)
            stage.registry.unregister("door", "room")
            stage.registry.unregister("door", "room")
            await stage.registry.register_many(["x", "y"], "room")
            assert await told(events) == [
                *(Registered("door", value, "room", "a") for value in (1, 2, 3)),
                Unregistered("door", "room", "a"),
                Registered("x", None, "room", "a"),
                Registered("y", None, "room", "a"),
            ]


@virtual_time
async def test_what_others_do_is_told_when_it_is_joined():
    async with room() as stage:
        runs(stage, "theirs")
        with stage.registry.listen() as events:
            dot = claims(stage, "door")
            other = stage.other("b")
            newer = other.replace(dot, stage.codec.encode(7))
            stage.bring(other)
            other.remove(newer)
            other.remove(other.add("brief", None, table="u:", label=b"theirs"))
            stage.bring(other)
            assert await told(events) == [
                Registered("door", "theirs", "theirs", "b"),
                Registered("door", 7, "theirs", "b"),
                Unregistered("door", "theirs", "b"),
            ]


@virtual_time
async def test_a_key_that_passes_to_another_process_is_told_of_both():
    async with room() as stage:
        dot = claims(stage, "door")
        runs(stage, "others")
        with stage.registry.listen() as events:
            other = stage.other("b")
            other.remove(dot)
            other.add("door", None, table="u:", label=b"others")
            stage.bring(other)
            assert await told(events) == [
                Unregistered("door", "theirs", "b"),
                Registered("door", None, "others", "b"),
            ]


@virtual_time
async def test_each_entry_of_a_group_is_told():
    async with room() as stage:
        runs(stage, "theirs")
        group, other = stage.registries.groups("teams"), stage.other("b")
        with group.listen() as events:
            group.register("red", 1, "room")
            group.register("red", 2, "room")
            group.unregister("red", "room")
            dot = claims(stage, "red", table="d:teams")
            other.remove(dot)
            other.add("red", None, table="d:teams", label=b"theirs")
            stage.bring(other)
            found = await told(events)
        assert found[:2] == [Registered("red", n, "room", "a") for n in (1, 2)]
        assert found[2:4] == [Unregistered("red", "room", "a")] * 2
        assert found[4:] == [
            Registered("red", "theirs", "theirs", "b"),
            Unregistered("red", "theirs", "b"),
            Registered("red", None, "theirs", "b"),
        ]


@virtual_time
async def test_processes_come_and_go_under_their_names():
    async with room() as stage:
        with stage.registry.listen() as events:
            runs(stage, "theirs")
            await stage.face.start_child(Room, "mine")
            await stage.face.terminate_child("mine")
            stage.cluster.lose("b")
            assert await told(events) == [
                Registered("theirs", None, "theirs", "b"),
                Registered("mine", None, "mine", "a"),
                Unregistered("mine", "mine", "a"),
                Unregistered("theirs", "theirs", "b"),
            ]


@pytest.mark.parametrize("how", ["dead", "left", "replaced"])
@virtual_time
async def test_a_node_takes_its_keys_along_and_brings_them_back(how: str):
    async with room() as stage:
        claims(stage, "door")
        claims(stage, "door", table="d:teams")
        runs(stage, "theirs")
        before = stage.cluster.view.by_name["b"]
        gone = {"dead": before.at(Status.DEAD), "left": before.at(Status.LEFT)}
        with stage.registry.listen() as events, stage.registries.groups("teams").listen() as group:
            stage.cluster.see(before.at(Status.SUSPECT))
            assert await told(events) == []
            stage.cluster.see(gone.get(how, replace(before, boot="boot-newer")))
            key = Unregistered("door", "theirs", "b")
            assert sorted(await told(events), key=str) == [
                key,
                Unregistered("theirs", "theirs", "b"),
            ]
            assert await told(group) == [key]
            if how == "replaced":
                return
            stage.cluster.see(ABOVE)
            assert Registered("door", "theirs", "theirs", "b") in await told(events)
            assert await told(group) == [Registered("door", "theirs", "theirs", "b")]


@virtual_time
async def test_keys_of_a_node_that_is_no_member_yet_are_told_once_it_is():
    async with room() as stage:
        stage.cluster.see(ABOVE.at(Status.DEAD))
        with stage.registry.listen() as events:
            claims(stage, "door")
            assert await told(events) == []
            stage.cluster.see(ABOVE)
            assert Registered("door", "theirs", "theirs", "b") in await told(events)


@virtual_time
async def test_metadata_is_told_wherever_it_was_written():
    async with room() as stage:
        with stage.registry.listen() as events:
            stage.registry.put_meta("m", {"n": 1})
            other = stage.other("b")
            stage.take(other)
            other.put("meta", "m", stage.codec.encode(2), stage.world.wall() + 1)
            stage.bring(other)
            stage.registry.delete_meta("m")
            stage.registry.delete_meta("m")
            assert await told(events) == [
                MetaChanged("m", {"n": 1}),
                MetaChanged("m", 2),
                MetaChanged("m", None, deleted=True),
            ]


@virtual_time
async def test_what_cannot_be_read_here_is_told_as_its_bytes():
    async with room() as stage:
        runs(stage, "theirs")
        with stage.registry.listen() as events:
            claims(stage, "bad", data=b"\xc1")
            claims(stage, "good")
            other = stage.other("b")
            other.put("meta", "m", b"\xc1", stage.world.wall() + 1)
            stage.bring(other)
            bad, good, meta = await told(events)
        assert isinstance(bad, Registered) and isinstance(bad.value, Unreadable)
        assert bad.value.data == b"\xc1" and bad.value.problem
        assert good == Registered("good", "theirs", "theirs", "b")
        assert isinstance(meta, MetaChanged) and isinstance(meta.value, Unreadable)


@virtual_time
async def test_whoever_listens_hears_of_one_registry_only():
    async with room() as stage:
        seats = stage.registries.unique("seats")
        with seats.listen() as events, stage.registries.groups("teams").listen() as group:
            stage.registry.register("door", 1, "room")
            seats.register("seat", 2, "room")
            runs(stage, "theirs")
            assert await told(events) == [Registered("seat", 2, "room", "a")]
            assert await told(group) == []


@virtual_time
async def test_a_lost_contest_is_told():
    async with room() as stage:
        stage.registry.register("it", 1, "room")
        with stage.registry.listen() as events:
            runs(stage, "it")
            await turns()
            assert await told(events) == [
                Registered("it", None, "it", "b"),
                Unregistered("it", "room", "a"),
            ]


@virtual_time
async def test_who_reads_too_late_is_told_how_much_was_missed():
    async with room() as stage:
        watch = stage.registry.listen()
        watch._limit = 5
        await stage.registry.register_many(["a", "b", "c"], "room")
        assert (await anext(watch)).key == "a"
        await stage.registry.register_many(list("defghi"), "room")
        stage.registry.register("j", 1, "room")
        assert await told(watch) == [Missed(8), Registered("j", 1, "room", "a")]
        assert await told(watch) == []


@virtual_time
async def test_nothing_is_kept_for_those_who_have_closed():
    async with room() as stage:
        watch = stage.registry.listen()
        stage.registry.register("door", 1, "room")
        watch.close()
        watch.close()
        stage.registry.register("window", 1, "room")
        assert [event async for event in watch] == [Registered("door", 1, "room", "a")]
        with stage.registry.listen() as second:
            reading = asyncio.ensure_future(anext(second, None))
            await turns()
            second.close()
            assert await reading is None
        assert stage.names.on_moved is None and stage.events._watches == {}


@virtual_time
async def test_the_end_of_a_node_ends_every_watch():
    async with room() as stage:
        first, second = stage.registry.listen(), stage.registries.unique("seats").listen()
        waiting = [asyncio.ensure_future(anext(each, "end")) for each in (first, second)]
        await turns()
        stage.events.close()
        assert await asyncio.gather(*waiting) == ["end", "end"]
        assert [event async for event in stage.registry.listen()] == []


@virtual_time
async def test_several_may_listen_each_at_its_own_pace():
    async with room() as stage:
        with stage.registry.listen() as first:
            stage.registry.register("one", 1, "room")
            with stage.registry.listen() as second:
                stage.registry.register("two", 2, "room")
                assert [event.key for event in await told(second)] == ["two"]
            stage.registry.register("three", 3, "room")
            assert [event.key for event in await told(first)] == ["one", "two", "three"]


def counted(made: list[int]) -> Iterator[Event]:
    for number in range(3):
        made.append(number)
        yield Registered(str(number), None, "p", "n")


@virtual_time
async def test_events_are_made_only_when_they_are_read():
    made: list[int] = []
    watch = Watch(lambda _: None)
    watch.put(3, counted(made))
    assert made == []
    await anext(watch)
    assert made == [0]


@virtual_time
async def test_a_reader_that_gives_up_loses_nothing():
    async with room() as stage:
        with stage.registry.listen() as events:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 1)
            stage.registry.register("door", 1, "room")
            assert await told(events) == [Registered("door", 1, "room", "a")]


@virtual_time
async def test_nobody_listens_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch):
    async with Stage(Room, others=(ABOVE,)) as stage:
        await stage.face.start_child(Room, "room")
        calls: list[Any] = []
        monkeypatch.setattr(stage.events, "_value", lambda *args: calls.append(args))
        stage.registry.register("door", 1, "room")
        stage.registry.put_meta("m", 1)
        claims(stage, "theirs")
        stage.cluster.lose("b")
        assert stage.events._watches == {}
