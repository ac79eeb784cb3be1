"""Kill one of three nodes, again and again, and look for names that are lost or run twice.

::

    python benchmarks/kill_rounds.py [--names 200] [--rounds 20] [--seed N] [--logs DIR]

Three nodes, each an OS process of its own, run ``--names`` counters. Every round all counters are
asked, through two of the nodes, for their next number, and ``kill -9`` hits the third in the middle
of it. Each request is repeated under its id until it is answered; the number must be the one that
follows the last acknowledged, so nothing is lost and nothing counted twice. Then the node is
started again, and what really runs in each node (``GET /v1/processes?local=1``) must be every name
exactly once. Nothing moves back to a node that returns, so one that is killed twice in a row runs
nothing: the column ``ran`` says how much there was to take over.

Prints one line a round; exit code 1 on any violation, and then the logs stay where it says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
TYPE = "examples.counter:Counter"
DEADLINE = 60.0
"""Seconds after which whatever is still waited for counts as failed."""
CONCURRENCY = 64
POLL = 0.02
LEAD = 0.05
"""The kill comes at a random moment of the first so many seconds of calls."""


class Violation(Exception):
    """The cluster broke its promise."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass
class Round:
    """What one round came to; times in seconds after the kill."""

    number: int
    killed: str
    ran: int
    survivors: list[str]
    killed_at: float = 0.0
    noticed: float = 0.0
    answered: float = 0.0
    rejoined: float = 0.0
    duplicates: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.duplicates or self.missing or self.wrong)

    def row(self) -> str:
        times = f"{self.noticed:8.2f}s {self.answered:9.2f}s {self.rejoined:9.2f}s"
        counts = f"{len(self.duplicates):11d} {len(self.missing):8d} {len(self.wrong):6d}"
        return f"{self.number:5d}  {self.killed:>6} {self.ran:5d} {times} {counts}"


HEADER = "round  killed   ran   noticed  answering  rejoined  duplicates  missing  wrong"


