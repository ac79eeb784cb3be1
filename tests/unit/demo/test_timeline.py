"""How events, moves, the table and the verdict read."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from pyhorde.demo import timeline as words
from pyhorde.demo.accounting import Account, Ledger
from pyhorde.demo.screen import Screen
from pyhorde.demo.timeline import Event, Timeline, Tone

SUMMARY = {"lines": 120, "moves": [{"kind": "clumsy", "from": "a"}], "keywords": ["x", "y", "z"]}


def ledger() -> Ledger:
    made = Ledger("standup", durable=True, path=["a", "c"])
    made.ask(1, 0.0)
    made.acknowledge(1, 0.42)
    return made


def test_an_event_shows_when_what_and_the_words() -> None:
    assert str(Event(3.14159, "kill -9", "a")) == "   3.1 s  kill -9   a"


def test_a_timeline_counts_from_its_beginning_and_tells_its_listener() -> None:
    ticks: Iterator[float] = iter([100.0, 101.5])
    heard: list[Event] = []
    timeline = Timeline(lambda: next(ticks), heard.append)
    timeline.tell("ready", "all", Tone.GOOD)
    assert heard == timeline.events == [Event(1.5, "ready", "all", Tone.GOOD)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 ms"), (0.0842, "84 ms"), (0.9999, "1.00 s"), (12.345, "12.35 s")]
)
def test_a_duration_has_the_fitting_unit(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("items", "text"),
    [([], "nothing"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_a_listing_reads_like_a_sentence(items: list[str], text: str) -> None:
    assert words.listing(items) == text


def test_placement_names_every_node_even_an_idle_one() -> None:
    text = words.placement({"two": "a", "one": "a", "three": "b"}, ["c", "b", "a"])
    assert text == "a: one and two | b: three | c: nothing"


def test_a_move_says_from_where_to_where_and_how_long_nobody_answered() -> None:
    text = words.move(ledger(), "a", "c", epoch=2, pause=0.42)
    assert text == "standup    a -> c  epoch 2, replicated, longest wait for an answer 420 ms"


def test_a_row_fits_the_header() -> None:
    row = words.row(ledger(), SUMMARY)
    assert row == ("standup", "replicated", "a > c", "120", "0", "420 ms", "clumsy", "x, y")
    assert len(row) == len(words.HEADER)


def test_a_table_is_aligned_and_leaves_out_what_does_not_fit() -> None:
    rows = [("name", "n", "text"), ("a", "100", "x")]
    assert words.table(rows) == ["name  n    text", "a     100  x"]
    assert words.table(rows, width=10) == ["name  n", "a     100"]
    assert words.table(rows, width=1) == ["name", "a"]


def test_the_verdict_counts_lines_when_continuity_held() -> None:
    account = Account({"standup": ledger(), "retro": Ledger("retro", durable=False, lost=3)})
    [text] = words.verdict(account)
    assert text.startswith("continuity held: 2 meetings, 1 acknowledged lines;")
    assert text.endswith("checkpoint meetings 3 at the kill -9, sent again since")


def test_the_verdict_gives_its_reasons_but_not_a_flood_of_them() -> None:
    account = Account({}, reasons=[f"reason {i}" for i in range(words.MOST_REASONS + 2)])
    first, *reasons, last = words.verdict(account)
    assert first == "continuity did NOT hold:"
    assert reasons[0] == "  - reason 0"
    assert len(reasons) == words.MOST_REASONS
    assert last == "  - and 2 more"


def test_progress_is_one_line() -> None:
    assert words.progress([ledger(), Ledger("retro", durable=False)]) == "standup@c 1   retro@? 0"


def test_a_pipe_gets_plain_unwrapped_lines() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=40))
    with screen.live(lambda: "never shown"):
        screen.event(Event(1.0, "kill -9", "[b]x[/b] " + "long " * 20, Tone.ACT))
    screen.table([("meeting", "ran on"), ("m" * 50, "a")])
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("   1.0 s  kill -9   [b]x[/b] long")
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_colours() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=40)
    Screen(console).line("gone", Tone.BAD)
    assert "\x1b[" in out.getvalue()
