from __future__ import annotations

from pyhorde.cluster.ways import BLOCKED, TRY_AGAIN, Ways

BOTH, PACKET, STREAM = (True, True), (True, False), (False, True)


def ping(ways: Ways, boot: str = "b") -> tuple[bool, bool]:
    """The next ping goes out, as a packet if it is to."""
    way = ways.of(boot)
    ways.pinged(boot, packet=way[0])
    return way


def test_the_first_ping_goes_both_ways_whether_or_not_the_link_is_known():
    ways = Ways()
    assert ways.of("stranger") == BOTH
    ways.linked("b")
    assert ways.of("b") == BOTH
    assert not ways.works("b") and not ways.works("stranger")


def test_asking_for_the_way_changes_nothing():
    ways = Ways()
    ways.linked("b")
    assert [ways.of("b") for _ in range(3)] == [BOTH] * 3


def test_after_the_first_answer_by_packet_only_packets_are_used():
    ways = Ways()
    ways.linked("b")
    ping(ways)
    ways.answered("b")
    assert ways.works("b")
    for _ in range(3 * BLOCKED):
        assert ping(ways) == PACKET
        ways.answered("b")


def test_packets_that_are_lost_now_and_then_stay_in_use():
    ways = Ways()
    ways.answered("b")
    for _ in range(5):
        for _ in range(BLOCKED - 1):
            assert ping(ways) == PACKET
        ways.answered("b")
    assert ways.works("b")


def test_so_many_packets_without_an_answer_count_as_blocked():
    ways = Ways()
    ways.answered("b")
    assert [ping(ways) for _ in range(BLOCKED)] == [PACKET] * BLOCKED
    assert not ways.works("b")
    assert ways.of("b")[1]


def test_blocked_packets_are_tried_again_with_every_tenth_ping():
    ways = Ways()
    ways.linked("b")
    found = [ping(ways) for _ in range(3 * TRY_AGAIN + 1)]
    assert all(stream for _, stream in found)
    assert [turn for turn, (packet, _) in enumerate(found) if packet] == [
        0,
        TRY_AGAIN,
        2 * TRY_AGAIN,
        3 * TRY_AGAIN,
    ]


def test_a_packet_that_gets_through_after_all_ends_the_blockage():
    ways = Ways()
    ways.linked("b")
    for _ in range(TRY_AGAIN + 3):
        ping(ways)
    ways.answered("b")
    assert ways.works("b")
    assert ways.of("b") == PACKET


def test_pings_over_the_stream_alone_are_no_packets_without_an_answer():
    """What is overdue is asked again over the stream: that says nothing against packets."""
    ways = Ways()
    ways.answered("b")
    for _ in range(3 * BLOCKED):
        ways.pinged("b", packet=False)
    assert ways.of("b") == PACKET


def test_a_new_link_makes_nothing_known():
    ways = Ways()
    ways.answered("b")
    ways.linked("b")
    assert ways.of("b") == BOTH
    for _ in range(3):
        ping(ways)
    ways.linked("b")
    assert ways.of("b") == BOTH


def test_boots_are_kept_apart_and_forgotten():
    ways = Ways()
    ways.answered("b")
    assert ways.of("c") == BOTH
    ways.forget("b")
    ways.forget("b")
    assert not ways.works("b")
    assert ways._missed == {}
