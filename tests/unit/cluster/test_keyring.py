"""The secrets of a cluster: which count, and that no key says anything about another."""

from __future__ import annotations

import pytest

from pyhorde.cluster.transport.keyring import MAX_SECRETS, Keyring

OLD, NEW = b"the old secret", b"the new secret"
BOOT, OTHER = bytes(16), bytes(15) + b"\1"


def test_each_secret_has_a_key_for_handshakes():
    keyring = Keyring([NEW, OLD])
    assert keyring.secrets == (NEW, OLD)
    assert [len(psk) for psk in keyring.psks] == [32, 32]
    assert keyring.psks == (*Keyring([NEW]).psks, *Keyring([OLD]).psks)
    assert keyring.psks[0] != keyring.psks[1]


def test_without_a_secret_there_is_no_key_for_handshakes_and_a_known_one_for_packets():
    keyring = Keyring()
    assert keyring.psks == ()
    assert len(keyring.packet_keys("horde", BOOT)) == 1
    assert keyring.packet_key(0, "horde", BOOT) == Keyring([]).packet_key(0, "horde", BOOT)
    with pytest.raises(IndexError):
        keyring.packet_key(1, "horde", BOOT)


def test_keys_for_packets_differ_by_secret_cluster_and_boot():
    keyring = Keyring([NEW, OLD])
    keys = {
        *keyring.packet_keys("horde", BOOT),
        *keyring.packet_keys("horde", OTHER),
        *keyring.packet_keys("horde2", BOOT),
        *Keyring().packet_keys("horde", BOOT),
        *keyring.psks,
        NEW,
        OLD,
    }
    assert len(keys) == 11
    assert keyring.packet_keys("horde", BOOT) == (
        keyring.packet_key(0, "horde", BOOT),
        keyring.packet_key(1, "horde", BOOT),
    )


def test_a_cluster_name_cannot_pass_for_a_part_of_the_boot():
    keyring = Keyring([NEW])
    assert keyring.packet_key(0, "a", b"b" + BOOT) != keyring.packet_key(0, "ab", BOOT)


def test_the_generation_rises_with_each_change():
    keyring = Keyring([OLD])
    before = keyring.psks
    assert keyring.generation == 0
    assert keyring.replace([OLD, NEW])
    assert keyring.generation == 1
    assert keyring.secrets == (OLD, NEW)
    assert keyring.psks[0] == before[0]
    assert keyring.replace([NEW, OLD])
    assert keyring.generation == 2
    assert not keyring.replace([NEW, OLD])
    assert keyring.generation == 2


@pytest.mark.parametrize(
    "secrets", [[b""], [NEW, b""], [b"%d" % number for number in range(MAX_SECRETS + 1)]]
)
def test_bad_secrets_are_refused_and_change_nothing(secrets: list[bytes]):
    with pytest.raises(ValueError, match="secret"):
        Keyring(secrets)
    keyring = Keyring([NEW])
    with pytest.raises(ValueError, match="secret"):
        keyring.replace(secrets)
    assert (keyring.secrets, keyring.generation) == ((NEW,), 0)


def test_a_secret_that_is_named_twice_counts_once():
    assert Keyring([NEW, OLD, NEW]).secrets == (NEW, OLD)


def test_secrets_do_not_show():
    assert NEW.decode() not in repr(Keyring([NEW]))


def test_the_keys_stay_what_they_are_from_one_version_to_the_next():
    """Else nodes of both would not understand each other, for no reason that anybody sees."""
    keyring = Keyring([b"a secret"])
    assert keyring.psks[0].hex() == (
        "b4ec1c06016f71de7578ceb71fb1a33f1a9d55359d1471f840624237d2657af7"
    )
    assert keyring.packet_key(0, "horde", BOOT).hex() == (
        "59863334ee88fbd4a17ae26c0bf0e3b63e8850593ea5482ab5e160e454ed1b35"
    )
