"""How a node meets others: whom it misses, and what dials are evidence of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from pyhorde.cluster.discovery import Surroundings
from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.dial_schedule import DialSchedule
from pyhorde.cluster.membership.dialer import Dialer
from pyhorde.cluster.membership.joining import Situation
from pyhorde.config import MembershipConfig
from pyhorde.errors import DialRefused, HandshakeRefused, PeerUnreachable
from tests.unit.runtime.stage import World as StageWorld
from tests.unit.runtime.stage import turns, until, virtual_time

LAN = MembershipConfig()
ME = Member(name="me", address="me:1", boot="boot-me", generation=1)


def member(name: str, **changes: Any) -> Member:
    return replace(ME, name=name, address=f"{name}:1", boot=f"boot-{name}", **changes)


class FakeLinks:
    """Links that come and go, and answer dials, as the test says."""

    def __init__(self) -> None:
        self.boots: set[str] = set()
        self.answers: dict[str, Member | Exception] = {}
        self.dialled: list[str] = []

    async def dial(self, address: str) -> Member:
        self.dialled.append(address)
        await asyncio.sleep(0)
        answer = self.answers.get(address, PeerUnreachable(address, "silence"))
        if isinstance(answer, Exception):
            raise answer
        return answer


class Around:
    """A meeting, and all around it."""

    def __init__(self, *seeds: str) -> None:
        self.links = FakeLinks()
        self.view = View(ME, (ME,))
        self.refused: list[str] = []
        self.dialled = 0
        self.world = World()
        dialer = DialSchedule(seeds, LAN, random.Random(0))
        links: Any = self.links
        world: Any = self.world
        self.dialer = Dialer(dialer, links, world, lambda: self.view, self.refused.append, LAN)
        self.dialer.on_dialled = self._on_dialled

    def _on_dialled(self) -> None:
        self.dialled += 1

    def know(self, *members: Member, linked: str = "") -> None:
        self.view = View(ME, tuple(sorted((ME, *members), key=lambda m: m.name)))
        self.links.boots = {f"boot-{name}" for name in linked}

    @property
    def situation(self) -> Situation:
        return self.dialer.situation(True, False, 1.0)

    async def dial(self) -> None:
        """Dial whoever is due, until it is over."""
        self.dialer.dial_due(self.world.now())
        await turns()


class World(StageWorld):
    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(0)


# ---- how far a start is -------------------------------------------------------------------------


@virtual_time
async def test_a_node_that_was_told_of_nobody_misses_nobody():
    assert Around().situation == Situation(
        me="boot-me",
        linked=set(),
        others=set(),
        missing=False,
        tried=True,
        waited=1.0,
        told=True,
        by_settled=False,
        shut_out=False,
    )


@virtual_time
async def test_a_peer_is_missing_until_it_is_linked():
    around = Around("a:1", "b:1", "me:1")
    around.know(member("a"), member("b"), member("gone", status=Status.DEAD), linked="a")
    assert around.dialer.missing() == ["b:1"]
    assert around.situation.missing
    assert around.situation.others == {"boot-a", "boot-b"}
    assert around.situation.linked == {"boot-a"}
    around.know(member("a"), member("b"), linked="ab")
    assert around.dialer.missing() == []
    assert not around.situation.missing


@virtual_time
async def test_a_peer_is_tried_when_its_first_dial_is_over():
    around = Around("a:1", "me:1")
    assert not around.situation.tried
    around.dialer.dial_due(around.world.now())
    assert not around.situation.tried
    await turns()
    assert around.situation.tried


@virtual_time
async def test_what_it_cannot_know_is_passed_through():
    situation = Around().dialer.situation(False, True, 7.0)
    assert (situation.told, situation.by_settled, situation.waited) == (False, True, 7.0)


# ---- discovery ----------------------------------------------------------------------------------


class Source:
    """Finds what the test puts in."""

    def __init__(self) -> None:
        self.finds: asyncio.Queue[set[str]] = asyncio.Queue()

    async def watch(self) -> AsyncIterator[set[str]]:
        while True:
            yield await self.finds.get()


async def discovering(patience: float = 5.0) -> tuple[Around, Source]:
    around, source = Around(), Source()
    world: Any = around.world
    surroundings = Surroundings(address=ME.address, world=world, cluster="c")
    await around.dialer.discover([source], surroundings, patience)
    return around, source


@virtual_time
async def test_while_discovery_has_said_nothing_nobody_knows_who_is_missing():
    around, source = await discovering()
    assert around.situation.missing
    assert not around.situation.tried
    source.finds.put_nowait(set())
    await until(lambda: around.situation.tried)
    assert around.situation.missing  # it has found nobody, and goes on looking
    around.know(member("a"), linked="a")
    assert not around.situation.missing
    await around.dialer.aclose()


@virtual_time
async def test_what_discovery_finds_is_missing_until_it_is_met():
    around, source = await discovering()
    source.finds.put_nowait({"a:1"})
    await until(around.dialer.missing)
    assert around.dialled
    assert around.dialer.missing() == ["a:1"]
    around.links.answers["a:1"] = member("a")
    await around.dial()
    assert around.links.dialled == ["a:1"]
    around.know(member("a"), linked="a")
    await until(lambda: not around.situation.missing)
    await around.dialer.aclose()


@virtual_time
async def test_joining_waits_for_discovery_only_so_long():
    around, _ = await discovering(patience=5.0)
    began = asyncio.get_running_loop().time()
    await until(lambda: around.situation.tried)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=0.02)
    assert around.dialled == 1
    await around.dialer.aclose()


@virtual_time
async def test_without_any_source_nothing_is_waited_for():
    around = Around()
    world: Any = around.world
    surroundings = Surroundings(address=ME.address, world=world, cluster="c")
    await around.dialer.discover([], surroundings, 60.0)
    assert around.situation.tried and not around.situation.missing
    await around.dialer.aclose()
    await around.dialer.aclose()


# ---- what a dial leads to -----------------------------------------------------------------------


@virtual_time
async def test_a_refusal_is_evidence_against_the_member_that_was_expected_there():
    around = Around("a:1", "seed:1")
    around.know(member("a"))
    around.links.answers = {
        "a:1": DialRefused("a:1", "refused"),
        "seed:1": DialRefused("seed:1", "refused"),
    }
    await around.dial()
    assert around.refused == ["boot-a"]
    assert around.dialled == 2


@virtual_time
async def test_another_boot_at_the_address_is_evidence_too_and_the_same_one_is_none():
    around = Around()
    around.know(member("a"), member("b"))
    around.links.answers = {"a:1": replace(member("a"), boot="new"), "b:1": member("b")}
    await around.dial()
    assert around.refused == ["boot-a"]


@pytest.mark.parametrize(
    "error",
    [
        PeerUnreachable("a:1", "timed out"),
        HandshakeRefused("a:1", "secret", "no"),
    ],
    ids=["silence", "a stranger"],
)
def test_what_is_no_refusal_is_no_evidence(error: Exception):
    @virtual_time
    async def check():
        around = Around()
        around.know(member("a"))
        around.links.answers["a:1"] = error
        await around.dial()
        assert around.refused == []
        assert around.dialled == 1
        assert around.dialer.next_deadline() is not None

    check()


@virtual_time
async def test_a_peer_that_turns_out_to_be_this_node_is_not_missing():
    around = Around("alias:1")
    around.links.answers["alias:1"] = HandshakeRefused("alias:1", "self", "it is this node")
    await around.dial()
    assert around.dialer.missing() == []
    assert around.situation.tried and not around.situation.missing


@virtual_time
async def test_a_node_whose_name_somebody_has_is_shut_out_until_that_address_lets_it_in():
    around = Around("a:1", "b:1")
    around.links.answers = {"a:1": HandshakeRefused("a:1", "name", "taken"), "b:1": member("b")}
    await around.dial()
    assert around.situation.shut_out
    await asyncio.sleep(1.0)
    await around.dial()
    assert around.situation.shut_out
    around.links.answers["a:1"] = member("a")
    await asyncio.sleep(10.0)
    await around.dial()
    assert not around.situation.shut_out


@pytest.mark.parametrize("later", ["silence", "another reason", "itself"])
def test_a_cluster_that_is_gone_shuts_nobody_out(later: str):
    answer: Exception = {
        "silence": PeerUnreachable("a:1", "timed out"),
        "another reason": HandshakeRefused("a:1", "secret", "no"),
        "itself": HandshakeRefused("a:1", "self", "it is this node"),
    }[later]

    @virtual_time
    async def check():
        around = Around("a:1")
        around.links.answers["a:1"] = HandshakeRefused("a:1", "name", "taken")
        await around.dial()
        assert around.situation.shut_out
        around.links.answers["a:1"] = answer
        await asyncio.sleep(10.0)
        await around.dial()
        assert not around.situation.shut_out

    check()


@virtual_time
async def test_an_address_that_discovery_has_dropped_shuts_nobody_out():
    around = Around()
    around.dialer.found("dns://x", ["a:1"])
    around.links.answers["a:1"] = HandshakeRefused("a:1", "name", "taken")
    await around.dial()
    assert around.situation.shut_out
    around.dialer.found("dns://x", [])
    await asyncio.sleep(60.0)
    await around.dial()
    assert not around.situation.shut_out


@virtual_time
async def test_a_failed_dial_is_logged_once_and_about_former_members_not_at_all(
    caplog: pytest.LogCaptureFixture,
):
    around = Around("seed:1")
    around.know(member("gone", status=Status.DEAD))
    for _ in range(3):
        await around.dial()
        await asyncio.sleep(60.0)
    assert around.links.dialled.count("gone:1") == 3
    assert [record.fields["address"] for record in caplog.records] == ["seed:1"]


@virtual_time
async def test_hurry_brings_the_next_dial_forward():
    around = Around("seed:1")
    await around.dial()
    assert around.dialer.next_deadline()
    await asyncio.sleep(1.0)
    around.dialer.hurry("seed:1")
    due = around.dialer.next_deadline()
    assert due is not None and due <= around.world.now()
