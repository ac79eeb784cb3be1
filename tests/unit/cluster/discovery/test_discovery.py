"""Several sources at once: each is tried again, and keeps what it knew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from pyhorde.cluster.discovery import Discovery
from pyhorde.errors import ConfigError, DiscoveryError
from tests.unit.cluster.discovery.near import near
from tests.unit.runtime.stage import until, virtual_time

DOWN = DiscoveryError("script://", "the network is down", "plug it in")


class Script:
    """A source that follows the test: sets are yielded, errors raised, numbers waited for."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.began: list[float] = []
        self.closed = 0

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        self.began.append(asyncio.get_running_loop().time())
        try:
            while self.steps:
                step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield frozenset(step)
        finally:
            self.closed += 1

    @property
    def pauses(self) -> list[float]:
        return [b - a for a, b in pairwise(self.began)]


class Heard:
    """What discovery has found."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, frozenset[str]]] = []

    def __call__(self, name: str, addresses: frozenset[str]) -> None:
        self.calls.append((name, addresses))

    def of(self, name: str) -> list[set[str]]:
        return [set(addresses) for each, addresses in self.calls if each == name]


def forever(*steps: Any) -> Script:
    return Script(*steps, 1e6)


@virtual_time
async def test_all_sources_are_watched_at_once_and_each_tells_its_own():
    heard, script = Heard(), forever({"b:1"}, 1.0, {"c:1"})
    discovery = Discovery(["static://a:1", script], near(), heard)
    await discovery.start()
    assert await discovery.first(5.0)
    await until(lambda: len(heard.calls) == 3)
    assert heard.of("static://a:1") == [{"a:1"}]
    assert heard.of("Script-1") == [{"b:1"}, {"c:1"}]
    await discovery.aclose()
    assert script.closed == 1


@virtual_time
async def test_what_has_not_changed_is_not_told_again():
    heard = Heard()
    discovery = Discovery(
        [forever({"a:1"}, {"a:1"}, {"a:1", "b:1"}, {"b:1", "a:1"})], near(), heard
    )
    await discovery.start()
    await until(lambda: len(heard.calls) == 2)
    await asyncio.sleep(10)
    assert heard.of("Script-0") == [{"a:1"}, {"a:1", "b:1"}]
    await discovery.aclose()


@virtual_time
async def test_a_source_that_finds_nobody_says_so_once():
    heard = Heard()
    discovery = Discovery([forever((), ())], near(), heard)
    await discovery.start()
    assert await discovery.first(1.0)
    assert heard.of("Script-0") == [set()]
    await discovery.aclose()


@virtual_time
async def test_a_source_that_fails_keeps_its_addresses_and_recovers(
    caplog: pytest.LogCaptureFixture,
):
    heard, script = Heard(), forever({"a:1"}, DOWN, {"a:1", "b:1"})
    discovery = Discovery([script], near(), heard)
    with caplog.at_level(logging.INFO, "pyhorde.discovery"):
        await discovery.start()
        figures = discovery.figures["Script-0"]
        await until(lambda: figures.errors)
        assert (figures.addresses, figures.last_error) == (1, str(DOWN))
        await until(lambda: figures.addresses == 2)
    assert (figures.errors, figures.last_error) == (1, "")
    assert heard.of("Script-0") == [{"a:1"}, {"a:1", "b:1"}]
    events = [record.getMessage() for record in caplog.records]
    assert events == ["discovery_failed", "discovery_recovered"]
    fields = vars(caplog.records[0])["fields"]
    assert fields == {
        "source": "Script-0",
        "error": "script://: the network is down (plug it in)",
    }
    await discovery.aclose()


@virtual_time
async def test_pauses_between_attempts_double_up_to_half_a_minute():
    script = Script(DOWN)
    discovery = Discovery([script], near(), Heard())
    await discovery.start()
    await until(lambda: len(script.began) == 9)
    for pause, wanted in zip(script.pauses, (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert wanted * 0.75 <= pause <= wanted * 1.25
    await discovery.aclose()


@virtual_time
async def test_a_source_that_worked_for_long_begins_with_short_pauses_again():
    fails = [DOWN] * 5
    script = forever(*fails, {"a:1"}, 40.0, DOWN, {"a:1"}, 1.0, DOWN, {"a:1"})
    discovery = Discovery([script], near(), Heard())
    await discovery.start()
    await until(lambda: len(script.began) == 8)
    assert script.pauses[4] > 10.0
    assert script.pauses[5] - 40.0 <= 1.25
    assert 1.5 <= script.pauses[6] - 1.0 <= 2.5, "it worked too shortly for that"
    await discovery.aclose()


@pytest.mark.parametrize(("wish", "least"), [(7.0, 7.0), (0.0, 1.0), (1e9, 300.0)])
@virtual_time
async def test_a_source_may_say_when_to_try_again_within_reason(wish: float, least: float):
    script = forever(DiscoveryError("x", "too many requests", retry_after=wish), {"a:1"})
    discovery = Discovery([script], near(), Heard())
    await discovery.start()
    await asyncio.sleep(least - 0.1)
    assert len(script.began) == 1
    await until(lambda: len(script.began) == 2)
    assert least <= script.pauses[0] <= least * 1.25
    await discovery.aclose()


@virtual_time
async def test_each_distinct_error_is_logged_once_and_every_one_counted(
    caplog: pytest.LogCaptureFixture,
):
    other = DiscoveryError("script://", "the server is down")
    script = forever(DOWN, DOWN, other, DOWN, {"a:1"}, DOWN, {"a:1"}, 40.0, DOWN, {"a:1"})
    discovery = Discovery([script], near(), Heard())
    with caplog.at_level(logging.WARNING, "pyhorde.discovery"):
        await discovery.start()
        await until(lambda: discovery.figures["Script-0"].errors == 6)
    texts = [vars(record)["fields"]["error"] for record in caplog.records]
    assert texts == [str(DOWN), str(other), str(DOWN)], "again after it had worked for long"
    await discovery.aclose()


@virtual_time
async def test_a_plug_in_that_breaks_harms_nobody_else(caplog: pytest.LogCaptureFixture):
    class Broken:
        def watch(self) -> Any:
            raise ZeroDivisionError("oh")

    heard = Heard()
    discovery = Discovery([Broken(), "static://a:1"], near(), heard)
    with caplog.at_level(logging.WARNING, "pyhorde.discovery"):
        await discovery.start()
        assert await discovery.first(1.0)
    assert heard.of("static://a:1") == [{"a:1"}]
    assert "ZeroDivisionError: oh" in discovery.figures["Broken-0"].last_error
    assert caplog.records[0].exc_info is not None
    await discovery.aclose()


@virtual_time
async def test_a_source_is_closed_before_it_is_watched_again():
    def cannot(name: str, addresses: frozenset[str]) -> None:
        told.append(script.closed)
        if len(told) == 1:
            raise RuntimeError("not now")

    told: list[int] = []
    script = forever({"a:1"}, {"a:1"})
    discovery = Discovery([script], near(), cannot)
    await discovery.start()
    assert await discovery.first(1.0)
    assert "RuntimeError: not now" in discovery.figures["Script-0"].last_error
    assert script.closed == 1
    await until(lambda: len(script.began) == 2)
    assert told == [0, 1], "it is told again what could not be taken"
    assert discovery.figures["Script-0"].last_error == ""
    await discovery.aclose()


@virtual_time
async def test_what_is_no_address_is_left_out_and_counted():
    heard = Heard()
    discovery = Discovery([forever({"a:1", "b"}, {"a:1", "b", "c"})], near(), heard)
    await discovery.start()
    await until(lambda: discovery.figures["Script-0"].refused == 3)
    assert heard.of("Script-0") == [{"a:1"}]
    await discovery.aclose()


@virtual_time
async def test_first_waits_for_an_answer_or_a_failure_of_each():
    slow = forever(5.0, {"a:1"})
    discovery = Discovery([Script(DOWN), Script(), slow], near(), Heard())
    await discovery.start()
    assert not await discovery.first(1.0)
    assert await discovery.first(10.0)
    assert asyncio.get_running_loop().time() - slow.began[0] == 5.0
    await discovery.aclose()


@virtual_time
async def test_closing_ends_everything_and_can_be_repeated():
    script = forever({"a:1"})
    discovery = Discovery([script], near(), Heard())
    await discovery.aclose()
    await discovery.start()
    await discovery.start()
    assert await discovery.first(1.0)
    await discovery.aclose()
    await discovery.aclose()
    assert len(script.began) == script.closed == 1
    assert len(asyncio.all_tasks()) == 1


def test_a_wrong_url_is_refused_at_once_and_one_that_comes_twice_is_one():
    with pytest.raises(ConfigError, match="did you mean static"):
        Discovery(["statik://a:1"], near(), Heard())
    twice = Discovery(["static://a:1", "static://a:1"], near(), Heard())
    assert list(twice.figures) == ["static://a:1"]
