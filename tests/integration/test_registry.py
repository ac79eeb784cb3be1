"""Keys and metadata, across nodes."""

from __future__ import annotations

import pytest

from pyhorde import Ignore, NameNotFound, NameTaken, Node
from pyhorde.errors import CannotTravel, ConfigError, InvalidName, NotOwner
from pyhorde.runtime.watching import MetaChanged, Registered, Unregistered
from tests.integration.clusters import Horde, name_at, until
from tests.integration.processes import Replicated, Tally, Unwilling


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
    with pytest.raises(NameTaken):
        await a.start_child(Tally, "room")
    with pytest.raises(Ignore):
        await a.start_child(Unwilling, name_at(a, Unwilling))
    assert a._replica.seq == before


async def test_a_flush_without_others_returns(horde: Horde):
    a = await horde.start("a")
    a.registry.put_meta("colour", "blue")
    await a.registry.flush()


async def test_an_awaited_registration_is_known_everywhere(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    name = name_at(b, Tally)
    await b.start_child(Tally, name)
    for n in range(20):
        entry = await b.registry.register(f"room/{n}", n, name)
        assert a.registry.lookup(entry.key) == c.registry.lookup(entry.key) == entry


async def test_a_key_is_a_way_to_call_its_process_wherever_that_is(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, c = trio
    name = await with_key(c, "door", None)
    for node in trio:
        assert await node.ref("door", Tally).place() == ("c", 1)
    await c.drain()
    await until(lambda: a.registry.lookup(name) and b.registry.lookup(name), "it runs again")
    assert a.registry.lookup("door") is None, "it was not registered in init"
    home = horde.owner(name)
    await home.registry.register("door", None, name)
    for node in (a, b):
        assert (await node.ref("door", Tally).place())[0] == home.name


async def test_very_many_keys_are_registered_at_once(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    name = await with_key(a, "one", None)
    keys = [f"seat/{n}" for n in range(10_000)]
    assert await a.registry.register_many(keys, name) == 10_000
    await a.registry.flush()
    assert b.registry.count() == c.registry.count() == 10_002
    other = await with_key(b, "two", None)
    with pytest.raises(NameTaken) as taken:
        await b.registry.register_many(["new", "seat/7"], other)
    assert (taken.value.name, taken.value.owner) == ("seat/7", "a")
    await a.supervisor.terminate_child(name)
    await a.registry.flush()
    assert await b.registry.register_many(keys, other) == 10_000
    await horde.converged()
    assert a.registry.count() == 10_002


async def test_registries_are_shared_by_all_who_open_them(horde: Horde, trio: tuple[Node, ...]):
    a, _, c = trio
    names = [await with_key(node, f"own of {node.name}", None) for node in trio]
    teams = [node.open_registry("teams", keys="duplicate") for node in trio]
    for node, team, name in zip(trio, teams, names, strict=True):
        await team.register("red", node.name, name)
        assert await node.open_registry("seats").register(f"seat {node.name}", 1, name)
    for node, team in zip(trio, teams, strict=True):
        assert {(e.value, e.process) for e in team.lookup("red")} == set(
            zip("abc", names, strict=True)
        )
        assert node.open_registry("seats").count() == 3
        assert node.registry.lookup("red") is None and node.registry.lookup("seat a") is None
        with pytest.raises(ConfigError):
            node.open_registry("seats", keys="duplicate")
        with pytest.raises(ConfigError):
            node.open_registry("teams")
    with pytest.raises(ConfigError):
        a.open_registry("new", keys="several")  # type: ignore[call-overload]
    assert await teams[1].dispatch("red", Tally.add, 5) == 3
    for name in names:
        await until(lambda name=name: a.ref(name, Tally).get(), "the cast has arrived")
    await horde.crash(c)
    await until(lambda: len(teams[0].lookup("red")) == 2, "c is gone")


async def test_who_listens_hears_of_everything(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    with a.registry.listen() as events:
        name = await with_key(c, "door", 1)
        assert {await anext(events), await anext(events)} == {
            Registered(name, None, name, "c"),
            Registered("door", 1, name, "c"),
        }
        c.registry.update_value("door", name, lambda n: n + 1)
        assert await anext(events) == Registered("door", 2, name, "c")
        b.registry.put_meta("colour", "blue")
        assert await anext(events) == MetaChanged("colour", "blue")
        await horde.crash(c)
        assert Unregistered("door", name, "c") in {await anext(events), await anext(events)}
        await a.aclose()
        rest = [event async for event in events]
    assert all(not isinstance(event, MetaChanged) for event in rest)


async def test_a_node_that_was_not_started_has_no_registry():
    node = Node(name="a")
    with pytest.raises(RuntimeError, match="not been started"):
        _ = node.registry
