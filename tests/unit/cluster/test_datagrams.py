"""The shell of packets: which way a message goes, and what becomes of what comes in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pyhorde.cluster.member import Member
from pyhorde.cluster.membership.messages import MEMBERSHIP_MESSAGES, Gossip, Nack, Ping
from pyhorde.cluster.replication.messages import SyncAck
from pyhorde.cluster.transport.datagrams import Packets, PacketStatistics
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.sealing import MAX_PACKET, Sealer
from pyhorde.cluster.transport.wire import Wire

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"
PING = Ping(1, B, 0, [0, 0, 0], [])


class Air:
    """Where packets fly: each address has at most one who receives."""

    def __init__(self, *, open_to_packets: bool = True) -> None:
        self.open_to_packets = open_to_packets
        self.receivers: dict[str, Callable[[bytes], None]] = {}
        self.flown: list[tuple[str, bytes]] = []
        self.closed: list[str] = []

    async def datagrams(self, address: str, received: Callable[[bytes], None]) -> Any:
        if not self.open_to_packets:
            return None
        self.receivers[address] = received
        return Bound(self, address)


class Bound:
    def __init__(self, air: Air, address: str) -> None:
        self._air = air
        self._address = address

    def send(self, address: str, data: bytes) -> None:
        self._air.flown.append((address, data))
        if address in self._air.receivers:
            self._air.receivers[address](data)

    async def close(self) -> None:
        self._air.closed.append(self._address)


class Side:
    """One node's packets, and what they delivered."""

    def __init__(self, boot: str, *known: str) -> None:
        self.known = {boot: member(boot) for boot in known}
        self.heard: list[tuple[str, Any]] = []
        sealer = Sealer(boot, "horde", Keyring([SECRET]))
        wire = Wire(MEMBERSHIP_MESSAGES)
        self.packets = Packets(sealer, wire, self.known.get, self.take)

    def take(self, boot: str, message: Any) -> None:
        self.heard.append((boot, message))


def member(boot: str) -> Member:
    return Member(name=boot[0], address=f"{boot[0]}:1", boot=boot, generation=1)


async def pair(air: Air | None = None) -> tuple[Side, Side]:
    air = air or Air()
    a, b = Side(A, B, C), Side(B, A)
    assert await a.packets.open(air, "a:1")  # type: ignore[arg-type]
    assert await b.packets.open(air, "b:1")  # type: ignore[arg-type]
    return a, b


async def test_a_message_arrives_with_its_sender_and_is_counted():
    air = Air()
    a, b = await pair(air)
    assert a.packets.send(B, PING)
    assert b.heard == [(A, PING)]
    ((_, packet),) = air.flown
    assert a.packets.statistics == PacketStatistics(sent=1, sent_bytes=len(packet))
    assert b.packets.statistics == PacketStatistics(received=1)


# ---- what goes another way ----------------------------------------------------------------------


async def test_where_there_are_no_packets_everything_goes_another_way():
    a = Side(A, B)
    assert not a.packets.send(B, PING)
    assert not await a.packets.open(Air(open_to_packets=False), "a:1")  # type: ignore[arg-type]
    assert not a.packets.send(B, PING)
    assert a.packets.statistics == PacketStatistics()


@pytest.mark.parametrize("boot", ["d" * 32, "", "no boot"])
async def test_a_boot_without_a_record_has_no_address(boot: str):
    a, _ = await pair()
    assert not a.packets.send(boot, PING)


async def test_a_member_whose_boot_is_no_boot_id_is_reached_another_way():
    a, _ = await pair()
    a.known["strange"] = member("strange")
    assert not a.packets.send("strange", PING)
    assert a.packets.statistics == PacketStatistics()


async def test_what_is_too_large_for_a_packet_goes_another_way_and_the_largest_does_not():
    air = Air()
    a, b = await pair(air)
    assert a.packets.send(B, Gossip([b"x" * 1200]))
    room = MAX_PACKET - len(air.flown[0][1])
    assert a.packets.send(B, Gossip([b"x" * (1200 + room)]))
    assert len(air.flown[1][1]) == MAX_PACKET
    assert not a.packets.send(B, Gossip([b"x" * (1200 + room + 1)]))
    assert len(air.flown) == a.packets.statistics.sent == len(b.heard) == 2


async def test_after_the_end_nothing_is_sent_and_closing_twice_is_the_same():
    air = Air()
    a, _ = await pair(air)
    await a.packets.aclose()
    await a.packets.aclose()
    assert air.closed == ["a:1"]
    assert not a.packets.send(B, PING)


# ---- what comes in ------------------------------------------------------------------------------


async def test_a_recorded_packet_is_refused_and_counted():
    air = Air()
    a, b = await pair(air)
    a.packets.send(B, PING)
    air.receivers["b:1"](air.flown[0][1])
    assert b.heard == [(A, PING)]
    assert b.packets.statistics == PacketStatistics(received=1, refused=1)


async def test_a_sender_whom_nobody_knows_is_refused():
    a, b = await pair()
    b.known.clear()
    a.packets.send(B, PING)
    assert b.heard == []
    assert b.packets.statistics == PacketStatistics(refused=1)


async def test_who_is_forgotten_and_known_again_begins_anew():
    a, b = await pair()
    a.packets.send(B, PING)
    record = b.known.pop(A)
    b.packets.forget()
    assert b.packets._sealer._windows == {}
    b.known[A] = record
    a.packets.send(B, PING)
    assert len(b.heard) == 2


def sealed(payload: bytes) -> bytes:
    return Sealer(A, "horde", Keyring([SECRET])).seal(B, payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"\x93\x01",
        b"hello",
        Wire((SyncAck,)).encode(SyncAck({})),
        b"\x94\x01\x02\x03\x04",
        b"\x91" * 1000,
    ],
    ids=["no msgpack", "cut", "text", "no packet's message", "fields", "deep"],
)
async def test_a_member_that_sends_nonsense_is_refused_and_counted(payload: bytes):
    air = Air()
    _, b = await pair(air)
    air.receivers["b:1"](sealed(payload))
    assert b.heard == []
    assert b.packets.statistics.refused == 1


async def test_of_a_packet_with_one_bad_message_nothing_counts():
    air = Air()
    _, b = await pair(air)
    air.receivers["b:1"](sealed(Wire(MEMBERSHIP_MESSAGES).encode(Nack(1)) + b"\xc1"))
    assert b.heard == []
    assert b.packets.statistics == PacketStatistics(refused=1)


async def test_what_the_receiver_objects_to_is_refused_and_counted():
    air = Air()
    a, b = await pair(air)

    def object_to(boot: str, message: Any) -> None:
        raise ValueError("ack: the record of somebody else")

    b.packets._deliver = object_to
    a.packets.send(B, PING)
    assert b.packets.statistics.refused == 1


async def test_hostile_bytes_are_counted_and_never_raise():
    air = Air()
    _, b = await pair(air)
    chance = random.Random(1)
    whole = sealed(Wire(MEMBERSHIP_MESSAGES).encode(PING))
    for turn in range(500):
        hostile = bytearray(whole if turn % 2 else chance.randbytes(chance.randrange(1500)))
        for _ in range(min(len(hostile), 3)):
            hostile[chance.randrange(len(hostile))] ^= chance.randrange(1, 256)
        air.receivers["b:1"](bytes(hostile))
    assert b.heard == []
    assert b.packets.statistics == PacketStatistics(refused=500)
