"""Simulated streams: order, what is held, stalls, and what the other machine confirms."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyhorde.cluster.transport.framing import MAX_UNTRUSTED_BYTES
from pyhorde.testing import Conditions
from pyhorde.testing.conditions import RESEND_FIRST
from pyhorde.testing.network import MachineNetwork
from pyhorde.testing.streams import GIVE_UP, RETRY_MOST
from tests.unit.testing.wires import (
    A_TO_B,
    B_TO_A,
    CLOSED,
    FAR,
    Reader,
    Wire,
    frames,
    kill,
    play,
    send_all,
)

# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_one_stream_arrive_in_order_however_long_each_takes(seed: int):
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.usual(FAR)
        send_all(stream, frames(20))
        await asyncio.sleep(60)
        assert wire.heard == frames(20)

    play(story, seed)


def test_two_streams_between_the_same_machines_overtake_each_other():
    async def story(wire: Wire) -> bool:
        one, two = await wire.linked(), await wire.dial()
        wire.network.usual(FAR)
        one.send(b"first")
        two.send(b"second")
        await asyncio.sleep(60)
        return wire.heard == [b"second", b"first"]

    assert {play(story, seed) for seed in range(10)} == {True, False}


def test_both_ends_know_who_the_other_is():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        assert stream.remote == "b"
        assert wire.ends[0].remote == "a"

    play(story)


def test_closing_is_heard_after_all_that_was_sent_before():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.usual(FAR)
        send_all(stream, frames(3))
        stream.close()
        stream.send(b"late")
        await asyncio.sleep(60)
        assert wire.heard == [*frames(3), CLOSED]

    play(story)


def test_what_is_sent_to_an_end_that_is_over_is_answered_by_a_reset():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.ends[0].close()
        stream.send(b"into the void")
        await asyncio.sleep(1)
        assert wire.answers == [CLOSED]
        assert wire.network._streams == {}

    play(story)


# ---- silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_what_was_held_arrives_after_the_heal_in_order_and_before_what_comes_then(seed: int):
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        send_all(stream, frames(5))
        await asyncio.sleep(GIVE_UP - 2)
        stream.send(bytes([5]))
        wire.network.heal()
        stream.send(bytes([6]))
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == frames(7)

    play(story, seed)


def test_a_connection_is_given_up_once_a_frame_has_waited_too_long():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        stream.send(b"x")
        await asyncio.sleep(GIVE_UP - 0.1)
        assert not stream.over
        await asyncio.sleep(0.2)
        assert stream.over
        assert wire.answers == ["timed out"]
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [], "nothing of a connection that was given up is delivered"
        wire.ends[0].send(b"still there?")
        await asyncio.sleep(1)
        assert wire.heard == ["reset"]

    play(story)


def test_an_idle_connection_outlives_any_partition():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B, B_TO_A])
        await asyncio.sleep(1000)
        wire.network.heal()
        stream.send(b"x")
        await asyncio.sleep(1)
        assert wire.heard == [b"x"]

    play(story)


def test_a_second_partition_does_not_inherit_the_time_of_the_first():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        stream.send(b"1")
        await asyncio.sleep(GIVE_UP - 1)
        wire.network.unblock([A_TO_B])
        wire.network.block([A_TO_B])
        stream.send(b"2")
        await asyncio.sleep(GIVE_UP - 1)
        assert not stream.over

    play(story)


def test_closing_during_a_partition_is_heard_after_the_heal():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        stream.send(b"x")
        stream.close()
        assert stream.over
        await asyncio.sleep(5)
        assert wire.heard == []
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [b"x", CLOSED]

    play(story)


# ---- machines that stand still -------------------------------------------------------------------


def test_frames_to_a_stalled_machine_wait_for_it_in_order():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.loop.stall("b#1", 10)
        send_all(stream, frames(50))
        stream.close()
        await asyncio.sleep(9)
        assert wire.heard == []
        await asyncio.sleep(2)
        assert wire.heard == [*frames(50), CLOSED]

    play(story)


@pytest.mark.parametrize("reads", [1, 32])
def test_after_a_stall_some_frames_are_seen_then_overdue_timers_then_the_rest(reads: int):
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.reads = reads

        async def machine() -> None:
            for delay in (3, 2):
                wire.loop.call_later(delay, wire.heard.append, f"timer {delay}")

        await wire.loop.run_as("b#1", machine())
        wire.loop.stall("b#1", 10)
        send_all(stream, frames(40))
        await asyncio.sleep(20)
        timers = ["timer 2", "timer 3"]
        assert wire.heard == [*frames(40)[:reads], *timers, *frames(40)[reads:]]

    play(story)


def test_the_length_of_a_frame_is_part_of_the_trace_and_its_bytes_are_not():
    def trace(frame: bytes) -> str:
        async def story(wire: Wire) -> str:
            stream = await wire.linked()
            send_all(stream, [b"same", frame, b"same"])
            await asyncio.sleep(1)
            assert len(wire.heard) == 3
            return wire.loop.trace_hash

        found: str = play(story)
        return found

    assert trace(b"four") == trace(b"five")
    assert trace(b"four") != trace(b"three")


# ---- what the other machine confirms -------------------------------------------------------------


def silence(stream: Any) -> float:
    seconds = stream.host_silence()
    assert seconds is not None
    return float(seconds)


def test_the_silence_of_a_machine_begins_with_the_connection_and_ends_with_each_frame():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        assert silence(stream) < 1
        await asyncio.sleep(10)
        assert silence(stream) > 9
        assert silence(wire.ends[0]) > 9
        stream.send(b"x")
        await asyncio.sleep(1)
        assert silence(stream) < 1.01
        assert silence(wire.ends[0]) > 9, "who only listens has nothing confirmed"

    play(story)


def test_a_machine_that_stands_still_confirms_what_its_process_does_not_see():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.loop.stall("b#1", 20)
        await asyncio.sleep(10)
        stream.send(b"x")
        await asyncio.sleep(1)
        assert wire.heard == []
        assert silence(stream) < 1.01
        await asyncio.sleep(15)
        assert wire.heard == [b"x"]
        assert silence(stream) > 15, "the machine said nothing new when its process went on"

    play(story)


def test_what_is_lost_and_sent_again_is_confirmed_once_it_is_there():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.usual(Conditions(loss=1.0))
        await asyncio.sleep(10)
        stream.send(b"x")
        await asyncio.sleep(RESEND_FIRST)
        assert silence(stream) > 10
        await asyncio.sleep(30)
        assert wire.heard == [b"x"]
        assert silence(stream) < 30

    play(story)


def test_nothing_is_confirmed_through_a_cut_until_what_was_held_is_there():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        stream.send(b"x")
        await asyncio.sleep(15)
        assert silence(stream) > 15
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [b"x"]
        assert silence(stream) < RETRY_MOST + 1

    play(story)


def test_what_arrived_is_confirmed_when_there_is_a_way_back_again():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([B_TO_A])
        stream.send(b"x")
        await asyncio.sleep(15)
        assert wire.heard == [b"x"]
        assert silence(stream) > 15
        wire.network.heal()
        assert silence(stream) == 0

    play(story)


def test_the_end_of_a_cut_confirms_nothing_where_nothing_was_sent():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([B_TO_A])
        await asyncio.sleep(15)
        wire.network.heal()
        assert silence(stream) > 15

    play(story)


def test_a_process_that_was_killed_meanwhile_has_nothing_confirmed_for_it():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([B_TO_A])
        stream.send(b"x")
        await asyncio.sleep(5)
        kill(wire, "b", "b#1")
        wire.network.heal()
        assert silence(stream) > 5

    play(story)


def test_a_machine_without_power_confirms_nothing():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        stream.send(b"on the way")
        kill(wire, "b", "b#1", silent=True)
        stream.send(b"too late")
        await asyncio.sleep(10)
        assert silence(stream) > 9.9

    play(story)


def test_of_a_connection_that_is_over_the_operating_system_says_nothing():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        stream.close()
        await asyncio.sleep(1)
        assert stream.host_silence() is None
        assert wire.ends[0].host_silence() is None

    play(story)


# ---- trust ---------------------------------------------------------------------------------------


def test_before_trust_each_frame_is_given_out_by_itself_and_only_then_the_next_one_counts():
    async def story(wire: Wire) -> None:
        heard: list[object] = []
        accepted: list[Any] = []

        def accept(stream: Any) -> None:
            accepted.append(stream)
            stream.attach(Reader(heard))

        wire.network.listen("b", "b#1", "b:2", accept)
        dialling = MachineNetwork(wire.network, "a", "a#1").dial("b:2", 5.0)
        stream = await wire.loop.run_as("a#1", dialling)
        large = bytes(MAX_UNTRUSTED_BYTES + 1)
        send_all(stream, [b"1", b"2", large, large])
        await asyncio.sleep(1)
        assert heard == [b"1"]
        accepted[0].resume_reading()
        await asyncio.sleep(1)
        assert heard == [b"1", b"2"]
        accepted[0].trust()
        accepted[0].resume_reading()
        await asyncio.sleep(1)
        assert heard == [b"1", b"2", large, large]

    play(story)


def test_a_large_frame_of_a_stranger_breaks_the_stream_at_both_ends():
    async def story(wire: Wire) -> None:
        heard: list[object] = []
        wire.network.listen("b", "b#1", "b:2", lambda s: s.attach(Reader(heard)))
        dialling = MachineNetwork(wire.network, "a", "a#1").dial("b:2", 5.0)
        stream = await wire.loop.run_as("a#1", dialling)
        stream.attach(Reader(wire.answers))
        stream.send(bytes(MAX_UNTRUSTED_BYTES + 1))
        await asyncio.sleep(1)
        assert (heard, wire.answers) == (["a frame that is too large"], ["reset"])

    play(story)
