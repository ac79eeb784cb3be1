"""How the command writes logs: one line per event, for people or for machines.

The library only ever says ``log.info("member_dead", extra={"fields": {"member": "b"}})``: an event
and its fields. Whoever embeds pyhorde sets up logging as they like; the command uses this::

    12:03:44.201 INFO    member_dead member=b after=0.42
    {"ts": "2026-01-05T11:03:44.201Z", "level": "info", "logger": "pyhorde.cluster", "event": ...}

Much of what fields say comes from strangers. A line is printable whatever they say: no character in
it moves a cursor, turns the writing around or ends the line. It is cut to a bounded length.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO, TypeVar

from pyhorde.cluster.transport.rate_limit import RateLimit

T = TypeVar("T")

FORMATS: Final = ("text", "json")

MAX_FIELD: Final = 200
"""Characters of a field; of what is left out the length is told."""
MAX_LONG: Final = 8192
"""Characters of the fields that are long by nature: events of other libraries, stacks, faults."""
_LONG: Final = frozenset({"stack"})

_PLAIN = re.compile(r"""[^\s"'=]+""")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_FRAMES: Final = 5
_QUIET: Final = ("aiohttp.access", "asyncio")
_STRANGERS: Final = ("aiohttp.internal", "aiohttp.server", "aiohttp.web", "aiohttp.websocket")
"""Loggers that say something whenever a stranger sends nonsense."""


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
    for name in _STRANGERS:
        logging.getLogger(name).filters[:] = [_Limited()]


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
        event = _one_line(_cut(record.getMessage(), MAX_LONG))
        parts = [f"{_text(key)}={_text(value, _room(key))}" for key, value in _fields(record)]
        if fault := _fault(record):
            parts.append(f"error={_text(fault['type'] + ': ' + fault['message'], MAX_LONG)}")
            parts.append(f"at={_text(' < '.join(fault['at']), MAX_LONG)}")
        return " ".join([clock, level, event, *parts])


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in UTC; a field never hides one of the line's own keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "ts": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(record.getMessage(), MAX_LONG),
        }
        for key, value in _fields(record):
            line[f"{key}_" if key in line else key] = _Plain(_room(key)).of(value)
        if fault := _fault(record):
            line["exception"] = fault
        return _json(line)


class _Limited(logging.Filter):
    """Of every message of a logger one a second, with the number of those that are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = RateLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is told. Debugging is told everything."""
        if record.levelno < logging.INFO:
            return True
        allowed, suppressed = self._limit.allow(str(record.msg), "", record.created)
        if suppressed:
            record.fields = {"suppressed": suppressed}
        return allowed


def _fields(record: logging.LogRecord) -> Iterable[tuple[str, Any]]:
    fields = getattr(record, "fields", None)
    if not isinstance(fields, Mapping):
        return ()
    return [(_cut(str(key), MAX_FIELD), value) for key, value in fields.items()]


def _room(key: str) -> int:
    return MAX_LONG if key in _LONG else MAX_FIELD


def _fault(record: logging.LogRecord) -> dict[str, Any] | None:
    """The record's exception: its type, message, and the innermost frames, innermost first."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    message = _cut(str(error), MAX_LONG)
    return {"type": type(error).__name__, "message": message, "at": _at(error.__traceback__)}


def _at(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames)]


class _Plain:
    """Makes one value what strict JSON carries, of about ``room`` characters at most.

    Other types, and numbers that are none, become text.
    """

    def __init__(self, room: int) -> None:
        self._room = room

    def of(self, value: Any) -> Any:
        """The value, or as much of it as there is room for."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._text(str(key)): self.of(item) for key, item in self._some(value.items())}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.of(item) for item in self._some(value)]
        if isinstance(value, float) and value - value != 0:
            return str(value)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and value.bit_length() <= 64:
            return value
        return self._text(str(value))

    def _text(self, text: str) -> str:
        cut = _cut(text, max(0, self._room))
        self._room -= len(cut)
        return cut

    def _some(self, items: Collection[T]) -> Iterator[T]:
        """The items, or the first ones. Each level and each item takes some room too."""
        self._room -= 2
        for item in items:
            self._room -= 2
            if self._room < 0:
                return
            yield item


def _text(value: Any, room: int = MAX_FIELD) -> str:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _json(_Plain(room).of(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _cut(str(value), room)
    return text if _PLAIN.fullmatch(text) and text.isprintable() else _json(text)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[:room]}… {len(text) - room} more"


def _json(value: Any) -> str:
    """JSON in one line. What is not printable is escaped, and is the same when it is read."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _one_line(text: str) -> str:
    """Nothing that came from outside may forge a second line or move the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
