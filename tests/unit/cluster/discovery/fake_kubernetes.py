"""The part of a Kubernetes API server that discovery speaks to: list and watch pods.

As the real one it keeps a history of versions that can be forgotten, answers lists page by page
from one version, ends watches when it likes, and knows tokens that stop being valid.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import ssl
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

Pod = dict[str, Any]
Selector = Callable[[Pod], bool]

CUT, END = object(), object()
"""What the test puts into a watch besides events: break the connection, or end the answer."""


class FakeKubernetes:
    """One namespace's pods. ``requests`` is what was asked: verb, query, token."""

    def __init__(self, namespace: str = "shop", tls: ssl.SSLContext | None = None) -> None:
        self.namespace = namespace
        self._tls = tls
        self.tokens = {"token-1"}
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self.refusals: list[tuple[str, web.Response]] = []
        self.gone_in_stream = False
        """How a watch from a forgotten version is told so: as an event, else as a status."""
        self.silent = False
        """Whether it takes requests and answers none."""
        self.between_pages: Callable[[], None] | None = None
        self._pods: dict[str, Pod] = {}
        self._version = 100
        self._oldest = 100
        self._history: list[tuple[int, str, Pod, Pod | None]] = []
        self._watches: dict[asyncio.Queue[Any], Selector] = {}
        self._turned = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(f"/api/v1/namespaces/{self.namespace}/pods", self._answer)
        self._server = TestServer(app, scheme="https" if self._tls else "http")
        await self._server.start_server(ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()
        await self._server.close()

    @property
    def base(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    # ---- what the test makes happen -------------------------------------------------------------

    def put(
        self, name: str, ip: str = "", phase: str = "Running", app: str = "horde", **metadata: Any
    ) -> None:
        """A pod is made, or changed."""
        before = self._pods.get(name)
        status: dict[str, Any] = {"phase": phase}
        if ip:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
        named = {"name": name, "namespace": self.namespace, "labels": {"app": app}, **metadata}
        self._pods[name] = {"kind": "Pod", "metadata": named, "spec": {}, "status": status}
        self._record("MODIFIED" if before else "ADDED", self._pods[name], before)

    def terminate(self, name: str) -> None:
        """The pod is told to end; it stays until it is deleted."""
        pod = copy.deepcopy(self._pods[name])
        pod["metadata"] |= {
            "deletionTimestamp": "2026-01-05T11:03:44Z",
            "deletionGracePeriodSeconds": 30,
        }
        before, self._pods[name] = self._pods[name], pod
        self._record("MODIFIED", pod, before)

    def delete(self, name: str) -> None:
        pod = self._pods.pop(name)
        self._record("DELETED", copy.deepcopy(pod), pod)

    def bookmark(self) -> None:
        """Time passes elsewhere in the cluster, and all who watch are told the version."""
        self._version += 10
        event = {"type": "BOOKMARK", "object": self._versioned({"kind": "Pod", "metadata": {}})}
        for queue in self._watches:
            queue.put_nowait(event)

    def forget(self) -> None:
        """The history up to here is compacted away; whoever watches goes on."""
        self._version += 1
        self._oldest = self._version
        self._history.clear()

    def expire(self) -> None:
        """All watches are told that they are too old, and end."""
        for queue in self._watches:
            queue.put_nowait({"type": "ERROR", "object": status_of(410, "Expired")})
        self.end()

    def say(self, line: Any) -> None:
        """Something else is sent to all who watch: bytes as they are, or an event."""
        for queue in self._watches:
            queue.put_nowait(line)

    def end(self) -> None:
        """All watches end in an orderly way."""
        self.say(END)

    def cut(self) -> None:
        """All watches lose their connection."""
        self.say(CUT)

    def refuse(self, verb: str, code: int, message: str, **headers: str) -> None:
        """The next request of this verb is refused."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = status_of(code, message)
        self.refusals.append((verb, web.json_response(body, status=code, headers=named)))

    async def watched(self, *, by: int = 1) -> None:
        """Wait until so many watches are open."""
        while len(self._watches) != by:
            self._turned.clear()
            await self._turned.wait()

    def asked(self, verb: str) -> list[dict[str, str]]:
        """The queries of all requests of this verb."""
        return [query for each, query, _ in self.requests if each == verb]

    # ---- answers --------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        verb = "watch" if request.query.get("watch") == "true" else "list"
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.requests.append((verb, dict(request.query), token))
        if self.silent:
            await asyncio.Event().wait()
        if token not in self.tokens:
            return web.json_response(status_of(401, "Unauthorized"), status=401)
        if self.refusals and self.refusals[0][0] == verb:
            return self.refusals.pop(0)[1]
        if verb == "watch":
            return await self._watch(request)
        return self._list(request.query)

    def _list(self, query: Any) -> web.Response:
        selected = selector(query.get("labelSelector", ""))
        if more := query.get("continue"):
            version, after = json.loads(base64.b64decode(more))
            if version < self._oldest:
                gone = status_of(410, "The provided continue parameter is too old")
                return web.json_response(gone, status=410)
        else:
            version, after = self._version, ""
        pods = [pod for pod in self._as_of(version) if selected(pod)]
        rest = [pod for pod in pods if pod["metadata"]["name"] > after]
        page = rest[: int(query.get("limit", 500))]
        metadata = {"resourceVersion": str(version)}
        if len(rest) > len(page):
            last = page[-1]["metadata"]["name"]
            metadata["continue"] = base64.b64encode(json.dumps([version, last]).encode()).decode()
            if self.between_pages:
                self.between_pages()
        return web.json_response({"kind": "PodList", "metadata": metadata, "items": page})

    def _as_of(self, version: int) -> list[Pod]:
        """The pods, by name, as they were at a version."""
        pods = dict(self._pods)
        for when, _, pod, before in reversed(self._history):
            if when > version:
                name = pod["metadata"]["name"]
                pods.pop(name, None)
                if before is not None:
                    pods[name] = before
        return [pods[name] for name in sorted(pods)]

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        assert query["allowWatchBookmarks"] == "true"
        since = int(query["resourceVersion"])
        if since < self._oldest and not self.gone_in_stream:
            return web.json_response(status_of(410, "too old resource version"), status=410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self._oldest:
            await self._write(response, {"type": "ERROR", "object": status_of(410, "too old")})
            return response
        queue: asyncio.Queue[Any] = asyncio.Queue()
        selected = selector(query.get("labelSelector", ""))
        for when, kind, pod, before in self._history:
            if when > since:
                self._offer(queue, selected, kind, pod, before)
        self._watches[queue] = selected
        self._turned.set()
        try:
            async with asyncio.timeout(float(query["timeoutSeconds"])):
                while (event := await queue.get()) is not END:
                    if event is CUT:
                        assert request.transport is not None
                        request.transport.abort()
                        break
                    await self._write(response, event)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            del self._watches[queue]
            self._turned.set()
        return response

    async def _write(self, response: web.StreamResponse, event: Any) -> None:
        line = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
        middle = len(line) // 2  # lines come in pieces
        await response.write(line[:middle])
        await response.write(line[middle:])

    def _record(self, kind: str, pod: Pod, before: Pod | None) -> None:
        self._version += 1
        pod = self._versioned(pod)
        if kind != "DELETED":
            self._pods[pod["metadata"]["name"]] = pod
        self._history.append((self._version, kind, pod, before))
        for queue, selected in self._watches.items():
            self._offer(queue, selected, kind, pod, before)

    def _versioned(self, pod: Pod) -> Pod:
        metadata = {**pod["metadata"], "resourceVersion": str(self._version)}
        return {**pod, "metadata": metadata}

    @staticmethod
    def _offer(
        queue: asyncio.Queue[Any], selected: Selector, kind: str, pod: Pod, before: Pod | None
    ) -> None:
        """An event, as somebody with this selector sees it."""
        was, is_now = before is not None and selected(before), selected(pod)
        if kind == "MODIFIED" and was != is_now:
            kind = "ADDED" if is_now else "DELETED"
        elif not is_now:
            return
        queue.put_nowait({"type": kind, "object": pod})


def selector(text: str) -> Selector:
    """``a=b,c=d`` as a question about a pod."""
    wanted = dict(part.split("=", 1) for part in text.split(",") if part)
    return lambda pod: wanted.items() <= pod["metadata"].get("labels", {}).items()


def status_of(code: int, message: str) -> dict[str, Any]:
    """A Status object, as every refusal carries it."""
    return {"kind": "Status", "status": "Failure", "message": message, "code": code}
