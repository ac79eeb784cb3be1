"""Version vectors: who has seen more of whom."""

from pyhorde.crdt.dots import behind


def test_behind_names_origins_of_which_the_other_has_seen_more():
    assert behind({"a": 1, "b": 2}, {"a": 2, "b": 2, "c": 1}) == ["a", "c"]


def test_behind_is_empty_when_nothing_is_missing():
    assert behind({"a": 3}, {"a": 2, "b": 0}) == []
