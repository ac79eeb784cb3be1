"""Sources of peers on real sockets: SRV records from a name server, and multicast on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from pyhorde.cluster.discovery import Discovery, announcements, multicast, source
from pyhorde.cluster.discovery import srv as srv_source
from pyhorde.cluster.real import RealWorld
from pyhorde.cluster.transport.keyring import Keyring
from tests.unit.cluster.discovery.near import Watcher, near

NAME = "_pyhorde._tcp.example.com"
GROUP = "239.255.74.11"


# ---- SRV ----------------------------------------------------------------------------------------


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with the same records."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.additional: list[dns.rrset.RRset] = []
        self.rcode = dns.rcode.NOERROR
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    @property
    def address(self) -> str:
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dns.message.from_wire(data)
        self.asked.append(question.question[0].to_text())
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        answer.set_rcode(self.rcode)
        if self.records:
            name = question.question[0].name
            answer.answer.append(dns.rrset.from_text(name, 5, "IN", "SRV", *self.records))
            answer.additional.extend(self.additional)
        self._transport.sendto(answer.to_wire(), addr)

    def close(self) -> None:
        self._transport.close()


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    _, made = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield made
    made.close()


def srv(server: NameServer) -> Watcher:
    url = f"dns+srv://{NAME}?nameserver={server.address}&interval=0.1"
    return Watcher(source(url, near()))


async def test_srv_records_name_hosts_with_their_ports(server: NameServer):
    server.records = ["0 5 7411 a.example.com.", "1 5 7500 b.example.com.", "0 0 0 ."]
    async with srv(server) as watcher:
        await watcher.sees("a.example.com:7411", "b.example.com:7500")
        server.records = ["0 5 7411 c.example.com."]
        await watcher.sees("c.example.com:7411")
    assert server.asked[0] == f"{NAME}. IN SRV"


async def test_an_address_that_comes_along_is_used_in_place_of_the_name(server: NameServer):
    server.records = ["0 5 7411 a.node.internal.", "0 5 7412 b.example.com."]
    server.additional = [
        dns.rrset.from_text("a.node.internal.", 5, "IN", "A", "10.0.0.5"),
        dns.rrset.from_text("a.node.internal.", 5, "IN", "AAAA", "fd00::5"),
        dns.rrset.from_text("a.node.internal.", 5, "IN", "TXT", "x"),
    ]
    async with srv(server) as watcher:
        await watcher.sees("10.0.0.5:7411", "[fd00::5]:7411", "b.example.com:7412")


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR, dns.rcode.SERVFAIL])
async def test_no_srv_records_are_an_error_with_a_mend(server: NameServer, rcode: Any):
    server.rcode = rcode
    async with srv(server) as watcher:
        error = await watcher.fails()
    assert f"cannot resolve {NAME}" in error.problem
    assert "SRV records" in error.hint


async def test_a_name_server_that_does_not_answer_is_an_error_of_one_text(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(srv_source, "LIFETIME", 0.2)
    monkeypatch.setattr(NameServer, "datagram_received", lambda *_: None)
    async with srv(server) as watcher:
        error = await watcher.fails()
    assert error.problem == f"no answer about {NAME} within 0.2 s"


async def test_a_machine_without_a_name_server_is_told_to_name_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "resolv.conf").write_text("# nobody\n")
    opened = open

    def elsewhere(path: Any, *args: Any, **options: Any) -> Any:
        is_it = path == "/etc/resolv.conf"
        return opened(tmp_path / "resolv.conf" if is_it else path, *args, **options)

    monkeypatch.setattr("builtins.open", elsewhere)
    async with Watcher(source(f"dns+srv://{NAME}", near())) as watcher:
        error = await watcher.fails()
    assert "no name server is known" in error.problem
    assert "nameserver=" in error.hint


# ---- multicast ----------------------------------------------------------------------------------


def multicast_works() -> bool:
    """Whether a group can be joined, and heard, on loopback."""
    loopback = socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.settimeout(1.0)
            probe.bind((GROUP, 0))
            joined = struct.pack("4s4s", socket.inet_aton(GROUP), loopback)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            probe.sendto(b"x", probe.getsockname())
            return probe.recv(10) == b"x"
        except OSError:
            return False


needs_multicast = pytest.mark.skipif(not multicast_works(), reason="needs multicast on loopback")


@pytest.fixture
def group() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"multicast://{GROUP}:{free.getsockname()[1]}?interface=127.0.0.1"


def neighbour(group: str, address: str, **changes: Any) -> Watcher:
    return Watcher(source(group, near(address, world=RealWorld(), **changes)))


@needs_multicast
async def test_nodes_on_one_network_find_each_other_and_only_their_cluster(
    group: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(announcements, "ANNOUNCE", 1000.0)  # they answer who asks, or nobody
    async with contextlib.AsyncExitStack() as stack:
        secret = {"keyring": Keyring((b"9f1c7a05d3e84b62a0c5718ee2d94f36",))}
        a = await stack.enter_async_context(neighbour(group, "10.0.0.1:7411", **secret))
        b = await stack.enter_async_context(neighbour(group, "10.0.0.2:7411", **secret))
        stranger = await stack.enter_async_context(neighbour(group, "10.0.0.3:7411"))
        swarm = neighbour(group, "10.0.0.4:7411", cluster="swarm", **secret)
        other = await stack.enter_async_context(swarm)
        await a.sees("10.0.0.2:7411")
        await b.sees("10.0.0.1:7411")
        await stranger.sees()
        await other.sees()
        c = await stack.enter_async_context(neighbour(group, "10.0.0.5:7411", **secret))
        await c.sees("10.0.0.1:7411", "10.0.0.2:7411")
        await a.sees("10.0.0.2:7411", "10.0.0.5:7411")


@needs_multicast
async def test_a_node_that_falls_silent_drops_out(group: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(multicast, "LISTEN", 0.3)
    monkeypatch.setattr(announcements, "ANNOUNCE", 0.2)
    monkeypatch.setattr(announcements, "FORGET", 2.0)
    async with neighbour(group, "10.0.0.1:7411") as a:
        async with neighbour(group, "10.0.0.2:7411"):
            await a.sees("10.0.0.2:7411")
        await a.sees()


@needs_multicast
async def test_what_fails_on_the_socket_is_an_error(group: str, monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    hear = multicast._Ear.connection_lost

    def remember(ear: Any, transport: Any) -> None:
        made.append(ear)

    monkeypatch.setattr(multicast._Ear, "connection_made", remember)
    async with neighbour(group, "10.0.0.1:7411") as a:
        await a.sees()
        made[0].error_received(OSError(101, "Network is unreachable"))
        error = await a.fails()
    assert "Network is unreachable" in error.problem
    assert "?interface=IP" in error.hint
    hear(made[0], ConnectionError("gone"))
    assert str(made[0].error) == "gone"


async def test_an_interface_that_is_not_there_is_an_error(group: str):
    async with neighbour(group.replace("127.0.0.1", "192.0.2.77"), "10.0.0.1:7411") as a:
        error = await a.fails()
    assert f"no multicast with {GROUP}" in error.problem


# ---- together -----------------------------------------------------------------------------------


async def test_several_sources_together(server: NameServer, tmp_path: Path):
    peers = tmp_path / "peers"
    peers.write_text("10.0.0.1:7411\nhalf a li")
    server.records = ["0 5 7411 a.example.com."]
    urls = [
        f"file://{peers}",
        f"dns+srv://{NAME}?nameserver={server.address}",
        "dns://127.0.0.1:7500",
        "static://10.0.0.9:7411",
        "file:///nowhere",
    ]
    found: dict[str, frozenset[str]] = {}
    discovery = Discovery(urls, near(world=RealWorld()), found.__setitem__)
    await discovery.start()
    assert await discovery.first(30.0)
    assert frozenset().union(*found.values()) == {
        "10.0.0.1:7411",
        "a.example.com:7411",
        "127.0.0.1:7500",
        "10.0.0.9:7411",
    }
    assert discovery.figures[urls[0]].refused >= 1
    assert "No such file" in discovery.figures[urls[4]].last_error
    await discovery.aclose()
