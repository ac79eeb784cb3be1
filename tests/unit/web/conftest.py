"""A fake node behind the real application, and a client that sends paths as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from pyhorde.cluster.transport.http import HttpNetwork
from pyhorde.web.api import Api
from tests.unit.web.fake_node import FakeNode


class Edge:
    """The node, and what it answers."""

    def __init__(self, node: FakeNode, client: TestClient[Any, Any]) -> None:
        self.node = node
        self.client = client
        self.headers: Any = {}

    async def ask(
        self, verb: str, path: str, body: bytes | None = None, **fields: Any
    ) -> tuple[int, Any]:
        """Status and body (None when empty); ``fields`` are sent as a JSON object."""
        headers = fields.pop("headers", {})
        how: dict[str, Any] = {"json": fields} if fields else {"data": body and BytesIO(body)}
        url = URL(path, encoded=True)
        async with self.client.request(verb, url, headers=headers, **how) as response:
            self.headers = response.headers
            raw = await response.read()
            if not raw:
                return response.status, None
            assert response.content_type == "application/json", raw
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        status, body = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def refused(self, verb: str, path: str, body: bytes | None = None, **fields: Any) -> Any:
        """The error's body, with the HTTP status under ``status``."""
        status, answer = await self.ask(verb, path, body, **fields)
        assert set(answer) == {"error"}, answer
        return {**answer["error"], "status": status}


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    node, network = FakeNode(), HttpNetwork()
    Api(node).mount(network.app)

    async with TestClient(TestServer(network.app)) as client:
        yield Edge(node, client)
        node.cluster_parts.journal.close()
