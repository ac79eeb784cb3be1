"""Replication messages that no honest peer sends, or that come when they should not."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.membership.messages import Gossip
from pyhorde.cluster.replication.messages import (
    REPLICATION_MESSAGES,
    Audit,
    Differs,
    Forget,
    SyncAck,
    SyncData,
    SyncRequest,
)
from pyhorde.cluster.replication.replication import AHEAD
from pyhorde.cluster.transport.handshake import Goodbye, Session
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.links import Link, Links
from pyhorde.cluster.transport.wire import Wire
from pyhorde.config import NodeConfig
from pyhorde.crdt import Delta
from pyhorde.crdt.delta import Forgotten, Held, Piece, RegisterRow, Segment
from pyhorde.errors import ProtocolError
from tests.unit.cluster.pair import Pair, met

GOOD = Delta().to_wire()
WIRE = Wire(REPLICATION_MESSAGES, (Gossip, Goodbye))


@pytest.fixture
def pair() -> Pair:
    return met("ab")


def state(pair: Pair, name: str) -> tuple[object, ...]:
    core = pair[name]
    others = [each for each in pair.cores if each != name]
    known = core.replica.snapshot(), core.replica.vector, dict(core.replica.retired)
    return (*known, core.replica.deletions, [core.acked(other) for other in others])


def data(*segments: list[Any]) -> SyncData:
    return SyncData([[], [], [], [*segments], {}], last=True, answer=False)


@pytest.mark.parametrize(
    "message",
    [
        SyncRequest({"a": -1}),
        SyncRequest({"a": 2**53}),
        SyncRequest({"a": True}),
        SyncRequest({"a": 1.0}),
        SyncRequest({7: 1}),  # type: ignore[dict-item]
        SyncRequest([]),  # type: ignore[arg-type]
        SyncRequest(dict.fromkeys(map(str, range(100_001)), 1)),
        SyncAck({"a": "1"}),
        SyncAck({None: 1}),  # type: ignore[dict-item]
        SyncAck({"b": -1}, relayed=True),
        Forget({"a": 2**40}, {}),
        Forget({"a": -1}, {}),
        Forget(None, {}),  # type: ignore[arg-type]
        SyncData([], last=True, answer=False),
        SyncData([*GOOD, 1], last=True, answer=False),
        SyncData([[], [["a", 5, 1, [], [], True, None]]], last=True, answer=False),
        data(["b", -1, 3, [], [], [], True]),
        data(["b", 1, 2**40, [], [], [], True]),
        data(["b", 1, 1, [["", 5, None, ["k"], [1, b""], None]], [], [], True]),
        data(["b", 1, 1, [], [1], [9], True]),
        "no message",
    ],
    ids=range(21),
)
def test_a_malformed_message_is_refused_and_changes_nothing(pair: Pair, message: object):
    before = state(pair, "a")
    with pytest.raises(ValueError, match=r"vector|delta|segment|sequence|piece|no replication"):
        pair["a"].received("b", message, pair.now, pair.now)
    assert state(pair, "a") == before


@pytest.mark.parametrize("kind", [SyncRequest, SyncAck])
def test_who_knows_of_events_that_there_are_not_confirms_nothing_and_learns_anew(
    pair: Pair, kind: type
):
    before = pair["a"].acked("b")
    (told,) = [
        effect.message
        for effect in pair["a"].received("b", kind({"a": 2}), pair.now, pair.now)
        if isinstance(getattr(effect, "message", None), Differs)
    ]
    assert told == Differs(claims=True, registers=False)
    assert pair["a"].acked("b") <= before
    assert pair["a"].statistics.ahead == 1
    pair.write("a")
    pair["a"].received("b", kind({"a": 2}), pair.now, pair.now)
    assert pair["a"].acked("b") == 2
    assert pair["a"].statistics.ahead == 1


FAR_STAMP = 2**61 - 1
ROW = RegisterRow("t", "k", 0, 1, "x", "x", 1, b"v", False)
BEYOND = {
    "a stamp mark": Delta(marks={"stamp/t": FAR_STAMP}),
    "a counting mark": Delta(marks={"epoch": 2**60}),
    "a stamp": Delta((ROW._replace(stamp=FAR_STAMP),)),
    "a rank": Delta((ROW._replace(rank=2**52),)),
    "a value": Delta((ROW._replace(value=bytes(5 * 1024 * 1024)),)),
    "a value of a table with a limit": Delta((ROW._replace(table="small", value=bytes(11)),)),
    "a claim's value": Delta(
        segments=(Segment("x", 0, 1, (Piece("small", 1, None, ["k"], [(1, b"")], [bytes(11)]),)),)
    ),
    "a forgotten deletion": Delta(
        held=(Held(0, 1, {}, {}, Forgotten({}, {}, {"t": (0, FAR_STAMP)})),)
    ),
}


@pytest.mark.parametrize("delta", BEYOND.values(), ids=BEYOND)
def test_what_no_replica_could_have_come_to_is_refused_and_changes_nothing(
    pair: Pair, delta: Delta
):
    pair["a"].replica.limits["small"] = 10
    before = state(pair, "a")
    message = SyncData(delta.to_wire(), last=True, answer=False)
    with pytest.raises(ValueError, match=r"far from what can be|too large"):
        pair["a"].received("b", message, pair.now, 1.7e9)
    assert state(pair, "a") == before
    assert not pair["a"].replica.marks


def test_of_a_linked_origin_nobody_else_can_say_much_more_than_it_said_itself():
    trio = met("abc")
    trio.write("c")
    trio.flush()
    a = trio["a"]
    known = a.replica.known("c")
    for to in (known + AHEAD + 1, 2**40 - 1):
        far = Delta(segments=(Segment("c", known, to),))
        effects = a.received("b", SyncData(far.to_wire(), last=True, answer=False), 0.0, 0.0)
        assert a.replica.known("c") == known
        asked = [e.boot for e in effects if isinstance(getattr(e, "message", 0), SyncRequest)]
        assert asked in (["c"], [])
    assert a.statistics.ahead == 2
    near = Delta(segments=(Segment("c", known, known + 3),))
    a.received("b", SyncData(near.to_wire(), last=True, answer=False), 0.0, 0.0)
    assert a.replica.known("c") == known + 3, "it may have been told before"


@pytest.mark.parametrize(
    "segment",
    [
        ["c", 3, 2, [], [], [], True],
        ["a", 0, 9, [], [], [], True],
        ["b", 0, 1, [], [], [], True],
    ],
    ids=["a gap", "one's own", "known already"],
)
def test_segments_that_do_not_fit_change_nothing(pair: Pair, segment: list[Any]):
    before = pair.replica("a").snapshot(), pair.replica("a").seq
    pair.give("a", "b", data(segment))
    assert (pair.replica("a").snapshot(), pair.replica("a").seq) == before
    assert pair.replica("a").known(segment[0]) <= 1


def test_a_segment_that_overlaps_with_what_is_known_gives_only_the_rest(pair: Pair):
    pair.write("b", "k2")
    (whole,) = pair.replica("b").own_deltas(0)
    pair.give("a", "b", SyncData(whole.to_wire(), last=True, answer=False))
    pair.give("a", "b", SyncData(whole.to_wire(), last=True, answer=False))
    assert pair.converged()


def test_what_is_said_of_a_retired_origin_is_refused():
    pair = met("abc")
    pair["a"].unlinked("c")
    pair.replica("a").retire("c")
    before = state(pair, "a")
    pair.give("a", "b", data(["c", 0, 1, [["", 1, None, ["k"], [1, b""], None]], [], [], False]))
    assert state(pair, "a") == before
    assert pair.replica("a").refused == 1


@pytest.mark.parametrize(
    "message",
    [
        SyncRequest({}),
        SyncAck({"a": 1}),
        SyncAck({"a": 1}, relayed=True),
        data(["b", 1, 1, [["", 1, None, ["k"], [1, b""], None]], [], [], True]),
        data(["b", 5, 1, [], [], [], True]),
        Audit(1, 9, 9, 0, 0),
        Differs(claims=True, registers=True),
        Forget({"a": 2}, {}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_after_the_end_of_its_link_a_peer_changes_nothing(pair: Pair, message: Any):
    pair.put("a", "gone", None)
    pair.unlink("a", "b")
    before = state(pair, "a")
    assert pair["a"].received("b", message, pair.now, pair.now) == []
    assert state(pair, "a") == before
    assert pair["a"].statistics.repairs == 0


def test_an_answer_that_nobody_asked_for_proves_nothing(pair: Pair):
    since = pair.now + 1
    pair.give("a", "b", SyncData(GOOD, last=True, answer=True))
    assert pair["a"].lagging(since) == ["b"]


@pytest.mark.parametrize(
    "raw",
    [
        [10, {"a": 1}, 1],
        [10, [["a", 1]], False],
        [11, {}, True, False, False, False, False],
        [11, GOOD, 1, False, False, False, False],
        [12, {"a": 1}],
        [13, "1", 2, 3, 4, 5],
        [13, 1, 2.0, 3, 4, 5],
        [13, 1, 2, 3, 4, True],
        [14, 1, False],
        [14, True, None],
        [15, None],
    ],
)
def test_fields_of_other_types_do_not_get_past_the_wire(raw: list[Any]):
    frame = WIRE._packer.pack(raw)
    with pytest.raises(ProtocolError):
        list(WIRE.decode(frame))


# ---- links -------------------------------------------------------------------------------------

ME = Member(name="me", address="me:1", boot="boot-me", generation=1)
PEER = Member(name="peer", address="peer:1", boot="boot-peer", generation=1)


class Wireless:
    """A stream that goes nowhere, and what was sent over it."""

    remote = "peer:1"
    writable = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def close(self) -> None:
        self.closed = True


class Owner:
    """What owns the links, and what it heard."""

    def __init__(self) -> None:
        self.view = View(ME, (ME, PEER))
        self.settled = True
        self.heard: list[Any] = []
        self.lost: list[str] = []
        self.links: Links
        self.hangs_up = False

    def on_linked(self, member: Member) -> None:
        pass

    def on_unlinked(self, boot: str, reason: str) -> None:
        self.lost.append(reason)

    def on_message(self, boot: str, message: Any) -> None:
        self.heard.append(message)
        if self.hangs_up:
            self.links.drop(boot, "enough")


def links_of(owner: Owner) -> Links:
    world = SimpleNamespace(now=lambda: 0.0, rng=random.Random(1))
    config = NodeConfig(name="me")
    owner.links = Links(config, world, Keyring(), WIRE, owner)  # type: ignore[arg-type]
    return owner.links


def read(owner: Owner, *frames: bytes) -> Links:
    links, stream = links_of(owner), Wireless()
    link = Link(links, PEER.boot, stream, Session(), None)  # type: ignore[arg-type]
    links._links[PEER.boot] = link
    link.frames_received(frames)
    assert link.dropped and stream.closed
    return links


async def test_a_frame_whose_second_message_is_bad_does_nothing_at_all():
    owner = Owner()
    good = WIRE.encode(SyncAck({"a": 1}))
    links = read(owner, good, good + b"\x91\x63", good)
    assert owner.heard == [SyncAck({"a": 1})]
    assert links.statistics.refused_frames == 1
    assert owner.lost and owner.lost[0].startswith("refused what it sent")


async def test_what_follows_in_the_frame_after_which_a_link_was_dropped_is_not_heard():
    owner = Owner()
    owner.hangs_up = True
    read(owner, WIRE.encode(SyncAck({"a": 1})) + WIRE.encode(SyncAck({"a": 2})))
    assert owner.heard == [SyncAck({"a": 1})]
    assert owner.lost == ["enough"]


def test_what_goes_to_many_is_encoded_once():
    links = links_of(Owner())
    messages = [Gossip([number]) for number in range(4)]
    first = [links._bytes_of(message) for message in messages]
    assert all(links._bytes_of(m) is data for m, data in zip(messages, first, strict=True))
    for number in range(20):
        assert links._bytes_of(Gossip([number])) == WIRE.encode(Gossip([number]))
