"""What nodes have logged, as events in the order of their time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

TAIL: Final = 40
"""Lines of each log that explain a failure."""


@dataclass(frozen=True)
class Event:
    """One line of a node's log, written at this time of the wall clock, in seconds."""

    at: float
    node: str
    fields: Mapping[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.fields.get(field)


class Logs:
    """The logs of all nodes, by their names."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def events(self, name: str, since: float = 0.0) -> list[Event]:
        """Everything of this name that was logged since then, in order."""
        found = (event for event in self._events() if event.at >= since)
        return sorted((e for e in found if e["event"] == name), key=lambda event: event.at)

    def complaints(self) -> list[str]:
        """What should not be in any log: errors, and what is no event at all, like a traceback."""
        wrong = (e for e in self._events() if e["level"] == "error")
        errors = [f"{event.node}: {event.fields}" for event in wrong]
        return errors + [f"{node}: {line}" for node, line in self._lines() if not _parsed(line)]

    def tails(self) -> str:
        """The end of each log."""
        lines = []
        for node, file in self._files.items():
            lines += [f"---- {node}", *deque(_read(file), maxlen=TAIL)]
        return "\n".join(lines)

    def _lines(self) -> Iterator[tuple[str, str]]:
        return ((node, line) for node, file in self._files.items() for line in _read(file))

    def _events(self) -> Iterator[Event]:
        for node, line in self._lines():
            if fields := _parsed(line):
                yield Event(datetime.fromisoformat(fields["ts"]).timestamp(), node, fields)


def _read(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _parsed(line: str) -> dict[str, Any]:
    with suppress(ValueError):
        fields = json.loads(line)
        if isinstance(fields, dict) and "ts" in fields:
            return fields
    return {}
