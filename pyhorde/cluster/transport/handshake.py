"""How two nodes meet: Noise ``NNpsk0``, by which each proves that it knows a secret. Pure.

::

    dialler                              acceptor
       | -- Hello (cluster, record,  -->  |   refuses: secret, cluster, address, self, name
       |      the address dialled)        |
       | <- Welcome (record, have) or     |   ``have``: a link to the dialler exists already
       |      Refusal ------------------  |
       | -- Confirm (record, joins) --->  |   the link is up; it replaces an older one

Hello and the answer are the two messages of the pattern, sealed from their first byte to their last
with what only holders of the secret know; Confirm is the first frame of the session that they make,
and shows that the dialler is there now: a Hello may have been recorded. Each side learns the record
of the other only after the other has proven itself; who has not gets one byte and a text that says
why, and whoever reads such a text believes nothing of it. The version is part of the prologue; the
address that was dialled is part of Hello, so that nobody can pass on messages between two nodes
that each believe to have met him. Source: T. Perrin, "The Noise Protocol Framework", revision 34.

Without a secret (loopback) the same messages travel as they are; where TLS has proven the peers and
seals what follows, frames are not sealed again.

Two nodes may dial each other at the same moment. A dialler that has a link by now gives up its own
attempt; one that has been dialled, too, and has to stand back (the other's boot id is the lower
one, or the other counts the link as up) waits for the end of that attempt first. Where both came
through all the same, the one that the lower boot id dialled stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, ClassVar, Final

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.transport.noise import CipherState, Initiator, NoiseError, Responder
from pyhorde.cluster.transport.wire import VERSION, Lane, Wire
from pyhorde.config import split_address
from pyhorde.errors import ConfigError, ProtocolError

PROLOGUE: Final = f"pyhorde/{VERSION}".encode()
MAX_TEXT: Final = 200
_NOISE, _REFUSED, _OPEN = b"\x00", b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class Hello:
    """Who dials, the address it was told to dial, and the one that this led to."""

    tag: ClassVar[int] = 60
    lane: ClassVar[Lane] = Lane.CONTROL
    cluster: str
    member: list[Any]
    dialled: str
    reached: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Who answers."""

    tag: ClassVar[int] = 61
    lane: ClassVar[Lane] = Lane.CONTROL
    member: list[Any]
    have: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not let in. ``why`` is one of cluster, address, self, name; or, unproven, anything.

    ``settled``: the node that refuses is in sync with the cluster, and knows who has which name.
    """

    tag: ClassVar[int] = 62
    lane: ClassVar[Lane] = Lane.CONTROL
    why: str
    detail: str
    holder: list[Any] | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Confirm:
    """The dialler is there now, with its record as it is by now. ``joins``: the link is up."""

    tag: ClassVar[int] = 63
    lane: ClassVar[Lane] = Lane.CONTROL
    member: list[Any]
    joins: bool


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The last message of a link: why it ends."""

    tag: ClassVar[int] = 64
    lane: ClassVar[Lane] = Lane.CONTROL
    reason: str


HANDSHAKE = Wire((Hello, Welcome, Refusal, Confirm))


class Unproven(Exception):
    """Somebody who has not proven anything is turned away; ``why`` is secret or malformed."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why, self.detail = why, detail


class Session:
    """What follows the handshake: each frame sealed with its number, or as it is.

    ``seal`` makes the next frame to send of a payload; ``open`` gives the payload of the next frame
    that came, and raises ``ValueError`` if it is another one.
    """

    __slots__ = ("open", "seal")

    def __init__(self, ciphers: tuple[CipherState, CipherState] | None = None) -> None:
        self.seal: Callable[[bytes], bytes] = _as_it_is
        self.open: Callable[[bytes], bytes] = _as_it_is
        if ciphers is not None:
            self.seal, self.open = ciphers[0].encrypt, ciphers[1].decrypt

    @property
    def is_sealed(self) -> bool:
        """Whether its frames are."""
        return self.seal is not _as_it_is


def _as_it_is(payload: bytes) -> bytes:
    return payload


class Dialling:
    """The dialler's side. ``first`` is what it sends first."""

    def __init__(self, psks: Sequence[bytes], ephemeral: bytes, hello: Hello) -> None:
        self._noise = Initiator(psks[0], PROLOGUE, ephemeral) if psks else None
        said = HANDSHAKE.encode(hello)
        self.first = _OPEN + said if self._noise is None else _NOISE + self._noise.write(said)

    def answer(self, frame: bytes) -> Welcome | Refusal:
        """What the other side said. Raises ``Unproven`` when it does not show who it is."""
        kind, rest = frame[:1], frame[1:]
        if kind == _REFUSED:
            raise Unproven(*_refused(rest))
        if kind != (_OPEN if self._noise is None else _NOISE):
            raise Unproven("secret", "only one of the two has a secret")
        if self._noise is not None:
            try:
                rest = self._noise.read(rest)
            except NoiseError:
                detail = "it does not know this cluster's secret"
                raise Unproven("secret", detail) from None
        said: Welcome | Refusal = _only(rest, (Welcome, Refusal))
        return said

    def session(self, *, sealed: bool) -> Session:
        """What follows; ``sealed``: the network does not seal it already."""
        return Session(self._noise.split() if self._noise is not None and sealed else None)


