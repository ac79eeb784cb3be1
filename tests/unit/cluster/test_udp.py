"""Names of peers and where they point to, with a resolver and a clock of the test's own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pyhorde.cluster.transport import udp
from pyhorde.cluster.transport.udp import MAX_LOOKUPS, REFRESH, RETRY, Addresses, Target


class Resolver:
    """Answers when it is told to; counts how often it was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[tuple[str, int]] = []
        self._waiting: list[asyncio.Future[Target]] = []

    async def lookup(self, host: str, port: int) -> Target:
        self.asked.append((host, port))
        self._waiting.append(asyncio.get_running_loop().create_future())
        return await self._waiting[-1]

    async def answer(self, outcome: Target | Exception) -> None:
        """Answer the oldest question; whoever asked has heard of it afterwards."""
        await asyncio.sleep(0)
        waiting = self._waiting.pop(0)
        if isinstance(outcome, Exception):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def resolver() -> Resolver:
    return Resolver()


@pytest.fixture
async def addresses(resolver: Resolver) -> AsyncIterator[Addresses]:
    made = Addresses(socket.AF_INET, resolver.lookup, lambda: resolver.now)
    yield made
    await made.aclose()


async def test_a_numeric_address_is_known_at_once(resolver: Resolver, addresses: Addresses):
    assert addresses.find("10.0.0.1:7411") == ("10.0.0.1", 7411)
    assert resolver.asked == []


@pytest.mark.parametrize("address", ["[::1]:7411", "nowhere", "host:x", ":1", ""])
async def test_what_is_no_address_of_the_family_is_never_looked_up(
    address: str, resolver: Resolver, addresses: Addresses
):
    assert addresses.find(address) is None
    await asyncio.sleep(0)
    assert resolver.asked == []


async def test_a_name_is_looked_up_once_and_kept(resolver: Resolver, addresses: Addresses):
    assert addresses.find("b:7411") is None
    assert addresses.find("b:7411") is None
    await resolver.answer(("10.0.0.2", 7411))
    assert addresses.find("b:7411") == ("10.0.0.2", 7411)
    assert resolver.asked == [("b", 7411)]


async def test_a_name_is_looked_up_again_and_the_former_answer_serves_meanwhile(
    resolver: Resolver, addresses: Addresses
):
    addresses.find("b:7411")
    await resolver.answer(("10.0.0.2", 7411))
    resolver.now += REFRESH
    assert addresses.find("b:7411") == ("10.0.0.2", 7411)
    await resolver.answer(("10.0.0.3", 7411))
    assert addresses.find("b:7411") == ("10.0.0.3", 7411)


@pytest.mark.parametrize("error", [socket.gaierror(8, "unknown"), UnicodeError("label too long")])
async def test_a_lookup_that_fails_keeps_the_former_answer_and_is_tried_again(
    error: Exception, resolver: Resolver, addresses: Addresses
):
    addresses.find("b:7411")
    await resolver.answer(("10.0.0.2", 7411))
    resolver.now += REFRESH
    addresses.find("b:7411")
    await resolver.answer(error)
    assert addresses.find("b:7411") == ("10.0.0.2", 7411)
    assert len(resolver.asked) == 2
    resolver.now += RETRY
    addresses.find("b:7411")
    await asyncio.sleep(0)
    assert len(resolver.asked) == 3


async def test_few_names_are_looked_up_at_a_time_and_the_others_later(
    resolver: Resolver, addresses: Addresses
):
    names = [f"n{i}:1" for i in range(MAX_LOOKUPS + 1)]
    for name in names:
        addresses.find(name)
    await resolver.answer(("10.0.0.1", 1))
    assert len(resolver.asked) == MAX_LOOKUPS
    addresses.find(names[-1])
    await asyncio.sleep(0)
    assert resolver.asked[-1] == (f"n{MAX_LOOKUPS}", 1)


async def test_the_number_of_addresses_is_bounded(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(udp, "MAX_ADDRESSES", 3)
    for i in range(10):
        addresses.find(f"10.0.0.{i}:1")
    assert len(addresses) == 3
