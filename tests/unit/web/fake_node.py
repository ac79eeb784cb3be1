"""A node as far as the HTTP edge looks at it: real name table, everything else noted down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pyhorde.cluster.event_loop.lag import Blockage
from pyhorde.cluster.journal import Journal
from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.health import Health, Vitals
from pyhorde.cluster.real import RealWorld
from pyhorde.cluster.transport.codec import Codec
from pyhorde.cluster.transport.datagrams import PacketStatistics
from pyhorde.config import NodeConfig
from pyhorde.crdt import Replica
from pyhorde.errors import NameNotFound
from pyhorde.runtime.keys import UNIQUE, Keys
from pyhorde.runtime.names import Names
from pyhorde.runtime.record import FIRST_LIFE, SPECS, Spec
from pyhorde.runtime.registry import Registry


@dataclass(frozen=True)
class Badge:
    number: int


def member(name: str, **fields: Any) -> Member:
    address = f"10.0.0.{ord(name) - 96}:7411"
    return Member(name=name, address=address, boot=f"boot-{name}", generation=1, **fields)


MEMBERS = (
    member("a", incarnation=4, labels=(("zone", "x"),)),
    member("b", draining=True, cordoned=True),
    member("c", status=Status.DEAD),
)


class FakeCluster:
    """What membership knows: a table, and what ``a`` and ``b`` say of themselves."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.detector = SimpleNamespace(health=Health(), vitals=self.vitals)
        self.meter = SimpleNamespace(lag=0.0, last=None, blockages=0)
        self.packets = SimpleNamespace(statistics=PacketStatistics(sent=3, sent_bytes=300))
        self.journal = Journal("cafe" * 8, lambda: 1_700_000_000.0)
        self.said = {"boot-a": Vitals(2, 0, 1), "boot-b": Vitals(5, 3, 40)}

    def vitals(self, boot: str) -> Vitals | None:
        return self.said.get(boot)

    def age(self, name: str) -> float:
        return {"a": 12.5, "b": 3.0}.get(name, 0.0)

    def blocked(self, seconds: float, stack: str) -> None:
        self.meter.last, self.meter.blockages = Blockage(seconds, stack), 1


@dataclass
class FakeCell:
    name: str
    type_name: str = "app:Counter"
    epoch: int = 1
    restart: str = "permanent"


class FakeNode:
    """Node ``a``; ``b`` is present, ``c`` is dead. It is supervisor, router and registry too."""

    def __init__(self) -> None:
        self.config = NodeConfig(name="a", bind="127.0.0.1:0")
        self.state, self.why_not_ready = "ready", ""
        self.view = View(MEMBERS[0], MEMBERS)
        self.world = RealWorld()
        self.replicas = {m.name: Replica(m.boot) for m in MEMBERS}
        self.tables = {
            m.name: Names(self.replicas[m.name], self.world, self.view, m.name) for m in MEMBERS
        }
        self.names = self.tables["a"]
        self.codec = Codec([Badge])
        self.keys = Keys(self.replicas["a"], self.view)
        parts: Any = SimpleNamespace(keys=self.keys, names=self.names, codec=self.codec)
        self._registry = Registry(parts, {}, caller=parts, table=UNIQUE)
        self.lookup, self.select = self._registry.lookup, self._registry.select
        self.count = self._registry.count
        self.drain_progress: dict[str, Any] | None = None
        self.supervisor = self.router = self.registry = self.cluster = self
        self.cluster_parts = FakeCluster(self.view)
        self.cells: list[FakeCell] = []
        self.shared: dict[str, Any] = {}
        self.seen: list[tuple[Any, ...]] = []
        self.result: Any = None
        self.fails: BaseException | None = None
        self.numbers: dict[str, int | float] = {}
        self.on_launch: Callable[[str], Awaitable[None]] | None = None

    # ---- a little cluster ---------------------------------------------------------------------

    def runs(self, name: str, on: str = "a", epoch: int = 1, type: str = "app:Counter") -> None:
        """A process of this name is run by node ``on``, and everyone knows it."""
        table = self.tables[on]
        table.claim(name, epoch, type, FIRST_LIFE)
        table.publish(name, Spec(type, b"", "permanent", "none", epoch, FIRST_LIFE))
        self.sync(on)

    def sync(self, source: str) -> None:
        """Node ``a`` hears what ``source`` has."""
        if source == "a":
            return
        for delta in self.replicas[source].deltas_for(self.replicas["a"].vector):
            joined = self.replicas["a"].join(delta, self.world.wall())
            specs = {key for table, key in joined.registers if table == SPECS}
            self.names.learned(joined.of(""), specs)

    def registers(self, key: str, process: str, value: Any) -> None:
        self.keys.default.claim(key, process, self.codec.encode(value))

    def _noted(self, *what: Any) -> None:
        self.seen.append(what)
        if self.fails is not None:
            raise self.fails

    # ---- supervisor and router ------------------------------------------------------------------

    def local(self) -> list[FakeCell]:
        return self.cells

    async def launch(
        self, type_name: str, name: str | None, args: list[Any], kwargs: dict[str, Any]
    ) -> str:
        self._noted("launch", type_name, name, args, kwargs)
        name = name or "generated"
        if self.on_launch is None:
            self.runs(name)
        else:
            await self.on_launch(name)
        return name

    async def terminate_child(self, name: str) -> None:
        self._noted("terminate", name)
        if self.names.spec(name) is None:
            raise NameNotFound(name)

    async def call(self, *what: Any, timeout: float, request_id: str | None) -> Any:
        self._noted("call", *what, timeout, request_id)
        return self.result

    async def cast(self, *what: Any) -> None:
        self._noted("cast", *what)

    # ---- cluster --------------------------------------------------------------------------------

    async def cordon(self, name: str) -> None:
        self._wished("cordon", name)

    async def uncordon(self, name: str) -> None:
        self._wished("uncordon", name)

    def _wished(self, what: str, name: str) -> None:
        if name not in self.view.by_name:
            raise NameNotFound(name)
        self._noted(what, name)

    # ---- registry and node ----------------------------------------------------------------------

    def meta(self, key: str, default: Any) -> Any:
        return self.shared.get(key, default)

    def put_meta(self, key: str, value: Any) -> None:
        self.shared[key] = value
        self.seen.append(("put", key))

    def delete_meta(self, key: str) -> bool:
        if key not in self.shared:
            return False
        del self.shared[key]
        self.seen.append(("delete", key))
        return True

    async def flush(self, timeout: float) -> None:
        self._noted("flush", timeout)

    def begin_drain(self, linger: float = 0.0) -> None:
        self._noted("drain")
        self.drain_progress = {"total": 2, "moved": 0, "remaining": ["x", "y"]}

    def statistics(self) -> dict[str, int | float]:
        return self.numbers
