"""Loading applications: what is offered, and how a wrong ``--app`` is explained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyhorde.apps import load_app
from pyhorde.errors import ConfigError

Write = Callable[[str, str], None]

TWO = """
from pyhorde.runtime.process import Process

class Meeting(Process):
    pass

class Counter(Process):
    pass

Alias = Counter
number = 5
class Plain: pass
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into the current directory, which is on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def wrong(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_app(text)
    assert caught.value.option == "app"
    return caught.value


def test_every_process_of_a_module_is_offered_under_its_type_name(write: Write) -> None:
    write("app_two.py", TWO)
    found = load_app("app_two")
    assert sorted(found) == ["app_two:Counter", "app_two:Meeting"]
    assert found["app_two:Counter"].__name__ == "Counter"


def test_only_the_named_class_is_offered(write: Write) -> None:
    write("app_two.py", TWO)
    assert list(load_app("app_two:Meeting")) == ["app_two:Meeting"]


def test_a_module_in_a_package_and_an_imported_class(write: Write) -> None:
    write("app_two.py", TWO)
    write("pack/inner.py", "from app_two import Meeting\n")
    write("pack/__init__.py", "")
    assert list(load_app("pack.inner")) == ["pack.inner:Meeting"]


def test_pyhordes_own_processes_are_offered_only_when_named(write: Write) -> None:
    write("app_own.py", TWO + "Meeting.__module__ = 'pyhorde.demo.app'\n")
    assert list(load_app("app_own")) == ["app_own:Counter"]
    assert list(load_app("app_own:Meeting")) == ["app_own:Meeting"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("dir/meeting.py", "did you mean dir.meeting?"),
        ("./meeting.py", "did you mean meeting?"),
        ("", "for example"),
        ("no-module", "for example"),
    ],
)
def test_text_that_names_no_module(text: str, hint: str) -> None:
    assert wrong(text).hint.startswith(hint)


def test_text_that_names_no_class() -> None:
    assert "names no class" in wrong("module:").problem


def test_a_missing_module_says_where_was_looked(write: Write, tmp_path: Path) -> None:
    write("something.py", "")
    error = wrong("nowhere_at_all")
    assert error.problem == "no module named 'nowhere_at_all'"
    assert str(tmp_path) in error.hint


def test_a_misspelt_module_is_suggested(write: Write) -> None:
    write("meeting_app.py", TWO)
    write("pack/__init__.py", "")
    write("pack/meeting.py", TWO)
    assert wrong("meting_app").hint == "did you mean meeting_app?"
    assert wrong("pack.meting").hint == "did you mean pack.meeting?"
    assert wrong("meeting_app.py").hint == "did you mean meeting_app?"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import os\n1 / 0\n", "ZeroDivisionError: division by zero at app_bad.py:2"),
        ("import nothing_like_it\n", "ModuleNotFoundError: No module named 'nothing_like_it' at"),
        ("x = 1\ndef f(:\n", "SyntaxError: invalid syntax at app_bad.py:2"),
        ("raise SystemExit\n", "SystemExit at app_bad.py:1"),
    ],
)
def test_a_module_that_fails_to_import_names_the_line(write: Write, source: str, what: str) -> None:
    write("app_bad.py", source)
    error = wrong("app_bad")
    assert what in error.problem
    assert "Traceback" not in str(error)


def test_a_module_without_processes(write: Write) -> None:
    write("app_none.py", "from pyhorde.runtime.process import Process\n")
    assert "has no process in it" in wrong("app_none").problem


def test_a_class_that_is_missing_or_no_process(write: Write) -> None:
    write("app_two.py", TWO)
    assert wrong("app_two:Meetin").hint == "did you mean Meeting?"
    assert "it has: " in wrong("app_two:Zebra").hint
    assert "is no process" in wrong("app_two:Plain").problem
    assert "is no process" in wrong("app_two:number").problem
