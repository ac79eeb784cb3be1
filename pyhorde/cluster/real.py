"""The real world: the machine's clocks, its randomness, its network."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

from pyhorde.cluster.event_loop.watchdog import WatchThread
from pyhorde.cluster.transport.http import HttpNetwork


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

    def watch(
        self, beat: Callable[[], float], blocked: Callable[[float, str], None]
    ) -> WatchThread:
        return WatchThread(beat, blocked)
