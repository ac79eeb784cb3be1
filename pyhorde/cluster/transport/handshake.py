"""How two nodes meet: three frames, each side proving that it knows the cluster's secret.

::

    dialler                          acceptor
       | -- Hello (record, nonce) -->  |   refuses: version, cluster, self, name
       | <- Welcome (record, nonce,    |
       |      proof, have)             |   ``have``: a link to the dialler exists already
       | -- Confirm (proof) -------->  |   the link is up; it replaces an older one

Two nodes may dial each other at the same moment. The dialler gives up its own attempt when it has a
link by now, or when the other's attempt is under way and that side has the lower boot id or says it
already counts as up. So exactly one of the two attempts survives, whichever frames come first.
"""

from __future__ import annotations

import hmac
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.transport.wire import VERSION, Lane, Wire


@dataclass(frozen=True, slots=True)
class Hello:
    """Who dials."""

    tag: ClassVar[int] = 60
    lane: ClassVar[Lane] = Lane.CONTROL
    version: int
    cluster: str
    member: list[Any]
    nonce: str
    proof: bytes = b""
    """That it knows the secret. It may have been recorded: enough to be heard, not to get in."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Who answers, with the proof that it knows the secret."""

    tag: ClassVar[int] = 61
    lane: ClassVar[Lane] = Lane.CONTROL
    member: list[Any]
    nonce: str
    proof: bytes
    have: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not let in. ``why`` is one of version, cluster, self, name, secret.

    ``settled``: the node that refuses is in sync with the cluster, and knows who has which name.
    ``proof``: that it knows the secret; without it nobody stops because of what it says.
    """

    tag: ClassVar[int] = 62
    lane: ClassVar[Lane] = Lane.CONTROL
    why: str
    detail: str
    holder: list[Any] | None
    settled: bool = False
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The dialler's proof, and its record as it is by now."""

    tag: ClassVar[int] = 63
    lane: ClassVar[Lane] = Lane.CONTROL
    member: list[Any]
    proof: bytes


HANDSHAKE = Wire((Hello, Welcome, Refusal, Confirm))


def proof(secret: bytes | None, role: str, hello: Hello, nonce: str) -> bytes:
    """What only a holder of the secret can say about this meeting; empty without a secret."""
    if secret is None:
        return b""
    text = "\0".join((role, hello.cluster, hello.nonce, nonce, str(hello.member[2])))
    return hmac.digest(secret, text.encode(), "sha256")


def hello_proof(secret: bytes | None, hello: Hello) -> bytes:
    """What shows that who dials knows the secret."""
    return proof(secret, "hello", hello, repr(hello.member))


def refusal_proof(secret: bytes | None, hello: Hello, refusal: Refusal) -> bytes:
    """What shows that who refuses this dialler knows the secret, and what it said."""
    said = (refusal.why, refusal.holder, refusal.settled)
    return proof(secret, "refuse", hello, repr(said))


def signed(secret: bytes | None, hello: Hello) -> Hello:
    """The same greeting with its proof."""
    return replace(hello, proof=hello_proof(secret, hello))


def proves(given: bytes, expected: bytes) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(given, expected)


def mismatch(hello: Hello, cluster: str) -> Refusal | None:
    """Why the dialler cannot belong here, whoever it is; its record may not even be readable."""
    if hello.version != VERSION:
        detail = f"this node speaks protocol version {VERSION}, the dialler {hello.version}"
        return Refusal("version", detail, None)
    if hello.cluster != cluster:
        return Refusal("cluster", f"this node belongs to the cluster {cluster!r}", None)
    return None


def refusal(hello: Hello, cluster: str, view: View, linked: AbstractSet[str]) -> Refusal | None:
    """Why the dialler is not let in; None when it is. Raises ``ValueError`` for a bad record."""
    wrong = mismatch(hello, cluster)
    if wrong is not None:
        return wrong
    guest = Member.from_wire(hello.member)
    if guest.boot == view.me.boot:
        return Refusal("self", "the address leads back to the node itself", None)
    holder = view.by_name.get(guest.name)
    if holder is None or holder.boot == guest.boot or holder.address == guest.address:
        return None
    if holder.boot == view.me.boot or (holder.present and holder.boot in linked):
        detail = f"the name {guest.name!r} belongs to the live node at {holder.address}"
        return Refusal("name", detail, holder.to_wire())
    return None


def gives_up(me: str, peer: str, *, linked: bool, incoming: bool, have: bool) -> bool:
    """Whether the dialler ``me``, welcomed by ``peer``, drops its attempt as a duplicate."""
    return linked or (incoming and (have or peer < me))
