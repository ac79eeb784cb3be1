from __future__ import annotations

import pytest

from pyhorde.cluster.membership.dissemination import MAX_PER_MESSAGE, Dissemination


@pytest.mark.parametrize(("size", "times"), [(0, 1), (1, 4), (3, 4), (9, 4), (10, 8), (100, 12)])
def test_each_update_rides_on_a_limited_number_of_messages(size: int, times: int):
    news = Dissemination(retransmit_mult=4)
    news.add("a", "update")
    assert [news.take(size) for _ in range(times)] == [["update"]] * times
    assert news.take(size) == []
    assert len(news) == 0


def test_what_was_sent_least_often_goes_first():
    news = Dissemination(retransmit_mult=4)
    for i in range(MAX_PER_MESSAGE):
        news.add(f"a{i}", i)
    news.take(3)
    news.add("z", "new")
    assert news.take(3)[0] == "new"


def test_a_message_carries_a_bounded_number_of_updates_and_none_starves():
    news = Dissemination(retransmit_mult=4)
    for i in range(20):
        news.add(f"member-{i}", i)
    taken = [news.take(3) for _ in range(3)]
    assert all(len(updates) <= MAX_PER_MESSAGE for updates in taken)
    assert {update for updates in taken for update in updates} == set(range(20))


def test_newer_news_of_a_member_replaces_the_older_and_starts_afresh():
    news = Dissemination(retransmit_mult=4)
    news.add("a", "old")
    for _ in range(3):
        news.take(3)
    news.add("a", "new")
    assert len(news) == 1
    assert [news.take(3) for _ in range(5)] == [["new"]] * 4 + [[]]
