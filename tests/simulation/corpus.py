"""Plans that once found something: what, and without which safeguard they find it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pyhorde.testing.plans import Plan

PACE = 4.0
"""Mean seconds between two requests of a client, at which all of them were found."""
FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Pinned:
    """One plan."""

    name: str
    plan: Plan
    found: str
    without: str

    @classmethod
    def load(cls, path: Path) -> Pinned:
        data = json.loads(path.read_text())
        return cls(path.stem, Plan.load(path), data["found"], data.get("without", ""))


def pinned() -> list[Pinned]:
    return [Pinned.load(path) for path in sorted(FOLDER.glob("*.json"))]
