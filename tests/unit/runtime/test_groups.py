"""Registries of their own, groups, and reaching those who hold a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.errors import CannotTravel, ConfigError, InvalidName, NameNotFound
from pyhorde.runtime.registry import Entry
from tests.unit.runtime.rooms import Room, claims, heard, room
from tests.unit.runtime.stage import turns, virtual_time


@virtual_time
async def test_registries_know_nothing_of_each_other():
    async with room() as stage:
        seats, rows = stage.registries.unique("seats"), stage.registries.unique("rows")
        for value, registry in enumerate((stage.registry, seats, rows)):
            assert registry.register("door", value, "room").value == value
        assert seats.name == "seats" and stage.registry.name == ""
        assert seats.lookup("room") is None and seats.count() == 1
        assert seats.keys("room") == ["door"]
        assert seats.unregister("door", "room") and not seats.unregister("door", "room")
        assert seats.select() == [] and rows.lookup("door").value == 2
        assert stage.registry.lookup("door").value == 0
        assert stage.registries.unique("seats") is seats
        stage.registry.put_meta("m", 1)
        assert seats.meta("m") == 1
        await stage.face.terminate_child("room")
        assert rows.count() == 0


@virtual_time
async def test_a_name_of_a_process_may_be_a_key_in_another_registry():
    async with room() as stage:
        seats = stage.registries.unique("seats")
        seats.register("room", 1, "room")
        assert await seats.register_many(["other"], "room") == 1
        assert seats.lookup("room").value == 1
        assert seats.update_value("room", "room", lambda n: n + 1) == (2, 1)
        with pytest.raises(NameNotFound):
            seats.update_value("nothing", "room", lambda n: n)


@virtual_time
async def test_a_registry_is_of_one_kind():
    async with room() as stage:
        stage.registries.unique("seats")
        stage.registries.groups("teams")
        claims(stage, "k", table="u:far")
        claims(stage, "k", table="d:away")
        for name in ("seats", "far"):
            with pytest.raises(ConfigError, match="unique"):
                stage.registries.groups(name)
        for name in ("teams", "away"):
            with pytest.raises(ConfigError, match="duplicate"):
                stage.registries.unique(name)
        no_names: tuple[Any, ...] = ("", "x" * 201, "ä" * 101, "\ud800", None)
        for bad in no_names:
            for opens in (stage.registries.unique, stage.registries.groups):
                with pytest.raises(InvalidName):
                    opens(bad)
        assert stage.registries.unique("ä" * 100).count() == 0


@virtual_time
async def test_a_group_has_many_processes_and_each_as_often_as_it_likes():
    async with room("second") as stage:
        group = stage.registries.groups("teams")
        assert group.register("red", 1, "room") == Entry("red", 1, "room", "a")
        for value, process in ((2, "room"), (3, "second")):
            group.register("red", value, process)
        group.register("blue", 4, "second")
        claims(stage, "red", table="d:teams")
        theirs = Entry("red", "theirs", "theirs", "b")
        mine = [Entry("red", 1, "room", "a"), Entry("red", 2, "room", "a")]
        red = [*mine, Entry("red", 3, "second", "a"), theirs]
        assert sorted(group.lookup("red"), key=lambda e: (e.node, e.process, str(e.value))) == red
        assert group.lookup("green") == [] and group.lookup("room") == []
        assert group.count() == len(group.select()) == 5
        assert group.count_match("red", lambda e: e.process == "room") == 2
        assert group.keys("room") == ["red", "red"] and group.keys("second") == ["blue", "red"]
        assert group.unregister_match("red", "room", lambda e: e.value == 1) == 1
        assert group.unregister("red", "room") is True and group.unregister("red", "room") is False
        assert len(group.lookup("red")) == 2
        await stage.face.terminate_child("second")
        assert group.lookup("red") == [theirs] and group.lookup("blue") == []
        stage.cluster.lose("b")
        assert group.lookup("red") == []


# ---- reaching those who hold a key --------------------------------------------------------------


@virtual_time
async def test_a_message_is_sent_to_each_process_of_a_group_once():
    async with room("second", "third") as stage:
        group = stage.registries.groups("teams")
        for process in ("room", "room", "second"):
            group.register("red", 1, process)
        assert await group.dispatch("red", Room.note, "hello", loud=True) == 2
        assert await group.dispatch("red", "note", "again") == 2
        await turns()
        for name in ("room", "second"):
            assert heard(stage, name) == [("hello", True), "again"]
        assert heard(stage, "third") == [] and await group.dispatch("blue", "note", 1) == 0


@virtual_time
async def test_a_message_goes_to_other_nodes_too_unless_it_is_to_stay():
    async with room() as stage:
        group = stage.registries.groups("teams")
        group.register("red", 1, "room")
        claims(stage, "red", table="d:teams")
        assert await group.dispatch("red", "note", 1) == 2
        assert [(boot, each.name) for boot, each in stage.cluster.sent] == [("boot-b", "theirs")]
        assert await group.dispatch("red", "note", 2, local=True) == 1
        assert len(stage.cluster.sent) == 1


@virtual_time
async def test_a_function_is_given_the_entries():
    async with room() as stage:
        group = stage.registries.groups("teams")
        seen: list[Any] = []
        group.register("red", 1, "room")
        claims(stage, "red", table="d:teams")

        async def later(entries: list[Entry], word: str) -> None:
            await asyncio.sleep(1)
            seen.append((word, len(entries)))

        assert await group.dispatch("red", lambda entries, word: seen.append(word), "now") == 2
        assert await group.dispatch("red", later, word="later") == 2
        assert await group.dispatch("red", later, "here", local=True) == 1
        assert await group.dispatch("blue", later, "nobody") == 0
        assert seen == ["now", ("later", 2), ("here", 1)]
        with pytest.raises(ZeroDivisionError):
            await group.dispatch("red", lambda _: 1 // 0)


@virtual_time
async def test_processes_that_are_gone_are_not_reached_and_not_counted():
    async with room() as stage:
        group = stage.registries.groups("teams")
        group.register("red", 1, "room")
        other = stage.other("b")
        other.add("red", None, table="d:teams", label=b"nobody")
        stage.bring(other)
        assert len(group.lookup("red")) == 2
        assert await group.dispatch("red", "note", 1) == 1


@virtual_time
async def test_arguments_that_cannot_travel_are_told():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        with pytest.raises(CannotTravel):
            await stage.registry.dispatch("door", "note", object())


@virtual_time
async def test_a_key_reaches_its_process_and_a_name_itself():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        assert await stage.registry.dispatch("door", "note", 1) == 1
        assert await stage.registry.dispatch("room", "note", 2) == 1
        await turns()
        assert heard(stage) == [1, 2]
