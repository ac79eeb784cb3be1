"""The HTTP edge of a node: JSON API, metrics and health, on the node's own address."""

from pyhorde.web.node import Node

__all__ = ("Node",)
