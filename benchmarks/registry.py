"""What the registry does with ten thousand to a million names, against what it is meant to do.

::

    python benchmarks/registry.py [--names 10000,30000,100000,300000,1000000] [--nodes 2,3,5,8]
                                  [--only P1,P9] [--repeat 3]

Real nodes over HTTP on this machine, each an OS process of its own (``registry_node.py``) that this
program talks to over a pipe. Names are 13 bytes long and have no value. Each figure is the median
of ``--repeat`` runs, with the lowest and the highest in brackets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODE = Path(__file__).with_name("registry_node.py")
NAME_BYTES = 13
GROWTH_NAMES = 120_000
HORDE_RATES = {10_000: "9.9", 30_000: "3.3"}
HORDE_LOOKUPS = {"local": "0.8", "remote": "50-75"}
HORDE_JOINS = {30_000: "2,000"}


class Worker:
    """One node in an OS process of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.address = ""

    async def ask(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"command": command, **arguments})
        self.process.stdin.write(line.encode() + b"\n")
        answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"node {self.name} has died")
        return json.loads(answer)


class Cluster:
    """Some workers that know each other."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    async def add(
        self, collect: int = 0, advertise: str | None = None, peers: list[str] | None = None
    ) -> dict[str, Any]:
        """One more node; ``collect``: the names it must hold to be counted as joined."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(NODE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        worker = Worker(f"n{len(self.workers)}", process)
        peers = peers or [other.address for other in self.workers]
        self.workers.append(worker)
        await asyncio.sleep(0.3 if collect else 0)
        started = await worker.ask(
            "start", name=worker.name, peers=peers, collect=collect, advertise=advertise
        )
        worker.address = started["address"]
        found: dict[str, Any] = started
        return found

    async def all(self, command: str, **arguments: Any) -> list[Any]:
        return list(await asyncio.gather(*(w.ask(command, **arguments) for w in self.workers)))

    async def register(self, names: int, registrars: int) -> dict[str, Any]:
        """Register so many names through so many nodes; until every node has all of them."""
        share = names // registrars
        names = share * registrars
        before = await self.all("figures")
        jobs = [
            worker.ask("register", count=share if number < registrars else 0, wait_for=names)
            for number, worker in enumerate(self.workers)
        ]
        done = await asyncio.gather(*jobs)
        after = await self.all("figures")
        seconds = max(d["ended"] for d in done) - min(d["began"] for d in done)

        def grown(what: str) -> list[float]:
            return [a[what] - b[what] for a, b in zip(after, before, strict=True)]

        peers = len(self.workers) - 1
        return {
            "rate": names / seconds,
            "over": sum(grown("sent_bytes")) / (names * peers) - NAME_BYTES,
            "cpu": sum(grown("cpu")) / names,
            "memory": max(grown("rss")) / names,
            "lag": [stall for d in done[registrars:] for stall in d["lag"]],
        }

    async def close(self) -> None:
        for worker in self.workers:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.wait()


@asynccontextmanager
async def cluster(nodes: int) -> AsyncIterator[Cluster]:
    made = Cluster()
    try:
        for _ in range(nodes):
            await made.add()
        await made.all("meet", members=nodes)
        yield made
    finally:
        await made.close()


# ---- the table -------------------------------------------------------------------------------


@dataclass
class Figure:
    """What is measured, in which unit, what it should be at least or at most, and Horde's figure.

    Horde 0.10 (delta_crdt 0.6, OTP 25), measured on a machine like this with its default settings.
    """

    what: str
    unit: str
    goal: float
    at_least: bool = False
    scale: float = 1.0
    horde: str = ""
    values: list[float] = field(default_factory=list)

    def show(self) -> str:
        values = sorted(value * self.scale for value in self.values)
        middle = statistics.median(values)
        met = middle >= self.goal if self.at_least else middle <= self.goal
        spread = f"[{values[0]:,.4g} .. {values[-1]:,.4g}]"
        goal = f"{'>=' if self.at_least else '<='} {self.goal:,.4g}" if self.goal else ""
        verdict = ("met" if met else "MISSED") if self.goal else ""
        figure = f"{self.what:<58} {middle:>11,.4g} {spread:<24} {self.unit:<5}"
        return f"{figure} {goal:<10} {self.horde:<10} {verdict}"


