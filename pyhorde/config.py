"""Settings of a node: frozen, checked at construction, each with its unit and its trade-off.

Durations are seconds, sizes are bytes. A wrong value, or two that do not go together, raise
:class:`~pyhorde.errors.ConfigError` naming the option, the problem and the mend.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyhorde import strength
from pyhorde.errors import ConfigError

DEFAULT_ADDRESS: Final = "127.0.0.1:7411"
MAX_LABELS: Final = 64
SECRET_MIN: Final = 16
"""Bytes that a cluster secret must have at least."""
MAX_SECRETS: Final = 8
HOW_TO_MAKE_ONE: Final = "make a good one with: openssl rand -hex 32"
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOPBACK = re.compile(r"(127(\.\d+){3}|localhost|\[?::1\]?)")


def split_address(address: str, option: str = "address") -> tuple[str, int]:
    """``HOST:PORT`` as its two parts (``[::1]:7411`` for IPv6)."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise ConfigError(option, f"{address!r} is no HOST:PORT", f"for example {DEFAULT_ADDRESS}")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    return _LOOPBACK.fullmatch(address.rpartition(":")[0]) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipConfig:
    """How a node finds out who is there. The defaults suit one data centre."""

    probe_interval: float = 1.0
    """Seconds between two probes of this node. Lower: faster detection, more messages
    (one ping and one ack per node and interval, whatever the size of the cluster)."""

    probe_timeout: float = 0.5
    """Seconds a direct probe waits before others are asked to probe too. Raise it above the
    slowest round trip you consider healthy."""

    indirect_probes: int = 3
    """How many members are asked to probe one that did not answer."""

    suspicion_mult: float = 4.0
    """A suspect has ``suspicion_mult * max(1, log10(n)) * probe_interval`` seconds to refute once
    enough others agree. Raise it where nodes stall for long."""

    suspicion_max_mult: float = 2.0
    """Without any confirmation the suspicion lasts this many times longer."""

    stall_limit: float = 15.0
    """A member whose machine lives while its node does not answer is *stalled*: its processes stay
    where they are for so many seconds after its last sign of life. Raise it where handlers block
    for longer; lower it to be back sooner when a node hangs."""

    retransmit_mult: int = 4
    """Each update rides on ``retransmit_mult * ceil(log10(n + 1))`` messages."""

    redial_min: float = 0.1
    """First pause before a lost or refused address is dialled again; doubles each time."""

    redial_max: float = 2.0
    """Longest pause between two dials of an address. A healed partition is noticed within it."""

    dial_timeout: float = 2.0
    """Seconds for one dial with its handshake."""

    former_member_ttl: float = 7 * 24 * 3600.0
    """How long a dead or departed member is remembered and dialled again."""

    join_timeout: float = 2.0
    """Seconds a starting node tries its peers before it serves alone (and keeps trying)."""

    def __post_init__(self) -> None:
        if not 0 < self.probe_timeout < self.probe_interval:
            raise ConfigError(
                "membership.probe_timeout",
                f"{self.probe_timeout:g} s does not fit into probe_interval"
                f" = {self.probe_interval:g} s",
                "make it about half of probe_interval",
            )
        if self.suspicion_mult * self.probe_interval < 2 * self.probe_timeout:
            raise ConfigError(
                "membership.suspicion_mult",
                "a suspect would be declared dead before it can answer",
                "use 3 or more",
            )
        if self.stall_limit <= self.probe_interval:
            raise ConfigError("membership.stall_limit", "must be above probe_interval")
        if not 0 < self.redial_min <= self.redial_max:
            raise ConfigError("membership.redial_min", "must be above 0 and at most redial_max")

    @classmethod
    def local(cls) -> MembershipConfig:
        """Nodes on one machine: faster all round."""
        return cls(probe_interval=0.5, probe_timeout=0.25)

    @classmethod
    def wan(cls) -> MembershipConfig:
        """Nodes far apart: patient."""
        return cls(
            probe_interval=5.0,
            probe_timeout=3.0,
            suspicion_mult=6.0,
            stall_limit=60.0,
            redial_max=10.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationConfig:
    """How registry, specs, metadata and state reach the other nodes."""

    push_delay: float = 0.0
    """Seconds a change waits for company before it is pushed. Under load changes keep each other
    company anyway, since one push at a time is under way; higher: still fewer, larger messages."""

    sync_interval: float = 1.0
    """Seconds between two exchanges of version vectors with each peer; repairs lost pushes."""

    chunk_bytes: int = 256 * 1024
    """Largest amount of data in one replication message; keeps probes and calls flowing."""

    max_clock_skew: float = 0.5
    """A stamp further in the future than this many seconds is kept but not believed."""

    relay_above: int = 30
    """With more peers than this a node pushes to about as many of them as the square root of their
    number, and these pass it on. Lower: less to send for each node, one more hop."""

    audit_interval: float = 30.0
    """Seconds between two comparisons of digests with a random peer. A difference is repaired and
    counted: there should never be one."""

    remember_deletions: float = 3600.0
    """For this many seconds a member that is gone holds back the forgetting of deletions, so that
    what it wrote meanwhile is compared with them when it returns."""

    max_deletions: int = 10_000
    """With more deletions than this to remember, members that cannot be reached do not hold back
    any more."""

    def __post_init__(self) -> None:
        if not 1024 <= self.chunk_bytes <= 1024 * 1024:
            raise ConfigError("replication.chunk_bytes", "must lie between 1 KiB and 1 MiB")
        for option in ("sync_interval", "audit_interval"):
            if getattr(self, option) <= 0:
                raise ConfigError(f"replication.{option}", "must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """How processes run."""

    call_timeout: float = 5.0
    """Seconds a call waits for its answer unless it says otherwise."""

    start_timeout: float = 30.0
    """Seconds a constructor and ``init`` may take."""

    merge_timeout: float = 10.0
    """Seconds ``merge`` may take before the winner goes on with its own state."""

    mailbox_limit: int = 10_000
    """Messages that may wait for one process; the next one gets ``MailboxFull``."""

    max_restarts: int = 3
    """So many restarts of one process within ``max_seconds`` happen at once; after that each waits
    twice as long as the one before, up to ``restart_delay_max``. Siblings are never affected."""

    max_seconds: float = 5.0
    """The window of ``max_restarts``, seconds."""

    restart_delay_max: float = 30.0
    """Longest wait before a process that keeps failing is tried again."""

    adopt_delay: float = 2.0
    """Seconds a spec without any trace of an owner may be news still under way, before the node
    that placement names starts it."""

    checkpoint_interval: float = 1.0
    """A process with ``durability = "checkpoint"`` copies its state at most this many seconds
    after a change: a crash loses at most that much."""

    replicas: int = 1
    """On how many other nodes an answer of a ``replicated`` process must be safe before it is
    given (fewer only when fewer are alive)."""

    replicate_timeout: float = 20.0
    """Seconds to wait for those copies before the caller hears ``NotReplicated``. Longer than it
    takes to notice a silent node, so that such a node delays an answer but does not fail it."""

    recent_answers: int = 256
    """Answers each process remembers, so that a repeated request is answered, not run again."""

    drain_timeout: float = 20.0
    """Seconds a drain may take in all; what has not moved by then is named in the result."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of a certificate, its key, and the authority that stands behind all nodes; PEM."""

    cert: str
    key: str
    ca: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node."""

    name: str
    """Unique in the cluster; letters, digits, dot, dash, underscore; at most 63."""

    bind: str = DEFAULT_ADDRESS
    """``HOST:PORT`` to listen on; port 0 picks a free one."""

    advertise: str | None = None
    """``HOST:PORT`` under which peers reach this node; default: what it is bound to."""

    peers: tuple[str, ...] = ()
    """Addresses to join through; any live one is enough, and all are tried again for ever."""

    discovery: tuple[str, ...] = ()
    """URLs of where possible peers can be found, such as ``dns://horde.internal:7411``; several at
    once, and besides ``peers``."""

    members: tuple[str, ...] = ()
    """Names of the members that count, for quorums and as places for processes; none: whoever
    joins. ``node.cluster.set_members`` changes it for the whole cluster."""

    labels: tuple[tuple[str, str], ...] = ()
    """What to say of this node to others: pairs of texts."""

    data_dir: str | None = None
    """Directory of this node alone, in which it remembers its peers across restarts."""

    cluster: str = "horde"
    """Nodes of different clusters never connect."""

    secret: bytes | None = field(default=None, repr=False)
    """Shared by all nodes of a cluster; without it nobody gets in."""

    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """Several of them: the first one is spoken, all are understood. ``secret`` is the first."""

    tls: TlsFiles | None = None
    """The certificates by which nodes and clients speak TLS; None: nobody does."""

    insecure: bool = False
    """Allow an address beyond loopback without a secret."""

    membership: MembershipConfig = field(default_factory=MembershipConfig)
    replication: ReplicationConfig = field(default_factory=ReplicationConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "name",
                f"{self.name!r} cannot name a node",
                "use 1 to 63 letters, digits, dots, dashes or underscores",
            )
        host, _ = split_address(self.bind, "bind")
        if self.advertise is not None:
            split_address(self.advertise, "advertise")
        elif host in ("0.0.0.0", "::"):
            raise ConfigError(
                "bind",
                f"{self.bind} says nothing about how peers reach this node",
                "add --advertise HOST:PORT",
            )
        for peer in self.peers:
            split_address(peer, "peers")
        for name in self.members:
            if not _NAME.fullmatch(name):
                raise ConfigError("members", f"{name!r} cannot name a node")
        _check_labels(self.labels)
        given = self.secrets or ((self.secret,) if self.secret is not None else ())
        object.__setattr__(self, "secrets", tuple(dict.fromkeys(given)))
        object.__setattr__(self, "secret", given[0] if given else None)
        check_secrets(self.secrets)
        unproven = self.secret is None and self.tls is None
        if not is_loopback(self.bind) and unproven and not self.insecure:
            raise ConfigError(
                "bind",
                f"{self.bind} can be reached from other machines and the cluster has no secret",
                "give --secret-file FILE, or --insecure if the network itself is trusted",
            )

    def bound_to(self, address: str) -> NodeConfig:
        """The same settings after the listener got its real address."""
        return replace(self, bind=address, advertise=self.advertise or address)


def check_secrets(secrets: tuple[bytes, ...]) -> None:
    """Raise ``ConfigError`` for secrets that can be guessed, or too many of them."""
    if len(secrets) > MAX_SECRETS:
        raise ConfigError("secrets", f"at most {MAX_SECRETS} count at a time")
    for secret in secrets:
        if len(secret) < SECRET_MIN:
            problem = f"a secret has at least {SECRET_MIN} bytes, and this one {len(secret)}"
            raise ConfigError("secrets", problem, HOW_TO_MAKE_ONE)
        if (found := strength.bits(secret)) < strength.WEAK_BITS:
            problem = f"a secret of some {found:.0f} bits can be guessed"
            raise ConfigError("secrets", problem, HOW_TO_MAKE_ONE)


def _check_labels(labels: Any) -> None:
    pairs = isinstance(labels, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in labels)
    if not pairs or not all(isinstance(text, str) for pair in labels for text in pair):
        raise ConfigError("labels", "must be pairs of texts", 'for example (("zone", "eu-1"),)')
    if len(labels) > MAX_LABELS or len(dict(labels)) != len(labels):
        raise ConfigError("labels", f"at most {MAX_LABELS}, each with a key of its own")
    if any(not key or len(key) > 256 or len(value) > 256 for key, value in labels):
        raise ConfigError("labels", "keys have 1 to 256 letters, values at most 256")
