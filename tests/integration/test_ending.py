"""Processes that end for good, by request or by themselves, and names that stay free after it."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde import NameNotFound, Node
from pyhorde.errors import ProcessExited
from tests.integration.clusters import Horde, name_at, until
from tests.integration.processes import Diary, Replicated, Stuck, Tally, Temporary, Transient


async def gone(horde: Horde, name: str) -> None:
    """Wait until no node knows or runs it."""

    def nowhere() -> bool:
        known = any(node.whereis(name) or node.supervisor.child(name) for node in horde.live)
        return not known and name not in horde.running()

    await until(nowhere, f"{name} is gone")


@pytest.mark.parametrize("through", [0, 1, 2])
async def test_a_process_can_be_terminated_through_any_node(
    horde: Horde, trio: tuple[Node, ...], through: int
):
    for node in trio:
        name = name_at(node, Diary)
        await trio[0].start_child(Diary, name)
        await trio[through].supervisor.terminate_child(name)
        assert all(each.supervisor.child(name) is None for each in trio), "all know on return"
        await gone(horde, name)
        assert Diary.ended.pop((name, node.name)) == "terminated"
        with pytest.raises(NameNotFound):
            await trio[through].ref(name, Diary).read()
        with pytest.raises(NameNotFound):
            await trio[through].supervisor.terminate_child(name)


async def test_what_was_terminated_does_not_come_back_when_a_node_dies_right_after(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, c = trio
    names = [f"n{n}" for n in range(40)]
    await asyncio.gather(*(a.start_child(Replicated, name) for name in names))
    await asyncio.gather(*(a.ref(name).call("increment") for name in names))
    await asyncio.gather(*(b.supervisor.terminate_child(name) for name in names[:30]))
    await horde.crash(c)
    await horde.all_see({"c": "dead"})
    await until(lambda: len(horde.running()) == 10, "the others run")
    await horde.converged()
    assert horde.running().keys() == set(names[30:])
    assert all(a.supervisor.child(name) is None for name in names[:30])


async def test_a_name_that_has_ended_can_be_started_anew_and_remembers_nothing(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, _ = trio
    await (await a.start_child(Replicated, "visits", 5)).increment()
    await b.supervisor.terminate_child("visits")
    again = await a.start_child(Replicated, "visits", 1)
    assert await again.get() == 1
    assert (await again.place())[1] > 1, "the epoch goes on"


@pytest.mark.parametrize("cls", [Transient, Temporary])
@pytest.mark.parametrize("reason", ["normal", "shutdown"])
async def test_a_process_that_stops_itself_ends_its_name_and_its_state(
    horde: Horde, trio: tuple[Node, ...], cls: type[Replicated], reason: str
):
    for node in trio:
        name = name_at(node, cls)
        ref = await trio[0].start_child(cls, name, 5)
        await ref.increment()
        assert await ref.finish(reason) == "bye"
        await gone(horde, name)
        await until(
            lambda name=name: not any(each.names.state(name) for each in trio), "no state is left"
        )
        assert await (await trio[1].start_child(cls, name, 1)).get() == 1


async def test_a_transient_process_that_ends_abnormally_is_started_again(
    horde: Horde, trio: tuple[Node, ...]
):
    ref = await trio[0].start_child(Transient, "visits", 5)
    await ref.increment()
    assert await ref.finish("out of ideas") == "bye"
    await until(ref.history, "it has been started again")
    assert (await ref.history())[0]["kind"] == "restart"
    assert await ref.get() == 6


async def test_a_permanent_process_that_stops_itself_is_started_again(
    horde: Horde, trio: tuple[Node, ...]
):
    ref = await trio[0].start_child(Replicated, "visits", 5)
    await ref.finish()
    await until(ref.history, "it has been started again")


async def test_callers_that_wait_for_a_process_that_ends_hear_of_it(
    horde: Horde, trio: tuple[Node, ...]
):
    Stuck.entered = asyncio.Event()
    a, b, _ = trio
    name = name_at(a, Stuck)
    ref = await a.start_child(Stuck, name)
    waiting = [
        asyncio.create_task(node.ref(name, Stuck).options(timeout=30).hang()) for node in (a, b)
    ]
    await Stuck.entered.wait()
    await b.supervisor.terminate_child(name)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} <= {ProcessExited, NameNotFound}, results
    with pytest.raises(NameNotFound):
        await ref.get()


async def test_registered_keys_go_with_their_process(horde: Horde, trio: tuple[Node, ...]):
    a, b, c = trio
    name = name_at(a, Tally)
    await a.start_child(Tally, name)
    a.registry.register("alias", None, name)
    await a.registry.flush()
    assert c.registry.lookup("alias") is not None
    await b.supervisor.terminate_child(name)
    await until(lambda: not any(n.registry.lookup("alias") for n in trio), "the key is gone")
