"""A cluster that falls apart, goes on in both halves, and finds together again."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pyhorde import Indeterminate, Node
from pyhorde.config import RuntimeConfig
from tests.integration.clusters import QUICK, Horde, Wires, name_at, until
from tests.integration.processes import Diary

SIDES = ({"a", "b"}, {"c"})


@dataclass
class Torn:
    """Three nodes, the wires between them, and a diary at home on each of the nodes."""

    horde: Horde
    wires: Wires
    nodes: dict[str, Node]
    diaries: dict[str, str]

    async def apart(self) -> None:
        """Cut a and b off from c, and wait until both sides run everything."""
        self.wires.split(*SIDES)
        for node, dead in (("a", {"c"}), ("b", {"c"}), ("c", {"a", "b"})):
            await until(lambda node=node, dead=dead: self.lost(node) == dead, f"{dead} are lost")
        await until(self.all_run_on_both_sides, "both sides run everything")

    def lost(self, node: str) -> set[str]:
        members = self.nodes[node].cluster.members()
        return {member.name for member in members if member.state == "dead"}

    def all_run_on_both_sides(self) -> bool:
        names = list(self.diaries.values())
        return sorted(self.running("a", "b")) == sorted(self.running("c")) == sorted(names)

    def running(self, *nodes: str) -> list[str]:
        return [cell.name for node in nodes for cell in self.nodes[node].supervisor.local()]

    async def healed(self) -> None:
        """Mend the wires, and wait until the cluster is one and quiet."""
        await self.wires.heal()
        await self.horde.all_see(dict.fromkeys("abc", "alive"))
        once = dict.fromkeys(self.diaries.values(), 1)
        await until(lambda: self.horde.running() == once, "one process of each name is left")
        await self.horde.converged()

    async def write(self, node: str, name: str, entry: str) -> None:
        ref = self.nodes[node].ref(name, Diary).options(timeout=30)
        await ref.write(entry)

    async def read(self, node: str, name: str) -> dict[str, Any]:
        return await self.nodes[node].ref(name, Diary).options(timeout=30).read()


@pytest.fixture
async def torn(horde: Horde) -> Torn:
    wires = Wires()
    horde.options["runtime"] = RuntimeConfig(replicate_timeout=30.0)
    for name in "abc":
        await horde.start(name, world=wires.world(name))
    await horde.all_see(dict.fromkeys("abc", "alive"))
    Diary.ended.clear()
    diaries = {name: name_at(node, Diary, f"diary-{name}-") for name, node in horde.nodes.items()}
    for diary in diaries.values():
        await horde.nodes["a"].start_child(Diary, diary)
    return Torn(horde, wires, dict(horde.nodes), diaries)


async def test_both_sides_go_on_and_after_the_heal_one_process_has_everything(torn: Torn):
    for name in torn.diaries.values():
        await torn.write("a", name, "before")
    await torn.apart()
    for name in torn.diaries.values():
        await asyncio.gather(torn.write("b", name, "from ab"), torn.write("c", name, "from c"))
    await torn.healed()
    for home, name in torn.diaries.items():
        diary = await torn.read("a", name)
        winner = diary["node"]
        assert (winner == "c") == (home != "c"), "the side that took over has the higher epoch"
        theirs = "from ab" if winner == "c" else "from c"
        assert sorted(diary["entries"]) == ["before", "from ab", "from c"]
        assert diary["merges"] == [{"kind": "conflict", "entries": ["before", theirs]}]
        assert [await torn.read(node, name) for node in "bc"] == [diary] * 2
        (reason,) = [why for (ended, _), why in Diary.ended.items() if ended == name]
        assert reason.startswith(f"superseded by {winner} at epoch ")


async def test_a_call_under_way_when_its_owner_falls_silent_is_answered_by_the_next_one(
    torn: Torn,
):
    name = torn.diaries["c"]
    numbers = itertools.count()
    written: list[str] = []
    over = asyncio.Event()

    async def stream(node: str) -> None:
        while not over.is_set():
            entry = f"{node}{next(numbers)}"
            await torn.write(node, name, entry)
            written.append(entry)

    async with asyncio.TaskGroup() as streams:
        for node in "ababab":
            streams.create_task(stream(node))
        await until(lambda: len(written) > 30, "it is written to")
        await torn.apart()
        reached = len(written) + 12
        await until(lambda: len(written) > reached, "it is written to again")
        over.set()
    assert sorted((await torn.read("a", name))["entries"]) == sorted(written)


async def test_nothing_acknowledged_during_the_heal_is_lost_or_written_twice(torn: Torn):
    """A call that runs on the loser just when the winner is heard of may stay undecided."""
    await torn.apart()
    written: dict[str, list[str]] = {name: [] for name in torn.diaries.values()}
    undecided: dict[str, set[str]] = {name: set() for name in written}
    over = asyncio.Event()

    async def stream(node: str, name: str) -> None:
        n = 0
        while not over.is_set():
            n += 1
            try:
                await torn.write(node, name, f"{node}{n}")
            except Indeterminate:
                undecided[name].add(f"{node}{n}")
            else:
                written[name].append(f"{node}{n}")
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as streams:
        for node, name in itertools.product("abc", written):
            streams.create_task(stream(node, name))
        await until(lambda: min(map(len, written.values())) > 20, "all are written to")
        await torn.healed()
        over.set()
    for name, entries in written.items():
        diary = await torn.read("a", name)
        assert sorted(set(diary["entries"]) - undecided[name]) == sorted(entries)
        assert len(diary["entries"]) == len(set(diary["entries"]))
        assert len(diary["merges"]) == 1


async def test_what_one_side_ended_is_gone_and_what_one_side_started_is_there(torn: Torn):
    await torn.apart()
    await torn.nodes["a"].supervisor.terminate_child(torn.diaries.pop("a"))
    await torn.nodes["a"].start_child(Diary, "new-ab")
    await torn.nodes["c"].start_child(Diary, "new-c")
    torn.diaries |= {"new-ab": "new-ab", "new-c": "new-c"}
    await torn.healed()
    for node in torn.nodes.values():
        names = [child.name for child in node.supervisor.which_children()]
        assert names == sorted(torn.diaries.values())


async def test_a_name_that_both_sides_started_ends_up_with_one_process(torn: Torn):
    await torn.apart()
    for node in "ac":
        await torn.nodes[node].start_child(Diary, "same")
        await torn.write(node, "same", f"from {node}")
    torn.diaries["same"] = "same"
    await torn.healed()
    diary = await torn.read("b", "same")
    assert sorted(diary["entries"]) == ["from a", "from c"]
    assert len(diary["merges"]) == 1


async def test_metadata_of_both_sides_is_there_and_the_last_writer_wins(torn: Torn):
    await torn.apart()
    a, c = torn.nodes["a"].registry, torn.nodes["c"].registry
    a.put_meta("only-a", 1)
    c.put_meta("only-c", 2)
    a.put_meta("both", "first")
    await asyncio.sleep(0.01)
    c.put_meta("both", "second")
    await torn.healed()
    for node in torn.nodes.values():
        found = [node.registry.meta(key, None) for key in ("only-a", "only-c", "both")]
        assert found == [1, 2, "second"]


async def test_it_can_happen_again(torn: Torn):
    for n in range(2):
        await torn.apart()
        for name in torn.diaries.values():
            await torn.write("a", name, f"ab-{n}")
            await torn.write("c", name, f"c-{n}")
        await torn.healed()
    expected = sorted(f"{side}-{n}" for n in range(2) for side in ("ab", "c"))
    for name in torn.diaries.values():
        diary = await torn.read("b", name)
        assert sorted(diary["entries"]) == expected
        assert len(diary["merges"]) == 2


async def test_a_cut_between_two_nodes_that_a_third_bridges_loses_nobody(torn: Torn):
    """a and c do not hear each other, but both hear b."""
    torn.wires.split({"a"}, {"c"})
    suspected = asyncio.create_task(torn.nodes["b"].cluster_parts.acks.changed(30))
    assert await suspected, "somebody finds that it cannot hear the other"
    for name in torn.diaries.values():
        await torn.write("b", name, "through b")
    assert torn.horde.running() == dict.fromkeys(torn.diaries.values(), 1)
    assert torn.lost("a") == torn.lost("b") == torn.lost("c") == set()
    await torn.healed()


async def test_a_successor_of_a_node_that_fell_silent_is_let_in_before_that_counts_as_dead(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    """A machine lost its power, and its node is started on another one at once: who has the name
    still counts as alive, and the successor must not take that for the truth and stop."""
    wires = Wires()
    slow = replace(QUICK, probe_interval=10.0, probe_timeout=5.0)  # the death is noticed too late
    for name in ("a", "b", "lost"):
        await horde.start(name, world=wires.world(name), membership=slow)
    wires.split({"lost"}, {"a", "b"})
    lost = horde.nodes.pop("lost")
    successor = horde.make(
        "lost", world=wires.world("elsewhere"), peers=[horde.live[0].config.bind]
    )
    starting = asyncio.create_task(successor.start())
    refusals = lambda: [r for r in caplog.records if r.message == "handshake_refused"]  # noqa: E731
    await until(lambda: len(refusals()) >= 2, "it was refused, and came again")
    assert not starting.done()
    assert horde.live[0].view.by_name["lost"].boot == lost.view.me.boot
    await lost.aclose()  # its connections end, as the kernel would end them
    await starting
    assert horde.live[0].view.by_name["lost"].boot == successor.view.me.boot
