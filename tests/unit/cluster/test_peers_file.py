"""What a node remembers of its peers, under virtual time and on a real disk."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership import peers_file
from pyhorde.cluster.membership.peers_file import AGAIN, FORMAT, SOON, PeersFile
from pyhorde.errors import ConfigError
from tests.unit.runtime.stage import Clock, World, virtual_time

WEEK = 7 * 24 * 3600.0
WALL = 1_700_000_000.0


def member(name: str, generation: int = 1, **changes: Any) -> Member:
    return Member(
        name=name, address=f"{name}:1", boot=f"boot-{name}", generation=generation, **changes
    )


def view(*others: str, generation: int = 7) -> View:
    me = member("me", generation)
    return View(me, (me, *map(member, others)))


def remembering(directory: Path, world: Any = None, *others: str) -> PeersFile:
    made = PeersFile(str(directory), "me", world or Clock())
    made.look = lambda: view(*others)
    return made


def write(directory: Path, peers: Any, generation: Any = 7, form: Any = FORMAT) -> Path:
    path = directory / "peers-me.json"
    path.write_text(json.dumps({"format": form, "generation": generation, "peers": peers}))
    return path


def saved(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "peers-me.json").read_text())
    return found


# ---- saving and loading -------------------------------------------------------------------------


@virtual_time
async def test_without_a_directory_nothing_is_remembered():
    made = PeersFile(None, "me", World())  # type: ignore[arg-type]
    assert made.load(WEEK) == ()
    made.changed()
    made.close()
    assert (made._timer, made.generation) == (None, 0)


def test_at_the_first_start_the_directory_is_made_and_nobody_is_known(tmp_path: Path):
    assert remembering(tmp_path / "new" / "data").load(WEEK) == ()
    assert (tmp_path / "new" / "data").is_dir()


def test_what_one_boot_saved_the_next_one_loads(tmp_path: Path):
    @virtual_time
    async def live():
        first = remembering(tmp_path, World(), "a", "b")
        first.changed()
        first.close()
        second = remembering(tmp_path, World())
        assert sorted(second.load(WEEK)) == ["a:1", "b:1"]
        assert second.generation == 7

    live()
    assert [path.name for path in tmp_path.iterdir()] == ["peers-me.json"]


def test_nodes_that_share_a_directory_do_not_share_the_file(tmp_path: Path):
    write(tmp_path, {"a:1": WALL})
    assert PeersFile(str(tmp_path), "other", Clock()).load(WEEK) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        (WALL, True),
        (WALL - WEEK, True),
        (WALL - WEEK - 1, False),
        # Clocks may be wrong, but not for ever in somebody's favour.
        (WALL + WEEK, True),
        (WALL + WEEK + 1, False),
    ],
)
def test_an_address_counts_until_its_time_is_over(tmp_path: Path, seen: float, kept: bool):
    write(tmp_path, {"a:1": seen, "b:1": WALL})
    assert ("a:1" in remembering(tmp_path).load(WEEK)) is kept


def save(directory: Path, known: View, world: Any = None) -> PeersFile:
    """Load, and write down once what ``known`` says."""
    made = PeersFile(str(directory), "me", world or Clock())
    made.load(WEEK)
    made.look = lambda: known
    made._save()
    return made


def test_members_are_seen_now_and_others_when_they_were(tmp_path: Path):
    write(tmp_path, {"a:1": WALL - 500, "gone:1": WALL - 600, "old:1": WALL - 2 * WEEK})
    save(tmp_path, view("a"))
    assert saved(tmp_path)["peers"] == {"a:1": WALL, "gone:1": WALL - 600}


def test_absent_members_are_not_seen_and_the_own_address_is_not_remembered(tmp_path: Path):
    write(tmp_path, {"me:1": WALL})
    me = member("me")
    save(tmp_path, View(me, (member("dead", status=Status.DEAD), me)))
    assert saved(tmp_path)["peers"] == {}


@pytest.mark.parametrize(("before", "own", "after"), [(3, 7, 7), (99, 7, 99)])
def test_the_generation_never_falls(tmp_path: Path, before: int, own: int, after: int):
    """A clock that was set back must not make a new boot look older than the last one."""
    write(tmp_path, {}, generation=before)
    made = save(tmp_path, view(generation=own))
    assert made.generation == saved(tmp_path)["generation"] == after


# ---- what is wrong with the file ----------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"no json",
        b'{"format": 1, "generation": 7, "peers": {"a:1": 1',
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"format": 2, "generation": 7, "peers": {}}',
        b'{"format": 1, "peers": {}}',
        b'{"format": 1, "generation": -1, "peers": {}}',
        b'{"format": 1, "generation": true, "peers": {}}',
        b'{"format": 1, "generation": 1.5, "peers": {}}',
        b'{"format": 1, "generation": 9007199254740992, "peers": {}}',
        b'{"format": 1, "generation": 7, "peers": ["a:1"]}',
        b'{"format": 1, "generation": 7, "peers": {"nowhere": 1}}',
        b'{"format": 1, "generation": 7, "peers": {"a:1": "now"}}',
        b'{"format": 1, "generation": 7, "peers": {"a:1": null}}',
    ],
)
def test_an_unreadable_file_is_put_aside_and_nobody_is_known(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "peers-me.json"
    path.write_bytes(content)
    made = remembering(tmp_path)
    with caplog.at_level(logging.WARNING, "pyhorde.cluster"):
        assert made.load(WEEK) == ()
    assert made.generation == 0
    assert [record.message for record in caplog.records] == ["memory_unreadable"]
    assert (tmp_path / "peers-me.unreadable").read_bytes() == content
    assert not path.exists()


def test_a_generation_that_cannot_be_is_not_remembered(tmp_path: Path):
    path = write(tmp_path, {"a:1": WALL})
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "generation": 2**52}))
    made = remembering(tmp_path)
    assert made.load(WEEK) == () and made.generation == 0
    assert (tmp_path / "peers-me.unreadable").exists()


def test_a_file_that_is_too_large_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers_file, "MAX_BYTES", 50)
    write(tmp_path, {f"a:{port}": WALL for port in range(1, 100)})
    assert remembering(tmp_path).load(WEEK) == ()
    assert (tmp_path / "peers-me.unreadable").exists()


def test_one_bad_address_spoils_the_good_ones_too_and_the_generation(tmp_path: Path):
    """Half of a file that somebody else wrote is not to be trusted."""
    write(tmp_path, {"a:1": WALL, "nowhere": WALL}, generation=99)
    made = remembering(tmp_path)
    assert made.load(WEEK) == ()
    assert made.generation == 0


def test_a_time_beyond_all_clocks_is_long_ago(tmp_path: Path):
    write(tmp_path, {"a:1": 10**400, "b:1": WALL})
    assert "a:1" not in remembering(tmp_path).load(WEEK)


def test_a_directory_in_which_nothing_can_be_put_aside_is_an_error_naming_the_option(
    tmp_path: Path,
):
    (tmp_path / "peers-me.json").write_bytes(b"no json")
    (tmp_path / "peers-me.unreadable").mkdir()
    with pytest.raises(ConfigError, match="data_dir"):
        remembering(tmp_path).load(WEEK)


def test_a_directory_that_cannot_be_used_is_an_error_naming_the_option(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    for directory in (file, file / "below"):
        with pytest.raises(ConfigError) as caught:
            remembering(directory).load(WEEK)
        assert caught.value.option == "data_dir"
        assert str(directory) in caught.value.problem


def test_a_file_that_may_not_be_read_is_an_error_and_stays(tmp_path: Path):
    (tmp_path / "peers-me.json").mkdir()
    with pytest.raises(ConfigError, match="data_dir"):
        remembering(tmp_path).load(WEEK)
    assert (tmp_path / "peers-me.json").exists()


def test_a_disk_that_does_not_take_it_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = write(tmp_path, {"a:1": WALL})
    before = path.read_text()
    (tmp_path / "peers-me.new").mkdir()
    with caplog.at_level(logging.WARNING, "pyhorde.cluster"):
        save(tmp_path, view("b"))
    assert [record.message for record in caplog.records] == ["memory_not_saved"]
    assert path.read_text() == before


# ---- when it is written -------------------------------------------------------------------------


class Counting(PeersFile):
    """Notes when it was written down."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory), "me", World())  # type: ignore[arg-type]
        self.look = lambda: view("a")
        self.began = asyncio.get_running_loop().time()
        self.saves: list[float] = []

    def _save(self) -> None:
        self.saves.append(asyncio.get_running_loop().time() - self.began)
        super()._save()


