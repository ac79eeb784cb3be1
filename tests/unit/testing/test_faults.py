"""Faults on a real (simulated) cluster: they happen, they end, and nothing of them stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyhorde.testing import SimCluster
from pyhorde.testing.cluster import SLOW_AFTERMATH
from pyhorde.testing.faults import KINDS, Fault, Player
from tests.unit.testing.cast import Counter, play

PATHS = (("a", "b"), ("b", "a"))
EXAMPLES = {
    "crash": Fault(kind="crash", at=1, lasts=5, on=("a",)),
    "power": Fault(kind="power", at=1, lasts=5, on=("a",)),
    "crash-during": Fault(kind="crash-during", at=1, lasts=5, on=("a",), amount=3),
    "drain": Fault(kind="drain", at=1, lasts=5, on=("a",)),
    "stall": Fault(kind="stall", at=1, lasts=5, on=("a",)),
    "slow": Fault(kind="slow", at=1, lasts=5, on=("a",), amount=0.005),
    "clock": Fault(kind="clock", at=1, lasts=5, on=("a",), amount=60),
    "deaf": Fault(kind="deaf", at=1, lasts=5),
    "split": Fault(kind="split", at=1, lasts=5, pairs=PATHS),
    "one-way": Fault(kind="one-way", at=1, lasts=5, pairs=PATHS[:1]),
    "bridge": Fault(kind="bridge", at=1, lasts=5, pairs=PATHS),
    "ring": Fault(kind="ring", at=1, lasts=5, pairs=PATHS),
    "islands": Fault(kind="islands", at=1, lasts=5, pairs=PATHS),
    "clog": Fault(kind="clog", at=1, lasts=5, on=("a",)),
    "loss": Fault(kind="loss", at=1, lasts=5, pairs=PATHS, amount=0.2),
    "bursts": Fault(kind="bursts", at=1, lasts=5, pairs=PATHS, amount=1.0),
    "delay": Fault(kind="delay", at=1, lasts=5, pairs=PATHS, amount=0.4),
    "narrow": Fault(kind="narrow", at=1, lasts=5, pairs=PATHS, amount=4000),
    "reset": Fault(kind="reset", at=1, pairs=PATHS[:1]),
    "reply-lost": Fault(kind="reply-lost", at=1, lasts=2, pairs=PATHS[:1]),
    "firewall": Fault(kind="firewall", at=1, lasts=5, pairs=PATHS),
}


def state_of(cluster: SimCluster) -> dict[str, Any]:
    """All that a fault may change."""
    names = list(cluster.machines)
    return {
        "clear": cluster.network.is_clear,
        "firewalls": cluster.network.packets.blocked,
        "deaf": cluster.outside.deaf,
        "dark": [name for name in names if cluster.network.is_dark(name)],
        "down": [name for name in names if not cluster.machines[name].runs],
        "stalled": [name for name in names if cluster.loop.is_stalled(cluster.machines[name].key)],
        "costs": [cluster.loop._lane(machine.key).cost for machine in cluster.machines.values()],
        "offsets": [machine.clock_offset for machine in cluster.machines.values()],
        "links": len(cluster.apart()),
    }


def test_there_is_an_example_here_of_every_kind():
    assert EXAMPLES.keys() == KINDS.keys()
    assert all(kind.about for kind in KINDS.values())


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_fault_is_seen_while_it_lasts_and_nothing_of_it_stays(kind: str):
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        before = state_of(cluster)
        player = Player(cluster)
        key = cluster.machines["a"].key
        playing = asyncio.ensure_future(player.play([EXAMPLES[kind]]))
        await asyncio.sleep(1.0001)
        during = state_of(cluster)
        armed = bool(cluster._armed)
        drains = cluster.live.get("a") is None or cluster.node("a").state == "draining"
        assert during != before or armed or drains
        await playing
        await asyncio.sleep(2)
        await cluster.settle()
        assert state_of(cluster) == before
        assert player.played == {kind: 1}
        assert not cluster._armed
        restarted = kind in ("crash", "power", "drain")
        assert (cluster.machines["a"].key != key) is restarted

    play(story, nodes=2)


@pytest.mark.parametrize(("kind", "doubles"), [("loss", True), ("bursts", True), ("delay", False)])
def test_where_packets_are_lost_some_are_doubled(kind: str, doubles: bool):
    async def story(cluster: SimCluster) -> None:
        Player(cluster).spoil(EXAMPLES[kind])
        for pair in PATHS:
            assert bool(cluster.network.path(*pair).conditions.duplicate) is doubles

    play(story, nodes=2)


def test_a_crash_during_a_request_strikes_so_many_steps_into_the_next_one():
    async def story(cluster: SimCluster) -> None:
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        player = Player(cluster)
        playing = asyncio.ensure_future(player.play([EXAMPLES["crash-during"]]))
        await asyncio.sleep(2)
        assert "a" in cluster.live
        with pytest.raises(ConnectionResetError, match="'a' crashed"):
            await cluster.on("a", cluster.node("a").router.call("it", "increment", [], {}))
        assert "a" not in cluster.live
        await playing
        assert "a" in cluster.live

    play(story)


# ---- all at once ---------------------------------------------------------------------------------


def test_after_all_of_them_together_every_machine_runs_and_every_path_is_clear():
    async def story(cluster: SimCluster) -> None:
        await cluster.settle()
        before = state_of(cluster)
        player = Player(cluster)
        await player.play([*EXAMPLES.values(), *EXAMPLES.values()])
        await asyncio.sleep(2)
        await cluster.settle()
        assert state_of(cluster) == before
        await asyncio.sleep(SLOW_AFTERMATH)
        assert cluster.is_clear

    play(story)


def test_a_machine_that_was_slow_and_crashed_is_not_taken_for_slow_for_ever():
    async def story(cluster: SimCluster) -> None:
        slow = Fault(kind="slow", at=1, lasts=5, on=("a",), amount=0.005)
        crash = Fault(kind="crash", at=3, lasts=6, on=("a",))
        await Player(cluster).play([slow, crash])
        await asyncio.sleep(2 * SLOW_AFTERMATH)
        assert not cluster.was_hindered("a", cluster.loop.time())
        assert cluster.is_clear

    play(story, nodes=2)


def test_a_stall_outlasts_the_end_of_a_slow_time():
    async def story(cluster: SimCluster) -> None:
        cluster.slow("a", 0.001)
        cluster.stall("a", 30)
        cluster.slow("a", 0)
        await asyncio.sleep(SLOW_AFTERMATH + 1)
        assert cluster.loop.is_stalled(cluster.machines["a"].key)
        assert not cluster.is_clear

    play(story, nodes=2)


def test_faults_happen_at_their_times():
    seen: list[tuple[float, bool]] = []

    async def story(cluster: SimCluster) -> None:
        began = cluster.loop.time()

        async def watch() -> None:
            clear = True
            while True:
                await asyncio.sleep(0.25)
                if clear != cluster.network.is_clear:
                    clear = not clear
                    seen.append((cluster.loop.time() - began, clear))

        watching = asyncio.ensure_future(watch())
        first = Fault(kind="split", at=1.1, lasts=3, pairs=PATHS)
        second = Fault(kind="split", at=2.1, lasts=4, pairs=PATHS)
        await Player(cluster).play([second, first])
        await asyncio.sleep(1)
        watching.cancel()

    play(story)
    assert seen == [(1.25, False), (6.25, True)]


# ---- what cannot happen --------------------------------------------------------------------------


async def down(cluster: SimCluster) -> None:
    await cluster.settle()
    cluster.crash("a")


async def alone(cluster: SimCluster) -> None:
    await cluster.settle()
    for name in list(cluster.machines):
        if name != "a":
            cluster.crash(name)


@pytest.mark.parametrize("kind", ["crash", "power", "drain", "stall", "slow"])
def test_what_cannot_happen_to_a_machine_that_is_down_is_passed_over(kind: str):
    passed_over(down, kind)


@pytest.mark.parametrize("kind", ["crash", "power", "drain"])
def test_the_last_machine_is_left_alone(kind: str):
    passed_over(alone, kind)


def passed_over(before: Callable[[SimCluster], Awaitable[None]], kind: str) -> None:
    async def story(cluster: SimCluster) -> None:
        await before(cluster)
        player = Player(cluster)
        await player.play([EXAMPLES[kind]])
        assert player.played == {}
        assert cluster.live.keys() == cluster.machines.keys()

    play(story, nodes=2)


def test_a_crash_in_the_middle_of_a_request_is_passed_over_when_it_would_break_no_promise_itself():
    """The others do not have what the machine alone has acknowledged: it must not die of this."""

    async def story(cluster: SimCluster) -> None:
        await cluster.start_child(Counter, "it")
        await cluster.settle()
        cluster.crash("b")
        player = Player(cluster)
        assert player.arm(EXAMPLES["crash-during"])
        await cluster.on("a", cluster.node("a").router.call("it", "increment", [], {}, timeout=60))
        assert "a" in cluster.live

    play(story, nodes=2)


def test_a_bad_day_ends_with_every_machine_up_and_lasts_as_long_as_asked():
    async def story(cluster: SimCluster) -> None:
        for kinds in ((), ("crash", "stall")):
            began = cluster.loop.time()
            await cluster.bad_day(30, kinds)
            assert cluster.loop.time() >= began + 30
            assert cluster.live.keys() == cluster.machines.keys()
        await cluster.settle()

    play(story)


def test_bad_days_of_one_cluster_differ():
    days: list[tuple[Fault, ...]] = []
    players: set[Player] = set()

    async def story(cluster: SimCluster) -> None:
        original = Player.play

        async def play_and_note(self: Player, faults: Any) -> None:
            days.append(tuple(faults))
            players.add(self)
            await original(self, faults)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Player, "play", play_and_note)
            for _ in range(3):
                await cluster.bad_day(20)

    play(story)
    assert len(set(days)) == 3
    assert len(players) == 1, "what one day has lost counts on the next"


def test_a_drain_that_fails_is_not_passed_over():
    async def fails(*_: Any) -> None:
        raise RuntimeError("no drain")

    async def story(cluster: SimCluster) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster, "drain", fails)
            with pytest.raises(RuntimeError, match="no drain"):
                await Player(cluster).play([EXAMPLES["drain"]])

    play(story)
