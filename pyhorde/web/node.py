"""The node as users get it: the runtime's node, reachable over HTTP."""

from __future__ import annotations

from pyhorde.cluster.transport.http import HttpNetwork
from pyhorde.node import Node as RuntimeNode
from pyhorde.web.api import Api


class Node(RuntimeNode):
    """A node of the cluster that answers HTTP on the address its peers use."""

    def mount(self, network: HttpNetwork) -> None:
        """Add the routes, before the network listens."""
        Api(self).mount(network.app)
