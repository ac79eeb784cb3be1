"""Which news about members rides on which message.

Every update is piggybacked on a limited number of messages, those sent least often first, so that
news spreads in O(log n) rounds at constant cost per message. Source: Das, Gupta, Motivala, "SWIM"
(2002), section 4.1.
"""

from __future__ import annotations

import math
from typing import Any, Final

MAX_PER_MESSAGE: Final = 8


class Dissemination:
    """The queue of updates still to be spread, one per member name."""

    def __init__(self, retransmit_mult: int) -> None:
        self._mult = retransmit_mult
        self._queue: dict[str, tuple[int, Any]] = {}

    def add(self, name: str, update: Any) -> None:
        """Spread this about the member; replaces what was queued about it."""
        self._queue.pop(name, None)
        self._queue[name] = (0, update)

    def take(self, size: int) -> list[Any]:
        """Up to ``MAX_PER_MESSAGE`` updates for one message, in a cluster of ``size`` members."""
        limit = self._mult * math.ceil(math.log10(size + 1))
        ready = sorted((sent, name) for name, (sent, _) in self._queue.items())
        taken = []
        for sent, name in ready[:MAX_PER_MESSAGE]:
            update = self._queue[name][1]
            taken.append(update)
            if sent + 1 >= limit:
                del self._queue[name]
            else:
                self._queue[name] = (sent + 1, update)
        return taken

    def __len__(self) -> int:
        return len(self._queue)
