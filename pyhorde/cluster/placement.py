"""Placement: which member is a name's home.

Rendezvous hashing over a fixed number of slots: each name falls into a slot by its hash, each slot
belongs to the candidate with the highest hash of (slot, candidate). When a candidate goes, only its
own slots move; when one comes, it takes only its share. Equal inputs give equal homes on every
machine, whatever the order of the candidates.
Source: Thaler and Ravishankar, "A name-based mapping scheme for rendezvous" (1996).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

SLOTS: Final = 1 << 14
KEPT_TABLES: Final = 16


def hash64(data: str) -> int:
    """64 bits that are the same on every machine and in every process."""
    return int.from_bytes(blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class Placement:
    """Homes of names. Pure; remembers what it computed."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, ...], dict[int, str]] = {}

    def home(self, name: str, candidates: tuple[str, ...]) -> str | None:
        """The candidate on which ``name`` belongs; None without candidates."""
        if not candidates:
            return None
        table = self._tables.get(candidates)
        if table is None:
            while len(self._tables) >= KEPT_TABLES:
                del self._tables[next(iter(self._tables))]
            table = self._tables[candidates] = {}
        slot = hash64(name) % SLOTS
        owner = table.get(slot)
        if owner is None:
            owner = table[slot] = max(candidates, key=lambda c: (hash64(f"{slot}/{c}"), c))
        return owner
