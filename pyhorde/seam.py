"""The seam between pyhorde and the world it runs in.

Everything a node takes from outside - the time, chance, fresh identities, the network - enters
through one :class:`World`. Production hands in :class:`pyhorde.cluster.real.RealWorld`; the
simulator hands in a world of its own, with a virtual clock and a seeded network, and the node
cannot tell the difference. Scheduling is asyncio's and needs no port: the simulator brings its
own event loop.

A lint rule (``ruff`` TID251, see ``pyproject.toml``) keeps every other module from going around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

from pyhorde.config import TlsFiles

T = TypeVar("T")


class Rng(Protocol):
    """The part of :class:`random.Random` that pyhorde draws from."""

    def random(self) -> float: ...

    def uniform(self, a: float, b: float) -> float: ...

    def randrange(self, start: int, /) -> int: ...

    def shuffle(self, x: MutableSequence[Any]) -> None: ...

    def sample(self, population: Sequence[T], k: int) -> list[T]: ...


class StreamOwner(Protocol):
    """Who is told what happens to a stream, in the event loop and never from within ``send``."""

    def frames_received(self, frames: Sequence[bytes]) -> None:
        """These frames have come, in order."""

    def stream_closed(self, reason: str) -> None:
        """The other end, or the network, has ended it: nothing follows. Not after ``close``."""

    def resume_writing(self) -> None:
        """The peer reads again: ``writable`` is true."""


class Stream(Protocol):
    """One duplex channel to a peer: whole frames, in order, at most once, or broken for good.

    A frame that :meth:`send` accepted may still be lost when the stream breaks; nobody is told
    which. Until :meth:`trust` frames are short, and larger ones break it; and it pauses after each
    that has come, until ``resume_reading``.
    """

    @property
    def remote(self) -> str:
        """The address of the other end, without its port; not an identity."""

    @property
    def ends(self) -> tuple[str, str]:
        """Where this end is and where the other one, as ``HOST:PORT``, as the network sees them."""

    @property
    def is_sealed(self) -> bool:
        """Whether the network itself keeps it secret and has proven who is there (mutual TLS)."""

    @property
    def writable(self) -> bool:
        """False while the peer reads too slowly: what can wait should."""

    def attach(self, owner: StreamOwner) -> None:
        """From now on ``owner`` is told; what has come before, too, and at once."""

    def trust(self) -> None:
        """The other end has proven itself: from now on frames may be large."""

    def send(self, frame: bytes) -> None:
        """Hand one frame to the network. Never waits; after the end it does nothing."""

    def pause_reading(self) -> None:
        """Let what comes wait where it is, until ``resume_reading``."""

    def resume_reading(self) -> None:
        """End ``pause_reading``."""

    def close(self) -> None:
        """Close, after what was sent. Idempotent, never raises."""

    def host_silence(self) -> float | None:
        """Seconds since the other machine's operating system last confirmed something sent.

        While this is small, that machine lives and holds the connection open, even when the node
        there does not answer. None where the operating system does not say.
        """


class Datagrams(Protocol):
    """A bound address for packets, each of which may be lost, late, doubled or out of order."""

    def send(self, address: str, data: bytes) -> None:
        """Send one packet to ``HOST:PORT``. Never waits, never raises, promises nothing."""

    async def close(self) -> None:
        """Stop. Idempotent."""


class Watchdog(Protocol):
    """Somebody outside of the event loop who looks at it."""

    def close(self) -> None:
        """Stop looking. Idempotent."""


class Listener(Protocol):
    """A bound address that accepts streams until it is closed."""

    @property
    def address(self) -> str:
        """The address really bound, as ``HOST:PORT`` (a port 0 has become a number)."""

    async def close(self) -> None:
        """Stop accepting, and close what was accepted. Idempotent."""


class Network(Protocol):
    """How nodes reach each other."""

    async def listen(
        self,
        address: str,
        accept: Callable[[Stream], None],
        refused: Callable[[str, str, str], None],
    ) -> Listener:
        """Accept streams on ``HOST:PORT``; ``accept`` is called with each.

        ``refused`` is told of those who are turned away before that: who it was, as in ``remote``,
        why in one word, and what was said.

        Raises :class:`~pyhorde.errors.ConfigError` when the address cannot be bound.
        """

    async def dial(self, address: str, timeout: float) -> Stream:
        """Open a stream to ``HOST:PORT`` within ``timeout`` seconds.

        Raises :class:`~pyhorde.errors.DialRefused` when the host answers that nobody listens
        there (evidence), and :class:`~pyhorde.errors.PeerUnreachable` for anything else (none).
        """

    async def use_tls(self, files: TlsFiles) -> None:
        """From now on, speak TLS with these certificates, with whoever connects or is dialled.

        Raises :class:`~pyhorde.errors.ConfigError`, and changes nothing, for bad ones.
        """

    async def datagrams(self, address: str, received: Callable[[bytes], None]) -> Datagrams | None:
        """Send and receive packets on ``HOST:PORT``; None where that is not to be had.

        ``received`` is called in the event loop, with each packet of at most 1,400 bytes.
        """

    def statistics(self) -> Mapping[str, int]:
        """Figures about connections, by name; counters end in ``_total``."""

    async def aclose(self) -> None:
        """Release what dialling holds on to. Idempotent."""


class World(Protocol):
    """Time, chance, identity and the network, as one node sees them."""

    @property
    def rng(self) -> Rng:
        """The node's source of chance."""
        ...

    @property
    def network(self) -> Network:
        """The node's way to its peers."""
        ...

    def now(self) -> float:
        """Seconds on a clock that never goes back; comparable only within one boot."""

    def wall(self) -> float:
        """Seconds since the Unix epoch, as far as this machine knows; may jump."""

    def token(self) -> str:
        """A fresh identifier of 128 random bits, as 32 hexadecimal digits."""

    def watch(
        self, beat: Callable[[], float], blocked: Callable[[float, str], None]
    ) -> Watchdog | None:
        """Have somebody look whether the event loop runs; None where nobody can.

        ``beat`` is the time (``now``) at which it ran last. When that gets old, ``blocked`` is
        called once, *from another thread*, with the age in seconds and the stack of what blocks.
        """
