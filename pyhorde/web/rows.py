"""What the API shows of the cluster: its members, this node's event loop and its packets."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any, Final

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.member import Member

Json = dict[str, Any]

STATES: Final = ("alive", "suspect", "stalled", "draining", "dead", "left")
"""What a member can be."""


def members(cluster: Cluster) -> list[Json]:
    """All members that the node knows, dead ones too, in order of their names."""
    return [member(cluster, each) for each in cluster.view.members]


def member(cluster: Cluster, each: Member) -> Json:
    """One of them. What it says of itself in passing is None as long as nothing was heard."""
    vitals = cluster.detector.vitals(each.boot)
    return {
        "name": each.name,
        "address": each.address,
        "state": each.state,
        "incarnation": each.incarnation,
        "boot": each.boot,
        "generation": each.generation,
        "since": round(cluster.age(each.name), 3),
        "labels": dict(each.labels),
        "cordoned": each.cordoned,
        "processes": None if vitals is None else vitals.processes,
        "health": None if vitals is None else vitals.health,
        "lag_ms": None if vitals is None else vitals.lag,
    }


def node(cluster: Cluster) -> Json:
    """How this very node is."""
    meter, last = cluster.meter, cluster.meter.last
    blockage = None if last is None else {"seconds": round(last.seconds, 3), "stack": last.stack}
    return {
        "health": cluster.detector.health.score,
        "loop": {
            "lag_ms": int(meter.lag * 1000),
            "blockages": meter.blockages,
            "last": blockage,
        },
        "packets": asdict(cluster.packets.statistics),
    }


def states(cluster: Cluster) -> dict[str, int]:
    """How many members are in each state."""
    return {**dict.fromkeys(STATES, 0), **Counter(each.state for each in cluster.view.members)}
