"""Simulated packets: lost, late, doubled, out of order, and never held for anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyhorde.testing import Conditions, SimLoop, SimNetwork
from pyhorde.testing.datagrams import BUFFER, LARGEST, SimDatagrams
from pyhorde.testing.loop import MACHINE
from pyhorde.testing.network import MachineNetwork
from tests.unit.testing import wires
from tests.unit.testing.wires import A_TO_B, B_TO_A, FAR, Wire, frames, kill


def play(story: Callable[[Wire], Awaitable[Any]], seed: int = 1) -> Any:
    """A story in which packets get through."""

    async def with_packets(wire: Wire) -> Any:
        wire.network.packets.get_through = True
        return await story(wire)

    return wires.play(with_packets, seed)


async def bind(wire: Wire, machine: str, received: Callable[[bytes], None]) -> SimDatagrams | None:
    """Take packets to port 1 of the machine."""
    network = MachineNetwork(wire.network, machine, f"{machine}#1")
    return await network.datagrams(f"{machine}:1", received)


async def bound(wire: Wire) -> SimDatagrams:
    """What ``a`` sends to ``b:1`` is heard."""
    assert await bind(wire, "b", wire.heard.append) is not None
    here = await bind(wire, "a", wire.answers.append)
    assert here is not None
    return here


def send_all(here: SimDatagrams, packets: list[bytes]) -> None:
    for packet in packets:
        here.send("b:1", packet)


# ---- on the way ----------------------------------------------------------------------------------


def test_a_packet_arrives_where_it_is_sent_and_nowhere_else():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        here.send("b:1", b"x")
        here.send("a:1", b"to myself")
        assert wire.heard == [], "it takes a while"
        await asyncio.sleep(1)
        assert (wire.heard, wire.answers) == ([b"x"], [b"to myself"])

    play(story)


def test_a_packet_is_handed_over_on_the_machine_that_gets_it():
    async def story(wire: Wire) -> None:
        def received(_: bytes) -> None:
            wire.heard.append(MACHINE.get())

        here = await bound(wire)
        await bind(wire, "c", received)
        here.send("c:1", b"x")
        await asyncio.sleep(1)
        assert wire.heard == ["c#1"]

    play(story)


def test_packets_overtake_each_other():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.network.usual(FAR)
        send_all(here, frames(20))
        await asyncio.sleep(60)
        assert wire.heard != frames(20)
        assert sorted(wire.heard) == frames(20)

    play(story)


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 200, 200), (0.3, 100, 180), (1.0, 0, 0)])
def test_what_is_lost_is_not_sent_again(loss: float, least: int, most: int):
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.network.special(A_TO_B, Conditions(loss=loss))
        send_all(here, frames(200))
        await asyncio.sleep(100)
        assert least <= len(wire.heard) <= most

    play(story)


def test_some_packets_arrive_twice():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.network.special(A_TO_B, Conditions(duplicate=1.0))
        send_all(here, frames(3))
        await asyncio.sleep(1)
        assert sorted(wire.heard) == sorted(2 * frames(3))

    play(story)


def test_a_packet_that_is_too_large_vanishes():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        send_all(here, [bytes(LARGEST), bytes(LARGEST + 1)])
        await asyncio.sleep(1)
        assert wire.heard == [bytes(LARGEST)]

    play(story)


def test_packets_wait_behind_frames_where_the_way_is_narrow():
    async def story(wire: Wire) -> None:
        here, stream = await bound(wire), await wire.linked()
        wire.network.special(A_TO_B, Conditions(bandwidth=1000))
        stream.send(bytes(10_000))
        send_all(here, [b"x"])
        await asyncio.sleep(9)
        assert wire.heard == []
        await asyncio.sleep(2)
        assert sorted(wire.heard) == [bytes(10_000), b"x"]

    play(story)


Fault = Callable[[SimNetwork], object]
SILENCES: dict[str, tuple[Fault, Fault]] = {
    "blocked": (lambda n: n.block([A_TO_B]), lambda n: n.unblock([A_TO_B])),
    "firewall": (lambda n: n.block_datagrams([A_TO_B]), lambda n: n.unblock_datagrams([A_TO_B])),
    "clogged": (lambda n: n.clog("b"), lambda n: n.unclog("b")),
    "dark": (lambda n: n.silence("b"), lambda n: n.power("b")),
}


@pytest.mark.parametrize("kind", SILENCES)
def test_what_is_sent_into_silence_is_gone_and_what_is_sent_after_it_is_not(kind: str):
    begin, end = SILENCES[kind]

    async def story(wire: Wire) -> None:
        here = await bound(wire)
        begin(wire.network)
        here.send("b:1", b"gone")
        await asyncio.sleep(5)
        end(wire.network)
        await asyncio.sleep(60)
        here.send("b:1", b"there")
        await asyncio.sleep(1)
        assert wire.heard == [b"there"]

    play(story)


def test_what_is_on_the_way_to_a_machine_that_loses_power_is_gone():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        here.send("b:1", b"x")
        wire.network.silence("b")
        await asyncio.sleep(1)
        wire.network.power("b")
        await asyncio.sleep(1)
        assert wire.heard == []

    play(story)


# ---- firewalls -----------------------------------------------------------------------------------


def test_behind_a_firewall_streams_pass_and_so_does_the_other_direction():
    async def story(wire: Wire) -> None:
        here, stream = await bound(wire), await wire.linked()
        there = MachineNetwork(wire.network, "b", "b#1")
        back = await there.datagrams("b:2", wire.heard.append)
        assert back is not None
        wire.network.block_datagrams([A_TO_B])
        here.send("b:1", b"packet")
        stream.send(b"frame")
        back.send("a:1", b"back")
        await asyncio.sleep(1)
        assert (wire.heard, wire.answers) == ([b"frame"], [b"back"])

    play(story)


def test_two_firewalls_on_a_path_need_two_ends_or_one_heal():
    async def story(wire: Wire) -> None:
        network = wire.network
        network.block_datagrams([A_TO_B])
        network.block_datagrams([A_TO_B, B_TO_A])
        network.unblock_datagrams([A_TO_B])
        assert network.packets.blocked == {A_TO_B, B_TO_A}
        network.unblock_datagrams([A_TO_B])
        assert network.packets.blocked == {B_TO_A}
        network.heal()
        assert network.packets.blocked == frozenset()

    play(story)


def test_a_firewall_is_a_change_of_the_network_and_no_excuse():
    async def story(wire: Wire) -> None:
        before = wire.network.signature
        wire.network.block_datagrams([A_TO_B])
        assert wire.network.signature != before
        assert wire.network.is_clear
        assert wire.network.is_good(*A_TO_B)

    play(story)


def test_in_one_of_four_seeds_no_packet_gets_through():
    networks = [SimNetwork(SimLoop(seed), seed) for seed in range(200)]
    assert 30 < [network.packets.get_through for network in networks].count(False) < 70


@pytest.mark.parametrize("datagrams", [True, False])
def test_whether_packets_get_through_can_be_settled_for_all_seeds(datagrams: bool):
    networks = [SimNetwork(SimLoop(seed), seed, datagrams=datagrams) for seed in range(20)]
    assert {network.packets.get_through for network in networks} == {datagrams}


def test_where_no_packet_gets_through_addresses_are_bound_and_streams_pass():
    async def story(wire: Wire) -> None:
        wire.network.packets.get_through = False
        here, stream = await bound(wire), await wire.linked()
        here.send("b:1", b"packet")
        stream.send(b"frame")
        await asyncio.sleep(1)
        assert wire.heard == [b"frame"]

    play(story)


# ---- addresses -----------------------------------------------------------------------------------


def test_where_nobody_is_bound_packets_vanish():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        for address in ("b:2", "nobody:1", "", ":"):
            here.send(address, b"x")
        await asyncio.sleep(1)
        assert (wire.heard, wire.answers) == ([], [])

    play(story)


def test_an_address_is_bound_once_until_it_is_given_back():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        assert await bind(wire, "a", wire.answers.append) is None
        await here.close()
        await here.close()
        again = await bind(wire, "a", wire.answers.append)
        assert again is not None
        await here.close()
        again.send("a:1", b"still mine")
        await asyncio.sleep(1)
        assert wire.answers == [b"still mine"]

    play(story)


def test_a_port_can_be_bound_for_streams_and_for_packets():
    async def story(wire: Wire) -> None:
        here, stream = await bound(wire), await wire.linked()
        stream.send(b"frame")
        await asyncio.sleep(1)
        here.send("b:1", b"packet")
        await asyncio.sleep(1)
        assert wire.heard == [b"frame", b"packet"]

    play(story)


def test_what_is_closed_neither_sends_nor_receives():
    async def story(wire: Wire) -> None:
        here, there = await bound(wire), await bind(wire, "c", wire.heard.append)
        assert there is not None
        here.send("c:1", b"on the way")
        await there.close()
        here.send("c:1", b"too late")
        there.send("a:1", b"from the grave")
        await asyncio.sleep(1)
        assert (wire.heard, wire.answers) == ([], [])

    play(story)


def test_what_was_handed_over_before_the_close_is_not_seen_after_it():
    async def story(wire: Wire) -> None:
        here = await bind(wire, "a", wire.answers.append)
        assert here is not None
        here.arrive(b"x")
        await here.close()
        await asyncio.sleep(1)
        assert wire.answers == []

    play(story)


def test_packets_to_a_killed_process_vanish_and_the_next_boot_gets_its_own():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        here.send("b:1", b"on the way")
        kill(wire, "b", "b#1")
        here.send("b:1", b"to nobody")
        await asyncio.sleep(1)
        next_boot = MachineNetwork(wire.network, "b", "b#2")
        assert await next_boot.datagrams("b:1", wire.heard.append) is not None
        here.send("b:1", b"new")
        await asyncio.sleep(1)
        assert wire.heard == [b"new"]

    play(story)


# ---- machines that stand still -------------------------------------------------------------------


@pytest.mark.parametrize("reads", [1, 32])
def test_after_a_stall_some_packets_are_seen_then_overdue_timers_then_the_rest(reads: int):
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.network.usual(Conditions(latency_mean=0))
        wire.network.reads = reads

        async def machine() -> None:
            for delay in (3, 2):
                wire.loop.call_later(delay, wire.heard.append, f"timer {delay}")

        await wire.loop.run_as("b#1", machine())
        wire.loop.stall("b#1", 10)
        send_all(here, frames(40))
        await asyncio.sleep(9)
        assert wire.heard == []
        await asyncio.sleep(2)
        timers = ["timer 2", "timer 3"]
        assert wire.heard == [*frames(40)[:reads], *timers, *frames(40)[reads:]]

    play(story)


def test_the_buffer_of_a_stalled_machine_is_limited_and_empty_afterwards():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        room = BUFFER // 1000
        for _ in range(2):
            wire.heard.clear()
            wire.loop.stall("b#1", 10)
            send_all(here, [bytes(1000)] * (room + 50))
            await asyncio.sleep(20)
            assert len(wire.heard) == room

    play(story)


def test_what_comes_while_a_slow_machine_catches_up_is_seen_last():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.network.usual(Conditions(latency_mean=0))
        wire.network.reads = 1
        wire.loop.slow("b#1", 0.5)
        wire.loop.stall("b#1", 10)
        send_all(here, frames(3))
        await asyncio.sleep(10.1)
        assert wire.heard == frames(1), "it sees the rest once it has looked at its timers"
        here.send("b:1", bytes([3]))
        await asyncio.sleep(10)
        assert wire.heard == frames(4)

    play(story)


def test_what_waits_for_a_machine_that_is_killed_is_gone():
    async def story(wire: Wire) -> None:
        here = await bound(wire)
        wire.loop.stall("b#1", 10)
        here.send("b:1", b"x")
        await asyncio.sleep(5)
        kill(wire, "b", "b#1")
        await asyncio.sleep(10)
        assert wire.heard == []

    play(story)


# ---- the same again ------------------------------------------------------------------------------


def trace(packet: bytes, seed: int = 1, conditions: Conditions = FAR) -> str:
    async def story(wire: Wire) -> str:
        here = await bound(wire)
        wire.network.usual(conditions)
        send_all(here, [b"same", packet, b"same"])
        await asyncio.sleep(60)
        return wire.loop.trace_hash

    found: str = play(story, seed)
    return found


def test_the_length_of_a_packet_is_part_of_the_trace_and_its_bytes_are_not():
    assert trace(b"four") == trace(b"five")
    assert trace(b"four") != trace(b"three")


def test_a_seed_decides_what_is_lost_and_doubled():
    bad = Conditions(loss=0.3, duplicate=0.3, burst_every=1.0)
    assert [trace(b"x", seed, bad) for seed in range(5)] == [
        trace(b"x", seed, bad) for seed in range(5)
    ]
    assert len({trace(b"x", seed, bad) for seed in range(5)}) == 5
