"""All addresses of a name, asked for again and again."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pyhorde.cluster.discovery import source
from tests.unit.cluster.discovery.near import Watcher, near
from tests.unit.runtime.stage import virtual_time


class Names:
    """What the machine resolves; stands in for the loop's ``getaddrinfo``."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str, int]] = []
        self._loop: Any = asyncio.get_running_loop()
        self._loop.getaddrinfo = self._resolve

    async def _resolve(self, host: str, port: int, *, type: int) -> list[Any]:
        assert type == socket.SOCK_STREAM
        self.asked.append((self._loop.time(), host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [
            (socket.AF_INET6, type, 6, "", (ip, port, 0, 0))
            if ":" in ip
            else (socket.AF_INET, type, 6, "", (ip, port))
            for ip in answer
        ]


@virtual_time
async def test_every_address_of_the_name_counts_with_brackets_around_ipv6():
    names = Names(["10.0.0.5", "10.0.0.5", "fd00::1"])
    async with Watcher(source("dns://horde.example.com:7500", near())) as watcher:
        await watcher.sees("10.0.0.5:7500", "[fd00::1]:7500")
    assert names.asked[0][1:] == ("horde.example.com", 7500)


@virtual_time
async def test_the_name_is_asked_for_again_about_every_interval():
    names = Names(["10.0.0.5"], ["10.0.0.6"])
    async with Watcher(source("dns://a?interval=60", near())) as watcher:
        await watcher.sees("10.0.0.5:7411")
        await watcher.sees("10.0.0.6:7411")
    first, second = (when for when, *_ in names.asked[:2])
    assert 54 <= second - first <= 66


@virtual_time
async def test_five_seconds_are_the_default():
    names = Names(["10.0.0.5"], ["10.0.0.6"])
    async with Watcher(source("dns://a", near())) as watcher:
        await watcher.sees("10.0.0.6:7411")
    first, second = (when for when, *_ in names.asked[:2])
    assert 4.5 <= second - first <= 5.5


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("k8s://horde.shop", ("horde.shop.svc.cluster.local.", 7411)),
        ("k8s://horde.shop:7500", ("horde.shop.svc.cluster.local.", 7500)),
        ("k8s://horde.shop?domain=k.example.com.", ("horde.shop.svc.k.example.com.", 7411)),
    ],
)
@virtual_time
async def test_a_headless_service_is_a_name_that_needs_no_search(url: str, asked: Any):
    names = Names(["10.0.0.5"])
    async with Watcher(source(url, near())) as watcher:
        await watcher.until(lambda: watcher.seen)
    assert names.asked[0][1:] == asked


@virtual_time
async def test_a_name_that_does_not_exist_is_an_error_with_a_mend():
    Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    async with Watcher(source("dns://horde.exmaple.com", near())) as watcher:
        error = await watcher.fails()
    assert "horde.exmaple.com: Name or service not known" in error.problem
    assert "spelt right" in error.hint
    async with Watcher(source("k8s://horde.shop", near())) as watcher:
        error = await watcher.fails()
    assert "publishNotReadyAddresses" in error.hint


@pytest.mark.parametrize(
    "answer",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        UnicodeError("label too long"),
    ],
)
@virtual_time
async def test_any_other_failure_is_an_error_too(answer: Exception):
    Names(answer)
    async with Watcher(source("dns://a", near())) as watcher:
        error = await watcher.fails()
    assert error.problem.startswith("cannot resolve a: ")
    assert "name server" in error.hint
