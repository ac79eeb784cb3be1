"""Packets: who can make one, who can open it, and that it counts once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.cluster.transport.sealing import MAX_PACKET, WINDOW, Sealer, Window
from pyhorde.errors import ProtocolError

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"
OVERHEAD = 42
"""Bytes of a packet that are no payload."""


def sealer(boot: str, cluster: str = "horde", secret: bytes | None = SECRET) -> Sealer:
    return Sealer(boot, cluster, Keyring([secret] if secret else []))


def anybody(boot: str) -> bool:
    return True


def nobody(boot: str) -> bool:
    return False


# ---- the window ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "admitted"),
    [
        ([1, 2, 3], [True, True, True]),
        ([1, 1], [True, False]),
        ([5, 3, 4, 5, 3], [True, True, True, False, False]),
        ([WINDOW, 1], [True, True]),
        ([WINDOW + 1, 1], [True, False]),
        ([1, WINDOW + 1, 1, 2], [True, True, False, True]),
        # A jump of more than the window leaves nothing seen but the highest.
        ([1, 5 * WINDOW, 4 * WINDOW + 1, 4 * WINDOW, 5 * WINDOW], [True, True, True, False, False]),
        ([2**64 - 1, 2**64 - 1, 2**64 - 2], [True, False, True]),
    ],
)
def test_a_number_counts_once_and_not_too_late(numbers: list[int], admitted: list[bool]):
    window = Window()
    assert [window.admit(number) for number in numbers] == admitted


STEPS = st.one_of(st.integers(-WINDOW - 5, 5), st.integers(-3, 3), st.integers(0, 3 * WINDOW))


@given(st.lists(STEPS, max_size=200))
def test_the_window_is_a_set_of_the_latest_numbers(steps: list[int]):
    window, seen, highest = Window(), set[int](), 0
    for step in steps:
        number = max(1, highest + step)
        expected = number not in seen and number > highest - WINDOW
        assert window.admit(number) is expected
        seen.add(number)
        highest = max(highest, number)
        assert window._seen < 1 << WINDOW


# ---- sealing and opening ------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, None, b""])
def test_the_receiver_learns_the_sender_and_the_payload(secret: bytes | None):
    packet = sealer(A, secret=secret).seal(B, b"hello")
    assert sealer(B, secret=secret).open(packet, {A}.__contains__) == (A, b"hello")
    assert len(packet) == OVERHEAD + len(b"hello")


def test_no_two_packets_are_alike():
    one = sealer(A)
    assert one.seal(B, b"hello") != one.seal(B, b"hello")


@pytest.mark.parametrize(
    ("receiver", "reason"),
    [
        (sealer(B, secret=b"another secret"), "wrong seal"),
        (sealer(B, secret=None), "wrong seal"),
        (sealer(B, cluster="another"), "wrong seal"),
        (sealer(C), "wrong seal"),
        (sealer(A), "wrong seal"),
    ],
    ids=["secret", "no secret", "cluster", "receiver", "reflected"],
)
def test_a_packet_that_is_not_meant_for_the_receiver_is_refused(receiver: Sealer, reason: str):
    packet = sealer(A).seal(B, b"hello")
    with pytest.raises(ProtocolError, match=reason):
        receiver.open(packet, anybody)


def test_a_packet_of_a_stranger_is_refused_and_leaves_no_trace():
    receiver = sealer(B)
    packet = sealer(A).seal(B, b"hello")
    with pytest.raises(ProtocolError, match="stranger"):
        receiver.open(packet, nobody)
    assert receiver._windows == {}
    assert receiver.open(packet, anybody) == (A, b"hello")


def test_every_flipped_bit_is_noticed():
    packet = sealer(A).seal(B, b"hello")
    receiver = sealer(B)
    for position in range(len(packet) * 8):
        flipped = bytearray(packet)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(ProtocolError):
            receiver.open(bytes(flipped), anybody)
    assert receiver._windows == {}
    assert receiver.open(packet, anybody) == (A, b"hello")


@given(st.binary(max_size=MAX_PACKET + 10))
def test_no_bytes_at_all_are_more_than_a_protocol_error(packet: bytes):
    with pytest.raises(ProtocolError):
        sealer(B).open(packet, anybody)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_packet_that_was_cut_or_lengthened_is_refused(cut: int):
    packet = sealer(A).seal(B, b"hello")
    for changed in (packet[:-cut], packet + bytes(cut), packet[cut:]):
        with pytest.raises(ProtocolError):
            sealer(B).open(changed, anybody)


def test_a_forged_packet_does_not_spend_the_number_of_the_true_one():
    """Else whoever guesses numbers could make a node deaf."""
    receiver, packet = sealer(B), sealer(A).seal(B, b"hello")
    forged = packet[:-1] + b"!"
    with pytest.raises(ProtocolError, match="wrong seal"):
        receiver.open(forged, anybody)
    assert receiver.open(packet, anybody) == (A, b"hello")


def test_nobody_reads_a_packet_on_its_way_nor_sees_that_two_say_the_same():
    sender = sealer(A)
    packets = [sender.seal(receiver, b"hello, hello, hello") for receiver in (B, B, C)]
    assert not any(b"hello" in packet for packet in packets)
    assert len({packet[26:] for packet in packets}) == 3


def test_two_boots_never_share_a_key():
    """Else the same number would seal two texts under one key."""
    one, other = sealer(A).seal(B, bytes(100)), sealer(C).seal(B, bytes(100))
    assert one[26:] != other[26:]


# ---- secrets that change ------------------------------------------------------------------------

OLD, NEW = b"the old secret", b"the new secret"


def test_the_first_secret_seals_and_all_of_them_open():
    for secrets in ([OLD], [NEW], [OLD, NEW], [NEW, OLD]):
        packet = Sealer(A, "horde", Keyring(secrets)).seal(B, b"hello")
        assert Sealer(B, "horde", Keyring([NEW, OLD])).open(packet, anybody) == (A, b"hello")
        only = Sealer(B, "horde", Keyring(secrets[:1]))
        assert only.open(packet, anybody) == (A, b"hello")
    packet = Sealer(A, "horde", Keyring([OLD, NEW])).seal(B, b"hello")
    with pytest.raises(ProtocolError, match="wrong seal"):
        Sealer(B, "horde", Keyring([NEW])).open(packet, anybody)


def test_a_secret_is_changed_while_packets_fly():
    """Added everywhere, put first everywhere, the old one dropped everywhere; in any order."""
    rings = {boot: Keyring([OLD]) for boot in (A, B)}
    sealers = {boot: Sealer(boot, "horde", ring) for boot, ring in rings.items()}
    for secrets in ([OLD, NEW], [NEW, OLD], [NEW]):
        for changing in (A, B):
            rings[changing].replace(secrets)
            for sender, receiver in ((A, B), (B, A)):
                packet = sealers[sender].seal(receiver, b"hello")
                assert sealers[receiver].open(packet, anybody) == (sender, b"hello")
    stale = Sealer(A, "horde", Keyring([OLD])).seal(B, b"hello")
    with pytest.raises(ProtocolError, match="wrong seal"):
        sealers[B].open(stale, anybody)


def test_a_dropped_secret_does_not_open_any_more():
    ring = Keyring([NEW, OLD])
    receiver, sender = Sealer(B, "horde", ring), Sealer(A, "horde", Keyring([OLD]))
    assert receiver.open(sender.seal(B, b"hello"), anybody)
    ring.replace([NEW])
    with pytest.raises(ProtocolError, match="wrong seal"):
        receiver.open(sender.seal(B, b"hello"), anybody)


def test_a_change_of_secrets_lets_no_recorded_packet_count_again():
    ring = Keyring([OLD])
    receiver, packet = Sealer(B, "horde", ring), Sealer(A, "horde", Keyring([OLD])).seal(B, b"1")
    receiver.open(packet, anybody)
    ring.replace([NEW, OLD])
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.open(packet, anybody)


def test_numbers_go_on_when_secrets_come_back():
    """Else one key would seal two texts with one number."""
    ring = Keyring([OLD])
    sender = Sealer(A, "horde", ring)
    heads = []
    for secrets in ([NEW], [OLD], [NEW]):
        heads.append(sender.seal(B, b"hello")[:26])
        ring.replace(secrets)
    assert len(set(heads)) == 3


def test_what_opened_the_last_packet_of_a_sender_is_tried_first():
    ring = Keyring([b"%d" % number for number in range(8)])
    receiver = Sealer(B, "horde", ring)
    sender, other = (Sealer(boot, "horde", Keyring([b"7"])) for boot in (A, C))
    assert receiver.open(sender.seal(B, b"hello"), anybody)
    del receiver._opening[A][1:]
    assert receiver.open(sender.seal(B, b"hello"), anybody) == (A, b"hello")
    assert receiver.open(other.seal(B, b"hello"), anybody) == (C, b"hello")


def test_keys_are_made_once_for_each_sender(monkeypatch: pytest.MonkeyPatch):
    ring, made = Keyring([NEW, OLD]), []
    keys = ring.packet_keys
    monkeypatch.setattr(ring, "packet_keys", lambda *args: made.append(args) or keys(*args))
    receiver, sender = Sealer(B, "horde", ring), Sealer(A, "horde", Keyring([OLD]))
    packets = [sender.seal(B, b"hello") for _ in range(5)]
    for packet in packets:
        receiver.open(packet, anybody)
        with pytest.raises(ProtocolError):
            receiver.open(packet[:-1] + b"!", anybody)
    assert len(made) == 2  # its own, and the sender's
    receiver.forget(nobody)
    assert receiver._opening == {}


# ---- replays ------------------------------------------------------------------------------------


def test_a_recorded_packet_says_nothing_a_second_time():
    receiver, packet = sealer(B), sealer(A).seal(B, b"hello")
    receiver.open(packet, anybody)
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.open(packet, anybody)


def test_packets_may_overtake_each_other_within_the_window():
    receiver, sender = sealer(B), sealer(A)
    packets = [sender.seal(B, b"%d" % turn) for turn in range(WINDOW)]
    payloads = [receiver.open(packet, anybody)[1] for packet in reversed(packets)]
    assert payloads == [b"%d" % turn for turn in reversed(range(WINDOW))]


def test_a_packet_overtaken_by_the_whole_window_is_too_late():
    receiver, sender = sealer(B), sealer(A)
    packets = [sender.seal(B, b"%d" % turn) for turn in range(WINDOW + 1)]
    receiver.open(packets[-1], anybody)
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.open(packets[0], anybody)
    assert receiver.open(packets[1], anybody)


def test_packets_to_others_leave_gaps_that_do_no_harm():
    sender, b, c = sealer(A), sealer(B), sealer(C)
    for turn in range(10):
        payload = b"%d" % turn
        assert b.open(sender.seal(B, payload), anybody) == (A, payload)
        assert c.open(sender.seal(C, payload), anybody) == (A, payload)


def test_each_sender_has_numbers_of_its_own():
    receiver = sealer(B)
    assert receiver.open(sealer(A).seal(B, b"1"), anybody) == (A, b"1")
    assert receiver.open(sealer(C).seal(B, b"1"), anybody) == (C, b"1")


def test_boots_that_nobody_knows_any_more_are_forgotten_and_the_others_are_not():
    receiver = sealer(B)
    packets = {boot: sealer(boot).seal(B, b"hello") for boot in (A, C)}
    for packet in packets.values():
        receiver.open(packet, anybody)
    receiver.forget({C}.__contains__)
    assert set(receiver._windows) == {C}
    with pytest.raises(ProtocolError, match="seen before"):
        receiver.open(packets[C], anybody)


# ---- sizes and boots ----------------------------------------------------------------------------


def test_the_largest_packet_is_opened_and_a_larger_one_is_not():
    receiver, sender = sealer(B), sealer(A)
    payload = bytes(MAX_PACKET - OVERHEAD)
    assert receiver.open(sender.seal(B, payload), anybody) == (A, payload)
    with pytest.raises(ProtocolError, match="size"):
        receiver.open(sender.seal(B, payload + b"!"), anybody)


def test_a_packet_without_a_message_is_refused():
    with pytest.raises(ProtocolError, match="size"):
        sealer(B).open(sealer(A).seal(B, b""), anybody)


@pytest.mark.parametrize("boot", ["", "b" * 31, "b" * 34, "B" * 32, "x" * 32, " " + "b" * 31])
def test_a_strange_boot_is_a_value_error(boot: str):
    with pytest.raises(ValueError, match=r"boot|hex"):
        sealer(A).seal(boot, b"hello")
    with pytest.raises(ValueError, match=r"boot|hex"):
        sealer(boot)


def test_the_secret_is_not_the_key_and_does_not_show():
    made = sealer(A)
    assert SECRET not in made.seal(B, b"hello")
    assert SECRET.decode() not in repr(vars(made))
