"""The process that the tests in network namespaces run on their nodes."""

from __future__ import annotations

from typing import Any

from pyhorde import Process, Resume, call


class Ledger(Process):
    """Keeps what it is given, in order; a merge keeps what either side had."""

    durability = "replicated"

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"entries": []}

    @call
    async def add(self, entry: str) -> int:
        """Append it, whatever is there already; returns how many there are now."""
        self.state["entries"].append(entry)
        return len(self.state["entries"])

    @call
    async def entries(self) -> list[str]:
        return list(self.state["entries"])

    async def merge(self, other: Resume) -> None:
        mine = set(self.state["entries"])
        self.state["entries"] += [e for e in other.state["entries"] if e not in mine]
