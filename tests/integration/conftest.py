"""A horde of real nodes for each test."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pyhorde import Node
from tests.integration.clusters import Horde


@pytest.fixture
async def horde() -> AsyncIterator[Horde]:
    """No node yet; whatever the test starts is stopped, and leaves no task and no socket behind."""
    before = asyncio.all_tasks()
    async with Horde() as empty:
        yield empty
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left
    assert not (sockets := unclosed()), sockets


@pytest.fixture
async def trio(horde: Horde) -> tuple[Node, ...]:
    """Three nodes that see each other."""
    return await horde.up("a", "b", "c")


def unclosed() -> list[str]:
    """Transports and sockets that nobody has closed.

    Not counted: a connection that asyncio accepted in the very tick in which its server was closed.
    It is dropped half made, before anybody hears of it, and so nobody can close it.
    """
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    half_made = {each.source._sock_fd for each in found if never_connected(each.source)}
    marks = [f"fd={fd}" for fd in half_made]
    texts = [str(each.message) for each in found]
    return [text for text in texts if not any(mark in text for mark in marks)]


def never_connected(source: Any) -> bool:
    return repr(getattr(source, "_protocol", None)) == "<RequestHandler disconnected>"
