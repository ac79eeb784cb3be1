"""kill -9: the promise, from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kill_rounds
from tests.e2e.machines import Machines


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


@pytest.mark.timeout(150)
async def test_rounds_of_kills_lose_no_name_and_run_none_twice(tmp_path: Path):
    done = await kill_rounds.run(names=60, rounds=3, seed=5, logs=tmp_path)
    assert len(done) == 3
    assert all(each.clean for each in done), done
