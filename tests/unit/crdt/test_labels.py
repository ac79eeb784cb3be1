"""Which rows carry which label."""

from pyhorde.crdt.labels import SLACK, Labels


def test_rows_that_were_added_together_are_one_range():
    labels = Labels()
    labels.add(b"p", 3, 4)
    labels.add(b"p", 7)
    labels.add(b"q", 8)
    assert list(labels.seqs(b"p")) == [3, 4, 5, 6, 7]
    assert len(labels._ranges[b"p"].bounds) == 2
    assert (labels.count(b"p"), labels.count(b"q"), labels.count(b"r")) == (5, 1, 0)


def test_the_empty_label_is_not_kept_track_of():
    labels = Labels()
    labels.add(b"", 1)
    assert list(labels.seqs(b"")) == []


def test_an_equal_label_is_the_same_object_while_rows_carry_it():
    labels = Labels()
    first, second = bytes([112, 113]), bytes([112, 113])
    labels.add(first, 1)
    assert labels.shared(second) is first
    labels.drop(b"pq", lambda seq: None)
    assert labels.shared(second) is second


def test_a_label_is_gone_with_its_last_row():
    labels = Labels()
    labels.add(b"p", 1, 2)
    labels.drop(b"p", lambda seq: seq == 2)
    assert labels.count(b"p") == 1
    labels.drop(b"p", lambda seq: None)
    labels.drop(b"p", lambda seq: None)
    assert list(labels.seqs(b"p")) == []


def test_ranges_without_live_rows_are_tidied_away():
    labels, live = Labels(), set()
    for seq in range(1, 1000, 2):
        labels.add(b"p", seq)
        live.add(seq)
    for seq in range(1, 997, 2):
        live.discard(seq)
        labels.drop(b"p", live.__contains__)
        assert live <= set(labels.seqs(b"p"))
    assert len(labels._ranges[b"p"].bounds) // 2 <= 2 * len(live) + SLACK
    assert labels.count(b"p") == len(live) == 2
