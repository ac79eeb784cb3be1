"""The feeder: one line at a time, the same request until somebody acknowledges it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyhorde.demo import feeder as feeder_module
from pyhorde.demo.accounting import Account, Ledger, expect
from pyhorde.demo.client import Answer
from pyhorde.demo.feeder import Feeder


@dataclass
class FakeCaller:
    """Gives the ``answers`` one after the other, then 200 for ever."""

    answers: list[Answer] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    stop_after: tuple[int, asyncio.Event] | None = None

    async def call(
        self, address: str, name: str, method: str, *args: Any, request_id: str | None = None
    ) -> Answer:
        self.calls.append((name, method, args, request_id))
        if self.stop_after and len(self.calls) == self.stop_after[0]:
            self.stop_after[1].set()
        return self.answers.pop(0) if self.answers else Answer(200, {"result": 1})


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_module, "RETRY_PAUSE", 0.0)


def make(caller: FakeCaller) -> tuple[Feeder, Account]:
    ledger = Ledger("standup", durable=True)
    account = Account({"standup": ledger})
    return Feeder(ledger, account, ["one", "two"], caller, lambda: ["127.0.0.1:1"]), account


async def test_a_refused_line_is_tried_again_under_the_same_request_id() -> None:
    caller = FakeCaller([Answer(0), Answer(503), Answer(504)])
    feeder, account = make(caller)
    await feeder.deliver(1)
    assert caller.calls == [("standup", "add_line", (1, "one"), "standup-1-first")] * 4
    assert feeder.ledger.acknowledged == {1}
    assert feeder.ledger.retries == 3
    assert account.verdict.held


async def test_any_other_error_is_tried_again_and_blamed() -> None:
    caller = FakeCaller([Answer(410, {"error": {"type": "ProcessExited", "message": "gone"}})])
    feeder, account = make(caller)
    await feeder.deliver(1)
    reasons = account.verdict.reasons
    assert reasons == ("a caller of standup got an error: 410 ProcessExited: gone",)
    assert feeder.ledger.acknowledged == {1}


async def test_a_forgotten_line_is_a_new_request() -> None:
    caller = FakeCaller()
    feeder, _ = make(caller)
    await feeder.deliver(1)
    await feeder.resend([1], "kill -9")
    assert len({call[3] for call in caller.calls}) == 2
    assert feeder.ledger.resent == 1


async def test_the_script_goes_round_and_is_what_the_meeting_must_hold() -> None:
    caller = FakeCaller()
    feeder, _ = make(caller)
    stop = asyncio.Event()
    caller.stop_after = (3, stop)
    await feeder.run(stop, gap=0.0)
    assert feeder.expected == expect(["one", "two", "one"])
    assert feeder.ledger.acknowledged == {1, 2, 3}
