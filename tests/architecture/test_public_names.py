"""What the package shows: importable names, documented modules, words that mean something."""

import ast
import importlib
from pathlib import PurePath

import pytest

import pyhorde
from tests.architecture.sources import PACKAGE, ROOT, modules

BANNED_WORDS = {"manager", "helper", "util", "service", "misc"}


def banned_words(path: str) -> set[str]:
    """The banned words, plural or not, among the words that make up the path's own names."""
    parts = PurePath(path).with_suffix("").parts
    words = {word.lower().removesuffix("s") for part in parts for word in part.split("_")}
    return words & BANNED_WORDS


def test_all_names_what_exists_and_nothing_private():
    assert pyhorde.__all__, "the package says what is public"
    assert len(set(pyhorde.__all__)) == len(pyhorde.__all__)
    for name in pyhorde.__all__:
        assert hasattr(pyhorde, name), name
        assert not name.startswith("_") or name == "__version__", name


@pytest.mark.parametrize("name", ["Node", "Process", "Resume", "Ref", "call", "cast", "HordeError"])
def test_the_names_that_every_program_needs_are_public(name: str):
    assert name in pyhorde.__all__


@pytest.mark.parametrize("path", [path for path in modules() if "__main__" not in path])
def test_every_module_can_be_imported_and_says_what_it_is(path: str):
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert (importlib.import_module(dotted).__doc__ or "").strip(), path


def test_the_command_can_be_run_as_a_module():
    assert ast.get_docstring(ast.parse((PACKAGE / "__main__.py").read_text()))


def test_no_file_has_a_name_that_says_nothing():
    tests = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    found = {path: words for path in [*modules(), *tests] if (words := banned_words(path))}
    assert found == {}


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("pyhorde/utils.py", "util"),
        ("pyhorde/runtime/process_manager.py", "manager"),
        ("tests/helpers/nodes.py", "helper"),
        ("pyhorde/services/__init__.py", "service"),
    ],
)
def test_the_check_finds_such_a_name(path: str, word: str):
    assert banned_words(path) == {word}


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()
