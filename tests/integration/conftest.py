"""A horde of real nodes for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pyhorde import Node
from tests.integration.clusters import Horde


@pytest.fixture
async def horde() -> AsyncIterator[Horde]:
    """No node yet; whatever the test starts is stopped, and leaves no task behind."""
    before = asyncio.all_tasks()
    async with Horde() as empty:
        yield empty
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


@pytest.fixture
async def trio(horde: Horde) -> tuple[Node, ...]:
    """Three nodes that see each other."""
    return await horde.up("a", "b", "c")
