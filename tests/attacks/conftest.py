"""Real nodes, and strangers whose connections end with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.attacks.strangers import hang_up
from tests.integration.clusters import Horde


@pytest.fixture
async def horde() -> AsyncIterator[Horde]:
    """No node yet; whatever the test starts is stopped."""
    async with Horde() as empty:
        yield empty
        hang_up()
    for _ in range(3):
        await asyncio.sleep(0)
