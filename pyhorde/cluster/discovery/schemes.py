"""Which scheme is which source; entry points of the group ``pyhorde.discovery`` add others.

The entry point's name is the scheme; it leads to a callable that takes the URL and the node's
:class:`~pyhorde.cluster.discovery.source.Surroundings` and returns a source. The schemes of pyhorde
itself cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from pyhorde.cluster.discovery.file import File
from pyhorde.cluster.discovery.hosts import Hosts
from pyhorde.cluster.discovery.kubernetes import Kubernetes
from pyhorde.cluster.discovery.location import Location, did_you_mean
from pyhorde.cluster.discovery.multicast import Multicast
from pyhorde.cluster.discovery.source import Source, Surroundings
from pyhorde.cluster.discovery.srv import Srv
from pyhorde.cluster.discovery.static import Static
from pyhorde.errors import ConfigError

GROUP: Final = "pyhorde.discovery"
SCHEMES: Final[Mapping[str, Callable[[Location, Surroundings], Source]]] = {
    "static": Static.at,
    "file": File.at,
    "dns": Hosts.at,
    "dns+srv": Srv.at,
    "k8s": Hosts.of_kubernetes,
    "k8s+api": Kubernetes.at,
    "multicast": Multicast.at,
}


def source(url: str, surroundings: Surroundings) -> Source:
    """The source that a URL means.

    Raises :class:`~pyhorde.errors.ConfigError` with the problem and the mend.
    """
    location = Location.parse(url)
    if make := SCHEMES.get(location.scheme):
        return make(location, surroundings)
    plugged = {point.name.lower(): point for point in entry_points(group=GROUP)}
    point = plugged.get(location.scheme)
    if point is None:
        known = [*SCHEMES, *plugged]
        hint = did_you_mean(location.scheme, known, f"there are {', '.join(known)}")
        raise location.wrong(f"there is no scheme {location.scheme!r}", hint)
    return _plugged(point, location, surroundings)


def _plugged(point: EntryPoint, location: Location, surroundings: Surroundings) -> Source:
    try:
        made: Source = point.load()(location.url, surroundings)
    except ConfigError:
        raise
    except Exception as error:
        raise location.wrong(
            f"the plug-in {point.value} failed: {type(error).__name__}: {error}",
            f"whoever wrote {point.value} can mend it",
        ) from error
    if not callable(getattr(made, "watch", None)):
        problem = f"the plug-in {point.value} made no source, but a {type(made).__name__}"
        raise location.wrong(problem, "a source has a method watch")
    return made
