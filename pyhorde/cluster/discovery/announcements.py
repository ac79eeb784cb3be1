"""Who is near: nodes announce themselves, and are forgotten when they fall silent.

A pure machine: packets and ``now`` in, packets out. A packet is a small JSON object with the
cluster's name, the node's address, whether it asks the others to answer at once, and the proof that
its sender knows the cluster's secret. A packet that is recorded and sent again proves as much, and
leads to a dial in vain at worst.
"""

from __future__ import annotations

import hmac
import json
from typing import Any, Final

from pyhorde.cluster.discovery.addresses import MAX_ADDRESSES, check_address
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.errors import ConfigError
from pyhorde.seam import Rng

VERSION: Final = 1
ANNOUNCE: Final = 5.0
"""Seconds between two announcements of a node, give or take a fifth."""
FORGET: Final = 60.0
"""Seconds without an announcement after which a node is not near any more."""
ANSWER: Final = 0.2
"""Seconds within which a node that was asked answers."""
SPARE: Final = 1.0
"""Seconds between two announcements of a node, however many ask it."""
MAX_BYTES: Final = 1024


def proof(key: bytes | None, cluster: str, address: str, *, asks: bool) -> str:
    """What only a holder of the key can say about this announcement; empty without one."""
    if key is None:
        return ""
    text = "\0".join(("pyhorde announcement", str(VERSION), cluster, address, str(int(asks))))
    return hmac.digest(key, text.encode(), "sha256").hex()


class Announcements:
    """The own announcements, and the nodes that were heard."""

    def __init__(self, address: str, cluster: str, keyring: Keyring, rng: Rng) -> None:
        self._address = address
        self._cluster = cluster
        self._keyring = keyring
        self._rng = rng
        self._heard: dict[str, float] = {}
        self._due = 0.0
        self._last = 0.0
        self.refused = 0
        """Packets that were no announcements, or proved nothing."""

    @property
    def addresses(self) -> frozenset[str]:
        """Who is near, without this node."""
        return frozenset(self._heard)

    @property
    def deadline(self) -> float:
        """When to call :meth:`tick` next."""
        oldest = min(self._heard.values(), default=float("inf"))
        return min(self._due, oldest + FORGET)

    def begin(self, now: float) -> bytes:
        """The first packet: who is there?"""
        return self._packet(now, asks=True)

    def tick(self, now: float) -> bytes | None:
        """Forget who has been silent for too long; the next packet, if it is due."""
        silent = [address for address, last in self._heard.items() if last + FORGET <= now]
        for address in silent:
            del self._heard[address]
        return self._packet(now, asks=False) if now >= self._due else None

    def hear(self, packet: bytes, now: float) -> bool:
        """A packet came, from whomever. Whether it makes a difference to what is due or known."""
        said = _read(packet)
        if said is None:
            self.refused += 1
            return False
        cluster, address, asks, given = said
        if cluster != self._cluster or address == self._address:
            return False
        if not self._proves(given, cluster, address, asks=asks):
            self.refused += 1
            return False
        is_new = address not in self._heard
        if not is_new or len(self._heard) < MAX_ADDRESSES:
            self._heard[address] = now
        return self._answer_soon(now) if asks else is_new

    def _proves(self, given: str, cluster: str, address: str, *, asks: bool) -> bool:
        """Whether somebody who said this knows one of the secrets that count."""
        expected = [proof(key, cluster, address, asks=asks) for key in self._keys()]
        return any(hmac.compare_digest(given.encode(), each.encode()) for each in expected)

    def _keys(self) -> tuple[bytes | None, ...]:
        return self._keyring.announcement_keys or (None,)

    def _answer_soon(self, now: float) -> bool:
        soon = max(now, self._last + SPARE) + self._rng.uniform(0.0, ANSWER)
        self._due = min(self._due, soon)
        return True

    def _packet(self, now: float, *, asks: bool) -> bytes:
        self._last = now
        self._due = now + ANNOUNCE * self._rng.uniform(0.8, 1.2)
        said = {
            "pyhorde": VERSION,
            "cluster": self._cluster,
            "address": self._address,
            "asks": asks,
            "proof": proof(self._keys()[0], self._cluster, self._address, asks=asks),
        }
        return json.dumps(said, separators=(",", ":")).encode()


def _read(packet: bytes) -> tuple[str, str, bool, str] | None:
    """Cluster, address, whether it asks, and the proof; None when the packet is something else."""
    if len(packet) > MAX_BYTES:
        return None
    try:
        said: Any = json.loads(packet)
        fields = said["cluster"], said["address"], said["asks"], said["proof"]
        kinds = tuple(type(field) for field in fields)
        if said["pyhorde"] != VERSION or kinds != (str, str, bool, str):
            return None
        if not fields[3].isascii():
            return None
        check_address(fields[1])
    except (ConfigError, KeyError, RecursionError, TypeError, ValueError):
        return None
    return fields
