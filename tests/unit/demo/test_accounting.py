"""The bookkeeping: what must be remembered, what may be lost, and what is to blame."""

from __future__ import annotations

import pytest

from pyhorde.demo.accounting import (
    Account,
    Excuse,
    Held,
    Ledger,
    Loss,
    expect,
    misplaced,
    spans,
)

DUE = frozenset({1, 2, 3})


def ledger(*, durable: bool = False, answered: int = 3) -> Ledger:
    """Lines 1, 2, 3 acknowledged at 1.1, 2.1 and 3.1 seconds."""
    made = Ledger("standup", durable)
    for number in range(1, answered + 1):
        made.ask(number, float(number))
        made.acknowledge(number, number + 0.1)
    return made


def test_a_retried_line_waits_from_its_first_try() -> None:
    made = Ledger("standup", durable=True)
    made.ask(1, 10.0)
    made.ask(1, 12.0)
    made.acknowledge(1, 12.5)
    assert made.pause() == 2.5
    assert made.acknowledged == {1}


def test_pause_looks_only_at_lines_answered_since() -> None:
    made = ledger()
    made.ask(4, 4.0)
    assert made.pause(since=1.5) == pytest.approx(0.1)
    made.acknowledge(4, 9.0)
    assert made.pause(since=8.0) == 5.0
    assert made.pause(since=9.5) == 0.0


def test_a_line_in_flight_before_a_moment_is_no_sign_of_life_after_it() -> None:
    made = ledger(answered=0)
    made.ask(1, 1.0)
    made.acknowledge(1, 5.0)
    assert not made.heard_since(2.0)
    made.ask(2, 3.0)
    made.acknowledge(2, 6.0)
    assert made.heard_since(2.0)


def test_only_a_change_of_node_is_a_move() -> None:
    made = ledger()
    assert [made.moved_to(node) for node in "aabba"] == [False, False, True, False, True]
    assert made.path == ["a", "b", "a"]


def test_held_lacks_gaps_and_what_lies_beyond_its_end() -> None:
    summary = {"last": 5, "missing": [2], "digest": "d", "lines": 4}
    assert Held.of(summary).lacks([1, 2, 5, 7, 6]) == (2, 6, 7)


def test_a_checkpoint_meeting_may_lose_only_what_the_excuse_covers() -> None:
    loss = ledger().audit(DUE, Held(last=1), Excuse(since=2.5, until=9.0))
    assert loss == Loss(lost=(2, 3), unexcused=(2,))


def test_without_an_excuse_every_loss_counts() -> None:
    assert ledger().audit(DUE, Held(last=2)) == Loss((3,), (3,))


def test_nothing_excuses_a_replicated_meeting() -> None:
    loss = ledger(durable=True).audit(DUE, Held(last=2), Excuse(0.0, 99.0))
    assert loss.unexcused == (3,)


def test_a_line_sent_again_is_excused_by_its_newest_answer_only() -> None:
    made = ledger()
    made.ask(3, 20.0)
    made.acknowledge(3, 20.1)
    assert made.audit(DUE, Held(last=2), Excuse(2.5, 9.0)).unexcused == (3,)


def test_an_excused_loss_is_counted_and_not_blamed() -> None:
    account = Account({"standup": ledger()})
    account.audit("kill -9", "standup", DUE, Held(last=2), Excuse(3.0, 9.0))
    assert account.verdict.held
    assert (account.lost(durable=False), account.lost(durable=True)) == (1, 0)


def test_an_unexcused_loss_is_blamed_with_step_name_and_lines() -> None:
    account = Account({"standup": ledger()})
    account.audit("SIGTERM", "standup", DUE, Held(last=1))
    expected = "SIGTERM: standup forgot acknowledged lines: 2 in all, 2-3"
    assert account.verdict.reasons == (expected,)


def test_the_same_reason_is_told_once() -> None:
    account = Account({})
    account.blame("x")
    account.blame("x")
    assert account.verdict.reasons == ("x",)


def test_compare_accepts_exactly_what_was_fed() -> None:
    account = Account({"standup": ledger()})
    fed = expect(["one", "two"])
    account.compare("a", "standup", fed, fed)
    assert account.verdict.held
    account.compare("b", "standup", Held(1, frozenset(), fed.digest), fed)
    account.compare("c", "standup", expect(["one", "2"]), fed)
    reasons = account.verdict.reasons
    assert reasons[0] == "asked through b, standup lacks lines 2"
    assert "digest" in reasons[1]


def test_compare_notices_lines_nobody_sent() -> None:
    account = Account({"standup": ledger()})
    account.compare("a", "standup", expect(["one", "two"]), expect(["one"]))
    assert not account.verdict.held


def test_misplaced_names_run_twice_or_nowhere() -> None:
    running = {"a": ["one", "two"], "b": ["two"], "c": []}
    found = misplaced(["one", "two", "three"], running)
    assert found == ["two runs on a and b", "three runs nowhere"]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10")]
)
def test_spans_read_like_page_numbers(numbers: list[int], text: str) -> None:
    assert spans(numbers) == text
