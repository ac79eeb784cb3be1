"""Finding the meeting app, and the environment its nodes get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyhorde.demo import app as app_module
from pyhorde.demo.app import App, find_app
from pyhorde.errors import ConfigError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(app_module, "_installed", lambda: None)
    directory = tmp_path / "examples"
    directory.mkdir()
    (directory / "meeting.py").touch()
    (directory / "transcript.txt").write_text("one\n\ntwo\n")
    return tmp_path


def test_a_checkout_is_used_where_nothing_is_installed(checkout: Path) -> None:
    app = find_app(checkout)
    assert app == App("examples.meeting", checkout / "examples", checkout)
    assert app.transcript() == ["one", "two"]
    assert app.type(durable=True) == "examples.meeting:DurableMeeting"
    assert app.type(durable=False) == "examples.meeting:Meeting"


def test_an_installed_app_wins(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_installed", lambda: checkout)
    assert find_app(checkout).module == "pyhorde.examples.meeting"


@pytest.mark.usefixtures("checkout")
def test_with_neither_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="install the pyhorde wheel"):
        find_app(tmp_path / "elsewhere")


def test_nodes_do_not_inherit_settings_of_pyhorde(checkout: Path) -> None:
    base = {"PATH": "/bin", "PYHORDE_PEERS": "x:1", "PYTHONPATH": "/old"}
    env = find_app(checkout).environment(base)
    assert env == {"PATH": "/bin", "PYTHONPATH": f"{checkout}{os.pathsep}/old"}


def test_an_app_linked_into_a_checkout_still_runs_from_there(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "_installed", lambda: checkout / "linked")
    (checkout / "pyproject.toml").touch()
    found = find_app(checkout)
    assert found == App("pyhorde.examples.meeting", checkout / "linked", checkout)


def test_an_installed_app_needs_no_import_path(tmp_path: Path) -> None:
    assert App("m", tmp_path).environment({"PATH": "/bin"}) == {"PATH": "/bin"}
