"""Keys for processes, and metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pyhorde import Process, call
from pyhorde.crdt import Dot
from pyhorde.errors import (
    CannotTravel,
    InvalidName,
    NameNotFound,
    NameTaken,
    NotOwner,
    NotReplicated,
)
from pyhorde.runtime.record import Claim, Life, encode_claim
from pyhorde.runtime.registry import Entry
from tests.unit.runtime.stage import Stage, member, turns, virtual_time

TYPE = f"{__name__}:Room"


class Room(Process):
    def __init__(self) -> None:
        self.lost: list[Any] = []

    @call
    async def register(self, key: str, value: Any) -> str:
        return str(self.node.registry.register(key, value, self).process)

    async def handle_info(self, message: Any) -> None:
        self.lost.append(message)


async def room() -> AsyncIterator[Stage]:
    async with Stage(Room, others=(member("b", boot="boot-b"),)) as stage:
        await stage.face.start_child(Room, "room")
        yield stage


def elsewhere(stage: Stage, key: str, process: str = "", epoch: int = 1) -> None:
    other = stage.other("b")
    stage.take(other)
    value = stage.codec.encode("theirs")
    life = Life(1, "start")
    said = Claim(key, Dot("boot-b", 0), epoch, "b", process or key, TYPE, life, value)
    other.add(key, encode_claim(said))
    stage.bring(other)


@virtual_time
async def test_a_key_is_found_with_its_value_and_its_process():
    async for stage in room():
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
    async for stage in room():
        assert await stage.router.call("room", "register", ["door", 1], {}) == "room"


@virtual_time
async def test_a_key_that_is_held_is_taken():
    async for stage in room():
        await stage.face.start_child(Room, "other")
        stage.registry.register("door", 1, "room")
        elsewhere(stage, "window", "their-room")
        elsewhere(stage, "hatch", "other")
        for key, owner in (("door", "a"), ("room", "a"), ("window", "b"), ("hatch", "b")):
            with pytest.raises(NameTaken) as caught:
                stage.registry.register(key, 2, "other")
            assert caught.value.owner == owner


@virtual_time
async def test_registering_a_key_again_gives_it_a_new_value():
    async for stage in room():
        stage.registry.register("door", 1, "room")
        stage.registry.register("door", 2, "room")
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.value == 2
        assert len(stage.names.visible("door")) == 1
        with pytest.raises(NameTaken):
            stage.registry.register("room", 2, "room")


@virtual_time
async def test_a_key_is_registered_only_for_a_process_of_this_node():
    async for stage in room():
        elsewhere(stage, "their-room")
        with pytest.raises(NotOwner):
            stage.registry.register("door", 1, "their-room")
        with pytest.raises(NameNotFound):
            stage.registry.register("door", 1, "nobody")


@pytest.mark.parametrize("key", ["", "x" * 513, "\ud800"])
@virtual_time
async def test_what_is_no_key_is_refused(key: str):
    async for stage in room():
        with pytest.raises(InvalidName):
            stage.registry.register(key, 1, "room")
        with pytest.raises(InvalidName):
            stage.registry.put_meta(key, 1)


@pytest.mark.parametrize("value", [object(), "x" * 70_000])
@virtual_time
async def test_a_value_that_cannot_travel_changes_nothing(value: Any):
    async for stage in room():
        with pytest.raises(CannotTravel):
            stage.registry.register("door", value, "room")
        with pytest.raises(CannotTravel):
            stage.registry.put_meta("m", value)
        assert stage.registry.lookup("door") is None and stage.registry.meta("m") is None


@virtual_time
async def test_a_key_can_be_given_back_but_a_name_cannot():
    async for stage in room():
        stage.registry.register("door", 1, "room")
        assert stage.registry.unregister("door", "room") is True
        assert stage.registry.unregister("door", "room") is False
        assert stage.registry.unregister("room", "room") is False
        assert stage.registry.keys("room") == ["room"]


@virtual_time
async def test_keys_go_with_their_process():
    async for stage in room():
        stage.registry.register("door", 1, "room")
        await stage.face.terminate_child("room")
        await turns()
        assert stage.registry.lookup("door") is None and stage.registry.count() == 0


@virtual_time
async def test_only_the_holder_changes_a_value():
    async for stage in room():
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
    async for stage in room():
        stage.registry.register("door", 1, "room")
        with pytest.raises(ZeroDivisionError):
            stage.registry.update_value("door", "room", lambda _: 1 // 0)
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.value == 1


@virtual_time
async def test_entries_are_selected_by_prefix_and_by_condition():
    async for stage in room():
        for n in range(5):
            stage.registry.register(f"door/{n}", n, "room")
        keys = [entry.key for entry in stage.registry.select("door/")]
        assert keys == [f"door/{n}" for n in range(5)]
        odd = stage.registry.select("door/", where=lambda entry: entry.value % 2 == 1)
        assert [entry.value for entry in odd] == [1, 3]
        assert len(stage.registry.select()) == 6


@virtual_time
async def test_of_two_holders_of_a_key_the_lower_lets_go_and_is_told():
    async for stage in room():
        stage.registry.register("door", 1, "room")
        elsewhere(stage, "door", "their-room", epoch=9)
        await turns()
        entry = stage.registry.lookup("door")
        assert entry is not None and entry.node == "b"
        assert len(stage.names.visible("door")) == 1
        assert stage.cells["room"].process.lost == [("key_lost", "door", "b")]


@virtual_time
async def test_a_name_wins_over_a_key_whatever_their_epochs():
    async for stage in room():
        elsewhere(stage, "room", "their-room", epoch=9)
        await turns()
        assert stage.names.owner("room") is not None
        stage.registry.register("door", 1, "room")
        elsewhere(stage, "door", "door")
        await turns()
        assert len(stage.names.visible("door")) == 1
        assert stage.registry.keys("room") == ["room"]


@virtual_time
async def test_metadata_is_read_as_it_was_written_and_can_be_deleted():
    async for stage in room():
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
    async for stage in room():
        stage.registry.put_meta("m", 1)
        await stage.registry.flush()
        assert stage.cluster.asked[-1] == (stage.names.seq, None, "what was written")
        stage.cluster.let_copies_arrive(arrive=False)
        with pytest.raises(NotReplicated):
            await stage.registry.flush(timeout=0.5)
