"""Every error pyhorde raises, as one tree. Errors keep their data; the text is made from it.

::

    HordeError
    ├─ ConfigError                 a setting is wrong; exit code 2
    ├─ ClusterError
    │  ├─ PeerUnreachable          a node could not be reached (no evidence that it is dead)
    │  │  └─ DialRefused           its host says that nobody listens there (evidence)
    │  ├─ StreamClosed             the connection ended
    │  ├─ ProtocolError            the peer sent what it must not; its frame is refused
    │  ├─ HandshakeRefused         the peer does not let this node in, and says why
    │  ├─ DiscoveryError           a source of peers does not know any; the last known ones count
    │  ├─ NodeDraining, NodeClosed, NotReady, NoQuorum
    │  └─ NotReplicated            the write did not reach the nodes it had to reach in time
    ├─ RegistryError
    │  ├─ NameTaken, NameNotFound, InvalidName, NotOwner, WriteRefused
    └─ ProcessError
       ├─ UnknownType, UnknownMethod, BadArguments
       ├─ CallTimeout, Indeterminate, MailboxFull
       ├─ ProcessExited, StartFailed, Ignore
       ├─ NotHere                  it did not run there; callers are routed on (internal)
       ├─ RemoteError              the process's own code raised
       └─ CannotTravel             a value that the codec does not carry, or that is too large

``code`` is stable: HTTP bodies, ``--json`` output and metrics use it. An error crosses the network
as its code and data and comes out as the same class; nothing else is ever rebuilt from the wire.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False, repr=False)
class HordeError(Exception):
    """The root. ``hint``, where there is one, says what to do next."""

    code: ClassVar[str] = "horde_error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def data(self) -> dict[str, Any]:
        """The error's fields by name: what crosses the network."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        return self.__doc__ or self.code

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.data.items())
        return f"{type(self).__name__}({inside})"


@dataclass(eq=False, repr=False)
class ConfigError(HordeError, ValueError):
    """A setting is wrong: ``option`` has a ``problem``; ``hint`` is the mend."""

    option: str
    problem: str
    hint: str = ""
    http_status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return f"{self.option}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


class ClusterError(HordeError):
    """Something between nodes."""

    http_status: ClassVar[int] = 503


@dataclass(eq=False, repr=False)
class PeerUnreachable(ClusterError):
    """The node at ``address`` could not be reached."""

    address: str
    reason: str
    exit_code: ClassVar[int] = 4

    def __str__(self) -> str:
        return f"cannot reach {self.address}: {self.reason}"


@dataclass(eq=False, repr=False)
class DialRefused(PeerUnreachable):
    """The host at ``address`` answers that nobody listens there."""


@dataclass(eq=False, repr=False)
class StreamClosed(ClusterError):
    """The connection ended."""

    reason: str = ""

    def __str__(self) -> str:
        return f"connection closed: {self.reason}" if self.reason else "connection closed"


@dataclass(eq=False, repr=False)
class ProtocolError(ClusterError):
    """A peer sent something that the protocol does not allow."""

    problem: str
    http_status: ClassVar[int] = 400

    def __str__(self) -> str:
        return f"refused what the peer sent: {self.problem}"


@dataclass(eq=False, repr=False)
class HandshakeRefused(ClusterError):
    """The node at ``address`` does not let this one in; ``why`` is one of its stable reasons."""

    address: str
    why: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.address} refused to connect ({self.why}): {self.detail}"


@dataclass(eq=False, repr=False)
class DiscoveryError(ClusterError):
    """The ``source`` of peers has a ``problem``; ``hint`` is the mend.

    ``retry_after``: seconds after which trying again makes sense; None leaves it to the caller.
    """

    source: str
    problem: str
    hint: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


@dataclass(eq=False, repr=False)
class NodeDraining(ClusterError):
    """The node hands off its processes and takes no new ones."""

    node: str

    def __str__(self) -> str:
        return f"node {self.node!r} is draining; use another node"


@dataclass(eq=False, repr=False)
class NodeClosed(ClusterError):
    """The node has been stopped."""

    node: str

    def __str__(self) -> str:
        return f"node {self.node!r} has stopped"


@dataclass(eq=False, repr=False)
class NotReady(ClusterError):
    """The node has not joined yet."""

    node: str
    reason: str

    def __str__(self) -> str:
        return f"node {self.node!r} is not ready: {self.reason}"


@dataclass(eq=False, repr=False)
class NoQuorum(ClusterError):
    """Fewer nodes than needed are here."""

    present: int
    needed: int

    def __str__(self) -> str:
        return f"{self.present} of the {self.needed} nodes that are needed are here"


@dataclass(eq=False, repr=False)
class NotReplicated(ClusterError):
    """A write was made here but did not reach ``missing`` within ``timeout`` seconds."""

    what: str
    missing: tuple[str, ...] = ()
    timeout: float = 0.0

    def __str__(self) -> str:
        nodes = ", ".join(self.missing) or "enough other nodes"
        return f"{self.what} did not reach {nodes} within {self.timeout:g} s"


class RegistryError(HordeError):
    """Something about a name."""


@dataclass(eq=False, repr=False)
class NameTaken(RegistryError):
    """A process of this name exists already; ``owner`` is the node that runs it."""

    name: str
    owner: str
    http_status: ClassVar[int] = 409

    def __str__(self) -> str:
        where = f"it runs on node {self.owner!r}" if self.owner else "it is being taken over"
        return f"the name {self.name!r} is taken: {where}"


@dataclass(eq=False, repr=False)
class NameNotFound(RegistryError, LookupError):
    """Nothing has this name."""

    name: str
    http_status: ClassVar[int] = 404
    exit_code: ClassVar[int] = 3

    def __str__(self) -> str:
        return f"nothing is named {self.name!r}"