class Accepting:
    """The acceptor's side."""

    def __init__(self, psks: Sequence[bytes], ephemeral: bytes) -> None:
        self._psks = tuple(psks)
        self._ephemeral = ephemeral
        self._noise: Responder | None = None
        self.psk: bytes | None = None
        """The key by which the dialler has proven itself."""

    def hello(self, frame: bytes) -> Hello:
        """Who dials. Raises ``Unproven``."""
        kind, rest = frame[:1], frame[1:]
        if kind not in (_OPEN, _NOISE):
            raise Unproven("malformed", "something else than a greeting")
        if (kind == _NOISE) != bool(self._psks):
            without = "this node has no secret, and the dialler has one"
            with_it = "the dialler does not know this cluster's secret: it has none"
            raise Unproven("secret", with_it if self._psks else without)
        said = rest if kind == _OPEN else self._opened(rest)
        hello: Hello = _only(said, (Hello,))
        return hello

    def _opened(self, message: bytes) -> bytes:
        for psk in self._psks:
            noise = Responder(psk, PROLOGUE, self._ephemeral)
            try:
                said = noise.read(message)
            except NoiseError:
                continue
            self._noise, self.psk = noise, psk
            return said
        raise Unproven("secret", "the dialler does not know this cluster's secret")

    def answer(self, message: Welcome | Refusal) -> bytes:
        """The frame that says so."""
        said = HANDSHAKE.encode(message)
        return _OPEN + said if self._noise is None else _NOISE + self._noise.write(said)

    def session(self, *, sealed: bool) -> Session:
        """What follows."""
        return Session(self._noise.split() if self._noise is not None and sealed else None)


def turned_away(why: str, detail: str) -> bytes:
    """What somebody gets who has not proven anything."""
    return _REFUSED + f"{why}:{detail}".encode()[:MAX_TEXT]


def confirmation(payload: bytes) -> Confirm:
    """The first frame of a session. Raises ``ProtocolError``."""
    confirm: Confirm = _only(payload, (Confirm,))
    return confirm


def _refused(text: bytes) -> tuple[str, str]:
    why, _, detail = text[:MAX_TEXT].decode("utf-8", "replace").partition(":")
    known = why if why in ("secret", "malformed", "busy") else "secret"
    return known, detail or "it gives no reason"


def _only(payload: bytes, classes: tuple[type[Any], ...]) -> Any:
    message = HANDSHAKE.decode_greeting(payload)
    if not isinstance(message, classes):
        expected = " or ".join(cls.__name__ for cls in classes)
        raise ProtocolError(f"something else than {expected}")
    return message


def refusal(
    hello: Hello, cluster: str, view: View, linked: AbstractSet[str], here: AbstractSet[str]
) -> Refusal | None:
    """Why the dialler is not let in; None when it is. Raises ``ValueError`` for a bad record.

    ``here``: where this node can be reached.
    """
    if hello.cluster != cluster:
        return Refusal("cluster", f"this node belongs to the cluster {cluster!r}")
    guest = Member.from_wire(hello.member)
    if not is_here(hello, here):
        led = f", which led to {hello.reached}" if hello.reached != hello.dialled else ""
        own = " or ".join(sorted(here))
        detail = f"this node is not at {hello.dialled}{led}, but at {own}: see --advertise"
        return Refusal("address", detail[:MAX_TEXT])
    if guest.boot == view.me.boot:
        return Refusal("self", "the address leads back to the node itself")
    holder = view.by_name.get(guest.name)
    if holder is None or holder.boot == guest.boot or holder.address == guest.address:
        return None
    if holder.boot == view.me.boot or (holder.present and holder.boot in linked):
        detail = f"the name {guest.name!r} belongs to the live node at {holder.address}"
        return Refusal("name", detail, holder.to_wire())
    return None


def check_record(me: Member, cluster: str) -> None:
    """Raise ``ConfigError`` for a record that is too large for a greeting."""
    try:
        HANDSHAKE.decode_greeting(HANDSHAKE.encode(Hello(cluster, me.to_wire(), *[" " * 260] * 2)))
    except ProtocolError:
        problem = "this node's types and labels are too many to be told when it is introduced"
        raise ConfigError("labels", problem, "some 14 KiB of names are the most") from None


def is_here(hello: Hello, here: AbstractSet[str]) -> bool:
    """Whether one of the addresses at which this node can be reached is the one that was meant."""
    own = {normal(address) for address in here}
    return normal(hello.dialled) in own or normal(hello.reached) in own


def normal(address: str) -> str:
    """An address in the form in which two can be compared."""
    try:
        host, port = split_address(address)
    except ConfigError:
        return address
    try:
        return f"{ip_address(host)} {port}"
    except ValueError:
        return f"{host.lower().rstrip('.')} {port}"


def stands_back(me: str, peer: str, *, incoming: bool, have: bool) -> bool:
    """Whether the dialler ``me`` waits for the end of the attempt of ``peer``, which dials it."""
    return incoming and (have or peer < me)


def keeps_own(me: str, peer: str, *, dialled_meanwhile: bool, had: bool) -> bool:
    """Whether an acceptor keeps the link that it dialled itself while ``peer`` dialled, too.

    ``had``: the peer counted the link as up when it welcomed this node; so it has replaced it.
    """
    return dialled_meanwhile and (had or me < peer)
