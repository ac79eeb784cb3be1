"""A node: the parts put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, overload

from pyhorde.cluster.cluster import Cluster
from pyhorde.cluster.member import Member, View
from pyhorde.cluster.membership.peers_file import PeersFile
from pyhorde.cluster.real import RealWorld
from pyhorde.cluster.transport.codec import MAX_META_BYTES, Codec
from pyhorde.cluster.transport.handshake import check_record
from pyhorde.config import NodeConfig, TlsFiles
from pyhorde.crdt import Joined, Replica
from pyhorde.errors import ConfigError, HordeError, NodeClosed, NotReady
from pyhorde.runtime.cell import Cell
from pyhorde.runtime.draining import Drain, Drained
from pyhorde.runtime.events import Events
from pyhorde.runtime.faces import ClusterFace, SupervisorFace
from pyhorde.runtime.keys import Keys
from pyhorde.runtime.messages import RUNTIME_MESSAGES
from pyhorde.runtime.names import Names
from pyhorde.runtime.offers import Offered, Offers
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process
from pyhorde.runtime.record import META, SPECS, STATES, check_name
from pyhorde.runtime.ref import Ref
from pyhorde.runtime.registry import Groups, Registries, Registry
from pyhorde.runtime.requests import Requests
from pyhorde.runtime.router import Router
from pyhorde.runtime.starting import Starter
from pyhorde.runtime.supervisor import Supervisor
from pyhorde.runtime.wishes import WISHES, Wishes
from pyhorde.seam import Listener, Stream, World

log = logging.getLogger("pyhorde.node")

WRAPPING: Final = 1024
"""Bytes that a value may have beside what its limit is about."""

S = TypeVar("S", bound=Process)
P = ParamSpec("P")


class Node:
    """One member of a horde. ``async with Node(...)`` joins, and on the way out drains and leaves.

    Several nodes may live in one OS process; they share nothing.
    """

    def __init__(
        self,
        name: str | None = None,
        bind: str | None = None,
        peers: Sequence[str] = (),
        processes: Offered = (),
        *,
        config: NodeConfig | None = None,
        world: World | None = None,
        **options: Any,
    ) -> None:
        if config is None:
            if name is None:
                raise ConfigError("name", "every node needs one", 'for example Node(name="a")')
            if isinstance(labels := options.get("labels"), Mapping):
                options["labels"] = tuple(labels.items())
            given = {"name": name, "bind": bind, "peers": tuple(peers) or None, **options}
            config = NodeConfig(**{k: v for k, v in given.items() if v is not None})
        elif name is not None or bind is not None or peers or options:
            raise TypeError("give either config or single settings, not both")
        self.config = config
        self.offers = Offers(processes)
        self.state = "new"
        self._world: World = world if world is not None else RealWorld()
        self._listener: Listener | None = None
        self._drain: Drain | None = None
        self._draining: asyncio.Task[Drained] | None = None
        self._closed: asyncio.Future[HordeError | None] | None = None
        self._failure: HordeError | None = None

    def __getattr__(self, name: str) -> Any:
        """Parts exist once the node has been started."""
        if name in ("registry", "supervisor", "cluster", "router", "names", "cluster_parts"):
            raise RuntimeError(
                f"node.{name}: the node has not been started; use `async with Node(...) as node`"
            )
        raise AttributeError(name)

    # ---- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join through any peer that answers, and return once in sync (or found alone).

        Raises ``ConfigError``, for a busy address or a name that a live node has.
        """
        if self.state != "new":
            raise RuntimeError("a node can be started only once")
        self.state = "joining"
        self._closed = asyncio.get_running_loop().create_future()
        if self.config.tls is not None:
            await self.use_tls(self.config.tls)
        self.mount(self._world.network)
        address = self.config.bind
        network = self._world.network
        self._listener = await network.listen(address, self._accept, self._turned_away)
        self.config = self.config.bound_to(self._listener.address)
        self._assemble()
        await self.cluster_parts.start()
        self._wishes.apply()
        self._supervisor.start()
        try:
            await self._joined()
        except BaseException:
            await self.aclose()
            raise
        self.state = "ready" if self.state == "joining" else self.state
        self._supervisor.look_at(self.names.orphans)
        fields = {"node": self.config.name, "address": self.config.advertise}
        log.info("ready", extra={"fields": {**fields, "members": len(self.view.present)}})

    def mount(self, network: Any) -> None:
        """Add what else is served on the node's address; called before it listens."""

    def _assemble(self) -> None:
        world, config = self._world, self.config
        memory = self._memory = PeersFile(config.data_dir, config.name, world)
        remembered = memory.load(config.membership.former_member_ttl)
        me = Member(
            name=config.name,
            address=config.advertise or config.bind,
            boot=world.token(),
            generation=max(int(world.wall() * 1000), memory.generation + 1),
            types=self.offers.types,
            labels=tuple(sorted(dict(config.labels).items())),
        )
        check_record(me, config.cluster)
        self._replica = Replica(me.boot, config.replication.max_clock_skew)
        self._replica.limits |= {META: MAX_META_BYTES + WRAPPING, WISHES: MAX_META_BYTES}
        cluster = Cluster(config, world, me, self._replica, RUNTIME_MESSAGES)
        self.names = Names(self._replica, world, cluster.view, config.name)
        self.names.on_written = cluster.written
        keys = Keys(self._replica, cluster.view)
        keys.on_written = cluster.written
        cluster.on_learned.append(self._learned)
        cluster.on_fatal = self._fail
        cluster.dialer.found("memory", remembered)
        memory.look = lambda: cluster.view
        cluster.on_changed.append(lambda _: memory.changed())
        codec = Codec({t: None for cls in self.offers.classes for t in cls.types})
        events = Events(keys, self.names, codec)
        parts = Parts(
            config,
            world,
            cluster,
            self.names,
            keys,
            events,
            self.offers,
            codec,
            Requests(cluster),
            self,
        )
        self._parts, self.cluster_parts = parts, cluster
        cells: dict[str, Cell] = {}
        self._supervisor = Supervisor(parts, cells)
        self.router = Router(parts, cells)
        self._supervisor.caller = self.router
        cluster.load = lambda: len(cells)
        self._starter = Starter(parts, self._supervisor)
        self._registries = Registries(parts, cells, self.router)
        self.registry = self._registries.default
        self._wishes = Wishes(parts)
        self.supervisor = SupervisorFace(
            parts, self._supervisor, self._starter, self.router, self._wishes
        )
        self.cluster = ClusterFace(parts, self._wishes)

    def _accept(self, stream: Stream) -> None:
        if self.state in ("joining", "ready", "draining") and hasattr(self, "_parts"):
            self.cluster_parts.links.accept(stream)
        else:
            stream.close()

    def _turned_away(self, remote: str, why: str, text: str) -> None:
        if hasattr(self, "_parts"):
            self.cluster_parts.links.turned_away(remote, why, text)

    async def _joined(self) -> None:
        assert self._closed is not None
        while not self.cluster_parts.in_sync:
            await self.cluster_parts.acks.changed(1.0)
            if self._failure is not None:
                raise self._failure
            if self.state == "closed":
                raise NodeClosed(self.config.name)

    def _learned(self, joined: Joined) -> None:
        specs = {key for table, key in joined.registers if table == SPECS}
        states = {key for table, key in joined.registers if table == STATES}
        self.names.learned(joined.of(""), specs, states)
        self._supervisor.contests.learned(joined, specs)
        self._parts.events.learned(joined)
        if any(table == WISHES for table, _ in joined.registers):
            self._wishes.apply()

    def _fail(self, error: HordeError) -> None:
        if self._failure is None:
            self._failure = error
            log.error("node_failed", extra={"fields": {"error": str(error)}})
            if self.state != "joining":
                self._stopping = asyncio.get_running_loop().create_task(self.aclose())

    async def drain(self) -> Drained:
        """Hand every process over, leave, and stop. Idempotent: later calls join the first one."""
        self.begin_drain()
        assert self._draining is not None
        return await asyncio.shield(self._draining)

    def begin_drain(self, linger: float = 0.0) -> None:
        """Start to drain in the background.

        ``linger``: seconds to go on answering after having left, for those who watch from outside.
        """
        if self._draining is None and self.state in ("ready", "joining"):
            self._drain = Drain(self._parts, self._supervisor)
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(
                self._drain_and_leave(linger), name="drain"
            )

    @property
    def drain_progress(self) -> dict[str, Any] | None:
        """How far a drain is; None when none was asked for."""
        return self._drain.result.progress() if self._drain is not None else None

    async def _drain_and_leave(self, linger: float) -> Drained:
        if self._drain is None:
            raise NodeClosed(self.config.name)
        self.state = "draining"
        note = self.cluster_parts.journal.note
        note("draining", {"member": self.config.name, "processes": self._drain.result.total})
        result = await self._drain.run(self.config.runtime.drain_timeout)
        left = list(result.left_behind)
        note("drained", {"total": result.total, "moved": result.moved, "left_behind": left})
        await self._parts.requests.settled(1.0)
        await self.cluster_parts.leave()
        self.state = "left"
        fields = {"moved": result.moved, "left_behind": len(result.left_behind)}
        log.info("left", extra={"fields": fields})
        await asyncio.sleep(linger)
        await self.aclose()
        return result

    async def aclose(self) -> None:
        """Stop at once, without handing anything over (``drain`` does). Idempotent."""
        if self.state in ("new", "closed"):
            return
        self.state = "closed"
        if hasattr(self, "_parts"):
            await self._supervisor.aclose()
            self._parts.events.close()
            self.cluster_parts.journal.close()
            await self.router.aclose()
            await self._parts.requests.aclose()
        if self._listener is not None:
            await self._listener.close()
        if hasattr(self, "_parts"):
            await self.cluster_parts.aclose()
            self._memory.close()
        await self._world.network.aclose()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(self._failure)

    async def wait_closed(self) -> HordeError | None:
        """Wait until the node has stopped; the error if it stopped by itself because of one."""
        if self._closed is None:
            return None
        return await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self.state == "ready":
            await self.drain()
        elif self._draining is not None and error is None:
            await asyncio.shield(self._draining)
        await self.aclose()

    # ---- what may be replaced meanwhile ------------------------------------------------------

    def use_secrets(self, secrets: Sequence[bytes]) -> bool:
        """From now on these secrets of the cluster count; the first one is spoken.

        Links that were made with one that counts no more are made anew. Whether they are others
        than before. Raises ``ConfigError``, and changes nothing, for bad ones.
        """
        config = replace(self.config, secret=None, secrets=tuple(secrets))
        if config.secrets == self.config.secrets:
            return False
        self.config = config
        if hasattr(self, "_parts"):
            self.cluster_parts.use_secrets(config.secrets)
        return True

    async def use_tls(self, files: TlsFiles) -> None:
        """From now on peers and clients speak TLS with these certificates.

        Connections that are there stay as they are. Raises ``ConfigError`` for bad ones, and then
        nothing changes.
        """
        await self._world.network.use_tls(files)
        self.config = replace(self.config, tls=files)

    # ---- what it is for ----------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The node's name."""
        return self.config.name

    @property
    def view(self) -> View:
        """The members as this node believes them to be now."""
        return self.cluster_parts.view

    @property
    def why_not_ready(self) -> str:
        """Why the node should get no new work; empty when it should."""
        reasons = {
            "new": "it has not been started",
            "joining": "it has not joined yet",
            "draining": "it is draining",
            "left": "it has left",
            "closed": "it has stopped",
        }
        return reasons.get(self.state, "")

    async def start_child(
        self, cls: type[S], name: str | None = None, /, *args: Any, **kwargs: Any
    ) -> Ref[S]:
        """Start a process somewhere in the cluster, with the constructor's arguments.

        Without a name it gets a generated one. Once this returns, the name can be used through any
        live node. Raises ``NameTaken``, ``StartFailed``, ``BadArguments``, ``UnknownType``.
        """
        return await self.supervisor.start_child(cls, name, *args, **kwargs)

    def whereis(self, name: str) -> Ref[Any] | None:
        """The process of this name, if it runs as far as this node knows. No I/O."""
        owner = self.names.owner(name)
        return Ref(name, self.router, self.offers.find(owner.type)) if owner else None

    def ref(self, name: str, cls: type[S] | None = None) -> Ref[S]:
        """A handle that finds the process when it is used."""
        return Ref(check_name(name), self.router, cls)

    @overload
    def open_registry(self, name: str, keys: Literal["unique"] = "unique") -> Registry: ...

    @overload
    def open_registry(self, name: str, keys: Literal["duplicate"]) -> Groups: ...

    def open_registry(self, name: str, keys: str = "unique") -> Registry | Groups:
        """A registry of its own, shared by all nodes that open this name.

        With ``duplicate`` keys any number of processes can stand under each key. Raises
        ``ConfigError`` when the name is in use for the other kind, ``NotReady`` before the start.
        """
        if keys not in ("unique", "duplicate"):
            raise ConfigError("keys", f"{keys!r} is no kind of keys", "use unique or duplicate")
        if not hasattr(self, "_registries"):
            raise NotReady(self.config.name, self.why_not_ready)
        found = self._registries
        return found.unique(name) if keys == "unique" else found.groups(name)

    def statistics(self) -> dict[str, int | float]:
        """Figures about this node, by name; counters end in ``_total``."""
        if not hasattr(self, "_parts"):
            raise NotReady(self.config.name, self.why_not_ready)
        links = self.cluster_parts.links.statistics
        replication = self.cluster_parts.replication_statistics
        view, meter = self.view, self.cluster_parts.meter
        detector, packets = self.cluster_parts.detector, self.cluster_parts.packets.statistics
        detection = detector.statistics
        return {
            "members_present": len(view.present),
            "processes_local": len(self._supervisor.local()),
            "processes_known": self.names.process_count(),
            "names": self.registry.count(),
            "orphans": len(self.names.orphans),
            "links": len(self.cluster_parts.links.boots),
            "sent_frames_total": links.sent_messages,
            "sent_bytes_total": links.sent_bytes,
            "received_messages_total": links.received_messages,
            "received_bytes_total": links.received_bytes,
            "claims_refused_total": self._replica.refused,
            "deletions_remembered": self._replica.deletions,
            "deletions_forgotten_total": replication.forgotten_deletions,
            "replica_size": self._replica.size,
            "replication_gaps_total": replication.gaps,
            "replication_ahead_total": replication.ahead,
            "skewed_stamps_total": replication.skewed,
            "audit_repairs_total": replication.repairs,
            "refused_frames_total": links.refused_frames,
            "refused_handshakes_total": links.refused_handshakes,
            "incarnation": view.me.incarnation,
            "health_score": detector.health.score,
            "loop_lag_seconds": meter.lag,
            "loop_blockages_total": meter.blockages,
            "stalls_total": detection.stalls,
            "probes_total": detection.probes,
            "failed_probes_total": detection.failed_probes,
            "answer_seconds": detection.answer_time,
            "suspicions_total": detection.suspicions,
            "refutations_total": detection.refutations,
            "deaths_declared_total": detection.deaths,
            "detection_seconds": detection.detection_time,
            "packets_sent_total": packets.sent,
            "packets_sent_bytes_total": packets.sent_bytes,
            "packets_received_total": packets.received,
            "packets_refused_total": packets.refused,
            **self._world.network.statistics(),
        }