@dataclass(eq=False, repr=False)
class InvalidName(RegistryError, ValueError):
    """A name or key that cannot be one."""

    name: str
    problem: str
    http_status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return f"{self.name[:40]!r} cannot be a name: {self.problem}"


@dataclass(eq=False, repr=False)
class NotOwner(RegistryError):
    """Only the process that registered ``key`` may change it."""

    key: str
    owner: str
    http_status: ClassVar[int] = 409

    def __str__(self) -> str:
        return f"the key {self.key!r} belongs to {self.owner!r}"


@dataclass(eq=False, repr=False)
class WriteRefused(RegistryError):
    """What was to be written to ``key`` was not: what is there cannot be written over."""

    key: str
    problem: str
    http_status: ClassVar[int] = 409

    def __str__(self) -> str:
        return f"{self.key!r} was not written: {self.problem}"


class ProcessError(HordeError):
    """Something about one process."""


@dataclass(eq=False, repr=False)
class UnknownType(ProcessError):
    """No live node offers this type of process."""

    type: str
    offered: tuple[str, ...] = ()
    http_status: ClassVar[int] = 404
    exit_code: ClassVar[int] = 3

    def __str__(self) -> str:
        known = ", ".join(self.offered) or "none; start nodes with --app MODULE"
        return f"no live node offers the type {self.type!r} (offered: {known})"


@dataclass(eq=False, repr=False)
class UnknownMethod(ProcessError):
    """The type has no such method marked ``@call`` or ``@cast``."""

    type: str
    method: str
    known: tuple[str, ...] = ()
    http_status: ClassVar[int] = 404
    exit_code: ClassVar[int] = 3

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"{self.type} has no method {self.method!r} to call (it has: {known})"


@dataclass(eq=False, repr=False)
class BadArguments(ProcessError, TypeError):
    """The arguments do not fit the signature."""

    method: str
    problem: str
    http_status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return f"the arguments do not fit {self.method}: {self.problem}"


@dataclass(eq=False, repr=False)
class CallTimeout(ProcessError, TimeoutError):
    """No answer within ``timeout`` seconds; the call may still run."""

    name: str
    method: str
    timeout: float
    detail: str = ""
    http_status: ClassVar[int] = 504
    exit_code: ClassVar[int] = 5

    def __str__(self) -> str:
        text = f"no answer from {self.name!r} to {self.method} within {self.timeout:g} s"
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(eq=False, repr=False)
class Indeterminate(ProcessError):
    """The node running ``name`` was lost during the call: it may or may not have run."""

    name: str
    method: str
    reason: str
    http_status: ClassVar[int] = 503

    def __str__(self) -> str:
        return f"{self.method} on {self.name!r} may or may not have run: {self.reason}"


@dataclass(eq=False, repr=False)
class MailboxFull(ProcessError):
    """The process has too many messages waiting."""

    name: str
    limit: int
    http_status: ClassVar[int] = 429

    def __str__(self) -> str:
        return f"{self.name!r} has {self.limit} messages waiting and takes no more"


@dataclass(eq=False, repr=False)
class NotHere(ProcessError):
    """The request certainly did not run: ``name`` is not, or no longer, run by ``node``."""

    name: str
    node: str
    http_status: ClassVar[int] = 503

    def __str__(self) -> str:
        return f"{self.name!r} does not run on node {self.node!r} (any more)"


@dataclass(eq=False, repr=False)
class ProcessExited(ProcessError):
    """The process ended before it answered."""

    name: str
    reason: str
    http_status: ClassVar[int] = 410

    def __str__(self) -> str:
        return f"{self.name!r} ended before it answered: {self.reason}"


@dataclass(eq=False, repr=False)
class StartFailed(ProcessError):
    """The process could not be started: its constructor or ``init`` raised."""

    name: str
    type_name: str
    message: str
    http_status: ClassVar[int] = 422

    def __str__(self) -> str:
        return f"{self.name!r} could not be started: {self.type_name}: {self.message}"


@dataclass(eq=False, repr=False)
class Ignore(ProcessError):
    """Raised by ``init`` to say: do not start me. Nothing is kept of the start."""

    reason: str = ""
    http_status: ClassVar[int] = 422

    def __str__(self) -> str:
        return "the process chose not to start" + (f": {self.reason}" if self.reason else "")


@dataclass(eq=False, repr=False)
class RemoteError(ProcessError):
    """The process's own code raised ``type_name`` with this ``message``."""

    type_name: str
    message: str
    http_status: ClassVar[int] = 422

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


@dataclass(eq=False, repr=False)
class CannotTravel(ProcessError, ValueError):
    """A value that cannot be stored or sent."""

    what: str
    problem: str
    http_status: ClassVar[int] = 400

    def __str__(self) -> str:
        return f"{self.what} cannot travel: {self.problem}"


def _tree(root: type[HordeError]) -> dict[str, type[HordeError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE: Mapping[str, type[HordeError]] = _tree(HordeError)
"""Every class of the tree by its code: the closed list of what can come out of the wire."""


def to_wire(error: HordeError) -> list[Any]:
    """The error as plain data: ``[code, {field: value}]``."""
    return [error.code, error.data]


def from_wire(raw: Any) -> HordeError:
    """Rebuild an error of the tree; anything else becomes a :class:`RemoteError`."""
    try:
        code, data = raw
        wanted = BY_CODE[code]
        values = {f.name: data[f.name] for f in fields(wanted) if f.name in data}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return wanted(**values)
    except (KeyError, TypeError, ValueError):
        return RemoteError("UnknownError", reprlib.repr(raw)[:200])
