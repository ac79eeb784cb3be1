"""Rows by their numbers, in lists and in dictionaries."""

import random

import pytest

from pyhorde.crdt.rows import SIZE, Rows, Run, label_of, stored_as, value_of


def listed(rows: Rows, frm: int = 0, to: int = 10 * SIZE) -> list[tuple[int, str]]:
    runs = list(rows.runs(frm, to))
    found = [pair for run in runs for pair in zip(run.seqs, run.keys, strict=True)]
    assert [seq for seq, _ in found] == list(rows.seqs(frm, to))
    return found


@pytest.mark.parametrize("value", [None, b"", b"v"])
def test_a_label_and_a_value_come_out_as_they_went_in(value: bytes | None):
    stored = stored_as(b"p", value)
    assert (label_of(stored), value_of(stored)) == (b"p", value)


def test_a_run_numbers_its_rows():
    assert list(Run(5, None, ["a", "b"], [b"", b""]).seqs) == [5, 6]
    assert Run(5, [0, 0, 3], ["a", "b", "c"], [b""] * 3).seqs == [5, 6, 10]


@pytest.mark.parametrize("gaps", [None, [0, 0, 3, 0]])
def test_what_is_left_of_a_run_after_a_number_has_the_same_numbers(gaps: list[int] | None):
    run = Run(5, gaps, list("abcd"), [b"1", b"2", b"3", b"4"])
    rows = list(zip(run.seqs, run.keys, run.stored, strict=True))
    for seq in range(3, 13):
        rest = run.after(seq)
        left = list(zip(rest.seqs, rest.keys, rest.stored, strict=True)) if rest else []
        assert left == [row for row in rows if row[0] > seq]


def test_rows_come_and_go():
    rows = Rows()
    rows.put(3, "a", b"p")
    rows.put(7, "b", (b"", b"v"))
    assert rows.get(3) == ("a", b"p")
    assert rows.get(4) is rows.get(9) is rows.get(SIZE + 3) is None
    assert listed(rows) == [(3, "a"), (7, "b")]
    assert listed(rows, 3, 6) == []
    assert rows.pop(3) == ("a", b"p")
    assert rows.pop(3) is rows.pop(4) is None
    assert (rows.count, listed(rows)) == (1, [(7, "b")])


def test_a_run_may_cross_blocks():
    rows = Rows()
    keys = [f"k{n}" for n in range(2 * SIZE + 5)]
    rows.extend(Run(SIZE - 2, None, keys, [b""] * len(keys)))
    assert listed(rows) == list(enumerate(keys, SIZE - 2))
    assert listed(rows, SIZE - 1, SIZE + 1) == [(SIZE, "k2"), (SIZE + 1, "k3")]
    assert rows.count == len(keys)


def test_blocks_are_taken_out_one_by_one():
    rows = Rows()
    rows.extend(Run(1, None, ["k"] * (2 * SIZE), [b""] * (2 * SIZE)))
    taken = []
    while (run := rows.take()) is not None:
        assert len(run.keys) <= SIZE
        taken += list(run.seqs)
    assert taken == list(range(1, 2 * SIZE + 1))
    assert rows.count == 0


def test_few_rows_that_are_left_cost_few_places():
    rows = Rows()
    for at in range(0, 50 * SIZE, SIZE):
        rows.put(at + SIZE - 1, "k", b"")
    fat = [each for each in rows._blocks.values() if not isinstance(each, dict)]
    assert len(fat) <= 1
    assert len(listed(rows, 0, 60 * SIZE)) == 50


@pytest.mark.parametrize("seed", range(20))
def test_rows_do_what_a_dictionary_does(seed: int):
    rng, rows, model, last = random.Random(seed), Rows(), {}, 0
    for _ in range(400):
        if rng.random() < 0.4:
            last += rng.choice((1, 1, 2, SIZE // 3))
            rows.put(last, f"k{last}", b"")
            model[last] = f"k{last}"
        elif rng.random() < 0.3:
            gaps = [0, *(rng.choice((0, 0, 1, 900)) for _ in range(rng.randrange(40)))]
            keys = [f"r{n}" for n in range(len(gaps))]
            run = Run(last + 1, gaps if any(gaps) else None, keys, [b""] * len(keys))
            rows.extend(run)
            model |= dict(zip(run.seqs, keys, strict=True))
            last = list(run.seqs)[-1]
        elif model:
            seq = rng.choice(sorted(model))
            assert rows.pop(seq) == (model.pop(seq), b"")
        frm = rng.randrange(last + 1)
        to = rng.randrange(frm, last + 2)
        expected = sorted((seq, key) for seq, key in model.items() if frm < seq <= to)
        assert listed(rows, frm, to) == expected
        assert rows.count == len(model)
