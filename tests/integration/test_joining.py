"""How nodes find each other, and who is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from pyhorde import Node
from pyhorde.cluster.member import Member, Status
from pyhorde.cluster.real import RealWorld
from pyhorde.cluster.transport.handshake import Accepting, Dialling, Hello, Refusal, turned_away
from pyhorde.cluster.transport.http import HttpNetwork
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.demo.cluster import free_ports
from pyhorde.errors import ConfigError
from pyhorde.seam import Stream
from tests.integration.clusters import Horde, states_in, until
from tests.integration.inbox import Inbox
from tests.integration.processes import Replicated

SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """The fields of every log record of this event."""
    return [record.fields for record in caplog.records if record.getMessage() == event]


async def test_a_node_without_peers_serves_alone(horde: Horde):
    a = await horde.start("a")
    assert states_in(a) == {"a": "alive"}
    ref = await a.start_child(Replicated, "visits", 10)
    assert await ref.increment(5) == 15


async def test_a_node_whose_peers_do_not_answer_serves_alone(horde: Horde):
    a = await horde.start("a", peers=[f"127.0.0.1:{free_ports(1)[0]}"])
    assert a.state == "ready"
    assert await (await a.start_child(Replicated, "visits", 1)).get() == 1


async def test_one_peer_is_enough_to_meet_everybody(horde: Horde):
    a = await horde.start("a")
    b = await horde.start("b", peers=[a.config.bind])
    await horde.start("c", peers=[b.config.bind])
    await horde.start("d", peers=[a.config.bind])
    await horde.all_see(dict.fromkeys("abcd", "alive"))


async def test_a_node_that_has_joined_knows_what_was_there_before(horde: Horde):
    a, b = await horde.up("a", "b")
    for n in range(20):
        await a.start_child(Replicated, f"n{n}", n)
    a.registry.put_meta("colour", "blue")
    c = await horde.start("c", peers=[b.config.bind])
    assert c.supervisor.count_children() == 20
    assert c.registry.meta("colour", None) == "blue"
    assert await c.ref("n7", Replicated).get() == 7


async def test_a_peer_that_is_not_up_yet_is_tried_until_it_is(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    a = await horde.start("a", peers=[address])
    await until(lambda: told(caplog, "peer_unreachable"), "a says that it cannot reach its peer")
    await horde.start("b", bind=address, peers=[])
    await horde.all_see({"a": "alive", "b": "alive"})
    assert a.state == "ready"


async def test_two_nodes_that_started_alone_share_what_they_had(horde: Horde):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    a = await horde.start("a", peers=[address])
    await a.start_child(Replicated, "from-a", 1)
    b = horde.make("b", peers=[])
    await b.start()
    await b.start_child(Replicated, "from-b", 2)
    await horde.start("c", bind=address, peers=[b.config.bind])
    horde.nodes["b"] = b
    await horde.all_see(dict.fromkeys("abc", "alive"))
    await horde.converged()
    assert await a.ref("from-b", Replicated).get() == 2
    assert await b.ref("from-a", Replicated).get() == 1


async def test_nodes_that_start_at_the_same_time_become_one_cluster(horde: Horde):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    nodes = [
        horde.make(name, bind=address, peers=addresses)
        for name, address in zip("abc", addresses, strict=True)
    ]
    await asyncio.gather(*(node.start() for node in nodes))
    horde.nodes = {node.name: node for node in nodes}
    await horde.all_see(dict.fromkeys("abc", "alive"))


async def test_a_node_that_returns_under_its_name_has_a_new_boot(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, _ = trio
    before = a.view.by_name["b"]
    await horde.crash(b)
    again = await horde.start("b", bind=before.address)
    await horde.all_see(dict.fromkeys("abc", "alive"))
    after = a.view.by_name["b"]
    assert after.boot == again.view.me.boot != before.boot
    assert after.identity > before.identity
    assert await again.start_child(Replicated, "visits", 3) is not None
    assert await a.ref("visits", Replicated).get() == 3


async def test_of_two_live_nodes_of_one_name_the_newcomer_does_not_start(
    horde: Horde, trio: tuple[Node, ...]
):
    a, b, _ = trio
    second = horde.make("b", peers=[a.config.bind])
    with pytest.raises(ConfigError, match=f"'b' is the name of a live node at {b.config.bind}"):
        await second.start()
    assert second.state == "closed"
    assert a.view.by_name["b"].boot == b.view.me.boot
    assert (await b.start_child(Replicated, "visits", 1)).name == "visits"


async def test_who_knows_the_secret_is_believed_that_a_name_is_taken(horde: Horde):
    """The proofs have to survive the wire, or the newcomer would knock for ever."""
    a, b = await horde.up("a", "b", secret=SECRET, labels={"zone": "x"})
    second = horde.make("b", peers=[a.config.bind], secret=SECRET, labels={"zone": "y"})
    with pytest.raises(ConfigError, match=f"'b' is the name of a live node at {b.config.bind}"):
        await asyncio.wait_for(second.start(), 10)


async def test_without_the_secret_nobody_gets_in_in_either_direction(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    a = await horde.start("a", secret=SECRET)
    await horde.start("liar", peers=[a.config.bind], secret=b"77e0d41b9c2f4a63b58e0d17fa6c3920")
    await horde.start("mute", peers=[a.config.bind], secret=None)
    assert [states_in(each) for each in horde.live] == [
        {"a": "alive"},
        {"liar": "alive"},
        {"mute": "alive"},
    ]
    causes = [str(fields["error"]) for fields in told(caplog, "peer_unreachable")]
    assert any("does not know this cluster's secret" in cause for cause in causes), causes


@pytest.mark.parametrize("secret", [None, b"77e0d41b9c2f4a63b58e0d17fa6c3920"])
async def test_a_dialler_that_does_not_know_the_secret_is_turned_away(
    horde: Horde, caplog: pytest.LogCaptureFixture, secret: bytes | None
):
    a = await horde.start("a", secret=SECRET)
    stranger = Member(name="b", address="127.0.0.1:1", boot="f" * 32, generation=1)
    network = RealWorld().network
    stream = await network.dial(a.config.bind, 5.0)
    inbox = Inbox(stream)
    hello = Hello("horde", stranger.to_wire(), a.config.bind, a.config.bind)
    psks = Keyring((secret,) if secret else ()).psks
    stream.send(Dialling(psks, bytes([7]) * 32, hello).first)
    answer = await inbox.receive()
    await inbox.ended()
    await network.aclose()
    assert answer.startswith(b"\x01secret:") and len(answer) <= 201
    assert a.view.me.boot.encode() not in answer
    (refused,) = told(caplog, "handshake_refused")
    assert (refused["from"], refused["why"]) == ("127.0.0.1", "secret")
    assert states_in(a) == {"a": "alive"}
    assert a.statistics()["refused_handshakes_total"] == 1


async def test_with_the_right_secret_a_node_gets_in(horde: Horde):
    await horde.up("a", "b", "c", secret=SECRET)


RED = "this node belongs to the cluster 'red'"


async def test_nodes_of_different_clusters_refuse_each_other(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    a = await horde.start("a", cluster="red")
    b = await horde.start("b", cluster="blue", peers=[a.config.bind])
    assert (states_in(a), states_in(b)) == ({"a": "alive"}, {"b": "alive"})
    refused = {"from": "127.0.0.1", "detail": RED, "why": "cluster"}
    assert refused in told(caplog, "handshake_refused")
    assert any(RED in str(f["error"]) for f in told(caplog, "peer_unreachable"))
    assert a.statistics()["refused_handshakes_total"] >= 1


async def test_a_busy_address_is_a_configuration_error(horde: Horde):
    a = await horde.start("a")
    second = horde.make("b", bind=a.config.bind)
    with pytest.raises(ConfigError, match=f"cannot listen on {a.config.bind}"):
        await second.start()


@contextlib.asynccontextmanager
async def refusing(frame: bytes) -> AsyncIterator[str]:
    """Somebody without the secret who answers every greeting with this."""

    def accept(stream: Stream) -> None:
        stream.attach(Inbox(stream))
        stream.send(frame)

    network = HttpNetwork()
    listener = await network.listen("127.0.0.1:0", accept)
    yield listener.address
    await listener.close()
    await network.aclose()


@pytest.mark.parametrize("settled", [True, False])
async def test_nobody_without_the_secret_can_say_that_a_name_is_taken(horde: Horde, settled: bool):
    """It would stop the node, or keep it from starting for ever."""
    holder = Member(name="a", address="evil:1", boot="f" * 32, generation=2**43)
    refusal = Refusal("name", "taken", holder.to_wire(), settled)
    for frame in (turned_away("name", "taken"), Accepting((), bytes(32)).answer(refusal)):
        async with refusing(frame) as address:
            a = await horde.start("a", secret=SECRET, peers=[address])
            assert a.state == "ready" and states_in(a) == {"a": "alive"}
            await a.aclose()


async def test_a_recorded_greeting_does_not_make_a_node_that_joins_give_up_its_name(horde: Horde):
    """Only who is there now, and knows the secret, contests a name."""
    network = HttpNetwork()
    rival = Member(name="a", address="127.0.0.1:1", boot="0" * 32, generation=0)
    a = horde.make("a", secret=SECRET, peers=["127.0.0.1:1"])
    starting = asyncio.create_task(a.start())
    await until(lambda: a._listener is not None, "it listens")
    stream = await network.dial(a.config.bind, 2.0)
    inbox = Inbox(stream)
    hello = Hello("horde", rival.to_wire(), a.config.bind, a.config.bind)
    recorded = Dialling(Keyring((SECRET,)).psks, bytes([7]) * 32, hello)
    stream.send(recorded.first)
    refusal = recorded.answer(await inbox.receive())
    assert isinstance(refusal, Refusal) and refusal.why == "name" and not refusal.settled
    stream.close()
    await starting
    assert a.state == "ready"
    await network.aclose()


async def test_what_follows_a_confirmation_may_be_large(horde: Horde):
    """A table of a thousand members comes with it, before anybody has looked at who confirms."""
    a = await horde.start("a", secret=SECRET, labels={f"k{n}": "v" * 200 for n in range(40)})
    for number in range(300):
        name, boot = f"g{number}", f"{number:032x}"
        ghost = Member(name=name, address=f"{name}:1", boot=boot, generation=1)
        now = a._world.now()
        a.cluster_parts.detector.roster.store(ghost.at(Status.LEFT), "the test says so", now)
    b = horde.make("b", secret=SECRET, bind="127.0.0.1:0")
    await b.start()
    horde.nodes["b"] = b
    a.cluster_parts.dialer.found("test", [b.config.bind])
    await until(lambda: "g299" in b.view.by_name, "b has been told everything")
    assert a.statistics()["refused_frames_total"] == b.statistics()["refused_frames_total"] == 0
    assert b.statistics()["connections_bad_total"] == 0
