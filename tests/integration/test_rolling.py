"""Secrets and certificates replaced while nodes run and are called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyhorde import Node
from pyhorde.cluster.transport import certificates
from pyhorde.config import TlsFiles
from pyhorde.errors import ConfigError
from pyhorde.reloading import Reloader
from pyhorde.settings import Settings
from tests.integration.clusters import Horde, states_in, until
from tests.integration.processes import Replicated

OLD, NEW = b"9f1c7a05d3e84b62a0c5718ee2d94f36", b"77e0d41b9c2f4a63b58e0d17fa6c3920"


class Callers:
    """Call a process through every node, all the time, and count what comes back."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.answers = 0
        self.failures: list[Exception] = []
        self._tasks = [asyncio.create_task(self._call(node)) for node in nodes]

    async def _call(self, node: Node) -> None:
        while True:
            try:
                await node.ref("visits", Replicated).increment()
                self.answers += 1
            except Exception as error:  # noqa: BLE001 - it is what this test is about
                self.failures.append(error)
            await asyncio.sleep(0.002)

    async def some(self) -> None:
        wanted = self.answers + 50
        await until(lambda: self.answers >= wanted, "calls go on")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def called(horde: Horde) -> AsyncIterator[tuple[tuple[Node, ...], Callers]]:
    nodes = await horde.up("a", "b", "c", secret=OLD)
    await nodes[0].start_child(Replicated, "visits")
    callers = Callers(nodes)
    await callers.some()
    yield nodes, callers
    await callers.stop()


def fully_linked(nodes: tuple[Node, ...]) -> bool:
    return all(len(node.cluster_parts.links.boots) == len(nodes) - 1 for node in nodes)


async def test_a_secret_is_rolled_without_a_failed_call_or_a_death(
    called: tuple[tuple[Node, ...], Callers], caplog: pytest.LogCaptureFixture
):
    nodes, callers = called
    caplog.set_level(logging.INFO)
    for step in ((OLD, NEW), (NEW, OLD), (NEW,)):
        for node in nodes:
            assert node.use_secrets(step)
            assert not node.use_secrets(step)
            await callers.some()
        await until(lambda: fully_linked(nodes), "all are linked")
    await callers.some()
    assert callers.failures == []
    (psk,) = nodes[0].cluster_parts.keyring.psks
    for node in nodes:
        links = node.cluster_parts.links._links.values()
        await until(lambda links=links: all(link.psk == psk for link in links), "all are new")
        assert set(states_in(node).values()) == {"alive"}
    assert not [record for record in caplog.records if record.message == "member_dead"]


async def test_who_knows_only_a_secret_that_counts_no_more_does_not_get_in(horde: Horde):
    a, b = await horde.up("a", "b", secret=OLD)
    assert a.use_secrets([NEW])
    await until(lambda: not a.cluster_parts.links.boots, "the link is broken")
    late = await horde.start("late", secret=OLD, peers=[a.config.bind])
    assert states_in(late) == {"late": "alive"}
    assert not a.cluster_parts.links.boots
    assert b.use_secrets([NEW, OLD])
    await until(lambda: len(a.cluster_parts.links.boots) == 1, "who knows the new one is back")


async def test_weak_secrets_change_nothing(horde: Horde):
    a = await horde.start("a", secret=OLD)
    with pytest.raises(ConfigError):
        a.use_secrets([b"weak"])
    assert a.config.secrets == a.cluster_parts.keyring.secrets == (OLD,)


# ---- TLS -----------------------------------------------------------------------------------------


def made(folder: Path) -> TlsFiles:
    return certificates.init(folder, ("localhost", "127.0.0.1"), 30)[0]