@virtual_time
async def check_changes_are_written_together(directory: Path):
    made = Counting(directory)
    for _ in range(5):
        made.changed()
        await asyncio.sleep(SOON / 10)
    await asyncio.sleep(SOON)
    assert made.saves == pytest.approx([SOON])
    made.changed()
    await asyncio.sleep(SOON + 0.01)
    assert made.saves == pytest.approx([SOON, 2.5 * SOON])
    made.close()


def test_changes_are_written_together_soon_after_the_first(tmp_path: Path):
    check_changes_are_written_together(tmp_path)


@virtual_time
async def check_it_is_written_now_and_then(directory: Path):
    made = Counting(directory)
    made.changed()
    await asyncio.sleep(SOON + 2.5 * AGAIN)
    assert made.saves == pytest.approx([SOON, SOON + AGAIN, SOON + 2 * AGAIN])
    made.changed()
    await asyncio.sleep(SOON + 0.01)
    assert len(made.saves) == 4
    await asyncio.sleep(AGAIN + 0.01)
    assert len(made.saves) == 5
    made.close()


def test_without_any_change_it_is_written_now_and_then(tmp_path: Path):
    """A node that ran for a month among the same peers knows that they were there till the end."""
    check_it_is_written_now_and_then(tmp_path)


@virtual_time
async def check_closing(directory: Path):
    made = Counting(directory)
    made.close()
    assert made.saves == []
    made.changed()
    made.close()
    made.close()
    assert made.saves == [0.0]
    await asyncio.sleep(3 * AGAIN)
    assert made.saves == [0.0]


def test_closing_writes_it_once_more_and_stops(tmp_path: Path):
    check_closing(tmp_path)
    assert saved(tmp_path)["peers"].keys() == {"a:1"}
