"""How soon nodes on hosts of their own notice what happens to each other, and what that costs.

::

    python benchmarks/hosts.py [--hosts 3,5] [--rounds 20] [--restarts 50] [--partition-minutes 10]
                               [--only idle,silent,kill,loss,oneway,bridge,restart,partition]
                               [--seed N] [--logs DIR]

Hosts are network namespaces with a switch between them (``tests/netns/hosts.py``), so this needs
root, iproute2 and nftables on Linux. Each node is the real command, and runs some of twelve
``replicated`` processes. Times are read from the nodes' logs. One line for each figure: what, how
much, the unit, the goal, and whether it is met. Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.netns.hosts import Hosts, Unavailable  # noqa: E402 - also where it is run as a script
from tests.netns.nodes import APP, Horde  # noqa: E402
from tests.netns.truth import Truth  # noqa: E402

NAMES = tuple(f"ledger-{n:02d}" for n in range(12))
RESTART = 0.2
"""Seconds between a kill and the next start."""
PATIENCE = 5.0
"""Seconds one try of a call may take."""
LOOK = 0.05
LONG = 120.0
"""Seconds after which whatever is still waited for counts as failed."""
IDLE, LOSSY, CUT = 60.0, 60.0, 30.0
"""Seconds that nothing happens, that frames get lost, that cables are cut."""
LOST_PERCENT = 20
SIDES = {3: ("a", "bc"), 5: ("ab", "cde")}
BRIDGED = {3: ("a", "c"), 5: ("ab", "de")}
"""Sides that do not reach each other; whoever is on neither reaches both."""


# ---- the table -------------------------------------------------------------------------------


@dataclass
class Table:
    """Prints figures as they come; remembers what was missed."""

    size: int = 0
    met: int = 0
    missed: list[str] = field(default_factory=list)

    def row(self, what: str, value: float, unit: str, goal: float | None = None) -> None:
        """One figure; ``goal``: what it should be at most."""
        verdict = ""
        if goal is not None:
            verdict = "met" if value <= goal else "MISSED"
            self.met += value <= goal
            self.missed += [f"{self.size} hosts: {what}"] if value > goal else []
        number = f"{value:.0f}" if unit == "" else f"{value:.2f}"
        wanted = "" if goal is None else f"<= {goal:g}"
        line = f"{self.size} hosts  {what:<62} {number:>7} {unit:<2} {wanted:>8}  {verdict}"
        print(line.rstrip(), flush=True)

    def spread(self, what: str, seconds: list[float], *goals: float) -> None:
        """The median and the longest of some times, and their goals."""
        middle, longest = goals or (None, None)
        self.row(f"{what}, p50", statistics.median(seconds), "s", middle)
        self.row(f"{what}, max of {len(seconds)}", max(seconds), "s", longest)

    def summary(self) -> str:
        missed = f", {len(self.missed)} missed: {'; '.join(self.missed)}" if self.missed else ""
        return f"{self.met} goals met{missed}"


# ---- a cluster -------------------------------------------------------------------------------


class Cluster:
    """Nodes on hosts, and their processes. Leaving the context removes all of it."""

    def __init__(self, size: int, folder: Path, seed: int) -> None:
        self.size = size
        self.hosts = Hosts(*"abcde"[:size])
        self.horde = Horde(self.hosts, folder)
        self.truth = Truth(self.horde)
        self.rng = random.Random(seed)
        self.began = 0.0
        """When the fault began, in seconds of the wall clock."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self.hosts.close)
            self.hosts.open()
            await stack.enter_async_context(self.horde)
            for node in self.horde.nodes.values():
                await node.boot()
            await self.met()
            await asyncio.gather(*map(self._begin, NAMES))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _begin(self, name: str) -> None:
        node = self.rng.choice(self.horde.names)
        body = {"type": APP, "name": name}
        status, answer = await self.horde.ask(node, "POST", "/v1/processes", body, LONG)
        if status != 201:
            raise SystemExit(f"{name} could not be started: HTTP {status} {answer}")

    async def met(self) -> None:
        """Wait until all nodes see each other alive."""
        await self.until(self.truth.not_met, "all nodes see each other alive")

    async def settled(self) -> None:
        """Wait until all have met and each process runs once."""
        await self.met()
        alone = partial(self.truth.not_running, NAMES)
        await self.until(alone, "each process runs once")

    async def rested(self) -> None:
        """Wait until nobody doubts its own health, as after a fault; and a random moment more."""

        async def complaint() -> str:
            answers = await self.horde.ask_all("/v1/status")
            scores = {node: body and body["health"] for node, body in answers.items()}
            return "" if set(scores.values()) == {0} else f"health is {scores}"

        await self.until(complaint, "every node is well")
        await asyncio.sleep(self.rng.uniform(1, 3))

    async def until(self, complaint: Callable[[], Awaitable[str]], what: str) -> None:
        start = time.monotonic()
        while said := await complaint():
            if time.monotonic() - start > LONG:
                raise SystemExit(f"not within {LONG:g} s: {what}; {said}")
            await asyncio.sleep(LOOK)

    def fault(self) -> float:
        """The fault begins now."""
        self.began = time.time()
        return self.began

    def others(self, *gone: str) -> list[str]:
        return [name for name in self.horde.names if name not in gone]

    def count(self, event: str) -> int:
        """How often this was logged since the fault began."""
        return len(self.horde.logs.events(event, self.began))

    async def dead(self, victim: str) -> float:
        """Wait until every survivor holds it for dead; returns when the last one came to it."""
        others = self.others(victim)

        async def complaint() -> str:
            seen = {}
            for node, body in (await self.horde.ask_all("/v1/members", others)).items():
                rows = body["members"] if body else []
                seen[node] = next((r["state"] for r in rows if r["name"] == victim), "?")
            return "" if set(seen.values()) == {"dead"} else f"{victim} is {seen}"

        await self.until(complaint, f"{victim} is dead")
        verdicts = self.horde.logs.events("member_dead", self.began)
        first: dict[str, float] = {}
        for each in verdicts:
            if each["member"] == victim and each.node in others:
                first.setdefault(each.node, each.at)
        return max(first.values())

    async def answers(self, name: str, through: list[str]) -> float:
        """Write into it until that is acknowledged; returns when."""
        entry = f"{name}-{self.rng.randrange(10**9)}"
        body = {"method": "add", "args": [entry], "timeout": PATIENCE, "request_id": entry}
        while True:
            node = self.rng.choice(through)
            path = f"/v1/processes/{name}/call"
            status, _ = await self.horde.ask(node, "POST", path, body, PATIENCE + 1)
            if status == 200:
                return time.time()
            if time.time() - self.began > LONG:
                raise SystemExit(f"{name} does not answer through {through}")
            await asyncio.sleep(LOOK)

    async def boot_of(self, node: str, name: str) -> str:
        """Which boot of this member the node sees alive; empty if none."""
        status, body = await self.horde.ask(node, "GET", "/v1/members")
        rows = body["members"] if status == 200 else []
        alive = (r["boot"] for r in rows if r["name"] == name and r["state"] == "alive")
        return next(alive, "")


