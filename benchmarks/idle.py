"""What a node costs while nothing happens: CPU and messages, in small and in larger clusters.

    python benchmarks/idle.py [--nodes 3 50] [--seconds 60]

Whole simulated nodes - membership, replication, links, codecs - on one core; the network between
them is simulated too, and counts. The share of it that is membership's alone is what
``benchmarks/detection.py`` shows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from unittest.mock import patch

from pyhorde.testing import SimCluster
from pyhorde.testing.invariants import Invariants

SETTLE = 30.0
CPU_GOAL = 0.5
"""Per cent of a core."""
PACKETS_GOAL = 2.2


def traffic(cluster: SimCluster) -> tuple[int, int, int]:
    """Packets, frames over streams, and bytes of all nodes so far."""
    parts = [node.cluster_parts for node in cluster.live.values()]
    packets = sum(p.packets.statistics.sent for p in parts)
    frames = sum(p.links.statistics.sent_messages for p in parts)
    sizes = (p.packets.statistics.sent_bytes + p.links.statistics.sent_bytes for p in parts)
    return packets, frames, sum(sizes)


def measure(nodes: int, seconds: float) -> tuple[float, list[float]]:
    """Per node and second: CPU seconds; packets, frames and bytes."""

    async def story(cluster: SimCluster) -> tuple[float, list[float]]:
        await cluster.start_all()
        await asyncio.sleep(SETTLE)
        before, began = traffic(cluster), time.process_time()
        await asyncio.sleep(seconds)
        spent, after = time.process_time() - began, traffic(cluster)
        share = nodes * seconds
        return spent / share, [(b - a) / share for a, b in zip(before, after, strict=True)]

    with patch.object(Invariants, "watch"):  # the simulator's own checks are no cost of a node
        return SimCluster.run(story, nodes=[f"n{i}" for i in range(nodes)], datagrams=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 50])
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual ones (default 60)")
    options = parser.parse_args()
    well = True
    print("nodes  CPU of a core  packets/s  frames/s  bytes/s   (each node, idle)")
    for nodes in options.nodes:
        cpu, (packets, frames, size) = measure(nodes, options.seconds)
        good = cpu * 100 <= CPU_GOAL and packets <= PACKETS_GOAL
        well = well and good
        verdict = "ok" if good else "MISSED"
        print(
            f"{nodes:5}  {cpu:13.3%}  {packets:9.2f}  {frames:8.2f}  {size:7.0f}   {verdict}"
            f" (goals: {CPU_GOAL} % of a core, {PACKETS_GOAL} packets/s)"
        )
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
