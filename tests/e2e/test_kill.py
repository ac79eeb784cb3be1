"""kill -9: the promise, from outside."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from benchmarks import kill_rounds
from tests.e2e.machines import Machines, until


async def test_after_kill_9_of_its_owner_a_process_answers_through_another_node(
    machines: Machines,
):
    nodes = await machines.up("a", "b", "c")
    await machines.start(nodes[0], "visits", 10)
    assert await machines.call(nodes[1], "visits", "increment") == 11
    owner = await machines.owner("visits")
    survivors = [node for node in nodes if node is not owner]
    await owner.kill()
    assert [await machines.call(node, "visits", "increment") for node in survivors] == [12, 13]
    await machines.all_see({owner.name: "dead"}, survivors)
    called = await machines.run("call", "visits", "get", node=survivors[0])
    assert (called.code, called.out) == (0, "13\n")

    await owner.boot()
    await machines.all_see(dict.fromkeys("abc", "alive"), nodes)
    assert await machines.call(owner, "visits", "get") == 13
    assert (await machines.run("start", kill_rounds.TYPE, "visits", node=owner)).code == 1


@pytest.mark.timeout(120)
async def test_a_node_that_stood_still_for_too_long_gives_way_when_it_goes_on(
    machines: Machines,
):
    nodes = machines.prepare("a", "b", "c")
    for node in nodes:
        node.options += ["--profile", "local"]
        await node.boot()
    await machines.all_see(dict.fromkeys("abc", "alive"), nodes)
    names = [f"n{n}" for n in range(12)]
    for name in names:
        await machines.start(nodes[0], name)
    still = await machines.owner("n0")
    others = [node for node in nodes if node is not still]
    still.send(signal.SIGSTOP)
    for count in (1, 2):
        calls = (machines.call(others[n % 2], name, "increment") for n, name in enumerate(names))
        assert await asyncio.gather(*calls) == [count] * 12
    still.send(signal.SIGCONT)
    await machines.all_see(dict.fromkeys("abc", "alive"), nodes)
    await until(lambda: runs_once(machines, names), "every name runs once")
    for node in nodes:
        assert [await machines.call(node, name, "get") for name in names] == [2] * 12
    assert "Traceback" not in still.err


async def runs_once(machines: Machines, names: list[str]) -> bool:
    found = []
    for node in machines.nodes.values():
        _, body = await machines.ask(node, "GET", "/v1/processes?local=1")
        found += [row["name"] for row in body["processes"]]
    return sorted(found) == sorted(names)


@pytest.mark.timeout(150)
async def test_rounds_of_kills_lose_no_name_and_run_none_twice(tmp_path: Path):
    done = await kill_rounds.run(names=60, rounds=3, seed=5, logs=tmp_path)
    assert len(done) == 3
    assert all(each.clean for each in done), done
