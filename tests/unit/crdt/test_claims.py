"""The index from keys to claims."""

import random

import pytest

from pyhorde.crdt.claims import Claims


def test_a_key_has_no_claims_at_first():
    assert list(Claims().of("k")) == []


def test_one_claim_needs_no_list_of_its_own():
    claims = Claims()
    claims.add("k", 1)
    claims.add("k", 1)
    assert (list(claims.of("k")), claims.contested) == ([1], {})
    claims.drop("k", 1)
    assert claims.dots == {}


def test_several_claims_are_all_there_until_one_is_left():
    claims = Claims()
    for dot in (1, 2, 3):
        claims.add("k", dot)
    claims.drop("k", 1)
    assert sorted(claims.of("k")) == [2, 3]
    assert claims.dots["k"] in (2, 3)
    claims.drop("k", 2)
    assert (claims.dots, claims.contested) == ({"k": 3}, {})


def test_dropping_what_is_not_there_changes_nothing():
    claims = Claims()
    claims.add("k", 1)
    claims.drop("k", 2)
    claims.drop("l", 1)
    assert claims.dots == {"k": 1}


def test_many_are_added_and_dropped_at_once():
    claims = Claims()
    claims.add("b", 9)
    claims.add_all(["a", "b", "c", "c"], [1, 2, 3, 4])
    assert {key: sorted(claims.of(key)) for key in "abc"} == {"a": [1], "b": [2, 9], "c": [3, 4]}
    assert claims.are_free(["d"])
    assert not claims.are_free(["d", "a"])
    claims.drop_all(["a", "b", "c", "c"], [1, 2, 3, 4])
    assert (claims.dots, claims.contested) == ({"b": 9}, {})


def test_many_are_dropped_where_nothing_is_contested():
    claims = Claims()
    claims.add_all(["a", "b"], [1, 2])
    claims.drop_all(["a", "b"], [1, 2])
    assert claims.dots == {}


@pytest.mark.parametrize("seed", range(10))
def test_the_index_does_what_sets_do(seed: int):
    rng, claims, model, next_dot = random.Random(seed), Claims(), {}, 0
    for _ in range(300):
        key = rng.choice("abcd")
        if rng.random() < 0.5:
            next_dot += 1
            claims.add(key, next_dot)
            model.setdefault(key, set()).add(next_dot)
        elif model.get(key):
            dot = rng.choice(sorted(model[key]))
            model[key].discard(dot)
            claims.drop(key, dot)
        for each in "abcd":
            assert set(claims.of(each)) == model.get(each, set())
        assert claims.dots.keys() == {each for each, dots in model.items() if dots}
        assert all(len(claims.contested[each]) > 1 for each in claims.contested)
