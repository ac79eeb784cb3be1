"""The simulated network: who reaches whom, resets, machines that are down, and dialling."""

from __future__ import annotations

import asyncio

import pytest

from pyhorde.errors import ConfigError, DialRefused, PeerUnreachable
from pyhorde.testing import Conditions, SimLoop, SimNetwork
from pyhorde.testing.network import MachineNetwork
from pyhorde.testing.streams import RETRY_MOST
from tests.unit.testing.wires import A_TO_B, B_TO_A, Wire, kill, play

# ---- silence -------------------------------------------------------------------------------------


def test_a_block_has_a_direction():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.block([A_TO_B])
        stream.send(b"there")
        wire.ends[0].send(b"back")
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
        stream.send(b"x")
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


def test_a_clogged_machine_is_cut_off_both_ways_until_it_is_unclogged_as_often():
    async def story(wire: Wire) -> None:
        stream = await wire.linked()
        wire.network.clog("b")
        wire.network.clog("b")
        stream.send(b"there")
        wire.ends[0].send(b"back")
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
        await asyncio.sleep(0.001)
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
        stream.send(b"anybody?")
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
        stream.send(b"x")
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
        stream.send(b"from another life")
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
        stream.send(b"x")
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


def test_a_stalled_machine_takes_connections_and_serves_them_later():
    async def story(wire: Wire) -> None:
        await wire.listen()
        wire.loop.stall("b#1", 10)
        stream = await wire.dial(timeout=1)
        stream.send(b"x")
        await asyncio.sleep(5)
        assert wire.ends == []
        await asyncio.sleep(6)
        assert wire.heard == [b"x"]

    play(story)


def test_the_seed_decides_which_real_event_loop_a_stalled_machine_is_like():
    assert {SimNetwork(SimLoop(seed), seed).reads for seed in range(20)} == {1, 32}
