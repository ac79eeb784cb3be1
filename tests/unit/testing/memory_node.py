"""A node in memory, as far as the processes of workloads need one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pyhorde.errors import NameTaken
from pyhorde.runtime.keyed import Entry


class MemoryRegistry:
    """Keys and metadata of one correct cluster."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.metadata: dict[str, Any] = {}

    def register(self, key: str, value: Any, process: Any) -> None:
        holder = self.held.get(key)
        if holder is not None and holder.process != process.name:
            raise NameTaken(key, holder.node)
        self.held[key] = Entry(key, value, process.name, "a")

    def unregister(self, key: str, process: Any) -> bool:
        holder = self.held.get(key)
        if holder is None or holder.process != process.name:
            return False
        del self.held[key]
        return True

    def lookup(self, key: str) -> Entry | None:
        return self.held.get(key)

    def select(self, prefix: str, where: Callable[[Entry], bool]) -> list[Entry]:
        return [e for key, e in self.held.items() if key.startswith(prefix) and where(e)]

    def put_meta(self, key: str, value: Any) -> None:
        self.metadata[key] = value

    def meta(self, key: str) -> Any:
        return self.metadata.get(key)

    def delete_meta(self, key: str) -> bool:
        return self.metadata.pop(key, None) is not None

    async def flush(self, timeout: float) -> None:
        """Everybody has everything."""


def memory_node() -> Any:
    """A node that has company."""
    return SimpleNamespace(registry=MemoryRegistry(), view=SimpleNamespace(others=("b", "c")))