Rows = list[Figure]


async def rates(options: argparse.Namespace) -> Rows:
    """P1: names registered and converged, by number of names."""
    rows = []
    for registrars, who in ((1, "one node registers"), (3, "all register")):
        for names in options.names:
            what, horde = f"P1 {names:,} names, {who}", HORDE_RATES.get(names, "")
            row = Figure(what, "k/s", 300, at_least=True, scale=1e-3, horde=horde)
            rows.append(row)
            for _ in range(options.repeat):
                async with cluster(3) as made:
                    row.values.append((await made.register(names, registrars))["rate"])
            print(row.show(), flush=True)
    return rows


async def growth(options: argparse.Namespace) -> Rows:
    """P1: the same by number of nodes."""
    rows = []
    for nodes in options.nodes:
        what = f"P1 {GROWTH_NAMES:,} names, {nodes} nodes"
        rate = Figure(what, "k/s", 0, scale=1e-3)
        cpu = Figure(f"{what}: CPU of all nodes for a name", "us", 2 + nodes - 1, scale=1e6)
        rows += [rate, cpu]
        for _ in range(options.repeat):
            async with cluster(nodes) as made:
                found = await made.register(GROWTH_NAMES, nodes)
                rate.values.append(found["rate"])
                cpu.values.append(found["cpu"])
        print(rate.show(), cpu.show(), sep="\n", flush=True)
    return rows


async def visibility(options: argparse.Namespace) -> Rows:
    """P2: how long until a name is seen elsewhere."""
    rows = []
    for rate in (200, 5000):
        middle = Figure(
            f"P2 seen on the others, {rate:,} names/s: p50", "ms", 2, scale=1e3, horde="300"
        )
        late = Figure(f"P2 seen on the others, {rate:,} names/s: p99", "ms", 10, scale=1e3)
        rows += [middle, late]
        for _ in range(options.repeat):
            async with cluster(3) as made:
                first, *others = made.workers
                hearing = [asyncio.create_task(w.ask("hear", seconds=4.0)) for w in others]
                await asyncio.sleep(0.3)
                await first.ask("tell", rate=rate, seconds=3.0)
                delays = [d for heard in await asyncio.gather(*hearing) for d in heard]
                cuts = statistics.quantiles(delays, n=100)
                middle.values.append(cuts[49])
                late.values.append(cuts[98])
        print(middle.show(), late.show(), sep="\n", flush=True)
    return rows


async def lookups(options: argparse.Namespace) -> Rows:
    """P3: finding a name."""
    rows = {
        kind: Figure(f"P3 look-up of a {kind} name", "us", 1, scale=1e6, horde=horde)
        for kind, horde in HORDE_LOOKUPS.items()
    }
    async with cluster(3) as made:
        await made.register(30_000, 3)
        for _ in range(options.repeat):
            found = await made.workers[0].ask("lookup", rounds=20)
            for kind, row in rows.items():
                row.values.append(found[kind])
    print(*(row.show() for row in rows.values()), sep="\n", flush=True)
    return list(rows.values())


async def joins(options: argparse.Namespace) -> Rows:
    """P9: a node joins three others and holds all names."""
    rows = []
    for names, goal in ((30_000, 50), (100_000, 100), (1_000_000, 1500)):
        if names > max(options.names):
            continue
        what = f"P9 a node joins and holds {names:,} names"
        row = Figure(what, "ms", goal, scale=1e3, horde=HORDE_JOINS.get(names, ""))
        bare = Figure(f"{what}, less the start of an empty one", "ms", goal, scale=1e3)
        rows += [row, bare]
        for _ in range(options.repeat):
            async with cluster(3) as made:
                empty = (await made.add(collect=1))["held"]
                await made.all("meet", members=4)
                await made.register(names, 3)
                held = (await made.add(collect=names - names % 3))["held"]
                row.values.append(held)
                bare.values.append(held - empty)
        print(row.show(), bare.show(), sep="\n", flush=True)
    return rows


