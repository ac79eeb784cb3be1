"""The demo's view of a node: its HTTP interface, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

UNREACHABLE = 0
TRY_ANOTHER = frozenset({UNREACHABLE, 503, 504})
CALL_TIMEOUT = 5.0
_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status with its JSON body; status 0: nobody answered at that address."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def try_another(self) -> bool:
        """Whether the same request may succeed through another node."""
        return self.status in TRY_ANOTHER

    @property
    def problem(self) -> str:
        """What went wrong, in a few words."""
        if self.status == UNREACHABLE:
            return "no connection"
        error = self.body.get("error") or {}
        return f"{self.status} {error.get('type', '')}: {error.get('message', '')}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class Claim:
    """The node that runs a process, and the epoch under which it does."""

    node: str
    epoch: int


class Client:
    """Asks any node by its address; an unreachable one is an answer too, never an exception."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, method: str, address: str, path: str, body: Any = None) -> Answer:
        """One request; ``path`` is already percent-encoded."""
        url = URL(f"http://{address}{path}", encoded=True)
        limit = aiohttp.ClientTimeout(total=CALL_TIMEOUT + _MARGIN)
        try:
            async with self._session.request(method, url, json=body, timeout=limit) as response:
                is_json = response.content_type == "application/json"
                data = await response.json() if is_json else None
                return Answer(response.status, data if isinstance(data, dict) else {})
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return Answer(UNREACHABLE)

    async def ready(self, address: str) -> bool:
        """Whether the node has joined and is in sync."""
        return (await self.ask("GET", address, "/readyz")).status == 200

    async def alive_members(self, address: str) -> set[str]:
        """The names of the members that this node sees alive."""
        answer = await self.ask("GET", address, "/v1/members")
        members = answer.body.get("members", ())
        return {member["name"] for member in members if member["state"] == "alive"}

    async def running(self, address: str) -> list[str] | None:
        """The names of the processes really running in this node; None: it did not say."""
        answer = await self.ask("GET", address, "/v1/processes?local=1")
        if not answer.ok:
            return None
        return [process["name"] for process in answer.body["processes"]]

    async def claim(self, address: str, name: str) -> Claim | None:
        """Who runs ``name`` according to the node at ``address``; None: it does not know."""
        answer = await self.ask("GET", address, _path(name))
        return Claim(answer.body["node"], answer.body["epoch"]) if answer.ok else None

    async def start(self, address: str, type_: str, name: str, args: list[Any]) -> Answer:
        """Start a process somewhere in the cluster."""
        body = {"type": type_, "name": name, "args": args, "kwargs": {}}
        return await self.ask("POST", address, "/v1/processes", body)

    async def call(
        self, address: str, name: str, method: str, *args: Any, request_id: str | None = None
    ) -> Answer:
        """Call a method of a process through any node."""
        body = {"method": method, "args": list(args), "timeout": CALL_TIMEOUT}
        if request_id is not None:
            body["request_id"] = request_id
        return await self.ask("POST", address, f"{_path(name)}/call", body)


def _path(name: str) -> str:
    return f"/v1/processes/{quote(name, safe='')}"
