"""A file with addresses is followed as it changes."""

from __future__ import annotations

import os
from pathlib import Path

from pyhorde.cluster.discovery import source
from pyhorde.cluster.discovery.file import MAX_BYTES
from tests.unit.cluster.discovery.near import Watcher, near
from tests.unit.runtime.stage import virtual_time


def watching(path: Path) -> Watcher:
    return Watcher(source(f"file://{path}", near()))


@virtual_time
async def test_each_line_is_an_address_and_comments_are_none(tmp_path: Path):
    peers = tmp_path / "peers"
    peers.write_text("# the first rack\n10.0.0.5:7411\n\n  10.0.0.6:7411  # slow\r\n")
    async with watching(peers) as watcher:
        await watcher.sees("10.0.0.5:7411", "10.0.0.6:7411")


@virtual_time
async def test_a_change_is_seen_also_by_replacing_the_file(tmp_path: Path):
    peers = tmp_path / "peers"
    peers.write_text("a:1\n")
    async with watching(peers) as watcher:
        await watcher.until(lambda: len(watcher.seen) == 2)
        peers.write_text("a:1\nb:2\n")
        await watcher.sees("a:1", "b:2")
        await watcher.until(lambda: len(watcher.seen) == 4)
        os.utime(peers, ns=(1, 1))
        await watcher.until(lambda: len(watcher.seen) == 6)
        (tmp_path / "new").write_text("c:3\n")
        (tmp_path / "new").rename(peers)
        await watcher.sees("c:3")


@virtual_time
async def test_two_writes_of_one_size_within_one_tick_of_the_file_system_are_both_seen(
    tmp_path: Path,
):
    peers = tmp_path / "peers"
    peers.write_text("a:1\n")
    os.utime(peers, ns=(1, 1))
    async with watching(peers) as watcher:
        await watcher.sees("a:1")
        with peers.open("r+") as file:
            file.write("b:1\n")
        os.utime(peers, ns=(1, 1))
        await watcher.sees("b:1")


@virtual_time
async def test_a_file_that_stays_as_it_is_is_not_read_again(tmp_path: Path):
    peers = tmp_path / "peers"
    peers.write_text("a:1\n")
    async with watching(peers) as watcher:
        await watcher.until(lambda: len(watcher.seen) == 2)
        peers.unlink()
        error = await watcher.fails()
    assert len(watcher.seen) == 2
    assert "No such file" in error.problem
    assert "the last list counts" in error.hint
    assert error.retry_after == 1.0


@virtual_time
async def test_what_is_no_file_or_too_large_is_an_error(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, problem in (("fifo", "it is no file"), ("large", "larger than"), (".", "no file")):
        async with watching(tmp_path / name) as watcher:
            assert problem in (await watcher.fails()).problem


@virtual_time
async def test_bytes_that_are_no_text_spoil_only_their_line(tmp_path: Path):
    peers = tmp_path / "peers"
    peers.write_bytes(b"a:1\n\xff\xfe:2\n")
    async with watching(peers) as watcher:
        await watcher.until(lambda: watcher.seen)
        assert "a:1" in watcher.seen[-1]
