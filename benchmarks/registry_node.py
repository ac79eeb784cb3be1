"""One node of ``benchmarks/registry.py``: takes commands as lines of JSON, answers in kind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pyhorde import NameTaken, Node, Process  # noqa: E402 - also where it is run as a script
from pyhorde.collector import tune_collector  # noqa: E402

BATCH = 4096


class Holder(Process):
    """Holds the names."""

    durability = "none"


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


class Lag:
    """The longest times for which the event loop did nothing else."""

    def __init__(self) -> None:
        self.longest: list[float] = []
        self._last = time.monotonic()

    def reset(self) -> None:
        self.longest = []
        self._last = time.monotonic()

    async def watch(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(0.001)
            late = time.monotonic() - self._last - 0.001
            if late > 0.003:
                self.longest = sorted([*self.longest, late], reverse=True)[:40]


class Commands:
    """What the benchmark can ask of a node."""

    def __init__(self) -> None:
        self.node: Any = None
        self.lag = Lag()
        self.made = 0
        self.mine = ""

    async def start(
        self, name: str, peers: list[str], collect: int = 0, advertise: str | None = None
    ) -> Any:
        began = time.monotonic()
        self.node = Node(
            name=name,
            bind="127.0.0.1:0",
            advertise=advertise,
            peers=peers,
            processes=[Holder],
        )
        await self.node.start()
        ready = time.monotonic()
        while self.node.registry.count() < collect:
            await asyncio.sleep(0.0005)
        held = time.monotonic()
        self.watching = asyncio.create_task(self.lag.watch())
        return {
            "address": self.node.config.advertise,
            "bound": self.node.config.bind,
            "ready": ready - began,
            "held": held - began,
            "count": self.node.registry.count(),
        }

    async def meet(self, members: int) -> Any:
        while len(self.node.view.present) < members:
            await asyncio.sleep(0.01)
        # A process for each node, on that node: names belong to processes.
        if not self.mine:
            self.mine = await self._own_process()
        await asyncio.sleep(0.5)
        return True

    async def _own_process(self) -> str:
        for number in range(1000):
            name = f"holder-{self.node.name}-{number}"
            if self.node._parts.home(name, Holder.__module__ + ":Holder") == self.node.name:
                await self.node.start_child(Holder, name)
                return name
        raise RuntimeError("no name is at home here")

    async def register(self, count: int, wait_for: int) -> Any:
        registry = self.node.registry
        node = int(self.node.name[1:])
        names = [f"u{node}:{number:010d}" for number in range(self.made, self.made + count)]
        self.made += count
        total = len(self.node.view.present) + wait_for
        self.lag.reset()
        began = time.monotonic()
        for start in range(0, count, BATCH):
            await registry.register_many(names[start : start + BATCH], self.mine)
        del names
        while registry.count() < total:
            await asyncio.sleep(0.001)
        return {"began": began, "ended": time.monotonic(), "lag": self.lag.longest}

    async def unregister(self, wait_for: int, count: int = 0) -> Any:
        registry = self.node.registry
        total = len(self.node.view.present) + wait_for
        keys = registry.keys(self.mine)[1 : count + 1]
        began = time.monotonic()
        for number, key in enumerate(keys):
            registry.unregister(key, self.mine)
            if number % 500 == 499:
                await asyncio.sleep(0)
        while registry.count() > total:
            await asyncio.sleep(0.001)
        return {"began": began, "ended": time.monotonic(), "lag": self.lag.longest}

    async def start_children(self, count: int) -> Any:
        for number in range(count):
            await self.node.start_child(Holder, f"name-{number}")
        return count

    async def cycle(self, count: int, at_once: int = 20) -> Any:
        """Start a process and stop it, so many times."""
        left = iter(range(count))

        async def repeat(worker: int) -> None:
            for _ in left:
                self.made += 1
                name = f"cycle-{worker}-{self.made % 997}"
                await self.node.start_child(Holder, name)
                await self.node.supervisor.terminate_child(name)

        await asyncio.gather(*(repeat(worker) for worker in range(at_once)))
        return count

    async def reject(self, count: int, live: int) -> Any:
        """Try to start what runs already, so many times."""
        for number in range(count):
            try:
                await self.node.start_child(Holder, f"name-{number % live}")
            except NameTaken:
                continue
            raise RuntimeError("started twice")
        return count

    async def names(self) -> Any:
        return self.node.supervisor.count_children()

    async def members(self) -> Any:
        return [member.state for member in self.node.cluster.members()]

    async def resolve(self) -> Any:
        """The names that this node finds a process for."""
        names = self.node.names.processes()
        return [name for name in names if self.node.whereis(name) is not None]

    async def running(self) -> Any:
        return [cell.name for cell in self.node.supervisor.local()]

    async def figures(self) -> Any:
        gc.collect()
        pages = resident_pages()
        links = self.node.cluster_parts.links.statistics
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "rss": pages * os.sysconf("SC_PAGE_SIZE"),
            "sent_bytes": links.sent_bytes,
            "cpu": usage.ru_utime + usage.ru_stime,
            "statistics": self.node.statistics(),
        }

    async def lookup(self, rounds: int) -> Any:
        """Seconds for one look-up of an own name, and of one of another node."""
        registry = self.node.registry
        times = {}
        for kind, node in (("local", self.node.name), ("remote", "")):
            here = self.node.name
            found = [e.key for e in registry.select("u") if (e.node == here) == bool(node)]
            keys = found[:: max(1, len(found) // 1000)]
            best = 1.0
            for _ in range(rounds):
                began = time.perf_counter()
                for key in keys:
                    registry.lookup(key)
                best = min(best, (time.perf_counter() - began) / len(keys))
            times[kind] = best
        return times

    async def tell(self, rate: int, seconds: float) -> Any:
        """Register names at a steady rate; each has the time as its value."""
        registry, began, count = self.node.registry, time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            while count < (now - began) * rate:
                registry.register(f"t{self.node.name}:{count}", time.monotonic(), self.mine)
                count += 1
            await asyncio.sleep(0.0005)
        return count

    async def hear(self, seconds: float) -> Any:
        """Listen, and say after how long each name of others was seen."""
        delays: list[float] = []
        with self.node.registry.listen() as events:
            asyncio.get_running_loop().call_later(seconds, events.close)
            async for event in events:
                if event.key.startswith("t") and event.node != self.node.name:
                    delays += [time.monotonic() - event.value]
        return delays


async def main() -> None:
    loop = asyncio.get_running_loop()
    commands = Commands()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        answer = await getattr(commands, asked.pop("command"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    tune_collector()
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
