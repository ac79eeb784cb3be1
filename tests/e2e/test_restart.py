"""kill -9, and the same name again before anybody can have missed it."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from typing import Any

import pytest

from tests.e2e.machines import Machine, Machines, until

RESTARTS = 5
RESTART = 0.2
NAMES = [f"n{n}" for n in range(9)]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_name_that_is_started_again_200_ms_after_kill_9_is_let_in_and_no_name_is_lost(
    machines: Machines,
):
    nodes = await machines.up("a", "b", "c")
    for number, name in enumerate(NAMES):
        await machines.start(nodes[number % 3], name)
    for count, node in enumerate(islice(cycle(nodes), RESTARTS), 1):
        former = (await member(machines, node, node.name))["boot"]
        await node.kill()
        await asyncio.sleep(RESTART)
        await node.boot()
        await until(lambda n=node, f=former: let_in(machines, n, f), f"{node.name} is let in")
        await until(lambda: run_once(machines), "every name runs once")
        counted = [await machines.call(node, name, "increment") for name in NAMES]
        assert counted == [count] * len(NAMES)
    await machines.all_see(dict.fromkeys("abc", "alive"), nodes)
    assert all("Traceback" not in node.err for node in nodes)


async def let_in(machines: Machines, node: Machine, former: str) -> bool:
    """Whether the node is ready, and all see it alive at the same new boot."""
    if (await machines.ask(node, "GET", "/readyz"))[0] != 200:
        return False
    rows = [await member(machines, each, node.name) for each in machines.nodes.values()]
    boots = {row["boot"] if row.get("state") == "alive" else former for row in rows}
    return len(boots) == 1 and former not in boots


async def member(machines: Machines, node: Machine, name: str) -> dict[str, Any]:
    """What the node says of this member; empty when it does not."""
    status, body = await machines.ask(node, "GET", "/v1/members")
    rows = body["members"] if status == 200 else []
    return next((row for row in rows if row["name"] == name), {})


async def run_once(machines: Machines) -> bool:
    found = []
    for node in machines.nodes.values():
        status, body = await machines.ask(node, "GET", "/v1/processes?local=1")
        found += [row["name"] for row in body["processes"]] if status == 200 else []
    return sorted(found) == NAMES
