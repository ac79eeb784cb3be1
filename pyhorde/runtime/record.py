"""The records that decide: a name's spec, its claims, and its saved state. Pure data.

*Spec* (a register): what should run under the name; when it is deleted, *Ended* is the note it
leaves: how far the epochs went. *Claim* (an OR-map row): who says that they run it, at which epoch.
*StateRecord* (a register): a copy of what it remembers, one for each boot that ran it and has not
been taken over from. Specs and states outlive nodes; a claim dies with the boot that made it.

A name has *lives*, numbered from 1: each start after an end begins the next. All three records say
which life they belong to, and what is ranked by it cannot be undone by an earlier one: the end of a
life beats everything of that life, whatever epochs a partition counted meanwhile, and the next life
beats that end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack

from pyhorde.crdt import Dot
from pyhorde.errors import InvalidName

SPECS: Final = "spec"
STATES: Final = "state"
META: Final = "meta"
MAX_NAME_BYTES: Final = 512

Answers = list[list[Any]]
"""Recent answers: ``[request id, ok, payload]``."""


def check_name(name: Any) -> str:
    """The name, if it can be one: 1 to 512 bytes of UTF-8. Raises ``InvalidName``."""
    if not isinstance(name, str):
        raise InvalidName(repr(name), "it is no string")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(repr(name), "it is not valid UTF-8") from None
    if not 1 <= size <= MAX_NAME_BYTES:
        raise InvalidName(name, f"it takes {size} bytes; 1 to {MAX_NAME_BYTES} are allowed")
    return name


def check_names(names: list[str]) -> None:
    """Check many at once. Raises ``InvalidName`` for the first that cannot be one."""
    if not names or (set(map(type, names)) == {str} and all(map(str.isascii, names))):
        sizes = set(map(len, names))
        if not sizes or (min(sizes) >= 1 and max(sizes) <= MAX_NAME_BYTES):
            return
    for name in names:
        check_name(name)


class Life(NamedTuple):
    """One life of a name; ``start_id`` tells apart two that began at once in a split cluster."""

    number: int
    start_id: str


FIRST_LIFE: Final = Life(1, "")
MAX_LIFE: Final = 2**40
MAX_EPOCH: Final = 2**32


@dataclass(frozen=True, slots=True)
class Spec:
    """What should run: the type, its constructor's arguments (encoded), and its policy.

    ``epoch`` is that of the last owner that published it.
    """

    type: str
    arguments: bytes
    restart: str
    durability: str
    epoch: int
    life: Life

    @property
    def rank(self) -> int:
        """Its order among specs and ends."""
        return 2 * self.life.number

    def encode(self) -> bytes:
        """As bytes."""
        head = [1, self.type, self.arguments, self.restart, self.durability]
        return _pack([*head, self.epoch, *self.life])


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing should run any more; the last epoch was this."""

    epoch: int
    reason: str
    life: Life

    @property
    def rank(self) -> int:
        """Its order among specs and ends."""
        return 2 * self.life.number + 1

    def encode(self) -> bytes:
        """As bytes."""
        return _pack([0, self.epoch, self.reason, *self.life])


_SPEC_KINDS: Final = ((int, str, int, str), (str, bytes, str, str, int, int, str))


def decode_spec(data: bytes) -> Spec | Ended | None:
    """A spec register's value; None when it cannot be read (from a newer version, say)."""
    fields = _unpack(data)
    if not fields or fields[0] not in (0, 1) or not _fits(fields[1:], _SPEC_KINDS[int(fields[0])]):
        return None
    life = Life(*fields[-2:])
    found = _spec(fields[1:-2], life) if fields[0] == 1 else Ended(fields[1], fields[2], life)
    return found if _in_range(life.number, found.epoch) else None


def _spec(fields: list[Any], life: Life) -> Spec:
    kind, arguments, restart, durability, epoch = fields
    return Spec(kind, arguments, restart, durability, epoch, life)


@dataclass(frozen=True, slots=True)
class Claim:
    """One node's word that it runs the process of this name."""

    name: str
    dot: Dot
    epoch: int
    node: str
    type: str
    life: Life

    @property
    def boot(self) -> str:
        """The boot that made the claim."""
        return self.dot.origin

    @property
    def rank(self) -> tuple[int, str]:
        """Of two claims of one name the higher rank lives: (epoch, side identity)."""
        return self.epoch, self.dot.origin


def encode_claim(claim: Claim) -> bytes:
    """A claim's value, for the OR-map."""
    return _pack([claim.epoch, claim.node, claim.type, *claim.life])


def decode_claim(name: str, dot: Dot, data: bytes) -> Claim | None:
    """The claim again; None when it cannot be read."""
    fields = _unpack(data)
    if not _fits(fields, (int, str, str, int, str)):
        return None
    epoch, node, type_name, number, start_id = fields
    if not _in_range(number, epoch):
        return None
    return Claim(name, dot, epoch, node, type_name, Life(number, start_id))


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A saved state: ``kind`` is ``graceful`` (final, handed over) or ``checkpoint``."""

    epoch: int
    kind: str
    version: int
    node: str
    reason: str
    state: bytes
    answers: Answers
    life: int

    def encode(self) -> bytes:
        """As bytes."""
        head = [self.epoch, self.kind, self.version, self.node, self.reason]
        return _pack([*head, self.state, self.answers, self.life])


def decode_state(data: bytes) -> StateRecord | None:
    """The record again; None when it cannot be read."""
    fields = _unpack(data)
    if not _fits(fields, (int, str, int, str, str, bytes, list, int)):
        return None
    found = StateRecord(*fields)
    return found if _in_range(found.life, found.epoch) else None


def _in_range(life: int, epoch: int) -> bool:
    return 0 < life < MAX_LIFE and 0 <= epoch < MAX_EPOCH - 1


def _pack(fields: list[Any]) -> bytes:
    data: bytes = msgpack.packb(fields)
    return data


def _unpack(data: bytes) -> list[Any]:
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        return []
    return fields if isinstance(fields, list) else []


def _fits(fields: list[Any], kinds: tuple[Any, ...]) -> bool:
    return len(fields) == len(kinds) and all(
        isinstance(field, kind) for field, kind in zip(fields, kinds, strict=True)
    )
