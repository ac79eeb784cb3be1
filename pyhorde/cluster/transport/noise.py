"""The Noise handshake of two nodes that share a key, and the sealing of what they say next. Pure.

Revision 34 of the Noise Protocol Framework (https://noiseprotocol.org/noise.html), and of that just
the pattern ``NNpsk0`` with X25519, SHA-256 and either AES-GCM or ChaCha20-Poly1305::

    initiator                              responder
       | -- psk, e, sealed payload ------>  |   shows that the initiator has the key
       | <- e, ee, sealed payload --------  |   shows the same of the responder, for this meeting
       | == sealed with fresh keys ======>  |   the first one shows that the initiator is here, now

What each message is worth: the first may have been recorded, so its payload is a claim until the
first sealed message of the initiator has been opened; and who learns the shared key later can read
it. The second answers this initiator only. From then on nobody can read, change, drop from the
middle, reorder or repeat anything unnoticed, and who learns the shared key later reads nothing.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import ClassVar, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KEY_BYTES: Final = 32
"""Of the shared key, of a private and of a public ephemeral key."""
TAG_BYTES: Final = 16
"""What sealing adds to a text."""
MAX_HANDSHAKE_BYTES: Final = 65_535
"""The framework's bound for a message; here it holds for the two messages of the handshake."""
MAX_NONCE: Final = 2**64 - 1
"""Reserved by the framework: the number that no message has."""

Cipher = Literal["AESGCM", "ChaChaPoly"]
Step = Literal["write", "read", "split", "done", "failed"]


class NoiseError(ValueError):
    """A message that cannot be opened, or a step that is not the next one. Nothing was believed."""


class CipherState:
    """One direction of a session: seals, or opens, one message after the other.

    Messages may be longer here than the 65,535 bytes of the framework: whoever frames them bounds
    them.
    """

    __slots__ = ("_open", "_order", "_seal", "_shift", "nonce")

    def __init__(self, key: bytes, cipher: Cipher = "AESGCM") -> None:
        aead: AESGCM | ChaCha20Poly1305
        self._order: Literal["big", "little"]
        # A nonce is four zero bytes and the number: big-endian for AES-GCM, else little-endian.
        if cipher == "AESGCM":
            aead, self._order, self._shift = AESGCM(key), "big", 0
        else:
            aead, self._order, self._shift = ChaCha20Poly1305(key), "little", 32
        self._seal, self._open = aead.encrypt, aead.decrypt
        self.nonce = 0
        """The number of the next message. It never wraps."""

    def encrypt(self, plaintext: bytes, ad: bytes | None = None) -> bytes:
        """The sealed text, ``TAG_BYTES`` longer. Raises ``NoiseError`` when no number is left."""
        nonce = self.nonce
        if nonce >= MAX_NONCE:
            raise NoiseError("all numbers of this session are used")
        self.nonce = nonce + 1
        return self._seal((nonce << self._shift).to_bytes(12, self._order), plaintext, ad)

    def decrypt(self, ciphertext: bytes, ad: bytes | None = None) -> bytes:
        """The text that was sealed. Raises ``NoiseError``; the number is then still to come."""
        nonce = self.nonce
        if nonce >= MAX_NONCE:
            raise NoiseError("all numbers of this session are used")
        number = (nonce << self._shift).to_bytes(12, self._order)
        try:
            plaintext = self._open(number, ciphertext, ad)
        except InvalidTag as error:
            raise NoiseError("a wrong seal") from error
        self.nonce = nonce + 1
        return plaintext


class Session(NamedTuple):
    """What a finished handshake leaves: a sealer for what is sent, an opener for what arrives."""

    sending: CipherState
    receiving: CipherState


