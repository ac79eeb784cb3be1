"""Starting processes from any node: where they go, who gets the name, what a failure leaves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from pyhorde import Ignore, NameNotFound, NameTaken, Node
from pyhorde.errors import BadArguments, RemoteError, StartFailed, UnknownMethod, UnknownType
from tests.integration.clusters import Horde, name_at, until
from tests.integration.processes import Broken, Diary, Replicated, Tally, Unwilling


async def test_every_node_can_start_call_and_cast(horde: Horde, trio: tuple[Node, ...]):
    for starter in trio:
        for n in range(6):
            name = f"{starter.name}-{n}"
            ref = await starter.start_child(Tally, name, 10)
            assert await ref.increment(5) == 15
    for caller in trio:
        for name in (f"{node.name}-{n}" for node in trio for n in range(6)):
            await caller.ref(name, Tally).add(1)
            await caller.ref(name, Tally).call(Tally.increment, by=0)
    totals = [await trio[0].ref(f"{node.name}-{n}").call("get") for node in trio for n in range(6)]
    assert totals == [18] * 18


async def test_processes_spread_over_the_nodes(horde: Horde, trio: tuple[Node, ...]):
    await asyncio.gather(*(trio[n % 3].start_child(Tally, f"n{n}") for n in range(90)))
    share = Counter(child.node for child in trio[0].supervisor.which_children())
    assert share.keys() == {"a", "b", "c"}
    assert min(share.values()) >= 15, share
    assert horde.running() == Counter({f"n{n}": 1 for n in range(90)})


async def test_a_process_runs_where_every_node_says_it_runs(horde: Horde, trio: tuple[Node, ...]):
    for node in trio:
        name = name_at(node, Tally)
        ref = await trio[0].start_child(Tally, name)
        assert (await ref.place())[0] == node.name
        for each in trio:
            child = each.supervisor.child(name)
            assert child is not None
            assert child.node == node.name


async def test_without_a_name_it_gets_one(horde: Horde, trio: tuple[Node, ...]):
    first = await trio[0].start_child(Tally)
    second = await trio[1].start_child(Tally)
    assert first.name != second.name
    assert await trio[2].ref(first.name, Tally).get() == 0


async def test_a_name_is_taken_on_every_node(horde: Horde, trio: tuple[Node, ...]):
    await trio[0].start_child(Tally, "visits", 1)
    owner = horde.owner("visits").name
    for node in trio:
        with pytest.raises(NameTaken) as taken:
            await node.start_child(Replicated, "visits")
        assert (taken.value.name, taken.value.owner) == ("visits", owner)
    assert await trio[1].ref("visits", Tally).get() == 1


async def test_of_fifty_concurrent_starts_of_one_name_exactly_one_succeeds(
    horde: Horde, trio: tuple[Node, ...]
):
    starts = (trio[n % 3].start_child(Tally, "visits", n) for n in range(50))
    results = await asyncio.gather(*starts, return_exceptions=True)
    winners = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    losers = [result for result in results if isinstance(result, BaseException)]
    assert len(winners) == 1
    assert {type(error) for error in losers} == {NameTaken}
    assert await trio[0].ref("visits", Tally).get() == winners[0]
    assert horde.running() == {"visits": 1}


async def test_a_name_can_be_used_through_any_node_right_after_its_start(
    horde: Horde, trio: tuple[Node, ...]
):
    rng = random.Random(7)
    for n in range(300):
        starter, caller, other = (rng.choice(trio) for _ in range(3))
        await starter.start_child(Tally, f"n{n}", n)
        assert other.whereis(f"n{n}") is not None, n
        assert await caller.ref(f"n{n}", Tally).increment() == n + 1


async def test_many_names_started_at_once_can_be_used_at_once(horde: Horde, trio: tuple[Node, ...]):
    async def use(n: int) -> int:
        await trio[n % 3].start_child(Replicated, f"n{n}", n)
        return await trio[(n + 1) % 3].ref(f"n{n}", Replicated).increment()

    assert await asyncio.gather(*map(use, range(300))) == [n + 1 for n in range(300)]


@pytest.mark.parametrize("home", [0, 1, 2])
@pytest.mark.parametrize(
    ("cls", "error"), [(Unwilling, Ignore), (Broken, StartFailed)], ids=["ignored", "failed"]
)
async def test_a_start_that_came_to_nothing_leaves_nothing(
    horde: Horde, trio: tuple[Node, ...], cls: type, error: type[Exception], home: int
):
    await trio[0].start_child(Tally, "other")
    before = [(node._replica.seq, node.registry.count()) for node in trio]
    name = name_at(trio[home], cls)
    for node in trio:
        with pytest.raises(error, match=r"not today|no database"):
            await node.start_child(cls, name)
    assert [(node._replica.seq, node.registry.count()) for node in trio] == before
    for node in trio:
        assert node.whereis(name) is None
        assert node.supervisor.child(name) is None
    assert horde.running() == {"other": 1}


async def test_after_a_failed_start_the_name_is_free(horde: Horde, trio: tuple[Node, ...]):
    with pytest.raises(StartFailed):
        await trio[0].start_child(Broken, "visits")
    assert await (await trio[1].start_child(Tally, "visits", 3)).get() == 3


async def test_arguments_that_do_not_fit_start_nothing(horde: Horde, trio: tuple[Node, ...]):
    for node in trio:
        with pytest.raises(BadArguments):
            await node.start_child(Tally, "visits", 1, 2, 3)
        with pytest.raises(BadArguments):
            await node.start_child(Tally, "visits", end=3)
    assert trio[0].supervisor.count_children() == 0


async def test_a_type_that_nobody_offers_is_unknown(horde: Horde):
    a, b = await horde.up("a", "b", processes=[Tally])
    for node in (a, b):
        with pytest.raises(UnknownType) as unknown:
            await node.start_child(Diary, "diary")
        assert unknown.value.offered == ("tests.integration.processes:Tally",)


async def test_a_type_runs_only_where_it_is_offered(horde: Horde):
    a = await horde.start("a", processes=[Tally])
    b = await horde.start("b", processes=[Tally, Diary])
    await horde.all_see({"a": "alive", "b": "alive"})
    for n in range(12):
        await a.start_child(Diary, f"diary-{n}")
    assert {child.node for child in a.supervisor.which_children()} == {"b"}
    assert len(b.supervisor.local()) == 12


async def test_calls_that_cannot_be_answered_say_why(horde: Horde, trio: tuple[Node, ...]):
    for home in trio:
        await trio[0].start_child(Tally, name_at(home, Tally, "n"))
    for child in trio[0].supervisor.which_children():
        ref = trio[0].ref(child.name)
        with pytest.raises(RemoteError, match="ValueError: no such luck"):
            await ref.fail()
        with pytest.raises(UnknownMethod):
            await ref.call("no_such_method")
        with pytest.raises(BadArguments):
            await ref.call("increment", 1, 2, 3)
        assert await ref.get() == 0
    with pytest.raises(NameNotFound):
        await trio[0].ref("nobody").call("get")
    with pytest.raises(NameNotFound):
        await trio[0].ref("nobody").cast("get")


async def test_a_request_id_runs_once_whatever_node_it_comes_through(
    horde: Horde, trio: tuple[Node, ...]
):
    await trio[0].start_child(Tally, "visits")
    same = [node.ref("visits", Tally).options(request_id="one") for node in trio]
    assert await asyncio.gather(*(ref.increment() for ref in same)) == [1, 1, 1]
    assert await trio[0].ref("visits", Tally).get() == 1


async def test_every_registry_is_the_same_in_the_end(horde: Horde, trio: tuple[Node, ...]):
    await asyncio.gather(*(trio[n % 3].start_child(Replicated, f"n{n}") for n in range(30)))
    await asyncio.gather(*(trio[n % 3].ref(f"n{n}").call("increment") for n in range(30)))
    await asyncio.gather(*(trio[n % 3].supervisor.terminate_child(f"n{n}") for n in range(15)))
    await horde.converged()
    await until(lambda: sum(horde.running().values()) == 15, "the others have ended")