@pytest.mark.parametrize("secret", [None, OLD])
async def test_certificates_are_rolled_without_a_failed_call(
    horde: Horde, tmp_path: Path, secret: bytes | None
):
    files = made(tmp_path)
    nodes = await horde.up("a", "b", "c", tls=files, secret=secret)
    link = next(iter(nodes[0].cluster_parts.links._links.values()))
    assert link.stream.is_sealed and link._session.seal(b"x") == b"x"
    await nodes[0].start_child(Replicated, "visits")
    callers = Callers(nodes)
    await callers.some()
    for _ in range(2):
        made(tmp_path)
        for node in nodes:
            await node.use_tls(files)
            await callers.some()
        for node in nodes:
            for boot in list(node.cluster_parts.links.boots):
                node.cluster_parts.links.drop(boot, "the test wants a new one")
        await until(lambda: fully_linked(nodes), "all are linked anew")
    await callers.some()
    await callers.stop()
    assert callers.failures == []


async def test_peers_without_a_certificate_or_with_a_foreign_one_do_not_get_in(
    horde: Horde, tmp_path: Path
):
    a = await horde.start("a", tls=made(tmp_path / "ours"), secret=OLD)
    plain = await horde.start("plain", peers=[a.config.bind], secret=OLD)
    foreign = await horde.start(
        "foreign", peers=[a.config.bind], tls=made(tmp_path / "theirs"), secret=OLD
    )
    for node in (a, plain, foreign):
        assert states_in(node) == {node.name: "alive"}


async def test_a_bad_certificate_changes_nothing(horde: Horde, tmp_path: Path):
    files = made(tmp_path)
    a, b = await horde.up("a", "b", tls=files)
    put(Path(files.cert), b"nothing")
    with pytest.raises(ConfigError):
        await a.use_tls(files)
    a.cluster_parts.links.drop(b.view.me.boot, "the test wants a new one")
    await until(lambda: fully_linked((a, b)), "the old one still serves")


# ---- files ---------------------------------------------------------------------------------------


def put(path: Path, *secrets: bytes, mode: int = 0o600) -> None:
    fresh = path.with_suffix(".next")
    fresh.write_bytes(b"\n".join(secrets))
    fresh.chmod(mode)
    fresh.replace(path)


async def test_files_are_read_again_when_they_change_and_bad_ones_are_not_used(
    horde: Horde, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    path = tmp_path / "secret"
    put(path, OLD)
    files = made(tmp_path / "tls")
    a = await horde.start("a", secret=OLD, tls=files)
    reloader = Reloader(a, Settings(a.config, secret_files=(path,)))

    def said() -> list[Any]:
        found = [record.message for record in caplog.records if "reload" in record.message]
        caplog.clear()
        return found

    await reloader.look()
    assert said() == []
    put(path, NEW, OLD)
    await reloader.look()
    assert said() == ["secrets_reloaded"] and a.config.secrets == (NEW, OLD)
    put(path, b"weak")
    await reloader.look()
    assert said() == ["reload_failed"] and a.config.secrets == (NEW, OLD)
    put(path, NEW, mode=0o644)
    await reloader.look()
    assert said() == ["reload_failed"] and a.config.secrets == (NEW, OLD)
    path.unlink()
    await reloader.look()
    assert said() == ["reload_failed"]
    put(path, NEW)
    await reloader.look()
    assert said() == ["secrets_reloaded"] and a.config.secrets == (NEW,)
    made(tmp_path / "tls")
    await reloader.look()
    assert said() == ["tls_reloaded"]
    put(Path(files.key), b"no key")
    await reloader.look()
    assert said() == ["reload_failed"]


async def test_a_signal_has_everything_read_at_once(horde: Horde, tmp_path: Path):
    path = tmp_path / "secret"
    put(path, OLD)
    a = await horde.start("a", secret=OLD)
    reloader = Reloader(a, Settings(a.config, secret_files=(path,)))
    put(path, NEW)
    running = asyncio.create_task(reloader.run())
    reloader.hurry()
    await until(lambda: a.config.secrets == (NEW,), "it has been read")
    running.cancel()
