"""Starts and stops without end over a few live names: does anything stay behind?

::

    python benchmarks/churn.py [--cycles 50000] [--rejected 200000] [--live 100]

Three real nodes over HTTP. ``--live`` processes run all the time; others are started and stopped
``--cycles`` times, and ``--rejected`` starts are refused because their name is taken. Printed ten
times on the way: what a node keeps (claims, registers, deletions and removals that are remembered)
and its resident memory. Exit code 1 when more is kept in the end than the live names and a constant
explain, or when memory grew over the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from registry import Cluster, cluster

CONSTANT = 150
"""What may be kept besides two entries for each live name: members, removals just made."""
GROWTH = 0.03
"""Resident memory moves by this part for reasons that have nothing to do with the registry."""
PARTS = 10
QUIET = 15.0


async def figures(made: Cluster) -> tuple[int, float, int]:
    """The largest replica, the largest resident memory in MB, the deletions remembered."""
    found = await made.all("figures")
    kept = max(each["statistics"]["replica_size"] for each in found)
    deletions = max(each["statistics"]["deletions_remembered"] for each in found)
    return kept, max(each["rss"] for each in found) / 1e6, deletions


async def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=50_000)
    parser.add_argument("--rejected", type=int, default=200_000)
    parser.add_argument("--live", type=int, default=100)
    options = parser.parse_args()
    async with cluster(3) as made:
        first = made.workers[0]
        await first.ask("start_children", count=options.live)
        await asyncio.sleep(QUIET)
        before, memory, _ = await figures(made)
        print(f"{'':>8} {'seconds':>8} {'kept':>8} {'deletions':>10} {'memory':>9}")
        print(f"{'before':>8} {0:>8.1f} {before:>8,} {0:>10,} {memory:>6.1f} MB", flush=True)
        began, memories = time.monotonic(), []
        for part in range(1, PARTS + 1):
            await asyncio.gather(
                first.ask("cycle", count=options.cycles // PARTS),
                made.workers[1].ask("reject", count=options.rejected // PARTS, live=options.live),
            )
            kept, memory, deletions = await figures(made)
            memories.append(memory)
            passed = time.monotonic() - began
            row = f"{passed:>8.1f} {kept:>8,} {deletions:>10,} {memory:>6.1f} MB"
            print(f"{part * 100 // PARTS:>7}% {row}", flush=True)
        await asyncio.sleep(QUIET)
        kept, memory, deletions = await figures(made)
        print(f"{'quiet':>8} {'':>8} {kept:>8,} {deletions:>10,} {memory:>6.1f} MB")
        middle = statistics.median(memories[PARTS // 2 - 1 : PARTS // 2 + 2])
        grown = max(memories[-2:]) / middle - 1
        entries = (await made.all("names"))[0]
        print(f"entries {entries:,}; kept {kept:,}, before {before:,}; second half {grown:+.1%}")
        good = kept <= before + CONSTANT and grown <= GROWTH and entries == options.live + 3
        print("nothing stays behind" if good else "SOMETHING STAYS BEHIND")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
