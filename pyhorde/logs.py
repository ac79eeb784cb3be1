"""How the command writes logs: one line per event, for people or for machines.

The library only ever says ``log.info("member_dead", extra={"fields": {"member": "b"}})``: an event
and its fields. Whoever embeds pyhorde sets up logging as they like; the command uses this::

    12:03:44.201 INFO    member_dead member=b after=0.42
    {"ts": "2026-01-05T11:03:44.201Z", "level": "info", "logger": "pyhorde.cluster", "event": ...}
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

FORMATS: Final = ("text", "json")

_PLAIN = re.compile(r"""[^\s"'=\x00-\x1f\x7f-\x9f]+""")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_FRAMES: Final = 5
_QUIET: Final = ("aiohttp.access", "asyncio")


def configure(format: str, level: str, stream: TextIO | None = None) -> None:
    """Send every log record of this OS process to ``stream`` (default stderr), and only there."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(coloured=coloured))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class TextFormatter(logging.Formatter):
    """``HH:MM:SS.mmm LEVEL event key=value ...``, in local time."""

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        clock = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d}"
        level = f"{record.levelname:<7}"
        if self._coloured:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        parts = [f"{key}={_text(value)}" for key, value in _fields(record).items()]
        if fault := _fault(record):
            parts.append(f"error={_text(fault['type'] + ': ' + fault['message'])}")
            parts.append(f"at={_text(' < '.join(fault['at']))}")
        return " ".join([clock, level, _one_line(record.getMessage()), *parts])


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in UTC; a field never hides one of the line's own keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "ts": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else key] = value
        if fault := _fault(record):
            line["exception"] = fault
        return json.dumps(_plain(line), ensure_ascii=False)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _fault(record: logging.LogRecord) -> dict[str, Any] | None:
    """The record's exception: its type, message, and the innermost frames, innermost first."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    return {"type": type(error).__name__, "message": str(error), "at": _at(error.__traceback__)}


def _at(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames)]


def _plain(value: Any) -> Any:
    """The value as strict JSON carries it: other types, and numbers that are none, as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    """Nothing that came from outside may forge a second line or move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
