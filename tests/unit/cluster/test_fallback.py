from __future__ import annotations

from pyhorde.cluster.membership.fallback import BLOCKED, TRY_AGAIN, StreamFallback

BOTH, PACKET, STREAM = (True, True), (True, False), (False, True)


def ping(fallback: StreamFallback, boot: str = "b") -> tuple[bool, bool]:
    """The next ping goes out, as a packet if it is to."""
    way = fallback.of(boot)
    fallback.pinged(boot, packet=way[0])
    return way


def test_the_first_ping_goes_both_ways_whether_or_not_the_link_is_known():
    fallback = StreamFallback()
    assert fallback.of("stranger") == BOTH
    fallback.linked("b")
    assert fallback.of("b") == BOTH
    assert not fallback.works("b") and not fallback.works("stranger")


def test_asking_for_the_way_changes_nothing():
    fallback = StreamFallback()
    fallback.linked("b")
    assert [fallback.of("b") for _ in range(3)] == [BOTH] * 3


def test_after_the_first_answer_by_packet_only_packets_are_used():
    fallback = StreamFallback()
    fallback.linked("b")
    ping(fallback)
    fallback.answered("b")
    assert fallback.works("b")
    for _ in range(3 * BLOCKED):
        assert ping(fallback) == PACKET
        fallback.answered("b")


def test_packets_that_are_lost_now_and_then_stay_in_use():
    fallback = StreamFallback()
    fallback.answered("b")
    for _ in range(5):
        for _ in range(BLOCKED - 1):
            assert ping(fallback) == PACKET
        fallback.answered("b")
    assert fallback.works("b")


def test_so_many_packets_without_an_answer_count_as_blocked():
    fallback = StreamFallback()
    fallback.answered("b")
    assert [ping(fallback) for _ in range(BLOCKED)] == [PACKET] * BLOCKED
    assert not fallback.works("b")
    assert fallback.of("b")[1]


def test_blocked_packets_are_tried_again_with_every_tenth_ping():
    fallback = StreamFallback()
    fallback.linked("b")
    found = [ping(fallback) for _ in range(3 * TRY_AGAIN + 1)]
    assert all(stream for _, stream in found)
    assert [turn for turn, (packet, _) in enumerate(found) if packet] == [
        0,
        TRY_AGAIN,
        2 * TRY_AGAIN,
        3 * TRY_AGAIN,
    ]


def test_a_packet_that_gets_through_after_all_ends_the_blockage():
    fallback = StreamFallback()
    fallback.linked("b")
    for _ in range(TRY_AGAIN + 3):
        ping(fallback)
    fallback.answered("b")
    assert fallback.works("b")
    assert fallback.of("b") == PACKET


def test_pings_over_the_stream_alone_are_no_packets_without_an_answer():
    """What is overdue is asked again over the stream: that says nothing against packets."""
    fallback = StreamFallback()
    fallback.answered("b")
    for _ in range(3 * BLOCKED):
        fallback.pinged("b", packet=False)
    assert fallback.of("b") == PACKET


def test_a_new_link_makes_nothing_known():
    fallback = StreamFallback()
    fallback.answered("b")
    fallback.linked("b")
    assert fallback.of("b") == BOTH
    for _ in range(3):
        ping(fallback)
    fallback.linked("b")
    assert fallback.of("b") == BOTH


def test_boots_are_kept_apart_and_forgotten():
    fallback = StreamFallback()
    fallback.answered("b")
    assert fallback.of("c") == BOTH
    fallback.forget("b")
    fallback.forget("b")
    assert not fallback.works("b")
    assert fallback._missed == {}
