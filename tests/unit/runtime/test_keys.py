from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pyhorde.crdt import Replica
from pyhorde.runtime.keys import RELEASED_AT_ONCE, UNIQUE, Keys


@pytest.fixture
def keys() -> Keys:
    view: Any = SimpleNamespace(by_boot={})
    return Keys(Replica("boot"), view)


async def test_a_key_that_is_claimed_while_very_many_are_released_is_released_too(keys: Keys):
    many, other = keys.table(UNIQUE + "rooms"), keys.default
    many.claim_all([f"room-{n}" for n in range(2 * RELEASED_AT_ONCE + 1)], "p")
    other.claim("early", "p", None)
    releasing = asyncio.ensure_future(keys.release_process("p"))
    await asyncio.sleep(0)
    assert many.has(f"room-{2 * RELEASED_AT_ONCE}"), "one piece after the other"
    other.claim("late", "p", None)
    await releasing
    assert not other.has("late")
    assert keys.tables() == []


async def test_keys_of_others_are_not_released(keys: Keys):
    keys.default.claim("mine", "p", b"value")
    keys.default.claim("yours", "q", None)
    await keys.release_process("p")
    assert [keys.default.has(key) for key in ("mine", "yours")] == [False, True]
