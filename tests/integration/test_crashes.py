"""What a crash of a node, or of a process, does to processes, their state and their callers."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from pyhorde import Indeterminate, Node
from pyhorde.config import RuntimeConfig
from tests.integration.clusters import Horde, name_at, until
from tests.integration.processes import (
    Checkpointed,
    Gated,
    Poison,
    Replicated,
    Stuck,
    Tally,
    Temporary,
    Transient,
)

PATIENT: dict[str, Any] = {"timeout": 30.0}


async def lost(horde: Horde, node: Node) -> None:
    """Crash the node and wait until everybody knows."""
    await horde.crash(node)
    await horde.all_see({node.name: "dead"})


@pytest.mark.parametrize("cls", [Replicated, Transient])
async def test_what_ran_on_a_lost_node_runs_on_another(
    horde: Horde, trio: tuple[Node, ...], cls: type[Replicated]
):
    a, b, c = trio
    names = [name_at(node, cls) for node in trio]
    for name in names:
        await a.start_child(cls, name, 10)
        await b.ref(name, cls).increment()
    epoch = (await a.ref(names[2], cls).place())[1]
    await horde.crash(c)
    for name in names:
        assert await a.ref(name, cls).options(**PATIENT).get() == 11
    ref = b.ref(names[2], cls)
    assert await ref.history() == [{"kind": "clumsy", "node": "c", "state": {"count": 11}}]
    node, later = await ref.place()
    assert node in "ab"
    assert later == epoch + 1
    assert await a.ref(names[0], cls).history() == [], "only what ran there has moved"
    assert horde.running() == dict.fromkeys(names, 1)


async def test_a_temporary_process_is_buried_with_its_node(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    name, other = name_at(c, Temporary), name_at(a, Temporary)
    for each in (name, other):
        await a.start_child(Temporary, each)
        await a.ref(each, Temporary).increment()
    await lost(horde, c)
    await until(lambda: not any(n.supervisor.child(name) for n in (a, b)), "it is buried")
    assert await b.ref(other, Temporary).get() == 1
    await horde.converged()
    assert horde.running() == {other: 1}


async def test_no_acknowledged_call_is_lost_or_run_twice_when_the_owner_crashes(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, c = trio
    name = name_at(c, Replicated)
    await a.start_child(Replicated, name)
    numbers = itertools.count()
    answers: dict[str, int] = {}
    crashed = asyncio.Event()

    async def stream(node: Node) -> None:
        after = 0
        while after < 20:
            request_id = f"request-{next(numbers)}"
            ref = node.ref(name, Replicated).options(request_id=request_id, **PATIENT)
            answers[request_id] = await ref.slow_increment()
            after += crashed.is_set()

    async with asyncio.TaskGroup() as streams:
        for node in (a, b) * 4:
            streams.create_task(stream(node))
        await until(lambda: len(answers) >= 50, "calls are answered")
        await horde.crash(c)
        crashed.set()
    assert sorted(answers.values()) == list(range(1, len(answers) + 1))
    assert await a.ref(name, Replicated).get() == len(answers)
    again = a.ref(name, Replicated).options(request_id=max(answers, key=answers.__getitem__))
    assert await again.increment() == len(answers), "the recorded answer"
    assert (await a.ref(name, Replicated).history())[0]["kind"] == "clumsy"


async def test_a_checkpointed_process_goes_on_from_its_last_checkpoint(horde: Horde):
    a, _, c = await horde.up(*"abc", runtime=RuntimeConfig(checkpoint_interval=3600))
    name = name_at(c, Checkpointed)
    ref = await a.start_child(Checkpointed, name, 10)
    await ref.increment()
    await ref.save()
    await ref.increment(100)
    await horde.crash(c)
    assert await ref.options(**PATIENT).get() == 11
    assert await ref.history() == [{"kind": "clumsy", "node": "c", "state": {"count": 11}}]


async def test_a_checkpoint_is_made_by_itself_some_time_after_a_change(horde: Horde):
    a, b, c = await horde.up(*"abc", runtime=RuntimeConfig(checkpoint_interval=0.02))
    name = name_at(c, Checkpointed)
    ref = await a.start_child(Checkpointed, name, 10)
    await ref.increment()
    await until(lambda: a.names.state(name) and b.names.state(name), "there are copies")
    await horde.crash(c)
    assert await ref.options(**PATIENT).get() == 11


async def test_a_process_without_durability_begins_afresh(horde: Horde, trio: tuple[Node, ...]):
    a, _, c = trio
    name = name_at(c, Tally)
    ref = await a.start_child(Tally, name, 10)
    await ref.increment()
    await horde.crash(c)
    assert await ref.options(**PATIENT).get() == 10
    assert await ref.history() == [{"kind": "clumsy", "node": "c", "state": None}]


async def test_two_nodes_lost_at_once(horde: Horde):
    nodes = await horde.up(*"abcde", runtime=RuntimeConfig(replicas=2))
    names = [f"n{n}" for n in range(30)]
    await asyncio.gather(*(nodes[0].start_child(Replicated, name) for name in names))
    await asyncio.gather(*(nodes[1].ref(name).call("increment") for name in names))
    await asyncio.gather(horde.crash(nodes[3]), horde.crash(nodes[4]))
    refs = [nodes[0].ref(name, Replicated).options(**PATIENT) for name in names]
    assert await asyncio.gather(*(ref.increment() for ref in refs)) == [2] * 30
    assert horde.running() == dict.fromkeys(names, 1)


async def test_crashes_one_after_the_other_down_to_the_last_node(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, c = trio
    names = [f"n{n}" for n in range(30)]
    await asyncio.gather(*(a.start_child(Replicated, name) for name in names))
    for count, node in enumerate((c, b), 1):
        refs = [a.ref(name, Replicated).options(**PATIENT) for name in names]
        assert await asyncio.gather(*(ref.increment() for ref in refs)) == [count] * 30
        await lost(horde, node)
    refs = [a.ref(name, Replicated).options(**PATIENT) for name in names]
    assert await asyncio.gather(*(ref.increment() for ref in refs)) == [3] * 30
    assert len(a.supervisor.local()) == 30


async def test_a_call_whose_fate_is_unknown_says_so(horde: Horde, trio: tuple[Node, ...]):
    Stuck.entered = asyncio.Event()
    a, _, c = trio
    name = name_at(c, Stuck)
    ref = await a.start_child(Stuck, name)
    waiting = asyncio.create_task(ref.options(**PATIENT).hang())
    await Stuck.entered.wait()
    await horde.crash(c)
    with pytest.raises(Indeterminate, match="node 'c' was lost"):
        await waiting
    assert await ref.options(**PATIENT).get() == 0, "a new call finds the new owner"


async def test_a_call_to_a_name_that_is_being_taken_over_is_held(
    horde: Horde, trio: tuple[Node, ...]
):
    Gated.gate, Gated.waiting = asyncio.Event(), asyncio.Event()
    a, b, c = trio
    name = name_at(c, Gated)
    ref = await a.start_child(Gated, name)
    assert await ref.increment() == 1
    await horde.crash(c)
    calls = [
        asyncio.create_task(node.ref(name, Gated).options(**PATIENT).increment())
        for node in (a, b) * 3
    ]
    await ref.add(10)
    await Gated.waiting.wait()
    assert not any(task.done() for task in calls)
    Gated.gate.set()
    assert len(set(await asyncio.gather(*calls))) == 6
    await until(lambda: held(ref, 17), "the cast has run as well")


async def held(ref: Any, count: int) -> bool:
    return await ref.get() == count


# ---- crashes of processes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "count"),
    [(Replicated, 6), (Transient, 6), (Checkpointed, 6), (Tally, 5)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_process_that_crashes_is_started_again_where_it_was(
    horde: Horde, trio: tuple[Node, ...], cls: type[Tally], count: int
):
    for node in trio:
        name = name_at(node, cls)
        ref = await trio[0].start_child(cls, name, 5)
        await ref.increment()
        await ref.save()
        before = await ref.place()
        await ref.explode()
        await until(ref.history, "it has been started again")
        state = {"count": 6} if count == 6 else None
        assert await ref.history() == [{"kind": "restart", "node": node.name, "state": state}]
        assert await ref.get() == count
        assert await ref.place() == before
    assert sum(horde.running().values()) == 3


async def test_a_temporary_process_that_crashes_ends(horde: Horde, trio: tuple[Node, ...]):
    ref = await trio[0].start_child(Temporary, "visits")
    await ref.explode()
    await until(
        lambda: not any(node.supervisor.child("visits") for node in trio), "its name has ended"
    )


async def test_what_waits_while_a_process_crashes_is_handled_by_the_next_one(
    horde: Horde, trio: tuple[Node, ...]
):
    ref = await trio[0].start_child(Replicated, "visits")
    await ref.increment()
    for _ in range(2):
        await ref.explode()
        results = await asyncio.gather(*(node.ref("visits").call("increment") for node in trio * 5))
        assert len(set(results)) == 15
    assert await ref.get() == 31


async def test_a_process_that_keeps_failing_does_not_hurt_its_siblings(
    horde: Horde, trio: tuple[Node, ...]
):
    Poison.starts.clear()
    a, b, _ = trio
    poison = name_at(a, Poison)
    siblings = [name_at(a, Tally, f"sibling-{n}-") for n in range(5)]
    ref = await b.start_child(Poison, poison)
    for name in siblings:
        await b.start_child(Tally, name)
    await ref.explode()
    for count in itertools.count(1):
        for name in siblings:
            assert await b.ref(name, Tally).increment() == count
        if Poison.starts[poison] >= 6:
            break
        await asyncio.sleep(0.01)
    for name in siblings:
        assert await b.ref(name, Tally).history() == []
    assert a.supervisor.child(poison) is not None, "a permanent name does not vanish"
    await b.supervisor.terminate_child(poison)
    await until(lambda: poison not in horde.running(), "it can be ended all the same")
