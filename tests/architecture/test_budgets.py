"""Rooms stay small: a file past its budget is usually two nouns, a function past it two steps."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import ROOT, modules

FILE_LINES = 450
FUNCTION_LINES = 55

ALLOWED: dict[str, str] = {}
"""What may be larger: ``path`` or ``path:function`` → the reason why it is better whole."""


def oversized(path: str, source: str) -> Iterator[tuple[str, int]]:
    """Yield ``path`` or ``path:function`` with its number of lines, where it is too large."""
    if (lines := len(source.splitlines())) > FILE_LINES:
        yield path, lines
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES:
                yield f"{path}:{node.name}", lines


def all_oversized() -> dict[str, int]:
    return {
        what: lines
        for path in modules()
        for what, lines in oversized(path, (ROOT / path).read_text(encoding="utf-8"))
    }


def test_files_and_functions_keep_within_their_budgets():
    assert {what: n for what, n in all_oversized().items() if what not in ALLOWED} == {}


def test_every_allowance_is_still_needed_and_has_a_reason():
    assert set(ALLOWED) <= set(all_oversized())
    assert all(ALLOWED.values())


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (FUNCTION_LINES - 1, []),
        (FUNCTION_LINES, [("m.py:f", FUNCTION_LINES + 1)]),
        (FILE_LINES, [("m.py", FILE_LINES + 1), ("m.py:f", FILE_LINES + 1)]),
    ],
)
def test_the_check_finds_what_is_too_large(body: int, found: list[tuple[str, int]]):
    source = "async def f():\n" + "    pass\n" * body
    assert list(oversized("m.py", source)) == found
