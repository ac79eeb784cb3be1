"""Packets over real UDP sockets, under both event loops."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from pyhorde.cluster.transport import udp
from pyhorde.cluster.transport.http import HttpNetwork
from pyhorde.cluster.transport.udp import MAX_PACKET_BYTES, UdpEndpoint

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine under one of the event loops."""

    def run_it(main: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 30))

    return run_it


class Inbox:
    """An endpoint, and the packets that came to it."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.endpoint: UdpEndpoint

    @property
    def address(self) -> str:
        host, port = self.endpoint._transport.get_extra_info("sockname")[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def inboxes(*addresses: str) -> AsyncIterator[list[Inbox]]:
    made: list[Inbox] = []
    network = HttpNetwork()
    for address in addresses:
        inbox = Inbox()
        endpoint = await network.datagrams(address, inbox.packets.put_nowait)
        assert endpoint is not None
        inbox.endpoint = endpoint
        made.append(inbox)
    yield made
    await network.aclose()


def test_packets_arrive_whole_in_both_directions(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0", "127.0.0.1:0") as (one, two):
            one.endpoint.send(two.address, b"ping")
            assert await two.packets.get() == b"ping"
            two.endpoint.send(one.address, bytes(MAX_PACKET_BYTES))
            assert await one.packets.get() == bytes(MAX_PACKET_BYTES)
            assert (one.endpoint.sent, one.endpoint.received, one.endpoint.dropped) == (1, 1, 0)

    run(main())


def test_packets_travel_over_ipv6(run: Run):
    async def main() -> None:
        async with inboxes("[::1]:0", "[::1]:0") as (one, two):
            one.endpoint.send(two.address, b"ping")
            assert await two.packets.get() == b"ping"

    run(main())


def test_a_name_is_looked_up_and_until_then_packets_are_dropped(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0", "127.0.0.1:0") as (one, two):
            _, _, port = two.address.rpartition(":")
            while two.packets.empty():
                one.endpoint.send(f"localhost:{port}", b"ping")
                await asyncio.sleep(0)
            assert one.endpoint.dropped > 0
            assert one.endpoint.failed == 0

    run(main())


def test_packets_that_are_too_large_are_refused_on_both_sides(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0") as (one,):
            one.endpoint.send(one.address, bytes(MAX_PACKET_BYTES + 1))
            assert (one.endpoint.sent, one.endpoint.dropped) == (0, 1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
                host, _, port = one.address.rpartition(":")
                rude.sendto(bytes(MAX_PACKET_BYTES + 1), (host, int(port)))
                rude.sendto(b"small", (host, int(port)))
            assert await one.packets.get() == b"small"
            assert (one.endpoint.received, one.endpoint.dropped) == (1, 2)

    run(main())


def test_what_cannot_be_sent_is_counted_and_hurts_nobody(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0") as (one,):
            one.endpoint.send("255.255.255.255:9", b"not permitted")
            assert one.endpoint.failed == 1
            for address in ("nowhere", "host:99999", "[::1]:7411"):
                one.endpoint.send(address, b"ping")
            assert one.endpoint.dropped == 3
            one.endpoint.send("127.0.0.1:9", b"nobody listens there")
            one.endpoint.send(one.address, b"still here")
            assert await one.packets.get() == b"still here"

    run(main())


def test_a_receiver_that_raises_does_not_end_the_endpoint(run: Run):
    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), asyncio.Queue[bytes]()
        failures: list[object] = []
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

        def receive(data: bytes) -> None:
            seen.put_nowait(data)
            if data == b"bad":
                raise ValueError(data)

        endpoint = await udp.bind("127.0.0.1:0", receive)
        assert endpoint is not None
        host, port = endpoint._transport.get_extra_info("sockname")
        for packet in (b"bad", b"good"):
            endpoint.send(f"{host}:{port}", packet)
            assert await seen.get() == packet
        assert [type(each) for each in failures] == [ValueError]
        await endpoint.close()

    run(main())


def test_an_address_that_is_taken_means_no_packets_and_a_warning(
    run: Run, caplog: pytest.LogCaptureFixture
):
    async def main() -> None:
        async with inboxes("127.0.0.1:0") as (one,):
            network = HttpNetwork()
            assert await network.datagrams(one.address, one.packets.put_nowait) is None
            (record,) = caplog.records
            assert (record.levelno, record.message) == (logging.WARNING, "datagrams_unavailable")
            assert record.fields["reason"] == "Address already in use"
            assert record.fields["next"] == "probes go over streams"

    run(main())


def test_packets_share_the_port_of_the_streams(run: Run):
    async def main() -> None:
        def accept(_: object) -> None: ...

        network = HttpNetwork()
        listener = await network.listen("127.0.0.1:0", accept)
        inbox: asyncio.Queue[bytes] = asyncio.Queue()
        endpoint = await network.datagrams(listener.address, inbox.put_nowait)
        assert endpoint is not None
        endpoint.send(listener.address, b"to myself")
        assert await inbox.get() == b"to myself"
        await listener.close()
        await network.aclose()

    run(main())


def test_a_closed_endpoint_drops_what_it_is_given_and_frees_the_address(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0") as (one,):
            address = one.address
            await one.endpoint.close()
            await one.endpoint.close()
            one.endpoint.send(address, b"late")
            assert (one.endpoint.sent, one.endpoint.dropped) == (0, 1)
            again = await udp.bind(address, one.packets.put_nowait)
            assert again is not None
            await again.close()

    run(main())


def test_a_transport_that_has_no_room_is_given_nothing(run: Run):
    async def main() -> None:
        async with inboxes("127.0.0.1:0") as (one,):
            one.endpoint.pause_writing()
            one.endpoint.send(one.address, b"lost")
            one.endpoint.resume_writing()
            one.endpoint.send(one.address, b"kept")
            assert await one.packets.get() == b"kept"
            assert one.endpoint.dropped == 1

    run(main())
