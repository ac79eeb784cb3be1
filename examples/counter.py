"""The smallest useful process: a counter that survives the node it runs on.

::

    pyhorde node --name a --app examples.counter
    pyhorde start examples.counter:Counter visits 10
    pyhorde call visits increment 5
"""

from __future__ import annotations

from pyhorde import Process, call, cast


class Counter(Process):
    """Counts. ``replicated``: an answered call is safe on another node before it is answered."""

    durability = "replicated"

    def __init__(self, start: int = 0) -> None:
        self.state: dict[str, int] = {"count": start}

    @call
    async def increment(self, by: int = 1) -> int:
        """Add ``by`` and return the new count."""
        self.state["count"] += by
        return self.state["count"]

    @call
    async def get(self) -> int:
        """The count as it is."""
        return self.state["count"]

    @cast
    async def reset(self) -> None:
        """Back to zero. A cast has no answer: the sender goes on at once."""
        self.state["count"] = 0
