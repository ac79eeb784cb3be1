"""Safeguards that can be switched off, and are on again afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde.testing.safeguards import SAFEGUARDS


def inside(owner: type[Any], name: str) -> Any:
    """What the class itself has under the name, unbound."""
    return vars(owner)[name]


@pytest.mark.parametrize("name", sorted(SAFEGUARDS))
def test_a_safeguard_is_off_inside_and_as_before_outside(name: str):
    guard = SAFEGUARDS[name]
    before = [inside(owner, attribute) for owner, attribute, _ in guard.patches]
    with guard.off():
        for owner, attribute, instead in guard.patches:
            assert inside(owner, attribute) is instead
    after = [inside(owner, attribute) for owner, attribute, _ in guard.patches]
    assert all(one is two for one, two in zip(before, after, strict=True))
    assert guard.patches
    assert guard.about


def test_a_safeguard_is_on_again_after_a_failure():
    (owner, attribute, _), *_ = SAFEGUARDS["replication"].patches
    before = inside(owner, attribute)
    with pytest.raises(ZeroDivisionError), SAFEGUARDS["replication"].off():
        _ = 1 / 0
    assert inside(owner, attribute) is before


def test_all_of_them_can_be_off_together_and_come_back():
    patches = [(owner, name) for guard in SAFEGUARDS.values() for owner, name, _ in guard.patches]
    before = [inside(owner, name) for owner, name in patches]
    guards = [guard.off() for guard in SAFEGUARDS.values()]
    for off in guards:
        off.__enter__()
    for off in reversed(guards):
        off.__exit__(None, None, None)
    assert [inside(owner, name) for owner, name in patches] == before
