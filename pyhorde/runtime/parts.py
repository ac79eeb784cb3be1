"""What the parts of one node's runtime share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.placement import Placement
from pyhorde.cluster.transport.codec import Codec
from pyhorde.config import NodeConfig
from pyhorde.runtime.events import Events
from pyhorde.runtime.keys import Keys
from pyhorde.runtime.names import Names
from pyhorde.runtime.offers import Offers
from pyhorde.runtime.requests import Requests
from pyhorde.seam import World


@dataclass(slots=True)
class Parts:
    """Put together by the node, handed to registry, supervisor and router."""

    config: NodeConfig
    world: World
    cluster: Cluster
    names: Names
    keys: Keys
    events: Events
    offers: Offers
    codec: Codec
    requests: Requests
    node: Any
    placement: Placement = field(default_factory=Placement)

    @property
    def boot(self) -> str:
        """This node's boot id."""
        return self.cluster.view.me.boot

    def home(self, name: str, type_name: str) -> str | None:
        """The member on which placement wants this process; None when nobody can run it."""
        return self.placement.home(name, self.cluster.view.candidates(type_name))
