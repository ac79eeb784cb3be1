"""The simulator's workloads, unchanged, on real nodes."""

from __future__ import annotations

import asyncio
import signal
from random import Random

import pytest

from pyhorde.testing import workloads
from tests.e2e.machines import Machines, until
from tests.e2e.over_http import OverHttp


async def at_rest(machines: Machines) -> bool:
    """Each process that should run does, on just one node."""
    running: list[str] = []
    for node in machines.nodes.values():
        _, body = await machines.ask(node, "GET", "/v1/processes?local=1")
        running += [row["name"] for row in body["processes"]]
    _, body = await machines.ask(machines.nodes["a"], "GET", "/v1/processes?limit=1000")
    return sorted(running) == sorted(row["name"] for row in body["processes"])


APPS = ",".join(f"{cls.__module__}:{cls.__name__}" for cls in workloads.processes())


@pytest.mark.timeout(150)
async def test_the_workloads_find_nothing_wrong_on_real_nodes_either(machines: Machines):
    nodes = await machines.up("a", "b", "c", app=APPS)
    down: set[str] = set()
    access = OverHttp(machines.nodes, lambda: sorted(machines.nodes.keys() - down))
    works = [kind(access, Random(i), f"w{i}-", 0.3) for i, kind in enumerate(workloads.ALL)]
    for work in works:
        await work.prepare()
    over = asyncio.Event()
    clients = [
        asyncio.create_task(work.work(number, over.is_set))
        for work in works
        for number in range(work.clients)
    ]
    await asyncio.sleep(2)
    down.add("b")
    await nodes[1].kill()
    await asyncio.sleep(2)
    await nodes[1].boot()
    await machines.all_see(dict.fromkeys("abc", "alive"), nodes)
    down.clear()
    nodes[2].send(signal.SIGSTOP)
    await asyncio.sleep(1)
    nodes[2].send(signal.SIGCONT)
    await asyncio.sleep(2)
    over.set()
    await asyncio.gather(*clients)
    await until(lambda: at_rest(machines), "every name runs once")
    for work in works:
        await work.audit()
    assert [problem for work in works for problem in work.problems] == []
    assert all(work.done > 3 for work in works)
    for work in works:
        await work.tidy()
    assert (await machines.run("ps", "--json", node=nodes[0])).out.count("w0-") == 0