# ---- what happens ----------------------------------------------------------------------------


async def idle(made: Cluster, table: Table, _: argparse.Namespace) -> None:
    """CPU time of each node while nobody wants anything."""
    await asyncio.sleep(5)
    before = [seconds_of(node.pid) for node in made.horde.nodes.values()]
    began = time.monotonic()
    await asyncio.sleep(IDLE)
    passed = time.monotonic() - began
    after = [seconds_of(node.pid) for node in made.horde.nodes.values()]
    shares = [100 * (b - a) / passed for a, b in zip(before, after, strict=True)]
    table.row(f"idle for {IDLE:g} s: a node's share of a core, most", max(shares), "%", 0.5)
    table.row(f"idle for {IDLE:g} s: a node's share of a core, least", min(shares), "%")


def seconds_of(pid: int) -> float:
    """CPU time that an OS process has had."""
    stat = Path("/proc", str(pid), "stat").read_text(encoding="utf-8")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def silent(made: Cluster, table: Table, given: argparse.Namespace) -> None:
    """Everything from and to a host is dropped."""
    noticed = []
    for _ in range(given.rounds):
        victim = made.rng.choice(made.horde.names)
        await made.rested()
        made.fault()
        made.hosts.silence(victim)
        began = time.time()
        noticed.append(await made.dead(victim) - began)
        made.hosts.heal()
        await made.settled()
    table.spread("silent host: every survivor says dead after", noticed, 6.5, 8.5)


