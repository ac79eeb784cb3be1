"""Keys and metadata, across nodes."""

from __future__ import annotations

import pytest

from pyhorde import NameNotFound, NameTaken, Node
from pyhorde.errors import CannotTravel, InvalidName, NotOwner
from tests.integration.clusters import Horde, name_at, until
from tests.integration.processes import Replicated, Tally


async def with_key(node: Node, key: str, value: object) -> str:
    """A process on this node that holds the key; its name."""
    name = name_at(node, Tally, f"holder of {key} on {node.name} ")
    await node.start_child(Tally, name)
    node.registry.register(key, value, name)
    await node.registry.flush()
    return name


async def test_a_key_is_known_to_every_node_after_a_flush(horde: Horde, trio: tuple[Node, ...]):
    for node in trio:
        key = f"room-{node.name}"
        name = await with_key(node, key, {"size": 4})
        for each in trio:
            entry = each.registry.lookup(key)
            assert entry is not None
            assert (entry.key, entry.value, entry.process, entry.node) == (
                key,
                {"size": 4},
                name,
                node.name,
            )
            assert each.registry.keys(name) == [name, key]


async def test_a_process_is_found_under_its_own_name(horde: Horde, trio: tuple[Node, ...]):
    ref = await trio[0].start_child(Tally, "visits")
    for node in trio:
        entry = node.registry.lookup("visits")
        assert entry is not None
        assert (entry.process, entry.node) == ("visits", horde.owner("visits").name)
        assert node.registry.keys(ref) == ["visits"]
        assert node.registry.count() == 1
    assert trio[0].registry.lookup("nothing") is None


async def test_select_by_prefix_and_condition(horde: Horde, trio: tuple[Node, ...]):
    for n, node in enumerate(trio):
        await with_key(node, f"room/{n}", n)
        await with_key(node, f"hall/{n}", n)
    for node in trio:
        found = node.registry.select("room/", lambda entry: entry.value > 0)
        assert [(entry.key, entry.value) for entry in found] == [("room/1", 1), ("room/2", 2)]
        assert len(node.registry.select("hall/")) == 3
        assert node.registry.count() == len(node.registry.select()) == 12


async def test_a_key_has_one_holder_and_a_name_is_a_key(horde: Horde, trio: tuple[Node, ...]):
    a, b, _ = trio
    first = await with_key(a, "room", 1)
    second = name_at(b, Tally, "second-")
    await a.start_child(Tally, second)
    for key in ("room", first):
        with pytest.raises(NameTaken) as taken:
            b.registry.register(key, 2, second)
        assert taken.value.owner == "a"
    with pytest.raises(NameTaken):
        await b.start_child(Tally, "room")


async def test_only_the_owners_node_may_change_a_key(horde: Horde, trio: tuple[Node, ...]):
    a, b, _ = trio
    name = await with_key(a, "room", 1)
    other = await with_key(b, "hall", 1)
    with pytest.raises(NotOwner):
        b.registry.register("more", 1, name)
    with pytest.raises(NotOwner):
        b.registry.update_value("room", name, lambda old: old)
    with pytest.raises(NotOwner):
        b.registry.update_value("room", other, lambda old: old)
    with pytest.raises(NotOwner):
        b.registry.unregister("room", name)
    with pytest.raises(NameNotFound):
        a.registry.register("more", 1, "nobody")


async def test_a_new_value_reaches_everybody(horde: Horde, trio: tuple[Node, ...]):
    a = trio[0]
    name = await with_key(a, "room", 1)
    for n in range(1, 6):
        assert a.registry.update_value("room", name, lambda old: old + 1) == (n + 1, n)
        await a.registry.flush()
        assert [node.registry.lookup("room").value for node in trio] == [n + 1] * 3


async def test_a_key_that_was_given_back_is_free(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    name = await with_key(a, "room", 1)
    assert a.registry.unregister("room", name)
    assert not a.registry.unregister("room", name)
    await a.registry.flush()
    assert c.registry.lookup("room") is None
    await with_key(b, "room", 2)
    assert c.registry.lookup("room").node == "b"


async def test_keys_of_a_lost_node_are_gone_and_can_be_taken(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    await with_key(c, "room", 1)
    await horde.crash(c)
    await until(lambda: not a.registry.lookup("room") and not b.registry.lookup("room"), "gone")
    await with_key(a, "room", 2)
    assert b.registry.lookup("room").node == "a"


async def test_metadata_is_one_value_for_all(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    assert a.registry.meta("colour", "none") == "none"
    for n, node in enumerate((a, b, c, a)):
        node.registry.put_meta("colour", {"n": n})
        await node.registry.flush()
        assert [each.registry.meta("colour", None) for each in trio] == [{"n": n}] * 3
    assert b.registry.delete_meta("colour")
    await b.registry.flush()
    assert [each.registry.meta("colour", None) for each in trio] == [None] * 3
    assert not c.registry.delete_meta("colour")


async def test_metadata_outlives_the_node_that_wrote_it(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    c.registry.put_meta("colour", "blue")
    await c.registry.flush()
    await horde.crash(c)
    await horde.all_see({"c": "dead"})
    d = await horde.start("d")
    assert [node.registry.meta("colour", None) for node in (a, b, d)] == ["blue"] * 3


async def test_what_cannot_be_stored_changes_nothing(horde: Horde, trio: tuple[Node, ...]):
    a = trio[0]
    name = await with_key(a, "room", 1)
    before = a._replica.seq
    with pytest.raises(CannotTravel):
        a.registry.put_meta("big", "x" * 70_000)
    with pytest.raises(CannotTravel):
        a.registry.put_meta("code", lambda: None)
    with pytest.raises(CannotTravel):
        a.registry.register("more", object(), name)
    with pytest.raises(InvalidName):
        a.registry.put_meta("", 1)
    with pytest.raises(InvalidName):
        await a.start_child(Replicated, "x" * 513)
    assert a._replica.seq == before


async def test_a_flush_without_others_returns(horde: Horde):
    a = await horde.start("a")
    a.registry.put_meta("colour", "blue")
    await a.registry.flush()
