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
    for name in logs._STRANGERS:
        logging.getLogger(name).filters.clear()


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


# ---- what strangers say -------------------------------------------------------------------------

HOSTILE = "\x9b2J\x1b[31mroot\r\n\x85\u2028\u2029\u202e\u2066\u200b\ufeff\ue000\U000e0001\ud800\x00"


def hostile(format: str) -> str:
    out = written(format)
    fields = {"a": HOSTILE, "b": [HOSTILE], "c": {HOSTILE: HOSTILE}, HOSTILE: 1, "stack": HOSTILE}
    fields |= {"d": "\x1b[2J", "\u202e": "\x9b31m"}
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("%s", HOSTILE, extra={"fields": fields})
    return str(out.getvalue())


@pytest.mark.parametrize("format", logs.FORMATS)
def test_nothing_that_a_terminal_would_obey_gets_into_a_line(format: str) -> None:
    line = hostile(format)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    line.encode()  # no half of a character either


def test_what_was_escaped_in_json_is_read_as_it_was() -> None:
    line = json.loads(hostile("json"))
    assert line["event"] == line["a"] == line["stack"] == HOSTILE
    assert line["b"] == [HOSTILE]
    assert line["c"] == {HOSTILE: HOSTILE}
    assert line["exception"]["message"] == HOSTILE


@pytest.mark.parametrize("format", logs.FORMATS)
@pytest.mark.parametrize(
    "value",
    [
        "A" * 4_000_000,
        ["A" * 1000] * 1000,
        {str(number): "A" * 1000 for number in range(1000)},
        list(range(1_000_000)),
        [None] * 1_000_000,
        [[] for _ in range(1_000_000)],
        10**4000,
        b"\xff" * 1_000_000,
    ],
    ids="text texts mapping numbers nothings lists number bytes".split(),
)
def test_a_field_is_cut(format: str, value: Any) -> None:
    out = written(format)
    log.warning("refused", extra={"fields": {"detail": value, "stack": "frame\n" * 1000}})
    line = out.getvalue()
    assert len(line) < 10_000
    assert line.count("frame") == 1000  # what the node itself says is long is not


@pytest.mark.parametrize("format", logs.FORMATS)
def test_a_value_within_itself_has_an_end(format: str) -> None:
    out = written(format)
    endless: list[Any] = []
    endless.append(endless)
    log.warning("refused", extra={"fields": {"detail": endless}})
    assert 0 < len(out.getvalue()) < 2000


def test_of_what_is_left_out_the_length_is_told() -> None:
    out = written("text")
    log.info("refused", extra={"fields": {"a": "A" * 200, "b": "B" * 201}})
    line = out.getvalue()
    assert f" a={'A' * 200} " in line
    assert f' b="{"B" * 200}… 1 more"' in line


@pytest.mark.parametrize("format", logs.FORMATS)
def test_the_text_of_a_fault_and_the_events_of_others_are_cut(format: str) -> None:
    out = written(format)
    log.error("%s", "E" * 4_000_000, exc_info=ValueError("M" * 4_000_000))
    assert len(out.getvalue()) < 20_000


def test_what_strangers_make_the_http_server_say_is_told_once_a_second() -> None:
    out = written("json")
    server = logging.getLogger("aiohttp.server")
    records = []
    for created in [0.0] * 1000 + [1.0, 1.1]:
        record = server.makeRecord(
            server.name, logging.ERROR, "", 0, "Error handling request from %s", ("x",), None
        )
        record.created = created
        records.append(record)
    for record in records:
        server.handle(record)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("suppressed") for line in told] == [None, 999]
    server.error("Something else")
    server.info("and more")
    assert out.getvalue().count("\n") == 4
