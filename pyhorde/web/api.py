"""The routes: each a few lines between a checked request and what the node does or knows."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from pyhorde import __version__
from pyhorde.errors import CannotTravel, NameNotFound
from pyhorde.runtime.record import check_name
from pyhorde.web import bodies, rows
from pyhorde.web.bodies import answer, name_in
from pyhorde.web.failures import boundary
from pyhorde.web.metrics import Metrics
from pyhorde.web.streaming import Streams

if TYPE_CHECKING:
    from pyhorde.node import Node

FLUSH_TIMEOUT: Final = 5.0
"""Seconds a write of metadata may take to reach every live member."""

LINGER: Final = 1.0
"""Seconds a drained node goes on answering, so that its last progress can be read."""

HEARSAY_TIMEOUT: Final = 1.0
"""Seconds that news of a process started on another node may take to get here."""

PAGE: Final = 1000
MAX_PAGE: Final = 10_000

Json = dict[str, Any]
_MISSING: Final = object()


class Api:
    """The HTTP API of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._streams = Streams()
        self._metrics = Metrics(
            node.statistics,
            lambda: rows.states(node.cluster_parts),
            lambda: self._streams.open,
        )
        self._routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/", self.index),
            ("GET", "/healthz", self.alive),
            ("GET", "/readyz", self.ready),
            ("GET", "/metrics", self.metrics),
            ("GET", "/v1/status", self.status),
            ("GET", "/v1/members", self.members),
            ("POST", "/v1/members/{name}/cordon", self.cordon),
            ("DELETE", "/v1/members/{name}/cordon", self.uncordon),
            ("GET", "/v1/events", self.events),
            ("GET", "/v1/processes", self.processes),
            ("POST", "/v1/processes", self.start),
            ("GET", "/v1/processes/{name}", self.process),
            ("DELETE", "/v1/processes/{name}", self.stop),
            ("POST", "/v1/processes/{name}/call", self.call),
            ("POST", "/v1/processes/{name}/cast", self.cast),
            ("GET", "/v1/registry/{key}", self.registered),
            ("GET", "/v1/meta/{key}", self.get_meta),
            ("PUT", "/v1/meta/{key}", self.put_meta),
            ("DELETE", "/v1/meta/{key}", self.delete_meta),
            ("POST", "/v1/drain", self.drain),
        )

    def mount(self, app: web.Application) -> None:
        """Add the routes, and the boundary around everything that the application serves."""
        calls = ", ".join(f"{verb} {path}" for verb, path, _ in self._routes)
        app.middlewares.append(boundary(self._metrics, f"there is: {calls}"))
        for verb, path, handler in self._routes:
            pattern = path.replace("}", ":[^/]+}")
            if verb == "GET":
                app.router.add_get(pattern, handler)
            else:
                app.router.add_route(verb, pattern, handler)

    # ---- the node ----------------------------------------------------------------------------

    async def index(self, request: web.Request) -> web.Response:
        links = {
            path.rpartition("/")[2] or "index": path
            for verb, path, _ in self._routes
            if verb == "GET" and "{" not in path
        }
        node = self._node.config.name
        return answer({"name": "pyhorde", "version": __version__, "node": node, "links": links})

    async def alive(self, request: web.Request) -> web.Response:
        node = self._node
        return answer({"status": "alive", "node": node.config.name, "state": node.state})

    async def ready(self, request: web.Request) -> web.Response:
        why = self._node.why_not_ready
        body: Json = {
            "ready": not why,
            "node": self._node.config.name,
            "state": self._node.state,
        }
        return answer({**body, "reason": why} if why else body, 503 if why else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        text, content_type = self._metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def status(self, request: web.Request) -> web.Response:
        node = self._node
        local = sum(1 for _ in node.supervisor.local())
        body: Json = {
            "node": node.config.name,
            "incarnation": node.view.me.incarnation,
            "state": node.state,
            "cluster": node.config.cluster,
            "version": __version__,
            "members": rows.members(node.cluster_parts),
            "processes": {"local": local, "total": node.names.process_count()},
            "names": node.registry.count(),
            **rows.node(node.cluster_parts),
        }
        if (progress := node.drain_progress) is not None:
            body["drain"] = progress
        return answer(body)

    async def members(self, request: web.Request) -> web.Response:
        return answer({"members": rows.members(self._node.cluster_parts)})

    async def cordon(self, request: web.Request) -> web.Response:
        name = name_in(request)
        await self._node.cluster.cordon(name)
        return self._member(name)

    async def uncordon(self, request: web.Request) -> web.Response:
        name = name_in(request)
        await self._node.cluster.uncordon(name)
        return self._member(name)

    def _member(self, name: str) -> web.Response:
        """What is to become of a member is accepted; it says so itself before long."""
        member = self._node.view.by_name.get(name)
        if member is None:
            raise NameNotFound(name)
        return answer(rows.member(self._node.cluster_parts, member), 202)

    async def events(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.serve(request, self._node.cluster_parts.journal)

    async def drain(self, request: web.Request) -> web.Response:
        self._node.begin_drain(linger=LINGER)
        progress = self._node.drain_progress or {}
        return answer({**progress, "node": self._node.config.name, "state": "draining"}, 202)

    # ---- processes ---------------------------------------------------------------------------

    async def processes(self, request: web.Request) -> web.Response:
        query = bodies.query_of(request, ("node", "prefix", "limit", "after", "local"))
        limit = bodies.whole_number(query.get("limit", str(PAGE)), "limit", MAX_PAGE)
        is_local = bodies.switch(query.get("local", "0"), "local")
        node = query.get("node") or None
        rows = self._local(query) if is_local else self._known(query)
        wanted = (row for row in rows if node in (None, row["node"]))
        page = list(islice(wanted, limit + 1))
        more = len(page) > limit
        return answer(
            {"processes": page[:limit], "next": page[limit - 1]["name"] if more else None}
        )

    async def start(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, bodies.START)
        if (name := body["name"]) is not None:
            check_name(name)
        launch = self._node.supervisor.launch
        name = await launch(body["type"], name, body["args"], body["kwargs"])
        return answer(await self._started(name, body["type"]), 201)

    async def process(self, request: web.Request) -> web.Response:
        name = name_in(request)
        if (row := self._row(name)) is None:
            raise NameNotFound(name)
        return answer(row)

    async def stop(self, request: web.Request) -> web.Response:
        await self._node.supervisor.terminate_child(name_in(request))
        return web.Response(status=204)

    async def call(self, request: web.Request) -> web.Response:
        name, body = name_in(request), await bodies.read(request, bodies.CALL)
        result = await self._node.router.call(
            name,
            body["method"],
            body["args"],
            body["kwargs"],
            timeout=float(body["timeout"]),
            request_id=body["request_id"],
        )
        return answer({"result": result})

    async def cast(self, request: web.Request) -> web.Response:
        name, body = name_in(request), await bodies.read(request, bodies.CAST)
        await self._node.router.cast(name, body["method"], body["args"], body["kwargs"])
        return answer({"name": name, "method": body["method"]}, 202)

    def _known(self, query: Mapping[str, str]) -> Iterator[Json]:
        """The processes that should run, as this node sees them, in order of their names."""
        rows = map(self._row, _selected(self._node.names.processes(), query))
        return (row for row in rows if row is not None)

    def _local(self, query: Mapping[str, str]) -> Iterator[Json]:
        """The processes that really run in this node, in order of their names."""
        cells = {cell.name: cell for cell in self._node.supervisor.local()}
        node = self._node.config.name
        for name in _selected(sorted(cells), query):
            cell = cells[name]
            yield _process(name, cell.type_name, node, cell.epoch, cell.restart)

    def _row(self, name: str) -> Json | None:
        names = self._node.names
        spec, owner = names.spec(name), names.owner(name)
        if spec is None:
            return None
        if owner is None:
            return _process(name, spec.type, None, names.floor(name), spec.restart)
        return _process(name, spec.type, owner.node, owner.epoch, spec.restart)

    async def _started(self, name: str, type_name: str) -> Json:
        """The process just started, once this node has heard where; it may have ended already."""
        names = self._node.names
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARSAY_TIMEOUT):
                while names.owner(name) is None or names.spec(name) is None:
                    await names.changed(name, HEARSAY_TIMEOUT)
        return self._row(name) or _process(name, type_name, None, names.floor(name), None)

    # ---- registry and metadata ---------------------------------------------------------------

    async def registered(self, request: web.Request) -> web.Response:
        key = name_in(request)
        try:
            held = self._node.registry.lookup(key)
        except CannotTravel:  # only other nodes know the value's type: answer with its bytes
            (held,) = self._node.registry.select(key, lambda entry: entry.key == key)
            held = held._replace(value=held.value.data)
        if held is None:
            raise NameNotFound(key)
        return answer({"key": key, "value": held.value, "process": held.process, "node": held.node})

    async def get_meta(self, request: web.Request) -> web.Response:
        key = name_in(request)
        value = self._node.registry.meta(key, _MISSING)
        if value is _MISSING:
            raise NameNotFound(key)
        return answer({"value": value})

    async def put_meta(self, request: web.Request) -> web.Response:
        key, body = name_in(request), await bodies.read(request, bodies.META)
        self._node.registry.put_meta(key, body["value"])
        await self._node.registry.flush(FLUSH_TIMEOUT)
        return answer({"value": body["value"]})

    async def delete_meta(self, request: web.Request) -> web.Response:
        key = name_in(request)
        if not self._node.registry.delete_meta(key):
            raise NameNotFound(key)
        await self._node.registry.flush(FLUSH_TIMEOUT)
        return web.Response(status=204)


def _process(name: str, type_name: str, node: str | None, epoch: int, restart: str | None) -> Json:
    return {"name": name, "type": type_name, "node": node, "epoch": epoch, "restart": restart}


def _selected(names: Sequence[str], query: Mapping[str, str]) -> Iterator[str]:
    """Of sorted names, those with the prefix asked for, after the one asked for."""
    prefix = query.get("prefix", "")
    first = max(bisect_left(names, prefix), bisect_right(names, query.get("after", "")))
    return takewhile(lambda name: name.startswith(prefix), islice(names, first, None))
