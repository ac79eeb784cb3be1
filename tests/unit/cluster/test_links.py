"""How messages leave and arrive over one link: together, in lanes, in turn."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.membership.messages import Gossip, Nack
from pyhorde.cluster.replication.messages import SyncAck, SyncData
from pyhorde.cluster.transport import links as links_module
from pyhorde.cluster.transport.handshake import Goodbye, Session
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.links import FRAME_TARGET, Link, Links
from pyhorde.cluster.transport.wire import Wire
from pyhorde.config import NodeConfig

ME = Member(name="me", address="me:1", boot="boot-me", generation=1)
WIRE = Wire((Nack, Gossip, SyncAck, SyncData, Goodbye))


class Stream:
    """A stream whose other end the test plays."""

    remote = "peer"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.writable = True
        self.closed = False
        self.is_paused = False

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    @property
    def said(self) -> list[list[Any]]:
        return [WIRE.decode(frame) for frame in self.frames]


class Owner:
    settled = True

    def __init__(self) -> None:
        self.view = View(ME, (ME,))
        self.heard: list[Any] = []
        self.lost: list[str] = []
        self.answers = False
        self.links: Links

    def on_linked(self, member: Member) -> None: ...

    def on_unlinked(self, boot: str, reason: str) -> None:
        self.lost.append(reason)

    def on_message(self, boot: str, message: Any) -> None:
        self.heard.append(message)
        if self.answers:
            self.links.send(boot, Nack(message.seq))


class Linked:
    def __init__(self) -> None:
        self.owner = Owner()
        world: Any = SimpleNamespace(now=lambda: 0.0)
        events: Any = self.owner
        self.links = Links(NodeConfig(name="me"), world, Keyring(), WIRE, events)
        self.owner.links = self.links
        self.stream = Stream()
        stream: Any = self.stream
        self.link = Link(self.links, "b", stream, Session(), None)
        self.links._links["b"] = self.link

    def send(self, *messages: Any) -> None:
        for message in messages:
            assert self.links.send("b", message)

    def receive(self, *frames: list[Any]) -> None:
        encoded = [b"".join(map(WIRE.encode, frame)) for frame in frames]
        self.link.frames_received(encoded)


@pytest.fixture
async def linked() -> Linked:
    return Linked()


def bulk(size: int) -> SyncData:
    return SyncData([bytes(size)], last=True, answer=False)


async def test_what_is_sent_in_one_turn_leaves_as_one_frame(linked: Linked):
    linked.send(SyncAck({"a": 1}), SyncAck({"a": 2}))
    assert linked.stream.frames == []
    await asyncio.sleep(0)
    assert linked.stream.said == [[SyncAck({"a": 1}), SyncAck({"a": 2})]]
    assert linked.link.waiting == 0


async def test_the_urgent_go_first_and_each_lane_keeps_its_order(linked: Linked):
    linked.send(bulk(1), SyncAck({"a": 1}), Nack(1), bulk(2), SyncAck({"a": 2}), Nack(2))
    await asyncio.sleep(0)
    acks = [SyncAck({"a": 1}), SyncAck({"a": 2})]
    assert linked.stream.said == [[Nack(1), Nack(2), *acks, bulk(1), bulk(2)]]


async def test_much_leaves_in_frames_of_about_one_size(linked: Linked):
    linked.send(*(bulk(FRAME_TARGET // 2) for _ in range(5)), Nack(1))
    await asyncio.sleep(0)
    assert [len(frame) for frame in linked.stream.said] == [3, 2, 1]
    assert linked.stream.said[0][0] == Nack(1)


async def test_while_the_peer_reads_slowly_the_rest_waits_and_can_be_overtaken(linked: Linked):
    linked.stream.writable = False
    linked.send(bulk(1), bulk(2))
    await asyncio.sleep(0)
    assert linked.stream.frames == []
    linked.send(Nack(1))
    linked.stream.writable = True
    linked.link.resume_writing()
    await asyncio.sleep(0)
    assert linked.stream.said == [[Nack(1), bulk(1), bulk(2)]]


async def test_answers_to_what_arrived_together_leave_together_and_at_once(linked: Linked):
    linked.owner.answers = True
    linked.receive([Nack(1), Nack(2)], [Nack(3)])
    assert linked.stream.said == [[Nack(1), Nack(2), Nack(3)]]
    await asyncio.sleep(0)
    assert len(linked.stream.frames) == 1


async def test_others_have_their_turn_after_something_large(linked: Linked):
    large = [bulk(FRAME_TARGET // 2)]
    linked.receive(large, large, [Nack(1)])
    assert len(linked.owner.heard) == 1 and linked.stream.is_paused
    linked.receive([Nack(2)])
    await asyncio.sleep(0)
    assert len(linked.owner.heard) == 2
    await asyncio.sleep(0)
    assert linked.owner.heard[2:] == [Nack(1), Nack(2)] and not linked.stream.is_paused


async def test_a_goodbye_ends_the_link_with_its_reason_and_what_follows_is_not_heard(
    linked: Linked,
):
    linked.receive([Nack(1), Goodbye("enough"), Nack(2)], [Nack(3)])
    assert linked.owner.heard == [Nack(1)]
    assert linked.owner.lost == ["closed by the peer: enough"]
    assert linked.stream.closed and linked.stream.frames == []


async def test_who_is_dropped_is_told_why_before_what_still_waited(linked: Linked):
    linked.send(Nack(1))
    linked.links.drop("b", "it is dead")
    await asyncio.sleep(0)
    assert linked.stream.said == [[Goodbye("it is dead")]]
    assert linked.owner.lost == ["it is dead"] and linked.stream.closed
    assert not linked.links.send("b", Nack(2))


async def test_a_lost_stream_ends_the_link_once(linked: Linked):
    linked.link.stream_closed("reset")
    linked.link.stream_closed("again")
    assert linked.owner.lost == ["reset"] and linked.links.boots == set()


async def test_a_peer_that_does_not_read_gets_no_more_calls_and_is_dropped_for_bulk(
    linked: Linked, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(links_module, "QUEUE_BYTES", 1000)
    monkeypatch.setattr(links_module, "BULK_BYTES", 2000)
    linked.stream.writable = False
    linked.send(bulk(900))
    assert not linked.links.send("b", SyncAck({"a" * 200: 1}))
    linked.send(bulk(900))
    assert linked.owner.lost == []
    assert not linked.links.send("b", bulk(900))
    assert linked.owner.lost == ["it does not read what it is sent"]


async def test_links_made_with_a_secret_that_counts_no_more_are_broken(linked: Linked):
    linked.link.psk = b"old"
    assert linked.links.drop_unproven([b"old", b"new"]) == 0
    assert linked.links.drop_unproven([b"new"]) == 1
    assert linked.owner.lost == ["its secret counts no more"]


async def test_who_sends_what_is_refused_again_and_again_is_left_alone_for_longer(linked: Linked):
    links, now = linked.links, [100.0]
    links._world.now = lambda: now[0]
    pauses = []
    for _ in range(8):
        links._shun("b")
        pause = next(step / 4 for step in range(1, 100) if not at(links, now, step / 4))
        pauses.append(pause)
        now[0] += pause
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    now[0] += links_module.FORGIVEN
    links._shun("b")
    assert at(links, now, 0.2) and not at(links, now, 0.25)
    assert not links._is_shunned("c")
    for number in range(2 * links_module.MAX_FAULTY):
        links._shun(f"{number}")
    assert len(links._faulty) == links_module.MAX_FAULTY


def at(links: Links, now: list[float], seconds: float) -> bool:
    """Whether ``b`` is still left alone after so many seconds."""
    now[0] += seconds
    shunned = links._is_shunned("b")
    now[0] -= seconds
    return shunned


async def test_a_frame_that_is_refused_is_the_reason(linked: Linked):
    linked.link.frames_received([b"\xc1"])
    assert linked.links._is_shunned("b") and linked.links.statistics.refused_frames == 1
