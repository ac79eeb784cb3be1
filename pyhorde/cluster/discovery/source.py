"""What a source of addresses promises, and what it may know of its node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from pyhorde.cluster.transport.keyring import Keyring
from pyhorde.seam import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The node, as far as a source needs to know it."""

    address: str
    """``HOST:PORT`` under which peers reach the node."""

    world: World
    """Its clock and its source of chance."""

    cluster: str = "horde"
    """Nodes of other clusters are not looked for."""

    keyring: Keyring = field(default_factory=Keyring, repr=False)
    """The cluster's secrets; empty where there are none."""


class Source(Protocol):
    """Somebody who knows addresses. The own one may be among them."""

    def watch(self) -> AsyncIterator[frozenset[str]]:
        """Yield all addresses, as ``HOST:PORT``, each time they may have changed.

        Raises :class:`~pyhorde.errors.DiscoveryError`, with cause and mend, when it does not know
        any more; after that it may be called again. One that ends has said its last word. What is
        yielded may come from outside as it is: whoever watches checks each address.
        """
