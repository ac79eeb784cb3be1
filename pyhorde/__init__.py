"""pyhorde: processes that outlive the machine they run on.

A peer-to-peer cluster runtime: every node runs a replicated registry and a distributed supervisor;
processes are found by name from anywhere, restarted elsewhere when their node dies, handed over
when it stops, and merged when a split cluster heals.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyhorde.cluster.journal import ClusterEvent
    from pyhorde.config import MembershipConfig, NodeConfig, ReplicationConfig, RuntimeConfig
    from pyhorde.errors import (
        BadArguments,
        CallTimeout,
        CannotTravel,
        ConfigError,
        DiscoveryError,
        HordeError,
        Ignore,
        Indeterminate,
        MailboxFull,
        NameNotFound,
        NameTaken,
        NodeClosed,
        NodeDraining,
        NoQuorum,
        NotReplicated,
        ProcessExited,
        RemoteError,
        StartFailed,
        UnknownMethod,
        UnknownType,
    )
    from pyhorde.runtime.process import Process, Resume, call, cast
    from pyhorde.runtime.ref import Ref
    from pyhorde.runtime.registry import Entry, Groups, Registry
    from pyhorde.runtime.watching import (
        MetaChanged,
        Missed,
        Registered,
        Unreadable,
        Unregistered,
    )
    from pyhorde.web.node import Node

__version__ = "0.1.0"

_HOME = {
    "pyhorde.cluster.journal": ("ClusterEvent",),
    "pyhorde.config": ("MembershipConfig", "NodeConfig", "ReplicationConfig", "RuntimeConfig"),
    "pyhorde.errors": (
        "BadArguments",
        "CallTimeout",
        "CannotTravel",
        "ConfigError",
        "DiscoveryError",
        "HordeError",
        "Ignore",
        "Indeterminate",
        "MailboxFull",
        "NameNotFound",
        "NameTaken",
        "NoQuorum",
        "NodeClosed",
        "NodeDraining",
        "NotReplicated",
        "ProcessExited",
        "RemoteError",
        "StartFailed",
        "UnknownMethod",
        "UnknownType",
    ),
    "pyhorde.runtime.process": ("Process", "Resume", "call", "cast"),
    "pyhorde.runtime.ref": ("Ref",),
    "pyhorde.runtime.registry": ("Entry", "Groups", "Registry"),
    "pyhorde.runtime.watching": (
        "MetaChanged",
        "Missed",
        "Registered",
        "Unreadable",
        "Unregistered",
    ),
    "pyhorde.web.node": ("Node",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = (
    "BadArguments",
    "CallTimeout",
    "CannotTravel",
    "ClusterEvent",
    "ConfigError",
    "DiscoveryError",
    "Entry",
    "Groups",
    "HordeError",
    "Ignore",
    "Indeterminate",
    "MailboxFull",
    "MembershipConfig",
    "MetaChanged",
    "Missed",
    "NameNotFound",
    "NameTaken",
    "NoQuorum",
    "Node",
    "NodeClosed",
    "NodeConfig",
    "NodeDraining",
    "NotReplicated",
    "Process",
    "ProcessExited",
    "Ref",
    "Registered",
    "Registry",
    "RemoteError",
    "ReplicationConfig",
    "Resume",
    "RuntimeConfig",
    "StartFailed",
    "UnknownMethod",
    "UnknownType",
    "Unreadable",
    "Unregistered",
    "__version__",
    "call",
    "cast",
)


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import pyhorde`` stays cheap."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'pyhorde' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
