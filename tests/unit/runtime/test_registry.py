"""Keys for processes, and metadata."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.errors import (
    CannotTravel,
    InvalidName,
    NameNotFound,
    NameTaken,
    NotOwner,
    NotReplicated,
)
from pyhorde.runtime.registry import Entry
from pyhorde.runtime.watching import Unreadable
from tests.unit.runtime.rooms import Room, claims, heard, room, runs
from tests.unit.runtime.stage import Stage, outcome, turns, until, virtual_time


@virtual_time
async def test_a_key_is_found_with_its_value_and_its_process():
    async with room() as stage:
        entry = stage.registry.register("door", {"open": True}, "room")
        assert entry == Entry("door", {"open": True}, "room", "a")
        assert stage.registry.lookup("door") == entry
        assert stage.registry.lookup("room") == Entry("room", None, "room", "a")
        assert stage.registry.lookup("nothing") is None
        assert stage.registry.keys("room") == ["room", "door"]
        assert stage.registry.keys("nobody") == []
        assert stage.registry.count() == 2


@virtual_time
async def test_a_process_registers_itself():
    async with room() as stage:
        assert await stage.router.call("room", "register", ["door", 1], {}) == "room"


@virtual_time
async def test_a_key_that_is_held_is_taken():
    async with room() as stage:
        await stage.face.start_child(Room, "other")
        stage.registry.register("door", 1, "room")
        claims(stage, "window")
        claims(stage, "hatch")
        for key, owner in (("door", "a"), ("room", "a"), ("window", "b"), ("hatch", "b")):
            with pytest.raises(NameTaken) as caught:
                stage.registry.register(key, 2, "other")
            assert caught.value.owner == owner


@virtual_time
async def test_registering_a_key_again_gives_it_a_new_value():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        stage.registry.register("door", 2, "room")
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.value == 2
        assert len(stage.keys.default.holders("door")) == 1
        with pytest.raises(NameTaken):
            stage.registry.register("room", 2, "room")


@virtual_time
async def test_a_key_is_registered_only_for_a_process_of_this_node():
    async with room() as stage:
        runs(stage, "their-room")
        with pytest.raises(NotOwner):
            stage.registry.register("door", 1, "their-room")
        with pytest.raises(NameNotFound):
            stage.registry.register("door", 1, "nobody")


NO_KEYS: list[Any] = ["", "x" * 513, "\ud800", "ä" * 257, None, 7, b"door"]


@pytest.mark.parametrize("key", NO_KEYS, ids=repr)
@virtual_time
async def test_what_is_no_key_is_refused_and_changes_nothing(key: Any):
    async with room() as stage:
        before = stage.replica.seq
        for kind in (stage.registry, stage.registries.unique("u"), stage.registries.groups("g")):
            with pytest.raises(InvalidName):
                kind.register(key, 1, "room")
        for keys in (["ok", key], {"ok": 1, key: 2}):
            with pytest.raises(InvalidName):
                await stage.registry.register_many(keys, "room")
        with pytest.raises(InvalidName):
            stage.registry.put_meta(key, 1)
        with pytest.raises(InvalidName):
            await stage.face.start_child(Room, key or "")
        assert stage.replica.seq == before and stage.registry.count() == 1


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NO_VALUES = [object(), "x" * 70_000, deep(2000), "\ud800", lambda: None]


@pytest.mark.parametrize("value", NO_VALUES, ids=range(len(NO_VALUES)))
@virtual_time
async def test_a_value_that_cannot_travel_changes_nothing(value: Any):
    async with room() as stage:
        group = stage.registries.groups("g")
        stage.registry.register("held", 1, "room")
        before = stage.replica.seq
        for kind, key in ((stage.registry, "door"), (group, "door"), (stage.registry, "held")):
            with pytest.raises(CannotTravel):
                kind.register(key, value, "room")
        with pytest.raises(CannotTravel):
            stage.registry.put_meta("m", value)
        with pytest.raises(CannotTravel):
            stage.registry.update_value("held", "room", lambda _: value)
        with pytest.raises(CannotTravel):
            await stage.registry.register_many({"one": 1, "two": value}, "room")
        assert stage.replica.seq == before and stage.registry.meta("m") is None
        assert stage.registry.lookup("held") == ("held", 1, "room", "a")


@virtual_time
async def test_a_key_can_be_given_back_but_a_name_cannot():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        assert stage.registry.unregister("door", "room") is True
        assert stage.registry.unregister("door", "room") is False
        assert stage.registry.unregister("room", "room") is False
        assert stage.registry.keys("room") == ["room"]


@virtual_time
async def test_keys_go_with_their_process():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        await stage.face.terminate_child("room")
        await turns()
        assert stage.registry.lookup("door") is None and stage.registry.count() == 0


@virtual_time
async def test_only_the_holder_changes_a_value():
    async with room() as stage:
        await stage.face.start_child(Room, "other")
        stage.registry.register("door", 1, "room")
        assert stage.registry.update_value("door", "room", lambda n: n + 1) == (2, 1)
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.value == 2
        with pytest.raises(NotOwner):
            stage.registry.update_value("door", "other", lambda n: n + 1)
        with pytest.raises(NameNotFound):
            stage.registry.update_value("window", "room", lambda n: n)


@virtual_time
async def test_a_change_that_raises_changes_nothing():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        with pytest.raises(ZeroDivisionError):
            stage.registry.update_value("door", "room", lambda _: 1 // 0)
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.value == 1


@virtual_time
async def test_entries_are_selected_by_prefix_and_by_condition():
    async with room() as stage:
        for n in range(5):
            stage.registry.register(f"door/{n}", n, "room")
        keys = [entry.key for entry in stage.registry.select("door/")]
        assert keys == [f"door/{n}" for n in range(5)]
        odd = stage.registry.select("door/", where=lambda entry: entry.value % 2 == 1)
        assert [entry.value for entry in odd] == [1, 3]
        assert len(stage.registry.select()) == 6


@virtual_time
async def test_metadata_is_read_as_it_was_written_and_can_be_deleted():
    async with room() as stage:
        assert stage.registry.meta("m") is None and stage.registry.meta("m", 5) == 5
        stage.registry.put_meta("m", {"a": (1, 2)})
        assert stage.registry.meta("m") == {"a": (1, 2)}
        stage.registry.put_meta("m", None)
        assert stage.registry.meta("m", 5) is None
        assert stage.registry.delete_meta("m") is True
        assert stage.registry.delete_meta("m") is False
        assert stage.registry.meta("m", 5) == 5


@virtual_time
async def test_a_flush_waits_for_every_live_member():
    async with room() as stage:
        stage.registry.put_meta("m", 1)
        await stage.registry.flush()
        assert stage.cluster.asked[-1] == (stage.names.seq, None, "what was written")
        stage.cluster.let_copies_arrive(arrive=False)
        with pytest.raises(NotReplicated):
            await stage.registry.flush(timeout=0.5)


@virtual_time
async def test_awaiting_a_registration_waits_for_every_live_member():
    async with room() as stage:
        entry = await stage.registry.register("door", 1, "room")
        assert entry == Entry("door", 1, "room", "a") == stage.registry.lookup("door")
        assert stage.cluster.asked[-1] == (stage.names.seq, None, "what was written")
        stage.cluster.let_copies_arrive(arrive=False)
        waiting = asyncio.create_task(stage.registry.flush())
        registration = stage.registry.register("window", 2, "room")
        assert stage.registry.lookup("window") == registration
        with pytest.raises(NotReplicated):
            await registration
        assert isinstance(await outcome(asyncio.wait_for(waiting, 9)), NotReplicated)
        assert stage.registry.lookup("window") == ("window", 2, "room", "a")


# ---- many at once -------------------------------------------------------------------------------


MANY = [f"k{n}" for n in range(10_000)]


@virtual_time
async def test_many_keys_are_registered_at_once():
    async with room() as stage:
        assert await stage.registry.register_many(MANY, "room") == 10_000
        assert stage.registry.count() == 10_001
        assert stage.registry.keys("room") == ["room", *sorted(MANY)]
        assert stage.registry.lookup("k9999") == ("k9999", None, "room", "a")
        assert await stage.registry.register_many([], "room") == 0


@virtual_time
async def test_many_keys_may_have_a_value_each():
    async with room() as stage:
        wanted = {"one": 1, "two": [2], "none": None}
        assert await stage.registry.register_many(wanted, "room") == 3
        assert {e.key: e.value for e in stage.registry.select(where=lambda e: e.key != "room")} == (
            wanted
        )


@pytest.mark.parametrize("taken", ["mine", "other", "theirs", "room", "their name", "twice"])
@pytest.mark.parametrize("place", [0, 5000, 10_000])
@virtual_time
async def test_none_is_registered_when_one_is_taken(taken: str, place: int):
    async with room("second") as stage:
        stage.registry.register("mine", None, "room")
        stage.registry.register("other", None, "second")
        claims(stage, "theirs", "their name")
        before = stage.replica.seq
        wanted = [*MANY[:place], taken, *MANY[place:], "other"]
        if taken == "twice":
            wanted = [*MANY[:place], taken, *MANY[place:], taken]
        for keys in (wanted, dict.fromkeys(wanted)) if taken != "twice" else (wanted,):
            with pytest.raises(NameTaken) as caught:
                await stage.registry.register_many(keys, "room")
            assert caught.value.name == taken
            assert caught.value.owner == ("b" if taken.startswith("their") else "a")
        assert stage.replica.seq == before and stage.registry.lookup("k1") is None


@pytest.mark.parametrize("taken", ["k0", "k5000", "k9999"])
@virtual_time
async def test_a_key_that_is_taken_while_others_are_registered_takes_them_all_back(taken: str):
    async with room("second") as stage:
        task = asyncio.create_task(outcome(stage.registry.register_many(MANY, "room")))
        while not task.done():
            await turns(1)
            if stage.registry.lookup(taken) is None:
                stage.registry.register(taken, 1, "second")
        error = await task
        assert isinstance(error, NameTaken) and error.name == taken
        assert stage.registry.keys("room") == ["room"]
        assert stage.registry.keys("second") == ["second", taken]
        assert stage.keys.default.contested() == []


@pytest.mark.parametrize("way", ["ends", "crashes", "is gone"])
@virtual_time
async def test_a_process_that_ends_while_its_keys_are_registered_leaves_none(way: str):
    async with room() as stage:
        keys = [f"k{n}" for n in range(100_000)]
        task = asyncio.create_task(outcome(stage.registry.register_many(keys, "room")))
        while stage.registry.lookup("k0") is None:
            await turns(1)
        if way == "ends":
            await stage.face.terminate_child("room")
        elif way == "crashes":
            await stage.router.cast("room", "crash", [], {})
        else:
            stage.supervisor.remove(stage.cells["room"])
            stage.names.release(stage.names.own_claims("room"))
        result = await task
        assert isinstance(result, NameNotFound) or way == "ends"
        await turns()
        assert list(stage.replica.keys("u:")) == []


@virtual_time
async def test_many_keys_of_nobody_or_of_another_node_are_refused():
    async with room() as stage:
        runs(stage, "theirs")
        with pytest.raises(NotOwner):
            await stage.registry.register_many(["k"], "theirs")
        with pytest.raises(NameNotFound):
            await stage.registry.register_many(["k"], "nobody")


# ---- taking back, counting ----------------------------------------------------------------------


@virtual_time
async def test_a_key_is_counted_and_taken_back_only_when_it_matches():
    async with room() as stage:
        registry = stage.registry
        registry.register("door", 3, "room")
        assert registry.count_match("door") == registry.count_match("room") == 1
        assert registry.count_match("door", lambda entry: entry.value > 3) == 0
        assert registry.count_match("nothing") == 0
        assert registry.unregister_match("door", "room", lambda entry: entry.value > 3) == 0
        assert registry.lookup("door") is not None
        assert registry.unregister_match("door", "room", lambda entry: entry.value == 3) == 1
        assert registry.lookup("door") is None


@virtual_time
async def test_another_process_cannot_take_a_key_back():
    async with room("second") as stage:
        stage.registry.register("door", 1, "room")
        assert stage.registry.unregister("door", "second") is False
        runs(stage, "theirs")
        with pytest.raises(NotOwner):
            stage.registry.unregister("door", "theirs")
        with pytest.raises(NameNotFound):
            stage.registry.unregister("door", "nobody")
        assert stage.registry.lookup("door") is not None


@virtual_time
async def test_a_value_that_cannot_be_read_here_breaks_nothing_but_its_own_lookup():
    async with room() as stage:
        stage.registry.register("good", 1, "room")
        claims(stage, "bad", data=b"\xc1")
        bad, good, *_ = stage.registry.select()
        assert good == ("good", 1, "room", "a") and bad[2:] == ("theirs", "b")
        assert isinstance(bad.value, Unreadable) and bad.value.data == b"\xc1"
        assert stage.registry.count() == 4
        assert stage.registry.count_match("bad", lambda e: isinstance(e.value, Unreadable)) == 1
        assert await stage.registry.dispatch("bad", lambda entries: None) == 1
        with pytest.raises(CannotTravel):
            stage.registry.lookup("bad")


@virtual_time
async def test_a_process_without_a_readable_name_breaks_nothing():
    async with room() as stage:
        runs(stage, "theirs")
        other = stage.other("b")
        other.add("odd", None, table="u:", label=b"\xff")
        with stage.registry.listen() as events:
            stage.bring(other)
            assert (await anext(events)).key == "odd"
        assert stage.registry.lookup("odd").node == "b" and len(stage.registry.select()) == 3


# ---- keys and the life of their process ---------------------------------------------------------


@pytest.mark.parametrize("count", [3, 10_000])
@virtual_time
async def test_a_restarted_process_registers_its_keys_again(count: int):
    keys = [f"k{n}" for n in range(count)]
    async with Stage(Room) as stage:
        await stage.face.start_child(Room, "room", *keys)
        stage.registry.register("later", None, "room")
        first = stage.cells["room"].process
        await stage.router.cast("room", "crash", [], {})
        await until(lambda: stage.cells["room"].process not in (None, first), "the restart")
        await until(lambda: stage.registry.count() == count + 1, "its keys")
        assert stage.registry.lookup("later") is None
        assert stage.cells["room"].statistics.restarts == 1
        assert heard(stage) == [] and stage.keys.default.contested() == []


@virtual_time
async def test_very_many_keys_are_gone_when_the_end_of_their_process_is_known():
    async with room("second") as stage:
        await stage.registry.register_many(MANY, "room")
        stage.registries.groups("g").register("door", 1, "room")
        await stage.face.terminate_child("room")
        assert stage.registry.count() == 1 and stage.registries.groups("g").count() == 0
        assert await stage.registry.register_many(MANY, "second") == 10_000


@virtual_time
async def test_a_start_that_is_refused_writes_nothing():
    async with room() as stage:
        stage.registry.register("door", 1, "room")
        before = stage.replica.seq
        for name in ("room", "door"):
            with pytest.raises(NameTaken):
                await stage.face.start_child(Room, name)
        assert stage.replica.seq == before
