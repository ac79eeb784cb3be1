"""``k8s+api://namespace?labels=app=x``: the pods themselves, terminating ones included.

Lists them once and watches them from there on: each event carries a version at which a watch can
go on after any break. When the server has forgotten that version, all is listed again.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final, Self

from pyhorde.cluster.discovery.addresses import DEFAULT_PORT, join_address
from pyhorde.cluster.discovery.hosts import LABEL
from pyhorde.cluster.discovery.kubernetes_api import Access, KubernetesApi
from pyhorde.cluster.discovery.location import Location
from pyhorde.cluster.discovery.pods import Expired, Lines, Pods, Unintelligible
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.errors import DiscoveryError
from pyhorde.seam import World

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE: Final = 100
"""Pods on one page of a list."""
WATCH: Final = 120.0
"""Seconds, up to half as many again, after which the server is asked to end a watch. A connection
that died without a word is given up ``SLACK`` later at the latest. Lower: that is noticed sooner,
and every node connects to the server more often."""
SLACK: Final = 10.0
PACE: Final = 1.0
"""Least seconds between two watches, however soon the first one ends."""


class Kubernetes:
    """The pods of one namespace that have these labels. Goes on where it was after an error."""

    def __init__(
        self, url: str, access: Access, namespace: str, labels: str, port: int, world: World
    ) -> None:
        self._url = url
        self._access = access
        self._namespace = namespace
        self._labels = {"labelSelector": labels} if labels else {}
        self._pods = Pods(port)
        self._world = world
        self._next = 0.0

    @classmethod
    def at(cls, location: Location, surroundings: Surroundings) -> Self:
        location.allow("api", "ca-file", "labels", "port", "token-file")
        options = location.options
        namespace = location.body.rstrip("/")
        if namespace and not LABEL.fullmatch(namespace):
            hint = "for example k8s+api://default?labels=app=horde; none means the pod's own"
            raise location.wrong(f"{namespace!r} is no namespace", hint)
        access = Access(
            _base(location),
            Path(options.get("token-file", ACCOUNT / "token")),
            Path(options.get("ca-file", ACCOUNT / "ca.crt")),
        )
        port = location.integer("port", DEFAULT_PORT, 1, 65535)
        labels = options.get("labels", "")
        return cls(location.url, access, namespace, labels, port, surroundings.world)

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        path = f"/api/v1/namespaces/{self._namespace or self._own_namespace()}/pods"
        async with KubernetesApi(self._url, self._access) as api:
            while True:
                await self._pace()
                try:
                    if not self._pods.version:
                        await self._list(api, path)
                        yield self._pods.addresses
                    async with aclosing(self._events(api, path)) as events:
                        async for addresses in events:
                            yield addresses
                except Expired:
                    self._pods.version = ""
                except Unintelligible as error:
                    self._pods.version = ""
                    problem = f"the Kubernetes API sent {error}"
                    raise DiscoveryError(self._url, problem) from error

    async def _list(self, api: KubernetesApi, path: str) -> None:
        self._pods.begin_list()
        options = {**self._labels, "limit": str(PAGE)}
        while more := self._pods.page(await api.page(path, options)):
            options["continue"] = more

    async def _events(self, api: KubernetesApi, path: str) -> AsyncGenerator[frozenset[str], None]:
        """The addresses as they are, and each time an event of the watch changes them."""
        seconds = int(WATCH * self._world.rng.uniform(1.0, 1.5))
        options = self._watch_options(seconds)
        lines = Lines()
        async with api.stream(path, options, seconds + SLACK) as stream:
            yield self._pods.addresses
            while piece := await stream.read():
                changes = [self._pods.event(line) for line in lines.feed(piece) if line.strip()]
                if any(changes):
                    yield self._pods.addresses

    def _watch_options(self, seconds: int) -> Mapping[str, str]:
        return {
            **self._labels,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._pods.version,
            "timeoutSeconds": str(seconds),
        }

    async def _pace(self) -> None:
        now = self._world.now()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + PACE

    def _own_namespace(self) -> str:
        path = ACCOUNT / "namespace"
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"cannot read the pod's own namespace: {error}"
            hint = "name it: k8s+api://NAMESPACE"
            raise DiscoveryError(self._url, problem, hint) from error
        if not LABEL.fullmatch(found):
            raise DiscoveryError(self._url, f"there is no namespace in {path}")
        return found


def _base(location: Location) -> str:
    """Where the API is: from the URL, or as Kubernetes tells each of its pods."""
    if api := location.options.get("api"):
        if not re.fullmatch(r"https?://[^\s?#@]+", api):
            hint = "for example api=https://10.96.0.1:443"
            raise location.wrong(f"api = {api!r} is no HTTP address", hint)
        return api.rstrip("/")
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if not host:
        raise location.wrong(
            "this is no pod: KUBERNETES_SERVICE_HOST is not set",
            "outside of Kubernetes use another source, or add api=https://HOST:PORT",
        )
    return "https://" + location.check(join_address(host, int(port) if port.isdigit() else 443))
