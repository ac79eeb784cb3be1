"""Where the meeting app and its transcript are: in the installed package, or in a checkout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pyhorde.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class App:
    """A module for ``--app``, its directory, and the import path that its node needs, if any."""

    module: str
    directory: Path
    python_path: Path | None = None

    def type(self, *, durable: bool) -> str:
        """The process type, as ``POST /v1/processes`` wants it."""
        return f"{self.module}:{'DurableMeeting' if durable else 'Meeting'}"

    def transcript(self) -> list[str]:
        """The lines of the recorded meeting, without blank ones."""
        text = (self.directory / "transcript.txt").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line.strip()]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """``base`` for a node: without ``PYHORDE_*`` settings, with the import path."""
        env = {key: value for key, value in base.items() if not key.startswith("PYHORDE_")}
        if self.python_path is not None:
            parts = [str(self.python_path), env.get("PYTHONPATH", "")]
            env["PYTHONPATH"] = os.pathsep.join(filter(None, parts))
        return env


def find_app(root: Path = ROOT) -> App:
    """The meeting app. Raises :class:`~pyhorde.errors.ConfigError` where there is none."""
    checkout = root if (root / "pyproject.toml").is_file() else None
    if directory := _installed():
        return App("pyhorde.examples.meeting", directory, python_path=checkout)
    if (root / "examples" / "meeting.py").is_file():
        return App("examples.meeting", root / "examples", python_path=root)
    raise ConfigError(
        "demo",
        f"there is neither a module pyhorde.examples.meeting nor {root / 'examples'}",
        "install the pyhorde wheel, or run from a complete checkout",
    )


def _installed() -> Path | None:
    try:
        spec = find_spec("pyhorde.examples.meeting")
    except ModuleNotFoundError:
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None
