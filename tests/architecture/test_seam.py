"""Time, chance, identity and the network enter through ``pyhorde/seam.py`` and nowhere else.

The same rule as ruff's TID251, checked without ruff, finer (a file may be allowed one name only)
and wider (methods of the event loop that no import betrays).
"""

import ast
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.architecture.sources import ROOT, modules

BANNED = {
    "asyncio.create_datagram_endpoint",
    "asyncio.open_connection",
    "asyncio.open_unix_connection",
    "asyncio.start_server",
    "asyncio.start_unix_server",
    "asyncio.to_thread",
    "concurrent.futures",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "os.getrandom",
    "os.urandom",
    "random",
    "secrets",
    "socket",
    "ssl",
    "threading",
    "time",
    "uuid",
}

BANNED_METHODS = {
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "run_in_executor",
    "sock_connect",
}

EVERYTHING = frozenset(BANNED | BANNED_METHODS)

ALLOWED: dict[str, frozenset[str]] = {
    "pyhorde/cli.py": EVERYTHING,
    "pyhorde/client.py": EVERYTHING,
    "pyhorde/commands.py": frozenset({"socket"}),  # this machine's name
    "pyhorde/cluster/transport/codec.py": frozenset({"uuid"}),  # the type uuid.UUID travels
    # The machine's resolver, the Kubernetes cluster's own CA, a group on the local network.
    "pyhorde/cluster/discovery/hosts.py": frozenset({"getaddrinfo", "socket"}),
    "pyhorde/cluster/discovery/kubernetes_api.py": frozenset({"ssl"}),
    "pyhorde/cluster/discovery/multicast.py": frozenset({"create_datagram_endpoint", "socket"}),
    "pyhorde/cluster/transport/http.py": EVERYTHING,
    "pyhorde/cluster/real.py": EVERYTHING,
    "pyhorde/cluster/transport/certificates.py": EVERYTHING,
    "pyhorde/cluster/transport/tcp.py": EVERYTHING,
    "pyhorde/cluster/transport/tls.py": EVERYTHING,
    "pyhorde/cluster/transport/udp.py": EVERYTHING,
    "pyhorde/cluster/event_loop/watchdog.py": EVERYTHING,
    "pyhorde/demo/**": EVERYTHING,
    "pyhorde/logs.py": EVERYTHING,
    "pyhorde/settings.py": EVERYTHING,
    "pyhorde/testing/**": frozenset({"random"}),  # random.Random, seeded
    # Runs days side by side in real OS processes, and measures the CPU time they took.
    "pyhorde/testing/runner.py": frozenset({"concurrent.futures", "time"}),
}


def violations(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the banned name of each use in ``source``, under whatever alias."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        for bound, target in _imported(node):
            names[bound] = target
            if banned := _banned(target):
                yield node.lineno, banned
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if (dotted := _dotted(node, names)) in BANNED:
            yield node.lineno, dotted
        elif node.attr in BANNED_METHODS:
            yield node.lineno, node.attr


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the name that an import binds, and what it stands for."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield alias.asname or alias.name, alias.name
        case ast.ImportFrom(module=str(module), names=aliases):
            for alias in aliases:
                yield alias.asname or alias.name, f"{module}.{alias.name}"


def _banned(target: str) -> str | None:
    parts = target.split(".")
    prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return next(iter(sorted(prefixes & BANNED)), None)


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, names)):
        return names.get(f"{base}.{node.attr}", f"{base}.{node.attr}")
    return None


def allowed(path: str) -> frozenset[str]:
    return frozenset().union(*(ok for glob, ok in ALLOWED.items() if fnmatch(path, glob)))


@pytest.mark.parametrize("path", modules())
def test_no_module_goes_around_the_seam(path: str):
    found = violations((ROOT / path).read_text(encoding="utf-8"))
    assert [f"{path}:{line}: {name}" for line, name in found if name not in allowed(path)] == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time", "time"),
        ("import time as clock", "time"),
        ("from time import monotonic as now", "time"),
        ("def f():\n    import random", "random"),
        ("from os import urandom", "os.urandom"),
        ("import os\nos.urandom(8)", "os.urandom"),
        ("import datetime as dt\ndt.datetime.now()", "datetime.datetime.now"),
        ("from datetime import datetime as D\nD.utcnow()", "datetime.datetime.utcnow"),
        ("from datetime import date\nclock = date.today", "datetime.date.today"),
        ("import asyncio as a\na.open_connection('h', 1)", "asyncio.open_connection"),
        ("from asyncio import to_thread", "asyncio.to_thread"),
        ("from concurrent.futures import ThreadPoolExecutor", "concurrent.futures"),
        ("import asyncio\nasyncio.get_running_loop().run_in_executor(None, f)", "run_in_executor"),
        ("async def f(loop):\n    await loop.create_connection(g)", "create_connection"),
    ],
)
def test_the_check_catches_a_planted_violation(source: str, name: str):
    assert name in {found for _, found in violations(source)}


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\ndatetime.fromtimestamp(world.wall())",
        "import asyncio\nasyncio.timeout(1)",
        "import os\nos.getpid()",
        "def f(world):\n    world.rng.random()\n    world.time",
        "from pyhorde.cluster import time_series",
    ],
)
def test_the_check_lets_the_rest_pass(source: str):
    assert list(violations(source)) == []


def test_ruff_bans_the_same_names_and_spares_the_same_files():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    spared = {
        glob
        for glob, rules in lint["per-file-ignores"].items()
        if glob.startswith("pyhorde/") and "TID251" in rules
    }
    assert set(lint["flake8-tidy-imports"]["banned-api"]) == BANNED
    assert spared == set(ALLOWED)
