"""A linked peer that sends what it must not: refused, counted, and nothing has changed."""

from __future__ import annotations

import msgpack
import pytest

from pyhorde import Node
from pyhorde.cluster.member import Member
from pyhorde.cluster.membership.messages import MEMBERSHIP_MESSAGES, Gossip, Update
from pyhorde.cluster.transport.links import Link
from pyhorde.cluster.transport.wire import Wire
from tests.integration.clusters import Horde, until
from tests.integration.inbox import Inbox
from tests.integration.processes import Replicated

FRAMES = {
    "garbage": b"\xc1\xff\x00",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "cut off": msgpack.packb([5, [], False])[:-1],
    "no message": msgpack.packb({"a": 1}),
    "nested deeply": b"\x91" * 5000,
    "unknown tag": msgpack.packb([99, 1, 2]),
    "too few fields": msgpack.packb([1, 2]),
    "too many fields": msgpack.packb([5, [], False, 1]),
    "wrong kind of field": msgpack.packb([5, "no list", False]),
    "bad member": msgpack.packb([5, [["x"]], False]),
    "bad status": msgpack.packb([4, [[["x", "h:1", "boot", 1, 0, "?", False, []], "", False]]]),
    "bad vector": msgpack.packb([10, {"origin": -1}]),
    "bad delta": msgpack.packb([11, ["x"], True, False]),
    "bad acknowledgement": msgpack.packb([12, {1: "x"}]),
}


def say(link: Link, payload: bytes) -> None:
    """Send it over the link as a peer would, whatever it is."""
    link.stream.send(link._session.seal(payload))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_a_malformed_frame_is_refused_and_changes_nothing(horde: Horde, frame: bytes):
    a, b = await horde.up("a", "b")
    await a.start_child(Replicated, "visits", 7)
    await horde.converged()
    state = b._replica.snapshot()
    link = a.cluster_parts.links._links[b.view.me.boot]
    say(link, frame)
    await until(lambda: b.statistics()["refused_frames_total"] == 1, "b has refused the frame")
    assert b._replica.snapshot() == state
    await until(lambda: all(node.statistics()["links"] == 1 for node in (a, b)), "they meet again")
    await horde.all_see({"a": "alive", "b": "alive"})
    assert [member.name for member in b.cluster.members()] == ["a", "b"]
    assert await a.ref("visits", Replicated).increment() == 8
    assert await b.ref("visits", Replicated).increment() == 9


async def test_good_messages_around_a_bad_one_do_not_count_either(horde: Horde):
    a, b = await horde.up("a", "b")
    wire = Wire(MEMBERSHIP_MESSAGES)
    ghosts = [
        Member(name=name, address="127.0.0.1:1", boot=f"boot of {name}", generation=1)
        for name in ("ghost", "late")
    ]
    before, after = (wire.encode(Gossip([Update(ghost).to_wire()])) for ghost in ghosts)
    frame = before + FRAMES["unknown tag"] + after
    say(a.cluster_parts.links._links[b.view.me.boot], frame)
    await until(lambda: b.statistics()["refused_frames_total"] == 1, "b has refused the frame")
    assert "ghost" not in b.view.by_name
    assert "late" not in b.view.by_name


async def test_a_frame_that_is_too_large_breaks_the_link_only(horde: Horde):
    a, b = await horde.up("a", "b")
    link = a.cluster_parts.links._links[b.view.me.boot]
    say(link, bytes(9 * 1024 * 1024))
    await until(lambda: link.dropped, "the link is dropped")
    await until(lambda: all(node.statistics()["links"] == 1 for node in (a, b)), "they meet again")
    await horde.all_see({"a": "alive", "b": "alive"})


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_a_stranger_with_a_malformed_frame_is_hung_up_on(horde: Horde, frame: bytes):
    a, b = await horde.up("a", "b")
    stream = await a._world.network.dial(b.config.bind, 5.0)
    inbox = Inbox(stream)
    stream.send(frame)
    assert (await inbox.receive()).startswith(b"\x01malformed:")
    await inbox.ended()
    assert await (await a.start_child(Replicated, "visits")).increment() == 1


async def test_a_call_nobody_can_read_is_answered_with_an_error(
    horde: Horde, trio: tuple[Node, ...]
):
    a = trio[0]
    await a.start_child(Replicated, "visits")
    owner = horde.owner("visits")
    other = horde.others(owner)[0]
    for arguments in (b"", b"\xc1", msgpack.packb([1]), msgpack.packb(["x", "y"]), b"\x92\x91\x91"):
        call = [20, 4_000_000, "visits", "increment", arguments, f"r{arguments.hex()}", 1.0]
        frame = msgpack.packb(call)
        say(other.cluster_parts.links._links[owner.view.me.boot], frame)
    for node in trio:
        await node.ref("visits", Replicated).get()
    assert await other.ref("visits", Replicated).increment() == 1, "none of them has run"
    assert owner.statistics()["refused_frames_total"] == 0
