"""What the tests stand on: virtual time, one node's real runtime, and a feigned cluster."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

from pyhorde.cluster.member import Member, Status, View
from pyhorde.cluster.membership.membership import Changed
from pyhorde.cluster.transport.codec import Codec
from pyhorde.config import NodeConfig, RuntimeConfig
from pyhorde.crdt import Joined, Replica
from pyhorde.errors import HordeError, NotReplicated
from pyhorde.runtime.events import Events
from pyhorde.runtime.faces import SupervisorFace
from pyhorde.runtime.keys import Keys
from pyhorde.runtime.names import Names
from pyhorde.runtime.offers import Offers
from pyhorde.runtime.parts import Parts
from pyhorde.runtime.process import Process
from pyhorde.runtime.record import SPECS, STATES
from pyhorde.runtime.registry import Registries
from pyhorde.runtime.requests import Requests
from pyhorde.runtime.router import Router
from pyhorde.runtime.starting import Starter
from pyhorde.runtime.supervisor import Supervisor
from pyhorde.runtime.wishes import Wishes


class _Selector(selectors.SelectSelector):
    """Instead of waiting, it moves the clock on."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits and nothing is scheduled: a deadlock")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour passes at once."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def virtual_time(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run an async test on a :class:`VirtualLoop`; errors nobody caught fail it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        uncaught: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: uncaught.append(context))
            runner.run(test(*args, **kwargs))
        assert uncaught == []

    return run


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait, in virtual time, until the condition holds; returns its value."""
    for _ in range(20_000):
        if value := condition():
            return value
        await asyncio.sleep(0.01)
    raise AssertionError(f"never came: {what}")


async def turns(count: int = 20) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


class World:
    """A clock that is the loop's, and numbered tokens."""

    def __init__(self) -> None:
        self.count = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now()

    def token(self) -> str:
        self.count += 1
        return f"{self.count:012x}".ljust(32, "0")