async def kill(made: Cluster, table: Table, given: argparse.Namespace) -> None:
    """kill -9 of the node that runs most."""
    noticed, first, last = [], [], []
    for _ in range(given.rounds):
        homes = await made.truth.homes()
        victim = await made.truth.busiest()
        moved = [name for name, home in homes.items() if home == victim]
        others = made.others(victim)
        await made.rested()
        began = made.fault()
        calls = asyncio.gather(*(called_after_kill(made, name, others) for name in moved))
        await made.horde.nodes[victim].kill()
        noticed.append(await made.dead(victim) - began)
        times = await calls
        first.append(min(times) - began)
        last.append(max(times) - began)
        await made.horde.nodes[victim].boot()
        await made.settled()
    table.spread("kill -9: every survivor says dead after", noticed, 1.0, 1.5)
    table.spread("kill -9: a call to a moved process answers after", first)
    table.spread("kill -9: calls to all moved processes answer after", last)


async def called_after_kill(made: Cluster, name: str, through: list[str]) -> float:
    await asyncio.sleep(0.01)  # the kill is under way
    return await made.answers(name, through)


async def loss(made: Cluster, table: Table, _: argparse.Namespace) -> None:
    """A part of all frames is dropped."""
    made.fault()
    made.hosts.lose(LOST_PERCENT)
    await asyncio.sleep(LOSSY)
    made.hosts.heal()
    what = f"{LOST_PERCENT} % loss for {LOSSY:g} s"
    table.row(f"{what}: false suspicions seen", made.count("member_suspect"), "")
    table.row(f"{what}: deaths", made.count("member_dead"), "", 0)
    await made.settled()


async def oneway(made: Cluster, table: Table, _: argparse.Namespace) -> None:
    """Nothing gets from one host to another, everything gets back."""
    cables = [("b", "a")]
    await harmless(made, table, "one-way loss of a pair", partial(made.hosts.cut, cables))


async def bridge(made: Cluster, table: Table, _: argparse.Namespace) -> None:
    """One host reaches both halves, which do not reach each other."""
    sides = BRIDGED[made.size]
    await harmless(made, table, "a host between two halves", partial(made.hosts.split, *sides))


async def harmless(made: Cluster, table: Table, what: str, begin: Callable[[], None]) -> None:
    """A fault for which nobody should die or lose a process."""
    homes = await made.truth.homes()
    made.fault()
    begin()
    await asyncio.sleep(CUT)
    made.hosts.heal()
    table.row(f"{what} for {CUT:g} s: false suspicions seen", made.count("member_suspect"), "")
    table.row(f"{what} for {CUT:g} s: deaths", made.count("member_dead"), "", 0)
    after = await made.truth.homes()
    moves = sum(after.get(name) != home for name, home in homes.items())
    moves = max(moves, made.count("adopted"))
    table.row(f"{what} for {CUT:g} s: moves", moves, "", 0)
    await made.settled()


