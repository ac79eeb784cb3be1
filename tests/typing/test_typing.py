"""``ref.call(Counter.increment, 5)`` is checked: the result's type, and the arguments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FILES = ("checked_calls.py", "refused_calls.py", "public_names.py")
ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: ", re.MULTILINE)

Found = dict[str, set[int]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The lines in which mypy, in its strict mode, finds errors, by file."""
    cache = str(tmp_path_factory.mktemp("mypy"))
    options = ["--cache-dir", cache, "--follow-imports=silent", "--explicit-package-bases"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *(str(HERE / name) for name in FILES)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "MYPY_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Found = {name: set() for name in FILES}
    for match in ERROR.finditer(done.stdout):
        errors[Path(match["file"]).name].add(int(match["line"]))
    return errors


def test_results_have_the_type_of_the_method(found: Found):
    assert found["checked_calls.py"] == set()


def test_wrong_arguments_methods_and_classes_are_refused(found: Found):
    lines = (HERE / "refused_calls.py").read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert found["refused_calls.py"] == expected


def test_type_checkers_see_the_public_names(found: Found):
    assert found["public_names.py"] == set()
