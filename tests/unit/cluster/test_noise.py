"""The Noise handshake: published vectors, and everything that must not get through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pyhorde.cluster.transport.noise import (
    MAX_HANDSHAKE_BYTES,
    MAX_NONCE,
    TAG_BYTES,
    Cipher,
    CipherState,
    Initiator,
    NoiseError,
    Responder,
    Session,
)

VECTORS = json.loads(Path(__file__).with_name("noise_vectors.json").read_text())["vectors"]
CIPHERS: tuple[Cipher, ...] = get_args(Cipher)
PSK, PROLOGUE = b"k" * 32, b"the cluster and the version"
E_I, E_R = b"i" * 32, b"r" * 32
each_cipher = pytest.mark.parametrize("cipher", CIPHERS)


def initiator(psk: bytes = PSK, prologue: bytes = PROLOGUE, key: bytes = E_I) -> Initiator:
    return Initiator(psk, prologue, key)


def responder(psk: bytes = PSK, prologue: bytes = PROLOGUE, key: bytes = E_R) -> Responder:
    return Responder(psk, prologue, key)


def met(cipher: Cipher = "AESGCM") -> tuple[Session, Session]:
    one, two = Initiator(PSK, PROLOGUE, E_I, cipher), Responder(PSK, PROLOGUE, E_R, cipher)
    two.read(one.write())
    one.read(two.write())
    return one.split(), two.split()


def tampered(message: bytes) -> Iterator[bytes]:
    """Each byte changed, each truncation, and something appended."""
    for position in range(len(message)):
        yield message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]
        yield message[:position] + bytes([message[position] ^ 0x40]) + message[position + 1 :]
        yield message[:position]
    yield message + b"\0"


# ---- published vectors --------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_both_sides_say_what_the_published_vectors_say(vector: dict[str, Any]):
    cipher = vector["protocol_name"].split("_")[3]
    (psk,) = map(bytes.fromhex, vector["init_psks"])
    prologue = bytes.fromhex(vector["init_prologue"])
    one = Initiator(psk, prologue, bytes.fromhex(vector["init_ephemeral"]), cipher)
    two = Responder(psk, prologue, bytes.fromhex(vector["resp_ephemeral"]), cipher)
    first, second, *transport = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]
    assert one.write(first[0]) == first[1]
    assert two.read(first[1]) == first[0]
    assert two.write(second[0]) == second[1]
    assert one.read(second[1]) == second[0]
    assert one.handshake_hash == two.handshake_hash == bytes.fromhex(vector["handshake_hash"])
    sides = [one.split(), two.split()]
    assert len(transport) == 4
    for turn, (payload, ciphertext) in enumerate(transport):
        sender, receiver = sides[turn % 2], sides[1 - turn % 2]
        assert sender.sending.encrypt(payload) == ciphertext
        assert receiver.receiving.decrypt(ciphertext) == payload


def test_the_vectors_cover_every_cipher():
    assert {vector["protocol_name"] for vector in VECTORS} == {
        f"Noise_NNpsk0_25519_{cipher}_SHA256" for cipher in CIPHERS
    }


# ---- the handshake ------------------------------------------------------------------------------


def test_payloads_arrive_and_are_not_readable_on_the_way():
    one, two = initiator(), responder()
    first = one.write(b"who I am")
    assert b"who I am" not in first
    assert two.read(first) == b"who I am"
    second = two.write(b"and who I am")
    assert b"and who I am" not in second
    assert one.read(second) == b"and who I am"


def test_every_tampered_first_message_is_refused():
    for message in tampered(initiator().write(b"hello")):
        with pytest.raises(NoiseError):
            responder().read(message)


def test_every_tampered_second_message_is_refused():
    two = responder()
    two.read(initiator().write(b"hello"))
    for message in tampered(two.write(b"welcome")):
        one = initiator()
        one.write(b"hello")
        with pytest.raises(NoiseError):
            one.read(message)


@pytest.mark.parametrize(
    "two",
    [responder(psk=b"K" * 32), responder(prologue=b"another cluster"), responder(prologue=b"")],
    ids=["psk", "prologue", "no prologue"],
)
def test_who_does_not_agree_beforehand_cannot_read_the_first_message(two: Responder):
    with pytest.raises(NoiseError, match="wrong seal"):
        two.read(initiator().write())


def test_two_ciphers_do_not_understand_each_other():
    with pytest.raises(NoiseError, match="wrong seal"):
        Responder(PSK, PROLOGUE, E_R, "ChaChaPoly").read(initiator().write())


def test_a_message_sent_back_to_its_sender_is_refused():
    one = initiator()
    with pytest.raises(NoiseError):
        one.read(one.write())


def test_two_initiators_do_not_meet():
    one, other = initiator(), initiator(key=b"j" * 32)
    one.write()
    with pytest.raises(NoiseError):
        one.read(other.write())


def test_an_answer_to_another_meeting_is_refused():
    """Recorded second messages are worth nothing: each initiator has a fresh key."""
    two = responder()
    two.read(initiator().write())
    recorded = two.write()
    one = initiator(key=b"j" * 32)
    one.write()
    with pytest.raises(NoiseError):
        one.read(recorded)


def test_a_recorded_first_message_is_read_but_makes_no_session():
    """Whoever repeats it has not the ephemeral key, and so can seal nothing."""
    recorded, one = initiator().write(b"hello"), initiator()
    one.write(b"hello")
    true, repeated = responder(), responder(key=b"R" * 32)
    assert true.read(recorded) == repeated.read(recorded) == b"hello"
    one.read(true.write())
    repeated.write()
    with pytest.raises(NoiseError):
        repeated.split().receiving.decrypt(one.split().sending.encrypt(b"more"))


class Claimed:
    """A private key whose public half is what somebody wishes it to be."""

    point: bytes

    @classmethod
    def from_private_bytes(cls, _: bytes) -> Claimed:
        return cls()

    def public_key(self) -> Claimed:
        return self

    def public_bytes_raw(self) -> bytes:
        return self.point


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_public_key_of_low_order_is_refused(point: bytes, monkeypatch: pytest.MonkeyPatch):
    """Else the session's keys would not depend on the other side's."""

    with monkeypatch.context() as patch:
        patch.setattr("pyhorde.cluster.transport.noise.X25519PrivateKey", Claimed)
        Claimed.point = point
        first = initiator().write()
    two = responder()
    two.read(first)
    with pytest.raises(NoiseError, match="public key"):
        two.write()
    assert two.next_step == "failed"


def test_the_hash_is_the_same_on_both_sides_and_another_in_each_meeting():
    hashes = set[bytes]()
    for key in (b"j" * 32, b"l" * 32):
        one, two = initiator(key=key), responder()
        two.read(one.write())
        one.read(two.write())
        assert one.handshake_hash == two.handshake_hash
        hashes.add(one.handshake_hash)
    assert len(hashes) == 2


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_a_wrong_length_are_refused(length: int):
    with pytest.raises(NoiseError, match="32 bytes"):
        initiator(psk=b"k" * length)
    with pytest.raises(NoiseError, match="32 bytes"):
        responder(key=b"k" * length)


# ---- steps --------------------------------------------------------------------------------------


def test_each_step_is_taken_once_and_in_order():
    one, two = initiator(), responder()
    with pytest.raises(NoiseError, match="not the next step, but write"):
        one.read(bytes(48))
    with pytest.raises(NoiseError, match="not the next step, but read"):
        two.write()
    first = one.write()
    with pytest.raises(NoiseError, match="not the next step, but read"):
        one.write()
    two.read(first)
    with pytest.raises(NoiseError, match="not the next step, but write"):
        two.read(first)
    with pytest.raises(NoiseError, match="not finished"):
        _ = two.handshake_hash
    one.read(two.write())
    one.split()
    assert one.next_step == "done"
    assert one.handshake_hash == two.handshake_hash
    with pytest.raises(NoiseError, match="not the next step, but done"):
        one.split()


def test_a_failed_step_is_the_last():
    first = initiator().write()
    two = responder()
    with pytest.raises(NoiseError):
        two.read(first[:-1] + bytes([first[-1] ^ 1]))
    for step in (lambda: two.read(first), two.write, two.split):
        with pytest.raises(NoiseError, match="but failed"):
            step()


def test_the_largest_payload_is_taken_and_a_larger_one_is_not():
    largest = bytes(MAX_HANDSHAKE_BYTES - 32 - TAG_BYTES)
    message = initiator().write(largest)
    assert len(message) == MAX_HANDSHAKE_BYTES
    assert responder().read(message) == largest
    with pytest.raises(NoiseError, match="too large"):
        initiator().write(largest + b"!")
    with pytest.raises(NoiseError, match="wrong length"):
        responder().read(message + b"!")


def test_reading_the_first_message_takes_no_key_agreement(monkeypatch: pytest.MonkeyPatch):
    """Strangers and wrong keys cost hashing only."""
    first = initiator().write()
    monkeypatch.delattr("pyhorde.cluster.transport.noise.X25519PrivateKey")
    responder().read(first)


# ---- the session --------------------------------------------------------------------------------


@each_cipher
def test_messages_are_opened_once_in_order_and_by_the_other_side_only(cipher: Cipher):
    one, two = met(cipher)
    first, second = one.sending.encrypt(b"first"), one.sending.encrypt(b"second")
    for wrong in (second, two.sending.encrypt(b"mine")):
        with pytest.raises(NoiseError, match="wrong seal"):
            two.receiving.decrypt(wrong)
    with pytest.raises(NoiseError, match="wrong seal"):
        one.receiving.decrypt(first)
    assert two.receiving.decrypt(first) == b"first"
    with pytest.raises(NoiseError, match="wrong seal"):
        two.receiving.decrypt(first)
    assert two.receiving.decrypt(second) == b"second"


@each_cipher
def test_a_tampered_message_is_refused_and_spends_no_number(cipher: Cipher):
    one, two = met(cipher)
    message = one.sending.encrypt(b"hello", b"ad")
    for changed in tampered(message):
        with pytest.raises(NoiseError):
            two.receiving.decrypt(changed, b"ad")
    with pytest.raises(NoiseError):
        two.receiving.decrypt(message, b"AD")
    assert two.receiving.nonce == 0
    assert two.receiving.decrypt(message, b"ad") == b"hello"


@each_cipher
def test_numbers_never_wrap(cipher: Cipher):
    one, two = met(cipher)
    one.sending.nonce = two.receiving.nonce = MAX_NONCE - 1
    last = one.sending.encrypt(b"the last")
    assert two.receiving.decrypt(last) == b"the last"
    for _ in range(2):
        with pytest.raises(NoiseError, match="used"):
            one.sending.encrypt(b"one more")
        with pytest.raises(NoiseError, match="used"):
            two.receiving.decrypt(last)


@each_cipher
def test_a_number_is_part_of_what_is_sealed(cipher: Cipher):
    states = [CipherState(b"k" * 32, cipher) for _ in range(2)]
    states[1].nonce = 2**32
    assert states[0].encrypt(b"hello") != states[1].encrypt(b"hello")


def test_long_messages_are_the_framers_business():
    one, two = met()
    text = bytes(200_000)
    assert two.receiving.decrypt(one.sending.encrypt(text)) == text


def test_the_two_directions_have_different_keys():
    one, _ = met()
    assert one.sending.encrypt(b"hello") != one.receiving.encrypt(b"hello")


def test_a_private_key_is_what_the_handed_in_bytes_say():
    public = X25519PrivateKey.from_private_bytes(E_I).public_key().public_bytes_raw()
    assert initiator().write()[:32] == public
