"""Bad days for a simulated cluster, drawn from a seed, and what must hold after each.

Clients add entries to ledgers while nodes crash, go dark, stall, drain and are cut off from each
other. Which kinds of faults a seed has at all is drawn too. Afterwards every fault ends, the
cluster comes to rest, and: each name runs exactly once, no ended name runs, registries are equal,
and every acknowledged entry is in its ledger exactly once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pyhorde.errors import HordeError
from pyhorde.runtime.process import Process, Resume, call
from pyhorde.testing import SimCluster

LEDGERS = tuple(f"ledger-{i}" for i in range(8))
CLIENTS = 4
FAULTS = ("crash", "silent", "partition", "stall", "drain", "churn")


class Ledger(Process):
    """Keeps what it is given, in order; a merge keeps what either side had."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"entries": []}

    @call
    async def add(self, entry: str) -> int:
        self.state["entries"].append(entry)
        return len(self.state["entries"])

    @call
    async def entries(self) -> list[str]:
        entries: list[str] = self.state["entries"]
        return entries

    async def merge(self, other: Resume) -> None:
        mine = set(self.state["entries"])
        self.state["entries"] += [e for e in other.state["entries"] if e not in mine]


@dataclass
class Account:
    """What the clients were told."""

    acknowledged: dict[str, set[str]] = field(default_factory=lambda: {n: set() for n in LEDGERS})
    ended: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    over: bool = False


