"""The real world: the machine's clocks, its randomness, its network."""

from __future__ import annotations

import random
import secrets
import time

from pyhorde.cluster.http import HttpNetwork


class RealWorld:
    """A :class:`~pyhorde.seam.World` for production. One per node."""

    def __init__(self) -> None:
        self.network = HttpNetwork()
        self.rng = random.Random()  # noqa: S311 - spreads load; identities come from token()

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def token(self) -> str:
        return secrets.token_hex(16)