class Clock:
    """A clock set by hand, for tests without a loop."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000.0 + self.time

    def token(self) -> str:
        raise AssertionError("not needed")


def member(name: str, *types: str, boot: str = "", **changes: Any) -> Member:
    """A member whose boot is ``boot-<name>`` unless told otherwise."""
    return Member(
        name=name,
        address=f"{name}:1",
        boot=boot or f"boot-{name}",
        generation=1,
        types=tuple(types),
        **changes,
    )


class Links:
    """Which boots are linked."""

    def __init__(self) -> None:
        self.boots: set[str] = set()


class FakeCluster:
    """A cluster in which only what the test says happens."""

    def __init__(self, me: Member, *others: Member) -> None:
        self.view = View(me, (me, *others))
        self.links = Links()
        self.links.boots = {m.boot for m in others}
        self.in_sync = True
        self.closed = False
        self.acks = self
        self.stall_guard = SimpleNamespace(is_doubtful=False)
        self.routes: dict[type[Any], Callable[[str, Any], None]] = {}
        self.on_changed: list[Callable[[Changed], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.sent: list[tuple[str, Any]] = []
        self.causes: list[str] = []
        """Why the own record was announced, each time."""
        self.copies_arrive = True
        self.asked: list[tuple[int, int | None, str]] = []
        self.caught_up_takes = 0.0
        self._waiters: set[asyncio.Future[None]] = set()

    def route(self, kind: type[Any], handler: Callable[[str, Any], None]) -> None:
        self.routes[kind] = handler

    def send(self, boot: str, message: Any) -> bool:
        if boot not in self.links.boots:
            return False
        self.sent.append((boot, message))
        return True

    def announce(self, *, cause: str = "", **changes: Any) -> None:
        self.causes.append(cause)
        self.see(replace(self.view.me, **changes))

    async def changed(self, timeout: float) -> bool:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    async def replicated(self, seq: int, copies: int | None, timeout: float, what: str) -> None:
        self.asked.append((seq, copies, what))
        try:
            async with asyncio.timeout(timeout):
                while seq > 0 and not self.copies_arrive:
                    await self.changed(timeout)
        except TimeoutError:
            raise NotReplicated(what, ("b",), timeout) from None

    async def caught_up(self, since: float, timeout: float) -> None:
        await asyncio.sleep(min(self.caught_up_takes, timeout))

    # ---- what the test makes happen ----

    def let_copies_arrive(self, *, arrive: bool = True) -> None:
        self.copies_arrive = arrive
        self.wake()

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def see(self, new: Member) -> None:
        """The view takes up this record of a member."""
        before = self.view.by_name.get(new.name)
        rest = [m for m in self.view.members if m.name != new.name]
        me = new if new.name == self.view.me.name else self.view.me
        self.view = View(me, tuple(sorted([*rest, new], key=lambda m: m.name)))
        for callback in self.on_changed:
            callback(Changed(before, new, "the test says so"))
        self.wake()

    def lose(self, name: str, status: Status = Status.DEAD) -> None:
        """A member goes, and its link with it."""
        gone = self.view.by_name[name]
        self.unlink(gone.boot)
        self.see(gone.at(status))

    def unlink(self, boot: str) -> None:
        self.links.boots.discard(boot)
        for callback in self.on_lost:
            callback(boot)
        self.wake()

    def link(self, boot: str) -> None:
        self.links.boots.add(boot)
        self.wake()

    def deliver(self, boot: str, message: Any) -> None:
        """A message from another node arrives."""
        self.routes[type(message)](boot, message)

    def messages(self, kind: type[Any]) -> list[Any]:
        return [message for _, message in self.sent if isinstance(message, kind)]


class Stage:
    """The real runtime of node ``a``, among feigned others."""

    def __init__(
        self, *classes: type[Process], others: tuple[Member, ...] = (), **settings: Any
    ) -> None:
        self.offers = Offers(classes)
        me = member("a", *self.offers.types)
        self.world = World()
        self.cluster = FakeCluster(me, *others)
        self.replica = Replica(me.boot)
        config = NodeConfig(name="a", runtime=RuntimeConfig(**settings))
        world: Any = self.world
        cluster: Any = self.cluster
        self.cluster.dialer = SimpleNamespace(strangers=lambda _: [])
        self.names = Names(self.replica, world, self.cluster.view, "a")
        declared = {t: None for cls in classes for t in cls.types}
        self.codec = Codec(declared)
        self.keys = Keys(self.replica, self.cluster.view)
        self.events = Events(self.keys, self.names, self.codec)
        self.requests = Requests(cluster)
        self.parts = Parts(
            config,
            world,
            cluster,
            self.names,
            self.keys,
            self.events,
            self.offers,
            self.codec,
            self.requests,
            self,
        )
        self.cells: dict[str, Any] = {}
        self._others: dict[str, Replica] = {}
        self.supervisor = Supervisor(self.parts, self.cells)
        self.router = Router(self.parts, self.cells)
        self.supervisor.caller = self.router
        self.starter = Starter(self.parts, self.supervisor)
        self.registries = Registries(self.parts, self.cells, self.router)
        self.registry = self.registries.default
        wishes = Wishes(self.parts)
        self.face = SupervisorFace(self.parts, self.supervisor, self.starter, self.router, wishes)

    async def __aenter__(self) -> Self:
        self.supervisor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.aclose()
        await self.router.aclose()
        await self.requests.aclose()
        await turns()

    def other(self, name: str) -> Replica:
        """The replica of another node; what it writes is brought over with ``bring``."""
        return self._others.setdefault(name, Replica(f"boot-{name}"))

    def bring(self, replica: Replica) -> Joined:
        """What another replica knows arrives here."""
        joined = Joined()
        for delta in replica.deltas_for(self.replica.vector):
            new = self.replica.join(delta, self.world.wall())
            joined.added += new.added
            joined.removed += new.removed
            joined.registers |= new.registers
        specs = {key for table, key in joined.registers if table == SPECS}
        states = {key for table, key in joined.registers if table == STATES}
        self.names.learned(joined.of(""), specs, states)
        self.supervisor.contests.learned(joined, specs)
        self.events.learned(joined)
        return joined

    def take(self, replica: Replica) -> None:
        """Another replica takes what is known here."""
        for delta in self.replica.deltas_for(replica.vector):
            replica.join(delta, self.world.wall())


async def outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """What came of it: the result, or the error of pyhorde that was raised."""
    try:
        return await work
    except HordeError as error:
        return error
