"""How many calls, look-ups and starts a second, and how long one of them takes.

::

    python benchmarks/calls.py [--seconds 2]

Three OS processes on this machine: this program is one node, so that calls go through the library
and not through HTTP, and two more nodes run beside it. ``Counter`` is ``replicated``: its answer
waits for a copy on another node; ``Plain`` is the same counter with ``durability = "none"``. What
runs 100 at a time is spread over 20 processes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from examples.counter import Counter  # noqa: E402 - also where it is run as a script

SPREAD = 20
BATCH = 1000


class Plain(Counter):
    """Nothing of it is copied anywhere."""

    durability: ClassVar[Any] = "none"


def row(what: str, times: list[float], elapsed: float) -> str:
    """Operations a second, and the median and 99th percentile of one, in microseconds."""
    cuts = statistics.quantiles(times, n=100)
    rate = len(times) / elapsed
    return f"{what:<44} {rate:>10,.0f} {cuts[49] * 1e6:>10,.1f} {cuts[98] * 1e6:>10,.1f}"


async def measure(
    what: str, operation: Callable[[], Awaitable[Any]], seconds: float, at_once: int = 1
) -> None:
    """Repeat the operation for so long, so many at once, and print the row."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def repeat() -> None:
        while (began := time.perf_counter()) < end:
            await operation()
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(at_once)))
    print(row(what, times, time.perf_counter() - began), flush=True)


def look_up(node: Any, name: str, seconds: float) -> None:
    """``whereis`` does no I/O and is too short to be timed one by one."""
    times: list[float] = []
    began = time.perf_counter()
    while (start := time.perf_counter()) < began + seconds:
        for _ in range(BATCH):
            node.whereis(name)
        times += [(time.perf_counter() - start) / BATCH] * BATCH
    print(row("look-up (whereis)", times, time.perf_counter() - began))


async def spread(node: Any, cls: type[Counter]) -> tuple[Any, list[Any]]:
    """Counters until one runs on this node and ``SPREAD`` on the others; refs to them."""
    local, remote = None, []
    for n in itertools.count():
        ref = await node.start_child(cls, f"{cls.__name__.lower()}-{n}")
        if node.supervisor.child(ref.name).node == node.name:
            local = local or ref
        elif len(remote) < SPREAD:
            remote.append(ref)
        if local and len(remote) == SPREAD:
            return local, remote
    raise AssertionError("unreachable")


async def table(node: Any, seconds: float) -> None:
    """All rows."""
    print(f"{'':<44} {'ops/s':>10} {'median µs':>10} {'p99 µs':>10}")
    for cls in (Plain, Counter):
        local, remote = await spread(node, cls)
        kind = f"{cls.__name__}, {cls.durability}"
        turns = itertools.cycle(remote)
        if cls is Plain:
            look_up(node, remote[0].name, seconds / 2)
        await measure(f"local call ({kind})", local.increment, seconds)
        await measure(f"remote call ({kind})", remote[0].increment, seconds)
        what = f"remote call, 100 at a time ({kind})"
        await measure(what, lambda turns=turns: next(turns).increment(), seconds, 100)
    await measure("start_child, one by one", lambda: node.start_child(Plain), seconds)


async def main(seconds: float) -> None:
    from benchmarks.kill_rounds import Horde  # noqa: PLC0415 - not where nodes import this module
    from pyhorde import Node  # noqa: PLC0415

    types = {f"benchmarks.calls:{cls.__name__}": cls for cls in (Plain, Counter)}
    with tempfile.TemporaryDirectory() as logs:
        async with Horde(Path(logs), ("b", "c"), app="benchmarks.calls") as horde:
            for name in horde.addresses:
                await horde.start(name)
            await horde.all_see(dict.fromkeys(horde.addresses, "alive"))
            peers = list(horde.addresses.values())
            async with Node(name="a", bind="127.0.0.1:0", peers=peers, processes=types) as node:
                await horde.all_see(dict.fromkeys("abc", "alive"))
                await table(node, seconds)
                await node.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(parser.parse_args().seconds))
    else:
        uvloop.run(main(parser.parse_args().seconds))
