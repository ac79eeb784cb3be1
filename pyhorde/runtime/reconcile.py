"""What to do about one name: the decision that all else carries out. Pure and level-triggered.

It looks at what should be (the spec), what is said (the visible claims) and what is (the cell on
this node), and returns one action. It is asked again whenever any of these may have changed, so no
outcome hangs on having seen a particular event. Registry, supervisor, routing and handoff read the
same record; they cannot disagree.

In order:

1. No spec: nothing may run under the name. A cell of an earlier life than the spec's must end.
2. A claim of ours without a cell is a leftover.
3. Two visible claims of the spec's life: the higher (epoch, boot) lives, the other yields to it.
4. An owner that is left over from a conflict, whose epoch others have passed meanwhile, or beside
   whom a state was saved that nobody took in (*strays*: its writer is gone), takes in what was
   saved and claims the name anew above every epoch known. Where the writer may only be about to be
   seen again, and to hand its state over itself, that waits ``adopt_delay``.
5. An owner that was started at once with another one, on the other side of a split, publishes its
   own spec if the other's is in place: the process that lives is the one that is described.
6. No visible claim: the name is an *orphan*, and the node that placement names takes it, with an
   epoch above every epoch known. Without any trace of a former owner the news may simply not be
   here yet, so that case waits ``adopt_delay``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from pyhorde.runtime.record import Claim, Life, Spec


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
    """Everything the decision depends on. ``claims`` are the visible ones, highest rank first.

    ``life`` is that of the cell here, if there is one.
    """

    spec: Spec | None
    claims: tuple[Claim, ...]
    phase: CellPhase
    life: Life | None
    boot: str
    home_is_here: bool
    may_adopt: bool
    traces: bool
    graceful: bool
    floor: int
    strays: bool
    orphan_since: float
    now: float
    adopt_delay: float
    odd_since: float = -math.inf
    """Since when there have been strays, or a higher epoch than the owner's, without a break."""


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
class Reclaim:
    """Go on as the owner, at a new epoch, with what others saved taken in."""


@dataclass(frozen=True, slots=True)
class Republish:
    """The spec in place describes another process than the owner: publish this cell's."""


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


Action = Nothing | Stop | DropClaims | Yield | Reclaim | Republish | Adopt | Bury | AskAgain


def decide(s: Situation) -> Action:
    """The action this situation calls for."""
    if s.phase in (CellPhase.FIRST, CellPhase.LEAVING):
        return Nothing()
    if s.phase is CellPhase.NONE:
        mine = tuple(claim for claim in s.claims if claim.boot == s.boot)
        if mine:
            return DropClaims(mine)
        return Nothing() if s.spec is None else _vacant(s, s.spec)
    if s.spec is None or (s.life is not None and s.life.number < s.spec.life.number):
        return Stop("terminated")
    return _contest(s, s.spec)


def _contest(s: Situation, spec: Spec) -> Action:
    """A cell is here; does it own the name?"""
    valid = [claim for claim in s.claims if claim.life.number == spec.life.number]
    if not valid:
        return Nothing()
    if valid[0].boot != s.boot:
        return Nothing() if s.phase is CellPhase.YIELDING else Yield(valid[0])
    if s.phase is CellPhase.YIELDING:
        return Reclaim()
    if valid[0].epoch < s.floor or s.strays:
        settled = s.odd_since + s.adopt_delay
        return Reclaim() if s.now >= settled else AskAgain(settled)
    return Nothing() if s.life == spec.life else Republish()


def _vacant(s: Situation, spec: Spec) -> Action:
    """No cell is here; does the name need one?"""
    rivals = [claim for claim in s.claims if claim.life.number >= spec.life.number]
    if rivals or not (s.may_adopt and s.home_is_here):
        return Nothing()
    settled = s.orphan_since + s.adopt_delay
    if not s.traces and s.now < settled:
        return AskAgain(settled)
    if spec.restart == "temporary" and not s.graceful:
        return Bury(s.floor)
    return Adopt(s.floor + 1)
