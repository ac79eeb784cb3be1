"""The trials of ``detection.py``: each makes a world, does something to it, says what came of it.

A trial is determined by its seed and its conditions.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import Any

from detection_world import GREETS, Node, World

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.effects import Changed
from pyhorde.config import MembershipConfig

Result = dict[str, float]
PROFILES = {"default": MembershipConfig(), "fast": MembershipConfig.local()}
HOUR = 3600.0
LIMIT = 180.0
"""Seconds after which a death that not everybody knows counts as never noticed."""


class Verdicts:
    """Who came to hold whom for what, and when first."""

    def __init__(self, *wanted: Status) -> None:
        self.first: dict[Status, dict[tuple[str, str], float]] = defaultdict(dict)
        self.count: dict[Status, int] = defaultdict(int)
        self._wanted = wanted

    def __call__(self, at: float, node: Node, change: Changed) -> None:
        status = change.after.status
        if status in self._wanted:
            self.count[status] += 1
            self.first[status].setdefault((node.boot, change.after.boot), at)

    def of(self, boot: str, status: Status = Status.DEAD) -> list[float]:
        """When each observer came to hold this boot for that."""
        return [at for (_, whom), at in self.first[status].items() if whom == boot]


def settled(seed: str, size: int, watch: Any, **conditions: Any) -> World:
    """A world that has been quiet for a while, at a random moment of its cycle of probes."""
    profile = PROFILES[conditions.pop("profile", "default")]
    world = World(seed, size, profile, watch=watch, **conditions)
    world.run(profile.probe_interval * (world.rng.uniform(3, 4) if size > GREETS else 8))
    world.run(world.rng.uniform(0, profile.probe_interval))
    return world


def death(seed: str, size: int, how: str, **conditions: Any) -> Result:
    """One node dies; seconds until somebody declares it dead, and until all do."""
    verdicts = Verdicts(Status.DEAD)
    world = settled(seed, size, verdicts, **conditions)
    victim = world.rng.choice(world.nodes)
    began = world.now
    (world.silence if how == "silent" else world.kill)(victim)
    world.run_until(lambda: len(verdicts.of(victim.boot)) == size - 1, LIMIT)
    found = verdicts.of(victim.boot)
    first = min(found, default=math.inf) - began
    every = max(found) - began if len(found) == size - 1 else math.inf
    return {"first": first, "all": every, "false": verdicts.count[Status.DEAD] - len(found)}


def noise(seed: str, size: int, seconds: float, **conditions: Any) -> Result:
    """Everybody lives, and messages get lost."""
    verdicts = Verdicts(Status.DEAD, Status.SUSPECT)
    world = settled(seed, size, verdicts, **conditions)
    before = sum(world.sent.values())
    world.run(seconds)
    sent = (sum(world.sent.values()) - before) / size / seconds
    suspicions = verdicts.count[Status.SUSPECT] / size / seconds * HOUR
    return {"deaths": verdicts.count[Status.DEAD], "suspicions": suspicions, "sent": sent}


def stall(seed: str, size: int, length: float, every: float, seconds: float) -> Result:
    """One node stands still again and again: who is held for dead, who is accused by the sleeper,
    and when it is first seen stalled, or dead, and seen alive by all again."""
    changes: list[tuple[float, Node, Changed]] = []
    world = settled(seed, size, lambda *change: changes.append(change))
    sleeper = world.rng.choice(world.nodes)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(max(1, int(seconds / every))):
        began, woke = world.now, world.now + length
        changes.clear()
        world.stall(sleeper, length)
        world.run(length)
        _note(found, "seen", Status.STALLED, changes, began)
        _note(found, "dead", Status.DEAD, changes, began)
        found["deaths"].append(sum(c.after.status is Status.DEAD for _, _, c in changes))
        changes.clear()
        world.run(every - length)
        found["deaths"][-1] += sum(c.after.status is Status.DEAD for _, _, c in changes)
        bad = (Status.SUSPECT, Status.STALLED, Status.DEAD)
        mine = [c for _, node, c in changes if node is sleeper]
        found["accused"].append(sum(c.after.status in bad for c in mine))
        back = [at for at, node, c in changes if node is not sleeper and c.after.present]
        believed = all(node.core.view.is_present(sleeper.boot) for node in world.nodes)
        found["back"].append(max(back, default=woke) - woke if believed else math.inf)
    total = {key: sum(found.pop(key)) for key in ("deaths", "accused")}
    usual = {f"usual {key}": statistics.median(values) for key, values in found.items()}
    return {**total, **usual, **{key: max(values) for key, values in found.items()}}


def _note(
    found: dict[str, list[float]],
    key: str,
    status: Status,
    changes: list[tuple[float, Node, Changed]],
    began: float,
) -> None:
    seen = [at for at, _, change in changes if change.after.status is status]
    found[key].append(min(seen, default=math.inf) - began)


def slow(seed: str, size: int, members: int, slowness: float, seconds: float) -> Result:
    """Some members are late with every message: who else is held for dead because of them."""
    dead: dict[str, int] = defaultdict(int)

    def watch(_at: float, _node: Node, change: Changed) -> None:
        if change.after.status is Status.DEAD:
            dead[change.after.boot] += 1

    world = settled(seed, size, watch)
    chosen = world.rng.sample(world.nodes, members)
    for node in chosen:
        node.slowness = slowness
    world.run(seconds)
    late = sum(dead[node.boot] for node in chosen)
    return {"healthy": sum(dead.values()) - late, "late": late}


def idle(seed: str, size: int, seconds: float) -> Result:
    """Nothing happens."""
    world = settled(seed, size, None)
    world.run(10.0)
    world.sent, world.cpu = {True: 0, False: 0}, 0.0
    world.run(seconds)
    shares = {key: count / size / seconds for key, count in world.sent.items()}
    return {
        "packets": shares[True],
        "streams": shares[False],
        "sent": shares[True] + shares[False],
        "cpu": world.cpu / size / seconds,
    }