class _Symmetric:
    """The framework's SymmetricState: the chaining key, the hash of all that was said, a key.

    In this pattern every key seals one text, so that the number of the text is always 0.
    """

    def __init__(self, cipher: Cipher, prologue: bytes) -> None:
        name = f"Noise_NNpsk0_25519_{cipher}_SHA256".encode()
        self._cipher: Cipher = cipher
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name).digest()
        self._chain = self.hash
        self._key: bytes
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chain, self._key = _hkdf(self._chain, material, 2)

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chain, more, self._key = _hkdf(self._chain, material, 3)
        self.mix_hash(more)

    def seal(self, plaintext: bytes) -> bytes:
        ciphertext = CipherState(self._key, self._cipher).encrypt(plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def open(self, ciphertext: bytes) -> bytes:
        plaintext = CipherState(self._key, self._cipher).decrypt(ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        first, second = _hkdf(self._chain, b"", 2)
        return CipherState(first, self._cipher), CipherState(second, self._cipher)


class _Handshake:
    """One side of one handshake. Each step is taken once, in order; a failed step is the last."""

    _steps: ClassVar[tuple[Step, ...]]

    def __init__(
        self, psk: bytes, prologue: bytes, ephemeral: bytes, cipher: Cipher = "AESGCM"
    ) -> None:
        """Takes the shared key, what both sides must agree on, and fresh randomness.

        ``psk`` and ``ephemeral`` have ``KEY_BYTES``; ``ephemeral`` must never serve twice. Raises
        ``NoiseError`` when one is of another length.
        """
        if len(psk) != KEY_BYTES or len(ephemeral) != KEY_BYTES:
            raise NoiseError(f"the shared and the ephemeral key have {KEY_BYTES} bytes each")
        self._psk = psk
        self._ephemeral = ephemeral
        self._private: X25519PrivateKey
        self._peer: bytes
        self._symmetric = _Symmetric(cipher, prologue)
        self._step = 0
        self._has_failed = False

    @property
    def next_step(self) -> Step:
        """What comes next: write, read or split; done after that, failed once a step failed."""
        if self._has_failed:
            return "failed"
        return self._steps[self._step] if self._step < len(self._steps) else "done"

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that both sides of this handshake share, and no other handshake has.

        Raises ``NoiseError`` before the last message.
        """
        if self.next_step not in ("split", "done"):
            raise NoiseError("the handshake is not finished")
        return self._symmetric.hash

    def write(self, payload: bytes = b"") -> bytes:
        """The next message, with this payload. Raises ``NoiseError``."""
        self._begin("write")
        if len(payload) > MAX_HANDSHAKE_BYTES - KEY_BYTES - TAG_BYTES:
            raise NoiseError("a payload that is too large")
        is_answer = self._step > 0
        if not is_answer:
            self._symmetric.mix_key_and_hash(self._psk)
        self._private = X25519PrivateKey.from_private_bytes(self._ephemeral)
        public = self._private.public_key().public_bytes_raw()
        self._mix_public(public)
        if is_answer:
            self._mix_shared()
        message = public + self._symmetric.seal(payload)
        self._end()
        return message

    def read(self, message: bytes) -> bytes:
        """The payload of the other side's message. Raises ``NoiseError``."""
        self._begin("read")
        if not KEY_BYTES + TAG_BYTES <= len(message) <= MAX_HANDSHAKE_BYTES:
            raise NoiseError("a message of a wrong length")
        is_answer = self._step > 0
        if not is_answer:
            self._symmetric.mix_key_and_hash(self._psk)
        self._peer = message[:KEY_BYTES]
        self._mix_public(self._peer)
        if is_answer:
            self._mix_shared()
        payload = self._symmetric.open(message[KEY_BYTES:])
        self._end()
        return payload

    def split(self) -> Session:
        """The two directions of the session, as this side sees them. Raises ``NoiseError``."""
        self._begin("split")
        first, second = self._symmetric.split()
        self._end()
        return Session(first, second) if self._steps[0] == "write" else Session(second, first)

    def _begin(self, step: Step) -> None:
        expected = self.next_step
        if step != expected:
            raise NoiseError(f"{step} is not the next step, but {expected}")
        self._has_failed = True  # until it has succeeded

    def _end(self) -> None:
        self._has_failed = False
        self._step += 1

    def _mix_public(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        self._symmetric.mix_key(public)

    def _mix_shared(self) -> None:
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(self._peer))
        except ValueError as error:  # all zero: the peer sent a point of low order
            raise NoiseError("a public key that is none") from error
        self._symmetric.mix_key(shared)


class Initiator(_Handshake):
    """Who dials: :meth:`write`, :meth:`read`, :meth:`split`."""

    _steps = ("write", "read", "split")


class Responder(_Handshake):
    """Who is dialled: :meth:`read`, :meth:`write`, :meth:`split`.

    Reading takes hashing only, so that it is cheap to find out which of several keys a stranger
    has: one responder for each key.
    """

    _steps = ("read", "write", "split")


def _hkdf(chain: bytes, material: bytes, count: int) -> tuple[bytes, ...]:
    """HKDF (RFC 5869) as the framework has it: ``count`` keys of 32 bytes."""
    secret = hmac.digest(chain, material, "sha256")
    keys: list[bytes] = []
    for number in range(1, count + 1):
        previous = keys[-1] if keys else b""
        keys.append(hmac.digest(secret, previous + bytes([number]), "sha256"))
    return tuple(keys)
