"""Clients outside of the cluster: they try other nodes, and remember what they were told."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from pyhorde.errors import NameNotFound, NameTaken, NodeDraining, RemoteError
from pyhorde.testing import SimCluster
from pyhorde.testing.outside import ATTEMPT, LIMIT
from tests.unit.testing.cast import Counter, Fleeting, play


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_call_whose_node_dies_on_the_way_is_answered_and_runs_once(steps: int):
    async def story(cluster: SimCluster) -> None:
        ref = await cluster.start_child(Counter, "it")
        await cluster.settle()
        struck: list[str] = []

        def strike(machine: str) -> None:
            if not struck:
                struck.append(machine)
                cluster.crash(machine)

        for machine in cluster.machines:
            cluster.arm(machine, steps, lambda m=machine: strike(m))
        assert await ref.increment() == 1
        await asyncio.sleep(0.1)
        cluster.disarm()
        assert len(struck) == 1
        assert await ref.value() == 1
        await cluster.settle()

    play(story)


def test_every_try_of_a_call_has_the_same_request_id_and_goes_through_a_live_node():
    tries: list[tuple[str, Any]] = []

    async def story(cluster: SimCluster) -> None:
        async def once_not(machine: str, *_: Any, request_id: str, **__: Any) -> str:
            tries.append((machine, request_id))
            if len(tries) < 6:
                raise NodeDraining(machine)
            return "answer"

        cluster.outside.call_through = once_not  # type: ignore[method-assign]
        cluster.crash("c")
        assert await cluster.outside.call("it", "value", [], {}) == "answer"
        assert await cluster.outside.call("it", "value", [], {}) == "answer"

    play(story)
    assert {machine for machine, _ in tries} == {"a", "b"}
    assert len({request_id for _, request_id in tries[:6]}) == 1
    assert tries[6][1] != tries[0][1]


def test_a_node_that_does_not_answer_is_left_for_another_after_a_while():
    tries: list[float] = []

    async def story(cluster: SimCluster) -> None:
        async def silent(*_: Any, **__: Any) -> str:
            tries.append(cluster.loop.time())
            if len(tries) < 3:
                await asyncio.sleep(1000)
            return "answer"

        cluster.outside.call_through = silent  # type: ignore[method-assign]
        assert await cluster.outside.call("it", "value", [], {}) == "answer"

    play(story)
    assert all(ATTEMPT <= b - a <= ATTEMPT + 1 for a, b in pairwise(tries))


@pytest.mark.parametrize(("timeout", "seconds"), [(None, LIMIT), (7.0, 7.0)])
def test_a_client_gives_up_in_time(timeout: float | None, seconds: float):
    async def story(cluster: SimCluster) -> None:
        async def silent(*_: Any, **__: Any) -> None:
            await asyncio.sleep(1000)

        cluster.outside.call_through = silent  # type: ignore[method-assign]
        began = cluster.loop.time()
        with pytest.raises(TimeoutError):
            await cluster.outside.call("it", "value", [], {}, timeout=timeout)
        assert seconds <= cluster.loop.time() - began < seconds + 1

    play(story)


def test_an_error_that_no_other_node_would_answer_otherwise_is_raised_at_once():
    async def story(cluster: SimCluster) -> None:
        ref = cluster.ref("nobody", Counter)
        with pytest.raises(NameNotFound):
            await ref.value()
        assert (cluster.outside.calls, cluster.outside.attempts) == (1, 1)

    play(story)


def test_what_a_process_raises_is_raised_at_once():
    async def story(cluster: SimCluster) -> None:
        ref: Any = await cluster.start_child(Counter, "it")
        for node in cluster.live.values():
            for cell in node._supervisor.local():
                cell.process.state = "no number"
        with pytest.raises(RemoteError):
            await ref.increment()
        assert cluster.outside.attempts == 1

    play(story)


def test_a_cast_goes_through_a_live_node():
    sent: list[Any] = []

    async def story(cluster: SimCluster) -> None:
        async def cast(*args: Any) -> None:
            sent.append(args)

        for node in cluster.live.values():
            node.router.cast = cast  # type: ignore[method-assign]
        await cluster.outside.cast("it", "poke", [1], {})

    play(story)
    assert sent == [("it", "poke", [1], {})]


def test_without_any_node_there_is_nobody_to_ask():
    async def story(cluster: SimCluster) -> None:
        for name in cluster.machines:
            cluster.crash(name)
        with pytest.raises(LookupError, match="no node runs"):
            await cluster.ref("it").value()

    play(story, nodes=2)


# ---- what was promised ---------------------------------------------------------------------------


def test_a_confirmed_start_is_a_promise_until_someone_asks_for_its_end():
    async def story(cluster: SimCluster) -> None:
        outside = cluster.outside
        await cluster.start_child(Counter, "it")
        await cluster.start_child(Fleeting, "brief")
        assert (outside.promised, outside.ended) == ({"it"}, set())
        await cluster.stop("it")
        assert (outside.promised, outside.ended) == (set(), {"it"})
        await cluster.start_child(Counter, "it")
        assert (outside.promised, outside.ended) == ({"it"}, set())
        with pytest.raises(NameTaken):
            await cluster.start_child(Counter, "it")

    play(story)


@pytest.mark.parametrize(("cls", "promised"), [(Counter, {"it"}), (Fleeting, set())])
def test_a_start_that_an_earlier_try_has_done_is_a_promise_if_it_is_permanent(
    cls: type[Counter], promised: set[str]
):
    async def story(cluster: SimCluster) -> None:
        tries = 0

        async def lost_then_taken(*_: Any, **__: Any) -> None:
            nonlocal tries
            tries += 1
            raise ConnectionResetError if tries == 1 else NameTaken("it", "a")

        cluster.outside.start_through = lost_then_taken  # type: ignore[method-assign]
        await cluster.start_child(cls, "it")
        assert tries == 2
        assert cluster.outside.promised == promised

    play(story)


def test_a_name_that_nobody_knows_when_it_is_stopped_has_ended():
    async def story(cluster: SimCluster) -> None:
        await cluster.stop("nobody")
        assert cluster.outside.ended == {"nobody"}

    play(story)