class Horde:
    """The nodes, and an HTTP session to talk to them. Leaving the context kills every node."""

    def __init__(
        self,
        logs: Path,
        names: tuple[str, ...] = ("a", "b", "c"),
        app: str = "examples.counter",
    ) -> None:
        self._app = app
        ports = free_ports(len(names))
        self.addresses = {n: f"127.0.0.1:{p}" for n, p in zip(names, ports, strict=True)}
        self.logs = logs
        self._nodes: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        for name in list(self._nodes):
            await self.kill(name)

    async def start(self, name: str) -> None:
        """Start the node's OS process; it is not ready yet."""
        peers = ",".join(a for n, a in self.addresses.items() if n != name)
        options = ["--name", name, "--bind", self.addresses[name], "--peers", peers]
        with (self.logs / f"{name}.log").open("ab") as log:
            self._nodes[name] = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "pyhorde", "node", *options],
                *["--app", self._app, "--log-format", "json"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={k: v for k, v in os.environ.items() if not k.startswith("PYHORDE_")},
                start_new_session=True,
            )

    async def kill(self, name: str) -> None:
        """``kill -9``, and wait until the OS process is gone."""
        node = self._nodes.pop(name, None)
        if node is not None:
            with suppress(ProcessLookupError):
                node.send_signal(signal.SIGKILL)
            await node.wait()

    @property
    def live(self) -> list[str]:
        return sorted(self._nodes)

    async def ask(self, node: str, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON answer; status 0 when the node could not be talked to."""
        url = f"http://{self.addresses[node]}{path}"
        try:
            async with self._session.request(verb, url, json=body) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, None

    async def sees(self, node: str, states: dict[str, str]) -> bool:
        """Whether the node is ready and believes of its members what is given."""
        status, body = await self.ask(node, "GET", "/v1/status")
        if status != 200 or body["state"] != "ready":
            return False
        seen = {member["name"]: member["state"] for member in body["members"]}
        return states.items() <= seen.items()

    async def all_see(self, states: dict[str, str]) -> None:
        """Wait until every live node does."""
        for node in self.live:
            await until(lambda node=node: self.sees(node, states), f"{node} sees {states}")

    async def local(self, node: str) -> list[str]:
        """The names of the processes really running in the node."""
        status, body = await self.ask(node, "GET", "/v1/processes?local=1&limit=10000")
        if status != 200:
            raise Violation(f"{node} does not list what it runs (HTTP {status})")
        return [process["name"] for process in body["processes"]]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for it. Raises ``Violation`` after ``DEADLINE``."""
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                if await condition():
                    return
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise Violation(f"not within {DEADLINE:g} s: {what}") from None


class Rounds:
    """The counters, what they must say next, and the rounds."""

    def __init__(self, horde: Horde, names: int, seed: int) -> None:
        self.horde = horde
        self.expected = {f"counter-{n:04d}": 0 for n in range(names)}
        self.rng = random.Random(seed)
        self._limit = asyncio.Semaphore(CONCURRENCY)

    async def prepare(self) -> None:
        """Start the nodes and the counters."""
        for name in self.horde.addresses:
            await self.horde.start(name)
        await self.horde.all_see(dict.fromkeys(self.horde.addresses, "alive"))
        await asyncio.gather(*map(self._begin, self.expected))

    async def _begin(self, name: str) -> None:
        async with self._limit:
            node = self.rng.choice(self.horde.live)
            body = {"type": TYPE, "name": name, "args": [0]}
            status, answer = await self.horde.ask(node, "POST", "/v1/processes", body)
            if status != 201:
                raise Violation(f"{name} could not be started: HTTP {status} {answer}")

    async def run(self, number: int) -> Round:
        """One kill and what follows."""
        killed = self.rng.choice(self.horde.live)
        ran = len(await self.horde.local(killed))
        result = Round(number, killed, ran, [n for n in self.horde.live if n != killed])
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._next(name, result)) for name in self.expected]
            await asyncio.sleep(self.rng.uniform(0, LEAD))
            result.killed_at = time.monotonic()
            await self.horde.kill(killed)
            group.create_task(self._noticed(result))
            await asyncio.wait(calls)
            result.answered = time.monotonic() - result.killed_at
        await self.horde.start(killed)
        await self.horde.all_see(dict.fromkeys(self.horde.addresses, "alive"))
        result.rejoined = time.monotonic() - result.killed_at
        await self._count(result)
        return result

    async def _noticed(self, result: Round) -> None:
        await self.horde.all_see({result.killed: "dead"})
        result.noticed = time.monotonic() - result.killed_at

    async def _next(self, name: str, result: Round) -> None:
        """Its next number, asked for until it answers: one request, one effect."""
        request_id = f"{name}-{result.number}"
        body = {"method": "increment", "request_id": request_id, "timeout": 5.0}
        deadline = time.monotonic() + DEADLINE
        want = self.expected[name] + 1
        status, answer = 0, None
        while time.monotonic() < deadline:
            async with self._limit:
                node = self.rng.choice(result.survivors)
                path = f"/v1/processes/{name}/call"
                status, answer = await self.horde.ask(node, "POST", path, body)
            if status not in (0, 503, 504):
                break
            await asyncio.sleep(POLL)
        got = answer["result"] if status == 200 else f"HTTP {status} {answer}"
        if got != want:
            result.wrong.append(f"{name} said {got}, not {want}")
        self.expected[name] = got if isinstance(got, int) else want

    async def _count(self, result: Round) -> None:
        lists = await asyncio.gather(*map(self.horde.local, self.horde.live))
        found = Counter(name for names in lists for name in names)
        result.duplicates = sorted(name for name, times in found.items() if times > 1)
        result.missing = sorted(self.expected.keys() - found.keys())
        result.wrong += sorted(f"{name} is unknown" for name in found.keys() - self.expected.keys())


async def run(names: int, rounds: int, seed: int, logs: Path) -> list[Round]:
    """All rounds; stops after the first one with a violation. Prints as it goes."""
    done: list[Round] = []
    async with Horde(logs) as horde:
        work = Rounds(horde, names, seed)
        started = time.monotonic()
        await work.prepare()
        print(f"{names} counters on 3 nodes after {time.monotonic() - started:.1f} s; seed {seed}")
        print(HEADER, flush=True)
        for number in range(1, rounds + 1):
            done.append(await work.run(number))
            print(done[-1].row(), flush=True)
            if not done[-1].clean:
                break
    return done


def report(done: list[Round]) -> None:
    """The times over all rounds, and what went wrong."""
    for what in ("noticed", "answered"):
        times = sorted(getattr(each, what) for each in done)
        print(f"{what}: median {statistics.median(times):.2f} s, longest {times[-1]:.2f} s")
    for each in done:
        for kind in ("duplicates", "missing", "wrong"):
            for found in getattr(each, kind):
                print(f"VIOLATION in round {each.number} ({each.killed} killed): {kind}: {found}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--logs", type=Path, help="keep the nodes' logs in this directory")
    given = parser.parse_args()
    logs = given.logs or Path(tempfile.mkdtemp(prefix="pyhorde-kill-rounds-"))
    logs.mkdir(parents=True, exist_ok=True)
    clean = False
    try:
        done = asyncio.run(run(given.names, given.rounds, given.seed, logs))
        report(done)
        clean = len(done) == given.rounds and all(each.clean for each in done)
    except* Violation as group:
        for violation in group.exceptions:
            print(f"VIOLATION: {violation}")
    finally:
        if clean and given.logs is None:
            shutil.rmtree(logs)
        else:
            print(f"logs: {logs}; seed {given.seed}")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