class Story:
    """One seed's day."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.rng = Random(f"{cluster.seed}/plan")
        self.account = Account()
        self.faults = [f for f in FAULTS if self.rng.random() < 0.6] or ["crash"]

    async def run(self) -> Account:
        await self.cluster.start_all()
        first = next(iter(self.cluster.machines))
        for name in LEDGERS:
            await self.on(first, lambda node, name=name: node.start_child(Ledger, name))
        clients = [asyncio.ensure_future(self.client(i)) for i in range(CLIENTS)]
        for step in range(2 + self.rng.randrange(4)):
            await asyncio.sleep(self.rng.uniform(0.5, 6))
            await self.fault(step)
        self.account.over = True
        await asyncio.gather(*clients)
        await self.cluster.settle()
        await self.audit()
        return self.account

    async def on(self, machine: str, work: Any) -> Any:
        return await self.cluster.on(machine, work(self.cluster.node(machine)))

    # ---- clients -----------------------------------------------------------------------------

    async def client(self, number: int) -> None:
        rng = Random(f"{self.cluster.seed}/client/{number}")
        count = 0
        while not self.account.over:
            await asyncio.sleep(rng.uniform(0.02, 0.4))
            count += 1
            name = LEDGERS[rng.randrange(len(LEDGERS))]
            if await self.add(rng, name, f"{number}-{count}"):
                self.account.acknowledged[name].add(f"{number}-{count}")

    async def add(self, rng: Random, name: str, entry: str) -> bool:
        """Try through one node after the other, always with the same request id."""
        end = self.cluster.loop.time() + 25
        while self.cluster.loop.time() < end and not self.account.over:
            machines = sorted(self.cluster.live)
            machine = machines[rng.randrange(len(machines))]
            try:
                if await self.add_through(machine, name, entry):
                    return True
            except LookupError as error:
                self.account.wrong.append(f"{error} at {machine}")
            except (HordeError, asyncio.CancelledError):
                await asyncio.sleep(0.05)
        return False

    async def add_through(self, machine: str, name: str, entry: str) -> bool:
        """False when the client's connection broke: its node is gone."""
        node = self.cluster.node(machine)
        calling = self.cluster.loop.run_as(
            self.cluster.machines[machine].key,
            node.router.call(name, "add", [entry], {}, timeout=10, request_id=entry),
        )
        while not calling.done():
            await asyncio.wait([calling], timeout=0.2)
            if self.cluster.machines[machine].node is not node:
                return False
        return calling.result() is not None

    # ---- faults ------------------------------------------------------------------------------

    async def fault(self, step: int) -> None:
        kind = self.faults[self.rng.randrange(len(self.faults))]
        live = sorted(self.cluster.live)
        victim = live[self.rng.randrange(len(live))]
        await getattr(self, kind)(victim, live, step)

    async def crash(self, victim: str, live: list[str], _: int, *, silent: bool = False) -> None:
        if len(live) < 2:
            return
        self.cluster.crash(victim, silent=silent)
        await asyncio.sleep(self.pick(0.01, 0.2, 1, 12))
        await self.cluster.restart(victim)
        await asyncio.sleep(self.pick(0.0, 2.0, 12))

    async def silent(self, victim: str, live: list[str], step: int) -> None:
        await self.crash(victim, live, step, silent=True)

    async def partition(self, _: str, live: list[str], __: int) -> None:
        side = self.rng.sample(live, 1 + self.rng.randrange(len(live) - 1))
        self.cluster.partition(side, [m for m in live if m not in side])
        await asyncio.sleep(self.pick(0.5, 3, 8, 15, 40))
        self.cluster.heal()
        met = await self.cluster.until(lambda: not self.cluster.apart(), 60)
        assert met, f"still apart: {self.cluster.apart()}"
        await asyncio.sleep(self.pick(0.0, 0.0, 20))

    async def stall(self, victim: str, _: list[str], __: int) -> None:
        self.cluster.stall(victim, self.pick(0.5, 3, 8, 20))
        await asyncio.sleep(self.rng.uniform(0, 25))

    async def drain(self, victim: str, live: list[str], _: int) -> None:
        if len(live) > 1:
            await self.cluster.drain(victim)
            await asyncio.sleep(self.pick(0.01, 1))
            await self.cluster.restart(victim)

    async def churn(self, victim: str, _: list[str], step: int) -> None:
        name = f"short-lived-{step}"
        try:
            await self.on(victim, lambda node: node.start_child(Ledger, name))
            await self.on(victim, lambda node: node.supervisor.terminate_child(name))
            self.account.ended.add(name)
        except HordeError:
            return

    def pick(self, *choices: float) -> float:
        return choices[self.rng.randrange(len(choices))]

    # ---- what must hold ----------------------------------------------------------------------

    async def audit(self) -> None:
        account, cluster = self.account, self.cluster
        running = cluster.running()
        assert not account.ended & running.keys(), "an ended name runs"
        machine = min(cluster.live)
        for name in LEDGERS:
            held = await self.on(
                machine, lambda n, name=name: n.router.call(name, "entries", [], {})
            )
            lost = account.acknowledged[name] - set(held)
            assert not lost, f"{name} lost {sorted(lost)} of {len(account.acknowledged[name])}"
            assert len(held) == len(set(held)), f"{name} holds an entry twice"
        assert not account.wrong, account.wrong
        assert not cluster.loop.failures, cluster.loop.failures


def run_seed(seed: int, nodes: int = 3) -> tuple[str, int]:
    """Run one seed; returns the trace's hash and the number of acknowledged entries."""
    found: dict[str, Any] = {}

    async def story(cluster: SimCluster) -> None:
        account = await Story(cluster).run()
        found["entries"] = sum(len(entries) for entries in account.acknowledged.values())
        found["hash"] = cluster.loop.trace_hash

    try:
        SimCluster.run(story, nodes=nodes, seed=seed, processes=[Ledger])
    except BaseException as error:
        error.add_note(f"replay: run_seed({seed}, nodes={nodes})")
        raise
    return found["hash"], found["entries"]


if __name__ == "__main__":
    import logging
    import sys

    logging.getLogger("pyhorde").setLevel(logging.CRITICAL + 1)
    first, last, size = (int(word) for word in sys.argv[1:4])
    failed = 0
    for number in range(first, last):
        try:
            print(number, *run_seed(number, size))
        except (AssertionError, HordeError) as problem:
            failed += 1
            print(number, "FAILED", problem)
    sys.exit(1 if failed else 0)
