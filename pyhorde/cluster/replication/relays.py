"""Who passes a node's pushes on in a large cluster.

Beyond ``relay_above`` peers a node pushes to about as many of them as the square root of their
number, and each of these passes the push on to its share of the others. Everybody computes the same
shares from the same members; where views differ, the sender notices what was not confirmed.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isqrt

from pyhorde.cluster.placement import hash64


def relays(origin: str, boots: Collection[str]) -> list[str]:
    """The boots that pass ``origin``'s pushes on; ``boots`` are all but the origin."""
    count = isqrt(max(0, len(boots) - 1)) + 1
    return sorted(sorted(boots), key=lambda boot: hash64(f"{origin}/{boot}"), reverse=True)[:count]


def share(origin: str, relay: str, boots: Collection[str]) -> list[str]:
    """To whom ``relay`` passes ``origin``'s pushes on; nobody if it is none."""
    chosen = relays(origin, boots)
    if relay not in chosen:
        return []
    others = [boot for boot in sorted(boots) if boot not in chosen]
    return others[chosen.index(relay) :: len(chosen)]
