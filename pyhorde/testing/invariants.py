"""What must hold, numbered: looked at all the time, and when the cluster is quiet.

The numbers are those of ``docs/explanation/invariants.md``. *Undisturbed* below means: no machine,
path or stall changed for :data:`PATIENCE` seconds, and the machines in question all reach each
other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyhorde.cluster.member import Status
from pyhorde.cluster.membership.membership import Changed
from pyhorde.node import Node
from pyhorde.runtime.names import Names
from pyhorde.testing.loop import MACHINE
from pyhorde.testing.machines import Machine

if TYPE_CHECKING:
    from pyhorde.testing.cluster import SimCluster

STORM: Final = 20_000
"""So many callbacks of all machines between two looks are a storm."""
PATIENCE: Final = 15.0
"""Seconds undisturbed after which a side of the cluster must be in order."""
CALM: Final = 10.0
"""Seconds after which nobody may take an unhindered machine on clear paths for dead."""
GRACE: Final = 3.0
"""Seconds for which something must stay wrong then: starts and ends take a moment."""
LOOK_INTERVAL: Final = 0.5
"""Seconds between two looks."""
STOP_LIMIT: Final = 5.0
"""Seconds within which a node that stopped has no task left."""
HEARD_LIMIT: Final = 30.0
"""Seconds within which somebody has to look at how a task failed."""
LATE: Final = 0.25
"""Seconds by which an answer may miss its deadline."""

INVARIANTS: Final = {
    1: "each name runs exactly once",
    2: "no name is missing, and none runs that should not",
    3: "at most one process of a name in an undisturbed side",
    4: "no name is down for long in an undisturbed side",
    5: "all registries are equal",
    7: "what a node knows never becomes less",
    8: "each new owner of a name has a higher epoch than every one before",
    10: "a drain on a good day hands everything over before it ends",
    11: "a call ends with one reply or one documented error, in time",
    12: "what was not sent did not run, and nothing runs twice",
    14: "no ended name comes back",
    15: "incarnations only rise, and only by the member itself",
    16: "an undisturbed side's members all see each other alive, and nobody else",
    17: "a node that left is never taken for dead",
    18: "no view mixes two boots of a name",
    23: "no storm: what nodes do stays in proportion",
    25: "no task fails unheard, and none outlives its node",
}
"""The invariants checked here; the others hold by tests of their own, or wait for their part."""


LOG: Final = logging.getLogger("pyhorde")
OWN_ERRORS: Final = frozenset(("reconcile_failed", "request_failed", "task_failed"))
"""What nodes log when code of their own fails that must not."""


class Violation(AssertionError):
    """Something that must hold does not."""

    def __init__(self, what: str, when: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{what}, {when}: " + "; ".join(self.problems))


@dataclass(slots=True)
class _Seen:
    """What was seen of one boot before."""

    node: Node
    view: object = None
    vector: dict[str, int] | None = None


class Invariants:
    """The checks of one cluster."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._seen: dict[str, _Seen] = {}
        self._incarnations: dict[tuple[str, str], int] = {}
        self._owners: dict[str, tuple[int, int, str]] = {}
        """The highest life and epoch at which each name is known to have run, and on which boot."""
        self._unheard: dict[asyncio.Task[Any], float] = {}
        """Failed tasks that nobody has looked at yet, and since when."""
        self._stopped: list[tuple[str, float]] = []
        self._signature: object = None
        self._since = 0.0
        self._suspects: dict[tuple[int, str], float] = {}
        """What is wrong in an undisturbed side, and since when."""
        self._still_suspect: dict[tuple[int, str], float] = {}
        self._ears = _Ears(self)
        self._looking = False
        self.found: dict[str, float] = {}
        """What was found wrong so far, and when first."""
        self.broken: asyncio.Future[None] = cluster.loop.create_future()
        """Done once something was found."""
        self.looks = 0
        self._steps = 0
        self._clear_since = cluster.loop.time()
        """Since when every path has been good and every machine has run."""

    # ---- all the time ------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at everything from now on, again and again, and listen to errors in the log."""
        if not self._looking:
            self._looking = True
            self._cluster.loop.at(self._cluster.loop.time() + LOOK_INTERVAL, self._look)
            LOG.addHandler(self._ears)
            self._cluster.loop.on_close.append(lambda: LOG.removeHandler(self._ears))

    def heard(self, record: logging.LogRecord) -> None:
        """Something was logged; what the product calls an error of its own is one."""
        machine = MACHINE.get()
        mine = machine and not self._cluster.loop.is_dead(machine)
        if mine and record.getMessage() in OWN_ERRORS:
            fields = getattr(record, "fields", {})
            cause = record.exc_info[1] if record.exc_info else None
            self.report(25, f"{machine} logged {record.getMessage()} {fields}: {cause!r}")

    def stopped(self, key: str) -> None:
        """This boot has stopped in an orderly way."""
        self._stopped.append((key, self._cluster.loop.time()))

    def handed_over(self, machine: str, names: Iterable[str]) -> None:
        """A drain on a good day has ended: others run what the machine ran."""
        nodes = self._cluster.live
        if not nodes or any(node.state != "ready" for node in nodes.values()):
            return
        running = self._cluster.running()
        for name in names:
            wanted = all(node.names.spec(name) is not None for node in nodes.values())
            if wanted and not running.get(name) and not self._is_held_back(name, nodes):
                self.report(10, f"{name!r} of {machine} runs nowhere after its drain")

    def undisturbed(self) -> float:
        """Seconds since a machine, a path or a stall changed."""
        cluster = self._cluster
        signature = (
            tuple((m.key, m.runs, m.node.state if m.node else "") for m in self._machines()),
            tuple(self._is_hindered(m) for m in self._machines()),
            cluster.network.signature,
        )
        if signature != self._signature:
            self._signature, self._since = signature, cluster.loop.time()
        return cluster.loop.time() - self._since

    def report(self, number: int, problem: str) -> None:
        """Something is wrong that must never be."""
        self.found.setdefault(f"({number}) {INVARIANTS[number]}: {problem}", self._now())
        if not self.broken.done():
            self.broken.set_result(None)

    def _suspect(self, number: int, problem: str) -> None:
        """Something is wrong now that may be right in a moment: a start under way, say."""
        since = self._suspects.get((number, problem), self._now())
        self._still_suspect[number, problem] = since
        if self._now() - since >= GRACE:
            self.report(number, problem)

    def changed(self, machine: str, change: Changed) -> None:
        """A node believes something else about a member than before."""
        after = change.after
        # What a node is told may be old by the time it hears it; its own verdict is not.
        if after.status is not Status.DEAD or change.cause.startswith("told by"):
            return
        since = self._now() - CALM
        nodes = self._cluster.live
        alive = nodes.get(after.name)
        if alive is None or alive.view.me.boot != after.boot or alive.state != "ready":
            return
        if self._clear_since <= since and not self._cluster.was_hindered(after.name, since):
            self.report(16, f"{machine} takes {after.name} for dead: {change.cause}")

    def _look(self) -> None:
        self._cluster.loop.at(self._now() + LOOK_INTERVAL, self._look)
        self.looks += 1
        steps, self._steps = self._steps, self._cluster.loop.steps
        if self._steps - steps > STORM:
            self.report(23, f"{self._steps - steps} callbacks in {LOOK_INTERVAL:g} s")
        calm = self.undisturbed() >= PATIENCE
        if not self._cluster.network.is_clear or not all(m.runs for m in self._machines()):
            self._clear_since = self._now()
        for machine in self._machines():
            if machine.node is not None:
                self._look_at(machine, machine.node)
        if calm:
            for side in self.sides():
                self._look_at_side(side)
        self._suspects, self._still_suspect = self._still_suspect, {}
        self._look_at_tasks()

    def _look_at(self, machine: Machine, node: Node) -> None:
        seen = self._seen.get(machine.key)
        if seen is None:
            seen = self._seen[machine.key] = _Seen(node)
        view = node.view
        if view is not seen.view:
            seen.view = view
            self._look_at_view(machine, node)
        if self.looks % 4 == 0:
            self._look_at_knowledge(machine, node, seen)

    def _look_at_view(self, machine: Machine, node: Node) -> None:
        truth = {m.node.view.me.boot: m.node.view.me for m in self._machines() if m.node}
        left = {boot for m in self._machines() for boot in m.drained}
        names = [member.name for member in node.view.members]
        if len(names) != len(set(names)):
            self.report(18, f"{machine.name} sees {names}")
        for member in node.view.members:
            known = self._incarnations.get((machine.key, member.boot), 0)
            self._incarnations[machine.key, member.boot] = max(known, member.incarnation)
            itself = truth.get(member.boot)
            if member.incarnation < known:
                self.report(15, f"{machine.name} saw {member.name} at {known}, sees it lower")
            if itself is not None and member.incarnation > itself.incarnation:
                self.report(15, f"{machine.name} sees {member.name} higher than itself does")
            if member.boot in left and member.status is Status.DEAD:
                self.report(17, f"{machine.name} sees {member.name} dead")

    def _look_at_knowledge(self, machine: Machine, node: Node, seen: _Seen) -> None:
        vector = node._replica.covers  # noqa: SLF001 - what no interface shows
        for origin, seq in (seen.vector or {}).items():
            if vector.get(origin, 0) < seq:
                self.report(7, f"{machine.name} knew {seq} events of {origin}")
        seen.vector = vector
        boot = node.view.me.boot
        others = [other.names for other in self._cluster.live.values() if other is not node]
        for cell in node.supervisor.local():
            here = (cell.life.number, cell.epoch, boot)
            before = self._owners.get(cell.name, (0, 0, ""))
            # What nobody else ever heard of may happen again.
            if here > before and any(_is_claimed(names, cell.name, here) for names in others):
                self._owners[cell.name] = here

    def _look_at_tasks(self) -> None:
        loop = self._cluster.loop
        for failure in loop.failures:
            self.report(25, f"{failure.get('message')}: {failure.get('exception')!r}")
        loop.failures.clear()
        self._unheard = {task: self._unheard.get(task, self._now()) for task in loop.unheard()}
        for task, since in self._unheard.items():
            if self._now() - since >= HEARD_LIMIT:
                self.report(25, f"{task.get_name()!r} failed unheard: {task!r}")
        late = [key for key, since in self._stopped if self._now() - since > STOP_LIMIT]
        for key in late:
            for task in loop.unfinished(key):
                self.report(25, f"{key} has stopped, and {task.get_name()!r} goes on: {task!r}")
        self._stopped = [(key, since) for key, since in self._stopped if key not in late]

    # ---- the sides of a divided cluster ------------------------------------------------------

    def sides(self) -> list[list[str]]:
        """Groups of live machines that all reach each other, and nobody else in part.

        A group with a broken path in it, or with a stalled or slow machine, is none.
        """
        cluster = self._cluster
        up = [m.name for m in self._machines() if m.node]
        hindered = {m.name for m in self._machines() if self._is_hindered(m)}
        passes, is_good = cluster.network.passes, cluster.network.is_good
        near = {
            one: {two for two in up if one == two or passes(one, two) or passes(two, one)}
            for one in up
        }
        sides = []
        for one in up:
            side = near[one]
            whole = all(near[two] == side for two in side)
            good = all(passes(a, b) and is_good(a, b) for a in side for b in side if a != b)
            if whole and good and one == min(side) and not side & hindered:
                sides.append(sorted(side))
        return sides

    def _look_at_side(self, side: list[str]) -> None:
        nodes = {name: self._cluster.node(name) for name in side}
        if any(node.state != "ready" for node in nodes.values()):
            return
        for problem in self._views_of(nodes):
            self._suspect(16, problem)
        running = self._running(nodes)
        for name in sorted({n for node in nodes.values() for n in node.names.processes()}):
            places = running.get(name, [])
            if len(places) > 1:
                self._suspect(3, f"{name!r} runs on {places}")
            elif not places and not self._is_held_back(name, nodes):
                self._suspect(4, f"{name!r} runs on none of {side}")

    def _is_held_back(self, name: str, nodes: dict[str, Node]) -> bool:
        """Whether its own code does not let it run: it fails again and again."""
        cells = (node._supervisor.cells.get(name) for node in nodes.values())  # noqa: SLF001
        return any(cell is not None and cell.last_error for cell in cells)

    def _views_of(self, nodes: dict[str, Node]) -> list[str]:
        truth = {(name, node.view.me.boot) for name, node in nodes.items()}
        problems = []
        for name, node in nodes.items():
            seen = {(m.name, m.boot) for m in node.view.present}
            if seen != truth:
                here = sorted(n for n, _ in seen)
                problems.append(f"{name} sees {here}, there are {sorted(nodes)}")
        return problems

    def _running(self, nodes: dict[str, Node]) -> dict[str, list[str]]:
        everywhere = self._cluster.running()
        return {n: [m for m in machines if m in nodes] for n, machines in everywhere.items()}

    # ---- at rest -----------------------------------------------------------------------------

    def unrest(self) -> list[str]:
        """What a quiet cluster would not show; the cheapest things first."""
        nodes = self._cluster.live
        problems = [f"(16) {problem}" for problem in self._views_of(nodes)]
        if problems:
            return problems
        problems = self._names_unrest(nodes)
        if problems or not nodes:
            return problems
        replicas = [node._replica for node in nodes.values()]  # noqa: SLF001
        if any(r.known(origin.origin) != origin.seq for r in replicas for origin in replicas):
            return ["(5) the registries differ: not all have the same events"]
        first = replicas[0].snapshot()
        if any(r.snapshot() != first for r in replicas[1:]):
            return ["(5) the registries differ: equal events, other contents"]
        return []

    def _names_unrest(self, nodes: dict[str, Node]) -> list[str]:
        outside, running = self._cluster.outside, self._cluster.running()
        specs = {name for node in nodes.values() for name in node.names.processes()}
        problems = []
        for name in sorted(specs | running.keys()):
            places = running.get(name, [])
            if name not in specs:
                problems.append(f"(2) {name!r} runs on {places} and should not")
            elif len(places) > 1 or (not places and not self._is_held_back(name, nodes)):
                problems.append(f"(1) {name!r} runs on {places or 'no node'}")
        problems += self._epoch_unrest(nodes)
        missing = outside.promised - specs
        problems += [f"(2) {name!r} is missing" for name in sorted(missing)]
        back = outside.ended & specs
        problems += [f"(14) {name!r} is back" for name in sorted(back)]
        return problems

    def _epoch_unrest(self, nodes: dict[str, Node]) -> list[str]:
        problems = []
        for node in nodes.values():
            for cell in node.supervisor.local():
                highest = self._owners.get(cell.name, (0, 0, ""))
                here = (cell.life.number, cell.epoch)
                if here < highest[:2] or (here == highest[:2] and node.view.me.boot != highest[2]):
                    problems.append(f"(8) {cell.name!r} runs at {here}, it ran at {highest}")
        return problems

    def at_rest(self) -> None:
        """Raise ``Violation`` unless all is as a quiet cluster must be."""
        problems = self.unrest()
        if problems:
            raise Violation("not at rest", f"at {self._now() - 1000:.1f} s", problems)

    def check_test(self) -> None:
        """Report what failed in a task of the test itself, which nobody has waited for."""
        for task in self._cluster.loop.unheard(""):
            self.report(25, f"the test's own {task.get_name()!r} failed: {task.exception()!r}")

    def so_far(self) -> None:
        """Raise ``Violation`` for what was found at any time until now."""
        self._look_at_tasks()
        if self.found:
            first = min(self.found.values())
            raise Violation("violated", f"first at {first - 1000:.1f} s", self.found)

    def _is_hindered(self, machine: Machine) -> bool:
        return self._cluster.was_hindered(machine.name, self._now())

    # ---- shared ------------------------------------------------------------------------------

    def _machines(self) -> Iterable[Machine]:
        return self._cluster.machines.values()

    def _now(self) -> float:
        return self._cluster.loop.time()


def _is_claimed(names: Names, name: str, owner: tuple[int, int, str]) -> bool:
    claims = names.visible(name)
    return any((claim.life.number, claim.epoch, claim.boot) == owner for claim in claims)


class _Ears(logging.Handler):
    def __init__(self, invariants: Invariants) -> None:
        super().__init__(logging.ERROR)
        self._invariants = invariants

    def emit(self, record: logging.LogRecord) -> None:
        self._invariants.heard(record)
