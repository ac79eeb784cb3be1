"""Members and views of them.

Identity is (name, generation, boot): the boot id is new at every start, and a higher generation of
a name replaces a lower one for good. Within one boot the incarnation, raised only by the member
itself, orders what is said about it; at equal incarnations the graver word wins::

    alive -> suspect -> stalled -> dead -> left   (alive again only by a higher incarnation)

*Stalled* is a member whose node does not answer while its machine does: its event loop is blocked,
or its OS process is stopped. Nothing moves away from it until it counts as dead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from pyhorde.config import MAX_LABELS

MAX_TYPES: Final = 1000
_ADDRESS: Final = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9._-]{0,253}|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]):[0-9]{1,5}"
)


class Status(StrEnum):
    """What is believed of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    STALLED = "stalled"
    DEAD = "dead"
    LEFT = "left"


DOUBTED: Final = (Status.SUSPECT, Status.STALLED)
"""Present members that do not answer."""
_GRAVITY: Final = {status: gravity for gravity, status in enumerate(Status)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node as it is seen."""

    name: str
    address: str
    boot: str
    generation: int
    incarnation: int = 0
    status: Status = Status.ALIVE
    draining: bool = False
    types: tuple[str, ...] = ()
    cordoned: bool = False
    """Nothing new is placed here; what runs stays."""
    labels: tuple[tuple[str, str], ...] = ()
    """What its operator says of it, in order of the keys."""

    @property
    def state(self) -> str:
        """The one word shown to people."""
        if self.draining and self.status is Status.ALIVE:
            return "draining"
        return self.status.value

    @property
    def present(self) -> bool:
        """Whether its processes count as running."""
        return self.status not in (Status.DEAD, Status.LEFT)

    @property
    def placeable(self) -> bool:
        """Whether processes may be placed on it, if need be."""
        return self.status is Status.ALIVE and not self.draining

    @property
    def identity(self) -> tuple[int, str]:
        """Which boot of its name this is; the higher replaces the lower."""
        return self.generation, self.boot

    def supersedes(self, other: Member) -> bool:
        """Whether this says more than ``other`` about the same name."""
        if self.boot != other.boot:
            return self.identity > other.identity
        mine = (self.incarnation, _GRAVITY[self.status])
        return mine > (other.incarnation, _GRAVITY[other.status])

    def doubted_like(self, other: Member) -> bool:
        """Whether both doubt the same incarnation of the same boot."""
        same = (self.boot, self.incarnation) == (other.boot, other.incarnation)
        return same and self.status in DOUBTED and other.status in DOUBTED

    def at(self, status: Status) -> Member:
        """The same member, believed to be ``status``."""
        return replace(self, status=status)

    def to_wire(self) -> list[Any]:
        """Plain data for messages."""
        return [
            self.name,
            self.address,
            self.boot,
            self.generation,
            self.incarnation,
            self.status.value,
            self.draining,
            list(self.types),
            self.cordoned,
            [list(label) for label in self.labels],
        ]

    @classmethod
    def from_wire(cls, raw: Any) -> Member:
        """Check and rebuild. Raises ``ValueError``."""
        if not isinstance(raw, list) or len(raw) != 10:
            raise ValueError("member: expected 10 fields")
        name, address, boot, generation, incarnation, status, draining, types = raw[:8]
        if not isinstance(types, list) or type(draining) is not bool or type(raw[8]) is not bool:
            raise ValueError("member: bad types, draining or cordoned")
        labels = _labels_from_wire(raw[9])
        texts = (name, address, boot, *types)
        numbers = (generation, incarnation)
        if not all(isinstance(t, str) and len(t) <= 512 for t in texts) or len(types) > MAX_TYPES:
            raise ValueError("member: bad name, address, boot or types")
        if not _ADDRESS.fullmatch(address) or not all(map(str.isprintable, texts)):
            raise ValueError("member: an address that is none, or a text that nobody can read")
        if not all(type(n) is int and 0 <= n < 2**53 for n in numbers):
            raise ValueError("member: bad generation or incarnation")
        return cls(
            name=name,
            address=address,
            boot=boot,
            generation=generation,
            incarnation=incarnation,
            status=Status(status),
            draining=draining,
            types=tuple(types),
            cordoned=raw[8],
            labels=labels,
        )


def _labels_from_wire(raw: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, list) or len(raw) > MAX_LABELS:
        raise ValueError("member: bad labels")
    for pair in raw:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("member: a label is no pair")
        if not all(isinstance(text, str) and len(text) <= 256 for text in pair):
            raise ValueError("member: a label that is no text")
    return tuple((key, value) for key, value in raw)


@dataclass(frozen=True, slots=True)
class View:
    """An immutable picture of all members, the own one included, in order of their names."""

    me: Member
    members: tuple[Member, ...]
    by_name: Mapping[str, Member] = field(init=False, repr=False, compare=False)
    by_boot: Mapping[str, Member] = field(init=False, repr=False, compare=False)
    present: tuple[Member, ...] = field(init=False, repr=False, compare=False)
    """Members whose processes count as running."""
    others: tuple[Member, ...] = field(init=False, repr=False, compare=False)
    """Present members but the own one."""

    def __post_init__(self) -> None:
        present = tuple(m for m in self.members if m.present)
        object.__setattr__(self, "by_name", {m.name: m for m in self.members})
        object.__setattr__(self, "by_boot", {m.boot: m for m in self.members})
        object.__setattr__(self, "present", present)
        object.__setattr__(self, "others", tuple(m for m in present if m.boot != self.me.boot))

    def is_present(self, boot: str) -> bool:
        """Whether this very boot is a present member."""
        member = self.by_boot.get(boot)
        return member is not None and member.present

    def candidates(self, type_name: str) -> tuple[str, ...]:
        """Names of the members on which a process of this type may be placed.

        Cordoned ones only when there are no others.
        """
        able = [m for m in self.members if m.placeable and type_name in m.types]
        return tuple(m.name for m in able if not m.cordoned) or tuple(m.name for m in able)

    def offered(self) -> tuple[str, ...]:
        """All types that present members offer."""
        return tuple(sorted({t for m in self.present for t in m.types}))
