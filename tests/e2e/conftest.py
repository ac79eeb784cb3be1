"""Nodes as OS processes for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.machines import Machines


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Machines]:
    """No node yet; whatever the test starts is killed."""
    async with Machines(tmp_path) as empty:
        yield empty
