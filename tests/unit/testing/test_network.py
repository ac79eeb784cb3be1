"""The simulated network: streams in order, silence, resets, and machines that are down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable, StreamClosed
from pyhorde.testing import Conditions, SimLoop, SimNetwork
from pyhorde.testing.network import GIVE_UP, RETRY_MOST, MachineNetwork

FAR = Conditions(latency_min=0.01, latency_mean=0.5)
A_TO_B, B_TO_A = ("a", "b"), ("b", "a")


class Wire:
    """Two machines, one listening on ``b:1``, and what arrives at either end."""

    def __init__(self, seed: int) -> None:
        self.loop = SimLoop(seed)
        self.network = SimNetwork(self.loop, seed)
        self.ends: list[Any] = []
        self.heard: list[object] = []
        """What the far end got, and how it ended."""
        self.answers: list[object] = []
        """The same for the dialling end."""

    async def listen(self) -> None:
        await MachineNetwork(self.network, "b", "b#1").listen("b:1", self._accept)

    async def _accept(self, stream: Any) -> None:
        self.ends.append(stream)
        await read(stream, self.heard)

    async def dial(self, timeout: float = 5.0) -> Any:
        dialling = MachineNetwork(self.network, "a", "a#1").dial("b:1", timeout)
        stream = await self.loop.run_as("a#1", dialling)
        _ = self.loop.run_as("a#1", read(stream, self.answers))
        await asyncio.sleep(0.001)
        return stream

    async def linked(self) -> Any:
        await self.listen()
        return await self.dial()


async def read(stream: Any, into: list[object]) -> None:
    try:
        while True:
            into.append(await stream.receive())
    except StreamClosed as closed:
        into.append(closed.reason)


def play(story: Callable[[Wire], Awaitable[Any]], seed: int = 1) -> Any:
    wire = Wire(seed)
    try:
        return wire.loop.run_until_complete(story(wire))
    finally:
        wire.loop.close()
        assert wire.loop.failures == []


def frames(count: int) -> list[bytes]:
    return [bytes([number]) for number in range(count)]


async def send_all(stream: Any, some: list[bytes]) -> None:
    for frame in some:
        await stream.send(frame)


# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_one_stream_arrive_in_order_however_long_each_takes(seed: int):
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.usual(FAR)
        await send_all(stream, frames(20))
        await asyncio.sleep(60)
        assert wire.heard == frames(20)

    play(story, seed)


def test_two_streams_between_the_same_machines_overtake_each_other():
    async def story(wire: Wire) -> bool:
        one, two = await wire.linked(), await wire.dial()
        wire.network.usual(FAR)
        await one.send(b"first")
        await two.send(b"second")
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
        await send_all(stream, frames(3))
        await stream.close("bye")
        with pytest.raises(StreamClosed):
            await stream.send(b"late")
        await asyncio.sleep(60)
        assert wire.heard == [*frames(3), "bye"]

    play(story)


def test_what_is_sent_to_an_end_that_is_over_is_answered_by_a_reset():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        await wire.ends[0].close("bye")
        await stream.send(b"into the void")
        await asyncio.sleep(1)
        assert wire.answers == ["bye"]
        assert wire.network._streams == {}

    play(story)


# ---- silence -------------------------------------------------------------------------------------


def test_a_block_has_a_direction():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"there")
        await wire.ends[0].send(b"back")
        await asyncio.sleep(5)
        assert (wire.heard, wire.answers) == ([], [b"back"])
        assert not wire.network.passes(*A_TO_B)
        assert wire.network.passes(*B_TO_A)

    play(story)


def test_two_blocks_of_a_path_need_two_ends():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        wire.network.block([A_TO_B, B_TO_A])
        await stream.send(b"x")
        wire.network.unblock([A_TO_B])
        await asyncio.sleep(RETRY_MOST)
        assert wire.heard == []
        wire.network.unblock([A_TO_B, B_TO_A])
        assert wire.network.is_clear
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [b"x"]

    play(story)


def test_ending_a_block_that_was_not_there_is_no_credit_for_the_next():
    async def story(wire: Wire) -> None:
        wire.network.unblock([A_TO_B])
        wire.network.block([A_TO_B])
        assert not wire.network.passes(*A_TO_B)

    play(story)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_held_arrives_after_the_heal_in_order_and_before_what_comes_then(seed: int):
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await send_all(stream, frames(5))
        await asyncio.sleep(GIVE_UP - 2)
        await stream.send(bytes([5]))
        wire.network.heal()
        await stream.send(bytes([6]))
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == frames(7)

    play(story, seed)


def test_a_connection_is_given_up_once_a_frame_has_waited_too_long():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"x")
        await asyncio.sleep(GIVE_UP - 0.1)
        assert not stream.over
        await asyncio.sleep(0.2)
        assert stream.over
        assert wire.answers == ["timed out"]
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [], "nothing of a connection that was given up is delivered"
        await wire.ends[0].send(b"still there?")
        await asyncio.sleep(1)
        assert wire.heard == ["reset"]

    play(story)


def test_an_idle_connection_outlives_any_partition():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B, B_TO_A])
        await asyncio.sleep(1000)
        wire.network.heal()
        await stream.send(b"x")
        await asyncio.sleep(1)
        assert wire.heard == [b"x"]

    play(story)


def test_a_second_partition_does_not_inherit_the_time_of_the_first():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"1")
        await asyncio.sleep(GIVE_UP - 1)
        wire.network.unblock([A_TO_B])
        wire.network.block([A_TO_B])
        await stream.send(b"2")
        await asyncio.sleep(GIVE_UP - 1)
        assert not stream.over

    play(story)


def test_closing_during_a_partition_is_heard_after_the_heal():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"x")
        await stream.close("bye")
        assert stream.over
        await asyncio.sleep(5)
        assert wire.heard == []
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [b"x", "bye"]

    play(story)


def test_a_clogged_machine_is_cut_off_both_ways_until_it_is_unclogged_as_often():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.clog("b")
        wire.network.clog("b")
        await stream.send(b"there")
        await wire.ends[0].send(b"back")
        wire.network.unclog("b")
        await asyncio.sleep(5)
        assert (wire.heard, wire.answers) == ([], [])
        assert not wire.network.is_clear
        wire.network.unclog("b")
        await asyncio.sleep(RETRY_MOST + 1)
        assert (wire.heard, wire.answers) == ([b"there"], [b"back"])
        assert wire.network.is_clear

    play(story)


def test_a_heal_ends_blocks_clogs_and_special_paths():
    async def story(wire: Wire) -> None:
        network = wire.network
        before = network.signature
        network.block([A_TO_B])
        network.clog("b")
        network.special(B_TO_A, Conditions(loss=0.5))
        assert not network.is_clear
        assert network.signature != before
        network.heal()
        assert network.is_clear
        assert network.signature == before

    play(story)


@pytest.mark.parametrize(
    ("conditions", "good"),
    [
        (Conditions(), True),
        (Conditions(latency_mean=0.5), False),
        (Conditions(loss=0.01), False),
        (Conditions(burst_every=10), False),
        (Conditions(bandwidth=1000), False),
    ],
)
def test_a_path_is_good_when_what_is_sent_arrives_at_once(conditions: Conditions, good: bool):
    async def story(wire: Wire) -> None:
        wire.network.special(A_TO_B, conditions)
        assert wire.network.is_good(*A_TO_B) is good
        assert wire.network.is_good(*B_TO_A)
        wire.network.no_longer(A_TO_B, conditions)
        assert wire.network.is_good(*A_TO_B)

    play(story)


# ---- resets and machines that are down -----------------------------------------------------------


def test_a_reset_breaks_both_ends_at_once():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.reset("b", "a")
        await asyncio.sleep(0)
        assert stream.over
        assert wire.ends[0].over
        assert (wire.heard, wire.answers) == (["reset"], ["reset"])
        assert wire.network._streams == {}

    play(story)


def test_a_reset_between_others_is_none_of_theirs():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.reset("a", "c")
        assert not stream.over

    play(story)


def kill(wire: Wire, machine: str, key: str, *, silent: bool = False) -> None:
    wire.loop.kill(key)
    if silent:
        wire.network.silence(machine)
    wire.network.process_killed(machine)


def test_a_killed_process_is_answered_for_by_its_machine():
    async def story(wire: Wire) -> None:
        await wire.linked()
        kill(wire, "b", "b#1")
        await asyncio.sleep(1)
        assert wire.answers == ["reset"]
        with pytest.raises(DialRefused):
            await wire.dial()

    play(story)


def test_a_dark_machine_is_silent_and_resets_old_connections_once_it_is_back():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        kill(wire, "b", "b#1", silent=True)
        await stream.send(b"anybody?")
        began = wire.loop.time()
        with pytest.raises(PeerUnreachable) as unreachable:
            await wire.dial(timeout=3)
        assert not isinstance(unreachable.value, DialRefused)
        assert wire.loop.time() == began + 3
        assert wire.network.is_dark("b")
        assert wire.answers == []
        wire.network.power("b")
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.answers == ["reset"]
        with pytest.raises(DialRefused):
            await wire.dial()

    play(story)


def test_what_was_on_the_way_to_a_machine_that_lost_power_is_lost():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        await stream.send(b"x")
        kill(wire, "b", "b#1", silent=True)
        await asyncio.sleep(1)
        wire.network.power("b")
        await asyncio.sleep(RETRY_MOST)
        assert wire.answers == []

    play(story)


def test_what_a_machine_had_not_sent_yet_is_lost_with_its_power():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"from another life")
        kill(wire, "a", "a#1", silent=True)
        await asyncio.sleep(1)
        wire.network.power("a")
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == []

    play(story)


def test_what_a_killed_process_had_sent_is_still_delivered_by_its_machine():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        await stream.send(b"x")
        kill(wire, "a", "a#1")
        wire.network.heal()
        await asyncio.sleep(RETRY_MOST + 1)
        assert wire.heard == [b"x", "reset"]

    play(story)


# ---- dialling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [A_TO_B, B_TO_A])
def test_a_dial_through_a_path_blocked_one_way_times_out(pair: tuple[str, str]):
    async def story(wire: Wire) -> None:
        await wire.listen()
        wire.network.block([pair])
        began = wire.loop.time()
        with pytest.raises(PeerUnreachable, match="no answer within 2 s"):
            await wire.dial(timeout=2)
        assert wire.loop.time() == pytest.approx(began + 2)
        assert wire.ends == []

    play(story)


def test_a_dial_takes_at_most_its_timeout_on_a_slow_path():
    async def story(wire: Wire) -> None:
        await wire.listen()
        wire.network.usual(Conditions(latency_min=10))
        with pytest.raises(PeerUnreachable):
            await wire.dial(timeout=2)
        assert wire.loop.time() == pytest.approx(1002)

    play(story)


def test_where_nobody_listens_a_dial_is_refused():
    async def story(wire: Wire) -> None:
        with pytest.raises(DialRefused, match="refused"):
            await wire.dial()

    play(story)


def test_an_address_is_listened_on_once_until_it_is_given_back():
    async def story(wire: Wire) -> None:
        network = MachineNetwork(wire.network, "b", "b#1")
        listener = await network.listen("b:1", wire._accept)
        assert listener.address == "b:1"
        with pytest.raises(ConfigError, match="in use"):
            await network.listen("b:1", wire._accept)
        await listener.close()
        with pytest.raises(DialRefused):
            await wire.dial()
        await network.listen("b:1", wire._accept)
        await wire.dial()
        await network.aclose()

    play(story)


# ---- machines that stand still -------------------------------------------------------------------


def test_frames_to_a_stalled_machine_wait_for_it_in_order():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.loop.stall("b#1", 10)
        await send_all(stream, frames(50))
        await stream.close("bye")
        await asyncio.sleep(9)
        assert wire.heard == []
        await asyncio.sleep(2)
        assert wire.heard == [*frames(50), "bye"]

    play(story)


def test_a_stalled_machine_takes_connections_and_serves_them_later():
    async def story(wire: Wire) -> None:
        await wire.listen()
        wire.loop.stall("b#1", 10)
        stream = await wire.dial(timeout=1)
        await stream.send(b"x")
        await asyncio.sleep(5)
        assert wire.ends == []
        await asyncio.sleep(6)
        assert wire.heard == [b"x"]

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
        await send_all(stream, frames(40))
        await asyncio.sleep(20)
        timers = ["timer 2", "timer 3"]
        assert wire.heard == [*frames(40)[:reads], *timers, *frames(40)[reads:]]

    play(story)


def test_the_seed_decides_which_real_event_loop_a_stalled_machine_is_like():
    assert {SimNetwork(SimLoop(seed), seed).reads for seed in range(20)} == {1, 32}


def test_the_length_of_a_frame_is_part_of_the_trace_and_its_bytes_are_not():
    def trace(frame: bytes) -> str:
        async def story(wire: Wire) -> str:
            stream = await wire.linked()
            await send_all(stream, [b"same", frame, b"same"])
            await asyncio.sleep(1)
            assert len(wire.heard) == 3
            return wire.loop.trace_hash

        found: str = play(story)
        return found

    assert trace(b"four") == trace(b"five")
    assert trace(b"four") != trace(b"three")
