"""Where possible peers are: from a list, a file, DNS, Kubernetes, or the local network.

What is found is where to knock, not who is there: whoever answers still has to prove that it
belongs to the cluster. So a wrong address costs a dial in vain, and nothing else.
"""

from pyhorde.cluster.discovery.discovery import Discovery, Figures
from pyhorde.cluster.discovery.schemes import source
from pyhorde.cluster.discovery.source import Source, Surroundings

__all__ = ["Discovery", "Figures", "Source", "Surroundings", "source"]
