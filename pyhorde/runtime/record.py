"""The records that decide: a name's spec, its claims, and its saved state. Pure data.

*Spec* (a register): what should run under the name; or *Ended*: nothing, and how far its epochs
went. *Claim* (an OR-map row): who says that they run it, at which epoch. *StateRecord* (a register,
ranked by epoch): the newest copy of what it remembers. Specs and states outlive nodes; a claim dies
with the boot that made it.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Final

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


@dataclass(frozen=True, slots=True)
class Spec:
    """What should run: the type, its constructor's arguments (encoded), and its policy."""

    type: str
    arguments: bytes
    restart: str
    durability: str
    epoch: int
    start_id: str

    def encode(self) -> bytes:
        """As bytes."""
        return _pack([1, *astuple(self)])


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing should run any more; the last epoch was this."""

    epoch: int
    reason: str

    def encode(self) -> bytes:
        """As bytes."""
        return _pack([0, self.epoch, self.reason])


def decode_spec(data: bytes) -> Spec | Ended | None:
    """A spec register's value; None when it cannot be read (from a newer version, say)."""
    fields = _unpack(data)
    if fields and fields[0] == 1 and _fits(fields[1:], (str, bytes, str, str, int, str)):
        return Spec(*fields[1:])
    if fields and fields[0] == 0 and _fits(fields[1:], (int, str)):
        return Ended(*fields[1:])
    return None


@dataclass(frozen=True, slots=True)
class Claim:
    """One node's word that it runs a process, or holds a key for one.

    ``process`` is the process's name: for a process's own claim that is the key itself.
    """

    key: str
    dot: Dot
    epoch: int
    node: str
    process: str
    type: str
    value: bytes | None

    @property
    def boot(self) -> str:
        """The boot that made the claim."""
        return self.dot.origin

    @property
    def rank(self) -> tuple[int, str]:
        """Of two claims of one key the higher rank lives: (epoch, side identity)."""
        return self.epoch, self.dot.origin

    @property
    def is_process(self) -> bool:
        """Whether this is a process's own name."""
        return self.process == self.key


def encode_claim(epoch: int, node: str, process: str, type_name: str, value: bytes | None) -> bytes:
    """A claim's value, for the OR-map."""
    return _pack([epoch, node, process, type_name, value])


def decode_claim(key: str, dot: Dot, data: bytes) -> Claim | None:
    """The claim again; None when it cannot be read."""
    fields = _unpack(data)
    if not _fits(fields, (int, str, str, str, (bytes, type(None)))):
        return None
    return Claim(key, dot, *fields)


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

    def encode(self) -> bytes:
        """As bytes."""
        return _pack(
            [self.epoch, self.kind, self.version, self.node, self.reason, self.state, self.answers]
        )


def decode_state(data: bytes) -> StateRecord | None:
    """The record again; None when it cannot be read."""
    fields = _unpack(data)
    if not _fits(fields, (int, str, int, str, str, bytes, list)):
        return None
    return StateRecord(*fields)


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