async def restart(made: Cluster, table: Table, given: argparse.Namespace) -> None:
    """kill -9, and the same name is started again at once."""
    listening, accepted, lost = [], [], 0
    for _ in range(given.restarts):
        victim = made.rng.choice(made.horde.names)
        node = made.horde.nodes[victim]
        former = await made.boot_of(victim, victim)
        made.fault()
        await node.kill()
        await asyncio.sleep(RESTART)
        began = time.monotonic()
        await node.boot()
        await made.until(partial(not_listening, made, victim), f"{victim} listens")
        listening.append(time.monotonic() - began)
        await made.until(partial(not_accepted, made, victim, former), f"{victim} is let in")
        accepted.append(time.monotonic() - began)
        await made.settled()
        lost += len(set(NAMES) - (await made.truth.homes()).keys())
    joining = [all_of - start for start, all_of in zip(listening, accepted, strict=True)]
    table.spread("restarted 0.2 s after kill -9: let in and ready after", accepted, 2.0, 2.0)
    table.spread("of that from when it listens", joining)
    table.row(f"{given.restarts} restarts: names lost", lost, "", 0)


async def not_listening(made: Cluster, name: str) -> str:
    """Whether this node does not answer yet: Python is still starting."""
    status, why = await made.horde.ask(name, "GET", "/healthz")
    return "" if status == 200 else str(why)


async def not_accepted(made: Cluster, name: str, former: str) -> str:
    """Whether not every node sees this member alive at the same new boot."""
    if (await made.horde.ask(name, "GET", "/readyz"))[0] != 200:
        return f"{name} is not ready"
    boots = [await made.boot_of(node, name) for node in made.horde.names]
    return "" if len({*boots}) == 1 and boots[0] not in ("", former) else f"seen as {boots}"


async def partition(made: Cluster, table: Table, given: argparse.Namespace) -> None:
    """Two sides that do not reach each other, for long."""
    made.fault()
    made.hosts.split(*SIDES[made.size])
    await asyncio.sleep(given.partition_minutes * 60)
    made.hosts.heal()
    healed = time.monotonic()
    await made.met()
    one = time.monotonic() - healed
    await made.settled()
    what = f"partition of {given.partition_minutes:g} min"
    table.row(f"{what}: one cluster after", one, "s", 10.0)
    table.row(f"{what}: each process runs once after", time.monotonic() - healed, "s")


TRIALS: dict[str, Callable[[Cluster, Table, argparse.Namespace], Awaitable[None]]] = {
    "idle": idle,
    "silent": silent,
    "kill": kill,
    "loss": loss,
    "oneway": oneway,
    "bridge": bridge,
    "restart": restart,
    "partition": partition,
}


async def run(given: argparse.Namespace, folder: Path) -> Table:
    table = Table()
    for size in given.hosts:
        table.size = size
        logs = folder / str(size)
        logs.mkdir(parents=True, exist_ok=True)
        async with Cluster(size, logs, given.seed) as made:
            for trial in given.only:
                if trial != "idle" or size == 3:
                    await TRIALS[trial](made, table, given)
            for line in made.horde.logs.complaints()[:10]:
                print(f"  logged: {line}")
    return table


def chosen(known: Iterable[Any], kind: type) -> Callable[[str], list[Any]]:
    """An option that lists some of what is known, with commas."""

    def read(text: str) -> list[Any]:
        values = [kind(part) for part in text.split(",")]
        if wrong := [value for value in values if value not in known]:
            raise argparse.ArgumentTypeError(f"{wrong[0]} is none of {', '.join(map(str, known))}")
        return values

    return read


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--hosts", type=chosen(SIDES, int), default=[*SIDES])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--partition-minutes", type=float, default=10.0)
    parser.add_argument("--only", type=chosen(TRIALS, str), default=[*TRIALS])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--logs", type=Path, help="keep the nodes' logs in this directory")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="pyhorde-hosts-") as folder:
        try:
            table = asyncio.run(run(given, given.logs or Path(folder)))
        except Unavailable as why:
            print(f"cannot be measured here: {why}", file=sys.stderr)
            return 2
    print(table.summary())
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
