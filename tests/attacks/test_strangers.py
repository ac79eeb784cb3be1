"""Without the secret: nobody gets in, nobody is kept out, and nothing is used up."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from pyhorde.cluster.member import Member
from pyhorde.cluster.transport import http, links, upgrade
from pyhorde.cluster.transport.admission import MAX_HANDSHAKES_PER_ADDRESS, MAX_HEADS, Kind
from pyhorde.cluster.transport.framing import MAX_UNTRUSTED_BYTES, framed
from pyhorde.cluster.transport.handshake import (
    HANDSHAKE,
    Accepting,
    Confirm,
    Dialling,
    Hello,
    Refusal,
    Welcome,
    turned_away,
)
from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.web import bodies
from tests.attacks.mutations import Mutator
from tests.attacks.strangers import OTHER, SECRET, Raw, answering, relay, status
from tests.integration.clusters import Horde, states_in, until
from tests.integration.processes import Replicated

pytestmark = [
    # Strangers are cut off in the middle of everything.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EVIL = Member(name="evil", address="127.0.0.1:9", boot="e" * 32, generation=1)


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.message == event]  # type: ignore[attr-defined]


def alone(*nodes: Any) -> bool:
    return all(states_in(node) == {node.name: "alive"} for node in nodes)


def greeting(node: Any, member: Member = EVIL, secret: bytes | None = SECRET) -> Dialling:
    psks = Keyring((secret,) if secret else ()).psks
    address = node.config.bind
    return Dialling(psks, bytes([9]) * 32, Hello("horde", member.to_wire(), address, address))


# ---- whoever answers, whoever dials --------------------------------------------------------------


def answers() -> dict[str, bytes]:
    forged = Welcome(EVIL.to_wire(), True)
    taken = Refusal("name", "taken", EVIL.to_wire(), True)
    open_, wrong = Accepting((), bytes(32)), Accepting(Keyring((OTHER,)).psks, bytes(32))
    wrong.hello(Dialling(Keyring((OTHER,)).psks, bytes([1]) * 32, Hello("h", [], "", "")).first)
    return {
        "a welcome in the open": open_.answer(forged),
        "a refusal in the open": open_.answer(taken),
        "another secret's welcome": wrong.answer(forged),
        "that it is yourself": turned_away("self", "the address leads back to the node itself"),
        "that the name is taken": turned_away("name", "taken"),
        "that it is busy": turned_away("busy", "come again"),
        "nothing": b"",
        "noise": bytes(100),
    }


@pytest.mark.parametrize("what", answers())
async def test_whoever_answers_a_dial_without_the_secret_does_not_get_in_and_is_dialled_again(
    horde: Horde, what: str
):
    async with answering(answers()[what]) as address:
        a = await horde.start("a", secret=SECRET, peers=[address])
        assert a.state == "ready" and alone(a)
    port = int(address.rpartition(":")[2])
    b = horde.make("b", secret=SECRET, bind=f"127.0.0.1:{port}")
    await b.start()
    horde.nodes["b"] = b
    await horde.all_see({"a": "alive", "b": "alive"})


@pytest.mark.parametrize("secret", [None, OTHER])
async def test_whoever_dials_without_the_secret_is_turned_away_and_learns_nothing(
    horde: Horde, secret: bytes | None, caplog: pytest.LogCaptureFixture
):
    a = await horde.start("a", secret=SECRET)
    said = b""
    for _ in range(5):
        raw = await Raw.upgraded(a.config.bind)
        raw.send(greeting(a, secret=secret).first)
        answer = await raw.frame()
        assert answer.startswith(b"\x01secret:")
        said += answer
        await raw.ended()
        raw.close()
    assert not [word for word in (a.view.me.boot, a.config.bind, "horde") if word.encode() in said]
    assert alone(a) and not a.cluster_parts.links.boots
    assert a.statistics()["refused_handshakes_total"] == 5
    assert 1 <= len(told(caplog, "handshake_refused")) < 5


async def test_somebody_on_the_path_passes_everything_on_and_is_found_out(horde: Horde):
    """It is not at the address that was dialled; what it changes does not fit any more."""
    a = await horde.start("a", secret=SECRET)
    async with relay(a.config.bind) as between:
        b = await horde.start("b", secret=SECRET, peers=[between])
        assert alone(a, b)
        assert a.statistics()["refused_handshakes_total"] >= 1


def flipped(at: int, onwards: bool) -> Callable[[bytes, bool], bytes]:
    """Change the last byte of the so-many-th piece that passes in this direction."""
    seen = 0

    def change(data: bytes, there: bool) -> bytes:
        nonlocal seen
        if there is not onwards:
            return data
        seen += 1
        return data[:-1] + bytes([data[-1] ^ 1]) if seen == at else data

    return change


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("at", "onwards"), [(1, True), (2, True), (3, True), (2, False)])
async def test_who_changes_or_cuts_a_message_on_its_way_only_breaks_that_attempt(
    horde: Horde, at: int, onwards: bool, cut: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(links, "HANDSHAKE_TIMEOUT", 0.3)
    a = await horde.start("a", secret=SECRET)
    change = flipped(at, onwards)
    used = asyncio.Event()

    def once(data: bytes, there: bool) -> bytes:
        changed = change(data, there)
        if changed == data or used.is_set():
            return data
        used.set()
        return data[: len(data) // 2] if cut else changed

    async with relay(a.config.bind, once) as between:
        # It counts as the node's own address: what is found out here is the change.
        a.cluster_parts.announce(address=between)
        await horde.start("b", secret=SECRET, peers=[between])
        await until(lambda: used.is_set() and len(a.cluster_parts.links.boots) == 1, "they met")
        await horde.all_see({"a": "alive", "b": "alive"})


async def test_what_was_recorded_says_nothing_a_second_time(
    horde: Horde, monkeypatch: pytest.MonkeyPatch
):
    """A greeting of ``b`` is sent again all the time, while ``a`` and ``b`` want to meet."""
    monkeypatch.setattr(links, "HANDSHAKE_TIMEOUT", 0.4)
    a = await horde.start("a", secret=SECRET)
    b = horde.make("b", secret=SECRET)
    await b.start()
    horde.nodes["b"] = b
    recorded = greeting(a, b.view.me).first
    confirmed = HANDSHAKE.encode(Confirm(b.view.me.to_wire(), True))

    async def replay() -> None:
        while True:
            raw = await Raw.upgraded(a.config.bind)
            raw.send(recorded)
            raw.send(confirmed)
            await asyncio.sleep(0.05)
            raw.close()

    replaying = asyncio.create_task(replay())
    await asyncio.sleep(0.3)
    assert alone(a, b) and not a.cluster_parts.links.boots
    a.cluster_parts.dialer.found("test", [b.config.bind])
    b.cluster_parts.dialer.found("test", [a.config.bind])
    await horde.all_see({"a": "alive", "b": "alive"})
    replaying.cancel()
    await asyncio.gather(replaying, return_exceptions=True)
    assert a.state == b.state == "ready"


async def test_a_name_that_leads_back_to_the_node_is_dialled_again(horde: Horde):
    a = horde.make("a", secret=SECRET)
    dials: list[str] = []
    await a.start()
    port = a.config.bind.rpartition(":")[2]
    really = a.cluster_parts.links.dial

    async def dial(address: str) -> Member:
        dials.append(address)
        return await really(address)

    a.cluster_parts.links.dial = dial  # type: ignore[method-assign]
    a.cluster_parts.dialer.found("test", [f"localhost:{port}"])
    await until(lambda: len(dials) >= 3, "it is dialled again")
    assert alone(a) and a.state == "ready"


# ---- before any proof ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"\x02" + b"\x91" * (MAX_UNTRUSTED_BYTES - 1),
        b"\x02" + b"\x90" * (MAX_UNTRUSTED_BYTES - 1),
        b"\x02\xdd\x7f\xff\xff\xff",
        b"\x00" + bytes(MAX_UNTRUSTED_BYTES - 1),
        b"\x03",
        b"",
    ],
)
async def test_a_first_frame_that_is_no_greeting_ends_the_connection(horde: Horde, frame: bytes):
    for secret in (SECRET, None):
        a = await horde.start(f"a{secret is None}", secret=secret)
        raw = await Raw.upgraded(a.config.bind)
        raw.send(frame)
        assert (await raw.frame()).startswith(b"\x01")
        await raw.ended()
        raw.close()
        assert await status(a.config.bind) == 200


async def test_a_frame_that_only_promises_to_be_large_ends_the_connection(horde: Horde):
    a = await horde.start("a", secret=SECRET)
    raw = await Raw.upgraded(a.config.bind)
    raw.writer.write((8 * 1024 * 1024).to_bytes(4, "big") + bytes(1000))
    await raw.ended()
    raw.close()
    assert a.statistics()["connections_bad_total"] == 1


async def test_handshakes_that_do_not_go_on_are_few_short_and_in_nobodys_way(
    horde: Horde, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(links, "HANDSHAKE_TIMEOUT", 3.0)
    a = await horde.start("a", secret=SECRET)
    waiting = [await Raw.upgraded(a.config.bind) for _ in range(MAX_HANDSHAKES_PER_ADDRESS)]
    raw = await Raw.to(a.config.bind)
    raw.writer.write(upgrade.request(a.config.bind))
    assert await raw.head() == 503
    raw.close()
    assert a.statistics()["connections_busy_total"] == 1
    await asyncio.gather(*(each.ended() for each in waiting))
    for each in waiting:
        each.close()
    await until(lambda: a.statistics()["connections_handshake"] == 0, "none is left")
    await horde.start("b", secret=SECRET)
    await horde.all_see({"a": "alive", "b": "alive"})


async def test_requests_that_are_never_complete_give_way_and_come_to_an_end(
    horde: Horde, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http, "HEAD_TIMEOUT", 2.0)
    a = await horde.start("a", secret=SECRET)
    waiting = [await Raw.to(a.config.bind) for _ in range(MAX_HEADS + 40)]
    for each in waiting[::2]:
        each.writer.write(b"GET / HTTP/1.1\r\nX: ")
    assert await status(a.config.bind) == 200
    assert a.statistics()["connections_head"] <= MAX_HEADS
    await asyncio.gather(*(each.ended() for each in waiting))
    for each in waiting:
        each.close()
    statistics = a.statistics()
    ended = statistics["connections_evicted_total"] + statistics["connections_slow_total"]
    assert ended == MAX_HEADS + 40 and statistics["connections_head"] == 0


async def test_clients_without_number_leave_room_for_probes_and_peers(horde: Horde):
    a = await horde.start("a", secret=SECRET)
    admission = a._world.network.admission
    admission.limit = 40
    clients = []
    for _ in range(30):
        raw = await Raw.to(a.config.bind)
        raw.writer.write(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await raw.head() == 200
        clients.append(raw)
    assert admission.count(Kind.HTTP) == 30
    assert await status(a.config.bind, "/v1/status") == 503
    assert await status(a.config.bind, "/healthz") == 200
    b = await horde.start("b", secret=SECRET)
    await horde.all_see({"a": "alive", "b": "alive"})
    assert (await (await b.start_child(Replicated, "visits")).increment()) == 1
    for raw in clients:
        raw.close()
    await until(lambda: admission.count(Kind.HTTP) == 0, "they are gone")
    assert await status(a.config.bind, "/v1/status") == 200


async def test_a_head_without_an_end_and_a_body_that_does_not_come_are_answered(
    horde: Horde, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.2)
    a = await horde.start("a")
    raw = await Raw.to(a.config.bind)
    raw.writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000)
    assert await raw.head() == 431
    await raw.ended()
    raw.close()
    raw = await Raw.to(a.config.bind)
    raw.writer.write(b"PUT /v1/meta/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert await raw.head() == 408
    raw.close()


async def test_a_client_that_does_not_read_is_hung_up_on(
    horde: Horde, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http, "WRITE_TIMEOUT", 0.3)
    a = await horde.start("a")
    raw = await Raw.to(a.config.bind)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    raw.writer.write(request * 4000)
    await until(lambda: a.statistics()["connections_slow_total"] == 1, "it has been hung up on")
    raw.writer.transport.abort()
    await until(lambda: a.statistics()["connections_http"] == 0, "nothing is left")


# ---- other versions ------------------------------------------------------------------------------


async def test_a_node_of_an_older_version_is_told_so_and_it_is_logged(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    a = await horde.start("a", secret=SECRET)
    raw = await Raw.to(a.config.bind)
    raw.writer.write(
        b"GET /_cluster/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert await raw.head() == 426
    text = await raw.read()
    assert b"pyhorde/3" in text and b"websocket" in text
    raw.close()
    (refused,) = told(caplog, "handshake_refused")
    assert refused["why"] == "version" and "websocket" in refused["detail"]
    assert a.statistics()["refused_handshakes_total"] == 1


# ---- the log -------------------------------------------------------------------------------------


async def test_strangers_cannot_fill_the_log_but_they_are_counted(
    horde: Horde, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    a = await horde.start("a", secret=SECRET)
    lines = len(caplog.records)
    for number in range(100):
        raw = await Raw.to(a.config.bind)
        wanted = "x" * 3000 if number % 2 else "\x1b[31mred"
        head = f"GET /_cluster/v1/stream HTTP/1.1\r\nUpgrade: {wanted}\r\n\r\n"
        raw.writer.write(head.encode())
        assert await raw.head() == 426
        raw.close()
    assert a.statistics()["refused_handshakes_total"] == 100
    assert len(caplog.records) - lines <= 10
    assert all(len(str(fields["detail"])) < 300 for fields in told(caplog, "handshake_refused"))


# ---- mutations -----------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
async def test_mutations_against_a_live_node_as_stranger_and_as_peer(horde: Horde):
    count = int(os.environ.get("PYHORDE_LIVE_MUTATIONS", "300"))
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    a, b = await horde.up("a", "b", secret=SECRET)
    ref = await a.start_child(Replicated, "visits")
    assert await ref.increment() == 1
    rng = Random(3)
    first = greeting(a).first
    wire = a.cluster_parts.links.wire
    good = [wire.encode(links.Goodbye("x")), first, framed(first), upgrade.request("x:1")]
    mutator = Mutator(rng, good)
    for number in range(count):
        if number % 3:
            raw = await Raw.to(a.config.bind)
            data = upgrade.request(a.config.bind) + framed(first)
            raw.writer.write(mutator.mutate(data, is_msgpack=False))
            raw.close()
        elif a.view.me.boot in b.cluster_parts.links.boots:
            link = b.cluster_parts.links._links[a.view.me.boot]
            message = mutator.mutate(rng.choice(good), is_msgpack=False)
            link.stream.send(link._session.seal(message))
        await asyncio.sleep(0)
    await until(lambda: a.statistics()["links"] == b.statistics()["links"] == 1, "they are linked")
    await horde.all_see({"a": "alive", "b": "alive"})
    assert await b.ref("visits", Replicated).increment() == 2
    assert set(states_in(a)) == {"a", "b"}
    assert failures == []
