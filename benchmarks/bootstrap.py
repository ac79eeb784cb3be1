"""Nodes that boot at once, and are told of a random part of the others at each look.

::

    python benchmarks/bootstrap.py [--seeds 200] [--from SEED] [--nodes 4]

Every node has one source of addresses. It gives a random part of all of them, none and the own one
included, and another part about every second (``tests/simulation/bootstrapping.py``). Each node
starts a name of its own and three that all start, as soon as it is ready. In the end there must be
one cluster, with each name once. Prints how long that took in virtual seconds, and in how many
runs a name was started on two sides that had not met yet; exit code 1 when a run does not end well.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pyhorde.testing.plans import machine_names  # noqa: E402
from tests.simulation.bootstrapping import Bootstrap, bootstrap  # noqa: E402 - also as a script


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many starts")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--nodes", type=int, default=4)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)

    machines = machine_names(given.nodes)
    good, bad, began = list[Bootstrap](), 0, time.process_time()
    for seed in range(given.first, given.first + given.seeds):
        try:
            good.append(bootstrap(seed, machines))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a run is its result
            bad += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")

    cpu = time.process_time() - began
    print(f"{len(good)} of {given.seeds} starts of {given.nodes} nodes made one cluster")
    if good:
        for what, seconds in (
            ("all nodes ready", [run.ready for run in good]),
            ("one cluster, at rest", [run.one for run in good]),
        ):
            print(f"{what}: p50 {median(seconds):.3f} s, longest {max(seconds):.3f} s")
        twice = [run for run in good if run.doubled]
        print(f"names started on two sides before they met: in {len(twice)} runs; lost: none")
    print(f"{cpu:.1f} CPU-seconds")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
