"""Who is let in while nobody has proven anything: how many connections of which kind. Pure.

Every connection is of one kind at a time. It begins as ``HEAD`` (its first request is being read)
and becomes ``HTTP`` (a client of the API), ``HANDSHAKE`` (somebody who says it is a node), or, once
it has proven that, ``PEER``. Strangers, of whatever kind, never take the part that is kept for
peers and for those who only ask how the node is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

MAX_HEADS: Final = 256
"""Requests whose head is not complete. Of more, the oldest gives way."""
MAX_HANDSHAKES: Final = 64
MAX_HANDSHAKES_PER_ADDRESS: Final = 8
KNOWN_HANDSHAKES: Final = 64
"""So many more handshakes for addresses from which somebody has proven itself before."""
KNOWN_ADDRESSES: Final = 1024
MAX_CONNECTIONS: Final = 10_000
RESERVED_SHARE: Final = 4
"""One of so many connections is kept for peers and probes."""
DESCRIPTORS: Final = 128
"""File descriptors that are no connections: files, pipes, what the program itself opens."""


class Kind(Enum):
    """What a connection is for."""

    HEAD = "head"
    HTTP = "http"
    HANDSHAKE = "handshake"
    PEER = "peer"


@dataclass(slots=True)
class AdmissionStatistics:
    """Why connections were refused or ended, since the start."""

    full: int = 0
    """There were too many connections."""
    evicted: int = 0
    """It gave way to a newer one before its request was complete."""
    slow: int = 0
    """Its request, its handshake or its reading took too long."""
    handshakes: int = 0
    """Too many handshakes were under way, in all or from its address."""
    bad_requests: int = 0
    """What it sent is no request, or one that is too large."""


@dataclass(slots=True)
class Admission:
    """Counts connections; ``limit`` is how many there may be at all."""

    limit: int = MAX_CONNECTIONS
    statistics: AdmissionStatistics = field(default_factory=AdmissionStatistics)
    _counts: Counter[Kind] = field(default_factory=Counter)
    _handshakes: Counter[str] = field(default_factory=Counter)
    """Those under way, by address."""
    _known: dict[str, None] = field(default_factory=dict)
    """Addresses from which somebody has proven itself, the latest last."""

    def count(self, kind: Kind) -> int:
        """How many connections are of this kind now."""
        return self._counts[kind]

    @property
    def total(self) -> int:
        """How many connections there are."""
        return sum(self._counts.values())

    @property
    def must_evict(self) -> bool:
        """Whether the oldest incomplete request gives way, now that one has been added."""
        return self._counts[Kind.HEAD] > MAX_HEADS

    def may_connect(self) -> bool:
        """Whether there is room for one more connection of whatever kind."""
        if self.total < self.limit:
            return True
        self.statistics.full += 1
        return False

    def may_serve(self, *, probe: bool) -> bool:
        """Whether there is room for one more client of the API; a ``probe`` has more."""
        clients = self._counts[Kind.HTTP]
        if probe or clients < self.limit - self.limit // RESERVED_SHARE:
            return True
        self.statistics.full += 1
        return False

    def may_shake_hands(self, address: str) -> bool:
        """Whether one more handshake may begin, with somebody at this address."""
        limit, most = MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS
        if address in self._known:
            limit, most = limit + KNOWN_HANDSHAKES, limit
        if self._counts[Kind.HANDSHAKE] < limit and self._handshakes[address] < most:
            return True
        self.statistics.handshakes += 1
        return False

    def enter(self, kind: Kind, address: str) -> None:
        """A connection is of this kind from now on."""
        self._counts[kind] += 1
        if kind is Kind.HANDSHAKE:
            self._handshakes[address] += 1
        elif kind is Kind.PEER:
            self._known.pop(address, None)
            self._known[address] = None
            if len(self._known) > KNOWN_ADDRESSES:
                del self._known[next(iter(self._known))]

    def leave(self, kind: Kind, address: str) -> None:
        """It is not any more."""
        self._counts[kind] -= 1
        if kind is Kind.HANDSHAKE:
            self._handshakes[address] -= 1
            if not self._handshakes[address]:
                del self._handshakes[address]
