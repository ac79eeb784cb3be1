# ruff: noqa: SLF001 - what keeps the product safe is not for others to reach; here it is undone
"""The product's safeguards, and how to switch each off: a test of the tests.

Without any one of them bad days end badly, and the simulator must find that out; what it catches,
and at which seed, is in ``docs/explanation/simulation.md``. The switch is a patch of one decision,
so that nothing in a node can turn a safeguard off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.member import Status, View
from pyhorde.cluster.membership.dial_schedule import DialSchedule, Target
from pyhorde.cluster.membership.identity import Identity, Speak
from pyhorde.cluster.membership.membership import Changed, Membership
from pyhorde.cluster.replication.acknowledgements import Acknowledgements
from pyhorde.crdt import Replica
from pyhorde.runtime.answers import RecentAnswers
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.draining import Drain
from pyhorde.runtime.names import Names
from pyhorde.runtime.phase import Phase
from pyhorde.runtime.record import Ended, Spec
from pyhorde.runtime.retiring import Retiring
from pyhorde.runtime.supervisor import Supervisor

Patch = tuple[type[Any], str, Any]
"""A class, the name of one of its methods, and what takes its place."""


@dataclass(frozen=True, slots=True)
class Safeguard:
    """Something without which bad days end badly."""

    about: str
    faults: tuple[str, ...]
    """Kinds of faults by which its absence shows soonest."""
    patches: tuple[Patch, ...]

    @contextmanager
    def off(self) -> Iterator[None]:
        """Without it, for a while, in this whole OS process."""
        with ExitStack() as stack:
            for owner, name, instead in self.patches:
                stack.enter_context(patch.object(owner, name, instead))
            yield


def _nothing(*_: Any, **__: Any) -> None:
    pass


async def _at_once(*_: Any, **__: Any) -> None:
    pass


_answer = Identity.answer


def _answer_without_refuting(self: Identity, me: Any, said: Any, links: Any) -> Any:
    answer = _answer(self, me, said, links)
    return None if isinstance(answer, Speak) and said.boot == me.boot else answer


_tick_suspicion = Membership._tick_suspicion


def _bury_without_last_check(self: Membership, suspicion: Any, now: float) -> None:
    suspicion.last_check_until = now
    _tick_suspicion(self, suspicion, now)


_targets = DialSchedule._targets


def _targets_without_the_dead(self: DialSchedule, view: View, linked: Any) -> list[Target]:
    dead = {member.address for member in view.members if member.status is Status.DEAD}
    return [target for target in _targets(self, view, linked) if target.address not in dead]


def _retire_the_absent(self: Retiring, view: View) -> None:
    for boot in [b for b in self._replica.vector if b != self._replica.origin]:
        if not view.is_present(boot):
            self._retire(boot)


def _sweep_without_looking(self: Supervisor) -> None:
    self._retiring.look(self.parts.cluster.view)
    self._sweeper = None


def _review_without_looking(self: Supervisor, change: Changed) -> None:
    boots = {change.after.boot} | ({change.before.boot} if change.before else set())
    self.parts.keys.review(self.parts.cluster.view)
    self.parts.names.review(self.parts.cluster.view, boots)


def _info_unless_frozen(self: Cell, message: Any) -> None:
    if self.phase is not Phase.FROZEN:
        _info(self, message)


_info = Cell.info


def _settle_at_once(self: Cluster) -> None:
    self.in_sync = self._replication.settled = True
    self._waiting.all()


SAFEGUARDS: dict[str, Safeguard] = {
    "refutation": Safeguard(
        "a member that is suspected raises its incarnation",
        ("stall",),
        ((Identity, "answer", _answer_without_refuting),),
    ),
    "stall-credit": Safeguard(
        "who stood still blames nobody for it: lost time is credited, and a last check comes first",
        ("stall",),
        (
            (Membership, "notice_stall", _nothing),
            (Membership, "_tick_suspicion", _bury_without_last_check),
        ),
    ),
    "re-dial": Safeguard(
        "former members are dialled for days",
        ("split", "islands"),
        ((DialSchedule, "_targets", _targets_without_the_dead),),
    ),
    "in-sync": Safeguard(
        "a node serves only once it knows what the cluster knows",
        ("crash", "drain"),
        ((Cluster, "_settle", _settle_at_once),),
    ),
    "epochs": Safeguard(
        "each change of owner raises the name's epoch",
        ("split", "crash"),
        ((Names, "floor", lambda *_: 0),),
    ),
    "lives": Safeguard(
        "the end of a name beats everything of that life",
        ("split", "islands"),
        ((Spec, "rank", 0), (Ended, "rank", 0)),
    ),
    "merge": Safeguard(
        "the winner of a conflict takes in what the loser knew",
        ("split", "islands"),
        ((Cell, "merge", _at_once), (Cell, "absorb", _at_once)),
    ),
    "levels": Safeguard(
        "what should run is compared with what runs again and again, not only upon news",
        ("crash", "islands", "clog"),
        (
            (Supervisor, "_sweep", _sweep_without_looking),
            (Supervisor, "_ask_again", _nothing),
            (Supervisor, "_view_changed", _review_without_looking),
        ),
    ),
    "handoff": Safeguard(
        "a node that drains waits until the others have its states and run its processes",
        ("drain",),
        ((Drain, "_confirm", _at_once), (Drain, "_taken_over", _at_once)),
    ),
    "revival": Safeguard(
        "a node whose claims were dropped while it was away is heard again when it is back",
        ("split", "islands"),
        ((Retiring, "look", _retire_the_absent), (Replica, "revive", _nothing)),
    ),
    "replication": Safeguard(
        "an answer is given once the state is on another node",
        ("power", "islands"),
        ((Acknowledgements, "replicated", _at_once),),
    ),
    "answers": Safeguard(
        "a request that was answered is not run again",
        ("deaf",),
        ((RecentAnswers, "__contains__", lambda *_: False),),
    ),
    "travelling-answers": Safeguard(
        "the recent answers are part of the state",
        ("deaf", "crash", "drain"),
        ((RecentAnswers, "latest", lambda *_: []),),
    ),
    "frozen-mail": Safeguard(
        "what comes while a process is frozen waits for the thaw",
        ("split", "islands", "delay"),
        ((Cell, "info", _info_unless_frozen),),
    ),
}
"""By name, as ``python -m pyhorde.testing --without`` takes it."""
