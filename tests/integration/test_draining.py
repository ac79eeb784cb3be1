"""A node that leaves in an orderly way: nothing is lost, and nobody notices."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from pyhorde import Node
from pyhorde.errors import NodeClosed
from tests.integration.clusters import Horde, name_at, states_in, until
from tests.integration.processes import Checkpointed, Diary, Replicated, Tally, Temporary


@pytest.mark.parametrize("cls", [Tally, Checkpointed, Replicated, Temporary])
async def test_state_is_handed_over_complete(
    horde: Horde, trio: tuple[Node, ...], cls: type[Tally]
):
    a, b, c = trio
    names = [name_at(c, cls, f"n{n}-") for n in range(5)]
    for n, name in enumerate(names):
        ref = await a.start_child(cls, name, n)
        await ref.add(10)
        await ref.increment()
    result = await c.drain()
    assert (result.total, result.moved, result.left_behind) == (5, 5, ())
    assert c.state == "closed"
    for n, name in enumerate(names):
        for node in (a, b):
            assert await node.ref(name, cls).get() == n + 11
        assert await a.ref(name, cls).history() == [
            {"kind": "graceful", "node": "c", "state": {"count": n + 11}}
        ]
    assert states_in(a)["c"] == states_in(b)["c"] == "left"
    assert horde.running() == dict.fromkeys(names, 1)


async def test_callers_in_flight_see_no_error(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    names = [name_at(c, Tally, f"n{n}-") for n in range(10)]
    for name in names:
        await a.start_child(Tally, name)
    acknowledged = dict.fromkeys(names, 0)
    over = asyncio.Event()

    async def stream(node: Node, name: str) -> None:
        while not over.is_set():
            await node.ref(name, Tally).options(timeout=30).slow_increment()
            acknowledged[name] += 1

    async with asyncio.TaskGroup() as streams:
        for node, name in product((a, b), names):
            streams.create_task(stream(node, name))
        await until(lambda: min(acknowledged.values()) >= 3, "all are being called")
        await c.drain()
        reached = min(acknowledged.values()) + 5
        await until(lambda: min(acknowledged.values()) >= reached, "all go on being called")
        over.set()
    for name in names:
        assert await b.ref(name, Tally).get() == acknowledged[name]


async def test_terminate_runs_before_the_state_goes(horde: Horde, trio: tuple[Node, ...]):
    a, _, c = trio
    name = name_at(c, Diary)
    await (await a.start_child(Diary, name)).write("hello")
    await c.drain()
    assert Diary.ended.pop((name, "c")) == "handed over by c"
    assert (await a.ref(name, Diary).read())["entries"] == ["hello"]


async def test_one_node_after_the_other_until_all_are_replaced(
    horde: Horde, trio: tuple[Node, ...]
):
    names = [f"n{n}" for n in range(30)]
    await asyncio.gather(*(trio[0].start_child(Tally, name) for name in names))
    for count, (old, new) in enumerate(zip("abc", "def", strict=True), 1):
        await horde.start(new)
        await horde.all_see({new: "alive"})
        await horde.nodes[old].drain()
        through = horde.nodes[new]
        results = await asyncio.gather(*(through.ref(name).call("increment") for name in names))
        assert results == [count] * 30
    await horde.converged()
    assert horde.running() == dict.fromkeys(names, 1)


async def test_two_nodes_that_drain_at_once_lose_nothing(horde: Horde):
    a, b, c, d = await horde.up(*"abcd")
    names = [f"n{n}" for n in range(30)]
    await asyncio.gather(*(a.start_child(Tally, name) for name in names))
    await asyncio.gather(*(a.ref(name).call("increment") for name in names))
    await asyncio.gather(c.drain(), d.drain())
    assert await asyncio.gather(*(b.ref(name).call("increment") for name in names)) == [2] * 30
    assert horde.running() == dict.fromkeys(names, 1)


async def test_a_draining_node_starts_nothing_new_but_others_do(
    horde: Horde, trio: tuple[Node, ...]
):
    a, _, c = trio
    name = name_at(c, Tally)
    draining = asyncio.create_task(c.drain())
    ref = await a.start_child(Tally, name)
    assert await ref.get() == 0
    await draining
    assert (await ref.options(timeout=30).place())[0] in "ab"


async def test_the_last_node_leaves_with_what_nobody_can_take(horde: Horde):
    a = await horde.start("a")
    await a.start_child(Tally, "visits")
    result = await a.drain()
    assert result.left_behind == ("visits",)
    assert a.state == "closed"


async def test_a_second_drain_joins_the_first(horde: Horde, trio: tuple[Node, ...]):
    c = trio[2]
    first, second = await asyncio.gather(c.drain(), c.drain())
    assert first is second
    assert await c.drain() is first


async def test_a_closed_node_cannot_be_drained(horde: Horde):
    a = await horde.start("a")
    await a.aclose()
    with pytest.raises(NodeClosed):
        await a.drain()


async def test_leaving_the_context_drains(horde: Horde):
    a = await horde.start("a")
    async with horde.make("b", peers=[a.config.bind]) as b:
        await horde.all_see({"b": "alive"})
        name = name_at(b, Tally)
        await b.start_child(Tally, name, 3)
    assert states_in(a) == {"a": "alive", "b": "left"}
    assert await a.ref(name, Tally).history() == [
        {"kind": "graceful", "node": "b", "state": {"count": 3}}
    ]
