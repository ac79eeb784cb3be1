"""Nodes that do not run while their machines do: blocked in a handler, or stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from asyncio import Task
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from tests.netns.nodes import BLOCKER, DEADLINE, Horde
from tests.netns.scene import Scene
from tests.netns.truth import Truth

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

NOTICED = 5.0
"""Seconds until everybody calls a silent node stalled whose machine goes on."""
LIMIT = 15.0
"""Seconds without a sign of life after which a stalled node is given up (``stall_limit``)."""
PATIENCE = 10.0
"""Seconds for which it is not given up in any case: its last sign is older than the signal."""
CAUGHT_UP = 2.0
"""Seconds more for those who take over, to ask the others for newer copies."""
BUSY = 5.0
"""Seconds more, on a machine that is busy with other things."""
BLOCKED = 8.0
STOPPED = 20.0
BACK = 5.0
"""Seconds until a node that goes on is a member again."""
BLOCKERS = tuple(f"blocker-{n:02d}" for n in range(10))


# ---- blocked -------------------------------------------------------------------------------------


async def test_nodes_that_block_in_a_handler_are_stalled_and_nothing_moves(met: Horde):
    truth = Truth(met)
    homes = await begin(met, truth)
    (sleeper, _), (burner, _) = Counter(homes.values()).most_common(2)
    others = [name for name in met.names if name not in (sleeper, burner)]
    began = time.time()
    handlers = {sleeper: "sleep_through", burner: "burn_through"}
    blocked = [
        asyncio.create_task(call(met, others[0], one_of(homes, node), handler, BLOCKED))
        for node, handler in handlers.items()
    ]
    stalled = partial(not_stalled, met, handlers, others)
    await met.until(stalled, "all others see both stalled", NOTICED + BUSY)
    print(f"stalled after {time.time() - began:.1f} s")
    first = await ages(met, handlers, others)
    served = [name for name, home in homes.items() if home in others]
    for node in others:
        counted = [await call(met, node, name, "count") for name in served]
        assert [status for status, _ in counted] == [200] * len(served), counted
    assert not await stalled()
    second = await ages(met, handlers, others)
    passed = time.time() - began
    assert all(0 <= first[seen] < second[seen] < passed for seen in first), (first, second, passed)

    assert [await each for each in blocked] == [
        (200, {"result": "awake"}),
        (200, {"result": "burnt"}),
    ]
    await met.until(truth.not_met, "all nodes see each other alive again", BACK + BUSY)
    print(f"met again after {time.time() - began:.1f} s")
    assert not await truth.moved(homes)
    for what in ("member_dead", "adopted"):
        assert not met.logs.events(what, began)
    for node, handler in handlers.items():
        await tells_what_blocked_it(met, node, handler, began)
    assert not met.logs.complaints()


async def begin(horde: Horde, truth: Truth) -> dict[str, str]:
    """Start the blockers, and see where they are."""
    for number, name in enumerate(BLOCKERS):
        body = {"type": BLOCKER, "name": name}
        node = horde.names[number % len(horde.names)]
        status, answer = await horde.ask(node, "POST", "/v1/processes", body, DEADLINE)
        assert status == 201, answer
    return await truth.homes()


def one_of(homes: dict[str, str], node: str) -> str:
    return next(name for name, home in homes.items() if home == node)


async def call(horde: Horde, node: str, name: str, method: str, *args: Any) -> tuple[int, Any]:
    body = {"method": method, "args": args, "timeout": DEADLINE}
    return await horde.ask(node, "POST", f"/v1/processes/{name}/call", body, DEADLINE)


async def tells_what_blocked_it(horde: Horde, node: str, handler: str, since: float) -> None:
    """Its log has said so while it lasted, and its status says so afterwards."""
    events = [e for e in horde.logs.events("loop_blocked", since) if e.node == node]
    assert any(f"in {handler}" in event["stack"] for event in events), events
    assert events[0].at < since + BLOCKED
    status, body = await horde.ask(node, "GET", "/v1/status")
    assert status == 200
    loop = body["loop"]
    assert loop["blockages"] >= 1
    assert loop["lag_ms"] > 1000 * BLOCKED / 2
    assert loop["last"]["seconds"] > BLOCKED / 2
    assert f"in {handler}" in loop["last"]["stack"]


# ---- stopped -------------------------------------------------------------------------------------


async def test_nodes_that_stand_still_for_too_long_are_replaced_once_and_serve_nothing_stale(
    scene: Scene,
):
    """One of the two loses power on top of it, and is given up sooner."""
    horde = scene.horde
    quiet = await begin(horde, scene.truth)
    quiet = {name: quiet[name] for name in BLOCKERS}
    scene.names += BLOCKERS
    (stopped, _), (lost, _) = Counter(quiet.values()).most_common(2)
    others = "".join(name for name in horde.names if name not in (stopped, lost))
    for name in quiet:
        assert await call(horde, others[0], name, "count") == (200, {"result": 1})
    homes = await scene.begin()
    for name in (stopped, lost):
        horde.nodes[name].send(signal.SIGSTOP)
    stalled = partial(not_stalled, horde, (stopped, lost), others)
    await horde.until(stalled, "all others see both stalled", NOTICED + BUSY)
    scene.note("stalled")
    scene.hosts.silence(lost)
    await scene.runs_on(others, within=LIMIT + CAUGHT_UP + BUSY)
    for name in (stopped, lost):
        assert scene.note_events("member_dead", name) == len(others)
    deaths = horde.logs.events("member_dead", scene.began)
    assert [event["member"] for event in deaths] == [lost] * len(others) + [stopped] * len(others)
    adopted = horde.logs.events("adopted", scene.began)
    orphans = Counter(name for name, home in homes.items() if home in (stopped, lost))
    assert Counter(event["name"] for event in adopted) == orphans
    assert min(e.at for e in adopted if e["from"] == stopped) > scene.began + PATIENCE
    await scene.is_written(others)

    mine = [name for name, home in quiet.items() if home == stopped]
    for name in mine:
        assert await call(horde, others[0], name, "count") == (200, {"result": 2})
    await asyncio.sleep(scene.began + STOPPED - time.time())

    async with AsyncExitStack() as waiting:
        asked = [await waiting.enter_async_context(asking(scene, stopped, name)) for name in mine]
        scene.figures["dropped"] = scene.hosts.heal()
        for name in (stopped, lost):
            horde.nodes[name].send(signal.SIGCONT)
        going_on = time.monotonic()
        answers: list[tuple[int, Any]] = []
        more = asyncio.create_task(keep_asking(horde, stopped, mine, answers))
        await horde.until(scene.truth.not_met, "all are members again", BACK + BUSY)
        scene.figures["member again after"] = time.monotonic() - going_on
        more.cancel()
        answers += [await each for each in asked]
    await scene.end()
    assert 200 in {status for status, _ in answers}
    stale = [body for status, body in answers if status == 200 and body["result"] < 2]
    assert not stale, f"{stopped} knows nothing of what others have done meanwhile: {stale}"


async def keep_asking(
    horde: Horde, node: str, names: Iterable[str], answers: list[tuple[int, Any]]
) -> None:
    """Go on with the same questions."""
    for name in cycle(names):
        answers.append(await horde.ask(*about(node, name)))  # noqa: PERF401 - it is cut off


def about(node: str, name: str) -> tuple[str, str, str, dict[str, Any], float]:
    """A question to this node for the state of this process."""
    return node, "POST", f"/v1/processes/{name}/call", {"method": "counted", "timeout": 2.0}, 3.0


@asynccontextmanager
async def asking(scene: Scene, node: str, name: str) -> AsyncIterator[Task[tuple[int, Any]]]:
    """The same question on its way: the node has it as soon as it runs. Gives the answer."""
    host, _, port = scene.hosts.addresses[node].partition(":")
    _, _, path, body, timeout = about(node, name)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    sock = scene.hosts.socket(node, socket.AF_INET, socket.SOCK_STREAM, 0)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(head.encode() + data)
    await writer.drain()
    answer = asyncio.create_task(answered(reader, timeout))
    try:
        yield answer
    finally:
        answer.cancel()
        writer.close()


async def answered(reader: asyncio.StreamReader, timeout: float) -> tuple[int, Any]:
    """Status and JSON; status 0 without an answer."""
    try:
        async with asyncio.timeout(timeout):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), json.loads(body)
    except (OSError, TimeoutError, IndexError):
        return 0, None


# ---- what others say -----------------------------------------------------------------------------


async def not_stalled(horde: Horde, nodes: Iterable[str], others: Iterable[str]) -> str:
    """Which of these others does not call all of these nodes stalled; empty if all do."""
    for other, rows in (await members(horde, others)).items():
        seen = {name: rows.get(name, {}).get("state") for name in nodes}
        if set(seen.values()) != {"stalled"}:
            return f"{other} sees {seen}"
    return ""


async def ages(
    horde: Horde, nodes: Iterable[str], others: Iterable[str]
) -> dict[tuple[str, str], float]:
    """For how long each of these others has called each of these nodes what it is."""
    seen = await members(horde, others)
    return {(other, name): seen[other][name]["since"] for other in others for name in nodes}


async def members(horde: Horde, nodes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What these nodes see, by the names of the members."""
    answers = await horde.ask_all("/v1/members", nodes)
    return {
        node: {row["name"]: row for row in body["members"]} if body else {}
        for node, body in answers.items()
    }
