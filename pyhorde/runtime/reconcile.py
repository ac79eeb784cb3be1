"""What to do about one name: the decision that all else carries out. Pure and level-triggered.

It looks at what should be (the spec), what is said (the visible claims) and what is (the cell on
this node), and returns one action. It is asked again whenever any of these may have changed, so no
outcome hangs on having seen a particular event. Registry, supervisor, routing and handoff read the
same record; they cannot disagree.

In order:

1. No spec: nothing may run under the name.
2. A claim of ours without a cell is a leftover.
3. Two visible claims: the higher (epoch, boot) lives, the other yields to it.
4. No visible claim: the name is an *orphan*, and the node that placement names takes it, with an
   epoch above every epoch ever seen. Without any trace of a former owner the news may simply not
   be here yet, so that case waits ``adopt_delay``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyhorde.runtime.record import Claim, Spec


class CellPhase(StrEnum):
    """What this node does about a name right now."""

    NONE = "none"
    FIRST = "first"
    """A first start under way; nothing is published yet."""
    ACTIVE = "active"
    """Starting again, running, or waiting to be restarted."""
    YIELDING = "yielding"
    """Lost a conflict; frozen, handing its state to the winner."""
    LEAVING = "leaving"
    """Being handed off or stopped."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the decision depends on. ``claims`` are the visible ones, highest rank first."""

    spec: Spec | None
    claims: tuple[Claim, ...]
    phase: CellPhase
    boot: str
    home_is_here: bool
    may_adopt: bool
    traces: bool
    graceful: bool
    floor: int
    orphan_since: float
    now: float
    adopt_delay: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, as far as this node is concerned."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the process here for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class DropClaims:
    """Withdraw claims of this node that nothing stands behind."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Yield:
    """Hand the state to the winner's owner and end here."""

    winner: Claim


@dataclass(frozen=True, slots=True)
class Recover:
    """The winner is gone: go on as the owner."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Claim the name at this epoch and start it from what is left."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Bury:
    """An orphan that is never restarted: end its name."""

    epoch: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Decide again at this time."""

    at: float


Action = Nothing | Stop | DropClaims | Yield | Recover | Adopt | Bury | AskAgain


def decide(s: Situation) -> Action:
    """The action this situation calls for."""
    mine = tuple(claim for claim in s.claims if claim.boot == s.boot)
    if s.phase in (CellPhase.FIRST, CellPhase.LEAVING):
        return Nothing()
    if s.phase is CellPhase.NONE and mine:
        return DropClaims(mine)
    if s.spec is None:
        return Nothing() if s.phase is CellPhase.NONE else Stop("terminated")
    if s.phase is CellPhase.NONE:
        return _orphan(s, s.spec) if not s.claims else Nothing()
    return _contest(s)


def _contest(s: Situation) -> Action:
    leading = bool(s.claims) and s.claims[0].boot == s.boot
    if s.phase is CellPhase.YIELDING:
        return Recover() if leading else Nothing()
    if s.claims and not leading:
        return Yield(s.claims[0])
    return Nothing()


def _orphan(s: Situation, spec: Spec) -> Action:
    if not (s.may_adopt and s.home_is_here):
        return Nothing()
    settled = s.orphan_since + s.adopt_delay
    if not s.traces and s.now < settled:
        return AskAgain(settled)
    if spec.restart == "temporary" and not s.graceful:
        return Bury(s.floor)
    return Adopt(s.floor + 1)
