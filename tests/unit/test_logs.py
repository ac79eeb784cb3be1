"""Log lines: one per event, whatever is in them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pyhorde import logs

log = logging.getLogger("pyhorde.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(format: str, level: str = "info", stream: io.StringIO | None = None) -> Any:
    stream = stream or io.StringIO()
    logs.configure(format, level, stream)
    return stream


def test_text_is_clock_level_event_and_fields() -> None:
    out = written("text")
    log.info("member_dead", extra={"fields": {"member": "b", "after": 0.123456789, "n": 3}})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO    member_dead member=b after=0\.123457 n=3\n", out.getvalue()
    )


def test_text_quotes_what_could_be_misread() -> None:
    out = written("text")
    fields = {"a": "two words", "b": "x\ny", "c": "", "d": [1, "z"], "e": 'say "hi"', "f": "k=v"}
    log.info("odd\x1b[2J\nevent", extra={"fields": fields})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert 'a="two words" b="x\\ny" c="" d=[1, "z"]' in line


def test_json_is_one_object_per_line() -> None:
    out = written("json")
    log.warning("late", extra={"fields": {"peer": "b", "event": "mine", "when": {1}, "n": 1e999}})
    line = json.loads(out.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "pyhorde.test",
        "event": "late",
        "peer": "b",
        "event_": "mine",
        "when": [1],
        "n": "inf",
    }


def test_an_ordinary_message_of_another_library_is_the_event() -> None:
    out = written("json")
    logging.getLogger("other").error("%d things", 3)
    assert json.loads(out.getvalue())["event"] == "3 things"


@pytest.mark.parametrize("format", logs.FORMATS)
def test_an_exception_is_its_type_text_and_innermost_frames(format: str) -> None:
    out = written(format)
    try:
        raise ValueError("no\nway")
    except ValueError:
        log.exception("process_failed", extra={"fields": {"name": "x"}})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert "Traceback" not in line
    assert "ValueError" in line
    assert re.search(r"test_logs\.py:\d+ test_an_exception", line)


def test_colour_only_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = written("text", stream=Terminal())
    log.info("x")
    assert "\x1b[32mINFO" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = written("text", stream=Terminal())
    log.info("x")
    assert "\x1b" not in terminal.getvalue()


def test_the_level_is_kept_and_access_logs_stay_quiet() -> None:
    out = written("text", "warning")
    log.info("quiet")
    written("text", "debug", out)
    log.debug("loud")
    logging.getLogger("aiohttp.access").info("GET /")
    assert out.getvalue().count("\n") == 1
