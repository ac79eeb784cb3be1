"""Random histories of a few replicas and a bad network, and whether they all end up the same.

::

    python benchmarks/histories.py [--count 1000] [--from SEED] [--jobs N]

Each history is determined by its seed: writes, forgetting, retirements, restarts on three to five
replicas, with loss, doubling, reordering and cut transfers between them (``tests/laws``). Every
step is checked against an oracle, and so is the end. Prints what breaks a promise, with its seed,
and how many there were; exit code 1 on any.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.laws import histories  # noqa: E402 - also where it is run as a script

BATCH = 200


def broken(seed: int) -> str | None:
    """What this history breaks; None when it keeps all promises."""
    try:
        histories.run(seed)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a history is its result
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error).partition("\n")[0]
        return f"{type(error).__name__}: {said} ({where.name}, line {where.lineno})"
    return None


def batch(seeds: range) -> list[tuple[int, str]]:
    """Those of these histories that break something."""
    return [(seed, what) for seed in seeds if (what := broken(seed)) is not None]


def batches(first: int, count: int) -> list[range]:
    """All seeds, some at a time."""
    last = first + count
    return [range(at, min(at + BATCH, last)) for at in range(first, last, BATCH)]


def results(work: list[range], jobs: int) -> Iterator[list[tuple[int, str]]]:
    """What each batch comes to, in as many processes."""
    if jobs == 1:
        yield from map(batch, work)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(batch, work)


def report(found: Iterable[list[tuple[int, str]]], count: int) -> int:
    """Print everything; returns how many diverged."""
    began = time.perf_counter()
    diverged = 0
    for seed, what in chain.from_iterable(found):
        diverged += 1
        print(f"history {seed}: {what}", flush=True)
    elapsed = time.perf_counter() - began
    print(f"{count:,} histories in {elapsed:,.1f} s, {diverged:,} diverged")
    return diverged


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    options = parser.parse_args(arguments)
    work = batches(options.first, options.count)
    return 1 if report(results(work, options.jobs), options.count) else 0


if __name__ == "__main__":
    sys.exit(main())
