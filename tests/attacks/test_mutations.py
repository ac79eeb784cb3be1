"""What nodes read of others is refused or understood, whatever it is; and the search can find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks import mutations
from tests.attacks.mutations import TARGETS, Target

COUNTS = {"frames": 5000, "greetings": 2000, "values": 2000}
SEED = 1


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_refusals_comes_out(name: str):
    outcome = mutations.run(TARGETS[name], SEED, range(COUNTS.get(name, 1000)))
    assert not outcome.failures
    assert outcome.counts["refused"]


@pytest.mark.parametrize("name", TARGETS)
def test_what_nodes_say_is_understood_unless_it_is_changed(name: str):
    """Else nothing behind the first check would ever be tried."""
    target = TARGETS[name]
    understood = [mutations.attempt(target, sample) for sample in target.samples]
    assert understood.count("read") > len(understood) // 2


def test_a_case_can_be_had_again():
    target = TARGETS["frames"]
    cases = [mutations.case(target, SEED, number) for number in range(50)]
    assert cases == [mutations.case(target, SEED, number) for number in range(50)]
    assert cases != [mutations.case(target, SEED + 1, number) for number in range(50)]


def careless(data: bytes) -> None:
    if data[0] != 0x93:
        raise KeyError(data[0])


def greedy(data: bytes) -> None:
    assert bytearray(2 * mutations.PEAK_BASE + 200 * len(data))


KEPT: list[Any] = []


def forgetful(data: bytes) -> None:
    KEPT.append(bytearray(10_000))


@pytest.mark.parametrize(
    ("read", "found"),
    [(careless, "KeyError at"), (greedy, "KiB of memory"), (forgetful, "growth")],
)
def test_faults_are_found(read: Any, found: str, capsys: pytest.CaptureFixture[str]):
    target = Target("planted", [b"\x93\x01\x02\x03"], read)
    try:
        outcome = mutations.run(target, SEED, range(300))
    finally:
        KEPT.clear()
    assert any(found in what for what in outcome.failures)


def test_the_command_says_what_it_found_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--count", "50", "--target", "sealed-frames", "--fast"]
    assert mutations.main(arguments) == 0
    planted = Target("sealed-frames", [b"\x93\x01\x02\x03"], careless)
    monkeypatch.setitem(TARGETS, "sealed-frames", planted)
    assert mutations.main(arguments) == 1
    assert "KeyError at" in capsys.readouterr().out
