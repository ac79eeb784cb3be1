"""The way of a workload to real nodes: their JSON API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyhorde import Process
from pyhorde.client import Client
from tests.e2e.machines import Machine


class OverHttp:
    """A :class:`pyhorde.testing.work.Access`; ``up`` says which machines take requests now."""

    def __init__(self, machines: dict[str, Machine], up: Callable[[], list[str]]) -> None:
        self._clients = {name: Client(machine.address) for name, machine in machines.items()}
        self._up = up

    def machines(self) -> Sequence[str]:
        return self._up()

    def now(self) -> float:
        return time.monotonic()

    async def call_through(
        self,
        machine: str,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float,
        request_id: str | None,
    ) -> Any:
        client = self._clients[machine]
        return await asyncio.to_thread(
            client.call, name, method, args, kwargs, timeout=timeout, request_id=request_id
        )

    async def start_through(
        self, machine: str, cls: type[Process], name: str, args: Sequence[Any] = ()
    ) -> None:
        kind = f"{cls.__module__}:{cls.__qualname__}"
        await asyncio.to_thread(self._clients[machine].start, kind, name, args)

    async def stop_through(self, machine: str, name: str) -> None:
        await asyncio.to_thread(self._clients[machine].stop, name)