async def costs(options: argparse.Namespace) -> Rows:
    """P10, P11: memory and bytes, with the largest number of names."""
    names = max(options.names)
    memory = Figure(f"P10 memory for a name, of {names:,}", "B", 150)
    over = Figure("P11 bytes for a name and peer beyond the name", "B", 3)
    gone = Figure("P11 bytes for a removal and peer", "B", 9)
    idle = Figure("P11 bytes a second of an idle node", "B/s", 1500)
    for _ in range(options.repeat):
        async with cluster(3) as made:
            before = await made.all("figures")
            await asyncio.sleep(5)
            after = await made.all("figures")
            sent = [a["sent_bytes"] - b["sent_bytes"] for a, b in zip(after, before, strict=True)]
            idle.values.append(max(sent) / 5)
            found = await made.register(names, 1)
            memory.values.append(found["memory"])
            over.values.append(found["over"])
            some = min(names, 50_000)
            before = await made.all("figures")
            left = names - some
            jobs = [w.ask("unregister", wait_for=left) for w in made.workers[1:]]
            first = made.workers[0].ask("unregister", wait_for=left, count=some)
            await asyncio.gather(first, *jobs)
            after = await made.all("figures")
            sent = [a["sent_bytes"] - b["sent_bytes"] for a, b in zip(after, before, strict=True)]
            gone.values.append(sum(sent) / some / 2)
    rows = [memory, over, gone, idle]
    print(*(row.show() for row in rows), sep="\n", flush=True)
    return rows


async def stalls(options: argparse.Namespace) -> Rows:
    """P12: for how long the event loop does nothing else while names arrive.

    Two nodes, so that each has a core to itself: with more of them than cores what is measured is
    how the operating system shares these.
    """
    names = max(options.names)
    longest = Figure(f"P12 longest stall while {names:,} names arrive", "ms", 0, scale=1e3)
    often = Figure("P12 longest but for three times that a dict grows", "ms", 10, scale=1e3)
    for _ in range(options.repeat):
        async with cluster(2) as made:
            found = await made.register(names, 1)
            times = sorted(found["lag"], reverse=True) + [0.0] * 4
            longest.values.append(times[0])
            often.values.append(times[3])
    print(longest.show(), often.show(), sep="\n", flush=True)
    return [longest, often]


MEASURES: dict[str, Callable[[argparse.Namespace], Awaitable[Rows]]] = {
    "P1": rates,
    "nodes": growth,
    "P2": visibility,
    "P3": lookups,
    "P9": joins,
    "P10": costs,
    "P12": stalls,
}


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


async def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]
    parser.add_argument("--names", type=numbers, default=sizes, help="how many names, a,b,c")
    parser.add_argument("--nodes", type=numbers, default=[2, 3, 5, 8], help="how many nodes")
    every = ",".join(MEASURES)
    parser.add_argument("--only", default=every, help=f"which of {every}")
    parser.add_argument("--repeat", type=int, default=3, help="runs for each figure")
    options = parser.parse_args()
    head = (
        f"{'':<58} {'median':>11} {'lowest .. highest':<24} {'unit':<5} {'goal':<10} {'Horde':<10}"
    )
    print(head)
    rows = [row for each in options.only.split(",") for row in await MEASURES[each](options)]
    missed = [row.what for row in rows if row.show().endswith("MISSED")]
    print(f"\n{len(rows)} figures, {len(missed)} missed" + "".join(f"\n  {m}" for m in missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
