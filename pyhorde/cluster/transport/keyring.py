"""The cluster's secrets, and the keys that are made of them. Pure.

The first secret is the one that this node speaks with, and all of them are understood: so a secret
is changed by adding the new one everywhere, then putting it first everywhere, then dropping the old
one everywhere. No key that is handed out tells anything about the secret or about another key.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

MAX_SECRETS: Final = 8
"""What a stranger sends is tried with every secret: so many are enough to change them."""
_SALT: Final = b"pyhorde keyring"


class Keyring:
    """The secrets of one node, the first of which it speaks with; none: an open cluster."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        """Raises ``ValueError`` for an empty secret, and for more than ``MAX_SECRETS``."""
        self._secrets = _checked(secrets)
        self._generation = 0
        self._psks = _keys(self._secrets, b"handshake")
        self._announcement_keys = _keys(self._secrets, b"announcement")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Without repetitions, in order of preference."""
        return self._secrets

    @property
    def generation(self) -> int:
        """How many times the secrets have changed. Who keeps a key drops it when this rises."""
        return self._generation

    @property
    def psks(self) -> tuple[bytes, ...]:
        """For each secret the 32 bytes that a handshake shares; empty without a secret."""
        return self._psks

    @property
    def announcement_keys(self) -> tuple[bytes, ...]:
        """For each secret the key under which nodes announce themselves; empty without one."""
        return self._announcement_keys

    def replace(self, secrets: Sequence[bytes]) -> bool:
        """From now on these secrets count; whether they are others than before.

        Raises ``ValueError`` as the constructor does, and then nothing has changed.
        """
        checked = _checked(secrets)
        if checked == self._secrets:
            return False
        self._secrets = checked
        self._psks = _keys(checked, b"handshake")
        self._announcement_keys = _keys(checked, b"announcement")
        self._generation += 1
        return True

    def packet_key(self, index: int, cluster: str, boot: bytes) -> bytes:
        """32 bytes that only packets of this boot are sealed with, made of the secret at ``index``.

        Without a secret there is one key, of index 0, that everybody knows: it guards against
        accidents only. Raises ``IndexError`` where there is no such secret.
        """
        secret = self._secrets[index] if self._secrets or index else b""
        name = cluster.encode()
        return _derived(secret, b"packet", len(name).to_bytes(4, "big"), name, boot)

    def packet_keys(self, cluster: str, boot: bytes) -> tuple[bytes, ...]:
        """The key of :meth:`packet_key` for every secret, in order; at least one."""
        count = max(1, len(self._secrets))
        return tuple(self.packet_key(index, cluster, boot) for index in range(count))


def _checked(secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    checked = tuple(dict.fromkeys(secrets))
    if not all(checked):
        raise ValueError("a secret is not empty")
    if len(checked) > MAX_SECRETS:
        raise ValueError(f"at most {MAX_SECRETS} secrets")
    return checked


def _keys(secrets: tuple[bytes, ...], label: bytes) -> tuple[bytes, ...]:
    return tuple(_derived(secret, label) for secret in secrets)


def _derived(secret: bytes, label: bytes, *context: bytes) -> bytes:
    """HKDF with SHA-256 (RFC 5869), of which one block is enough."""
    extracted = hmac.digest(_SALT, secret, "sha256")
    return hmac.digest(extracted, label + b"\0" + b"".join(context) + b"\x01", "sha256")
