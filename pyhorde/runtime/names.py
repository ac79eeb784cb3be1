"""The name table: every spec, claim and state record, as this node knows them, and the writes.

An index over the replica, kept current key by key. A claim is *visible* while its boot is a present
member; the visible claim of the highest rank is the *owner* (and a process's own name comes before
a key registered for another one). A name with a spec and no visible
claim is an *orphan*. Reads are dictionary look-ups and never do I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from pyhorde.cluster.member import View
from pyhorde.crdt import Replica
from pyhorde.runtime import record
from pyhorde.runtime.record import SPECS, STATES, Claim, Ended, Spec, StateRecord
from pyhorde.seam import World

RETIRE_AFTER: Final = 10.0
"""Seconds after which a boot that is no member will not become one any more."""
_NO_CLAIMS: Final[tuple[Claim, ...]] = ()


class Names:
    """What is known and said about every name."""

    def __init__(self, replica: Replica, world: World, view: View, node: str) -> None:
        self._replica = replica
        self._world = world
        self._view = view
        self._node = node
        self._specs: dict[str, Spec] = {}
        self._claims: dict[str, tuple[Claim, ...]] = {}
        self._visible: dict[str, tuple[Claim, ...]] = {}
        self._keys_of: dict[str, set[str]] = {}
        self._held: dict[str, set[str]] = {}
        self._strangers: dict[str, float] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self.orphans: dict[str, float] = {}
        """Names with a spec but no owner, and since when."""
        self.on_changed: Callable[[set[str]], None] = lambda _: None
        self.on_written: Callable[[], None] = lambda: None

    # ---- reading -----------------------------------------------------------------------------

    def owner(self, name: str) -> Claim | None:
        """The claim of the node that runs the process of this name."""
        claims = self._visible.get(name)
        return claims[0] if claims and claims[0].is_process else None

    def holder(self, key: str) -> Claim | None:
        """The claim that holds this key: a process's own name, or a key registered for one."""
        claims = self._visible.get(key)
        return claims[0] if claims else None

    def visible(self, key: str) -> tuple[Claim, ...]:
        """All visible claims, highest rank first; two or more during a conflict."""
        return self._visible.get(key, _NO_CLAIMS)

    def spec(self, name: str) -> Spec | None:
        """What should run under this name; None when nothing should."""
        return self._specs.get(name)

    def keys(self) -> Iterator[str]:
        """Every key with a visible claim."""
        return iter(self._visible)

    def count(self) -> int:
        """How many keys have a visible claim."""
        return len(self._visible)

    def processes(self) -> list[str]:
        """The names of all processes that should run, sorted."""
        return sorted(self._specs)

    def floor(self, name: str) -> int:
        """The highest epoch that is known of this name."""
        ranks = [claim.epoch for claim in self._claims.get(name, ())]
        for table in (SPECS, STATES):
            register = self._replica.register(table, name)
            if register is not None:
                ranks.append(register.rank)
        return max(ranks, default=0)

    def get(self, table: str, key: str) -> bytes | None:
        """A plain register's value."""
        register = self._replica.register(table, key)
        return register.value if register is not None else None

    def state(self, name: str) -> StateRecord | None:
        """The newest saved state."""
        register = self._replica.register(STATES, name)
        if register is None or register.value is None:
            return None
        return record.decode_state(register.value)

    def lives(self, name: str, epoch: int) -> bool:
        """Whether anything is left of the life that this epoch belongs to: its spec, or a state.

        A handler that ends after its name did may have saved a state after the end.
        """
        spec, saved = self._specs.get(name), self._replica.register(STATES, name)
        if spec is not None:
            return spec.epoch <= epoch
        return saved is not None and saved.value is not None and saved.rank <= epoch

    def traces(self, name: str) -> bool:
        """Whether anything shows that the name had an owner: a hidden claim or a saved state."""
        return bool(self._claims.get(name)) or self.state(name) is not None

    def names_of(self, boot: str) -> set[str]:
        """The keys this boot claims (a copy)."""
        return set(self._keys_of.get(boot, ()))

    def own_claims(self, process: str) -> list[Claim]:
        """This node's claims for one process: its name, and the keys registered for it."""
        keys = {process} | self._held.get(process, set())
        found = [claim for key in sorted(keys) for claim in self._claims.get(key, ())]
        me = self._replica.origin
        return [claim for claim in found if claim.boot == me and claim.process == process]

    def held(self, process: str) -> list[str]:
        """The keys registered for a process besides its name, sorted."""
        keys = self._held.get(process, set())
        shown = {key: self.holder(key) for key in keys}
        return sorted(key for key, claim in shown.items() if claim and claim.process == process)

    def last_owner(self, name: str) -> str:
        """The node that ran it last, as far as is known; empty if it is not."""
        claims = self._claims.get(name, ())
        return max(claims, key=lambda claim: claim.rank).node if claims else ""

    async def changed(self, name: str, timeout: float) -> None:
        """Wait until the owner or the spec of this name changes, at most ``timeout`` seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(name, set())
        waiters.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(name) is waiters:
                del self._waiters[name]

    # ---- writing -----------------------------------------------------------------------------

    def claim(
        self, key: str, epoch: int, process: str, type_name: str, value: bytes | None = None
    ) -> Claim:
        """Say that this node runs the process, or holds the key for one."""
        data = record.encode_claim(epoch, self._node, process, type_name, value)
        dot = self._replica.add(key, data)
        self._written({key}, set())
        return Claim(key, dot, epoch, self._node, process, type_name, value)

    def release(self, claims: Iterable[Claim]) -> None:
        """Withdraw own claims; those already gone are passed over."""
        claims = list(claims)
        for claim in claims:
            self._replica.remove(claim.dot)
        self._written({claim.key for claim in claims}, set())

    def update(self, claim: Claim, value: bytes | None) -> None:
        """Give an own claim another value."""
        data = record.encode_claim(claim.epoch, claim.node, claim.process, claim.type, value)
        self._replica.replace(claim.dot, data)
        self._written({claim.key}, set())

    def put(self, table: str, key: str, value: bytes | None) -> None:
        """Write a plain register (None deletes)."""
        self._replica.put(table, key, value, self._world.wall())
        self._written(set(), set())

    def publish(self, name: str, spec: Spec) -> bool:
        """Say what should run. False when a later life of the name is known already."""
        wall = self._world.wall()
        done = self._replica.put(SPECS, name, spec.encode(), wall, spec.epoch)
        self._written(set(), {name})
        return done

    def end(self, name: str, reason: str) -> None:
        """Say that nothing should run any more; saved state goes too."""
        floor, wall = self.floor(name), self._world.wall()
        self._replica.put(SPECS, name, Ended(floor, reason).encode(), wall, floor)
        saved = self._replica.register(STATES, name)
        if saved is not None and saved.value is not None:
            self._replica.put(STATES, name, None, wall, floor)
        self._written(set(), {name})

    def save(self, name: str, saved: StateRecord) -> bool:
        """Keep a state. False when a later owner has saved already."""
        wall = self._world.wall()
        done = self._replica.put(STATES, name, saved.encode(), wall, saved.epoch)
        self._written(set(), set())
        return done

    @property
    def seq(self) -> int:
        """This node's last own event: what must be replicated to make all writes so far safe."""
        return self._replica.seq

    def _written(self, keys: set[str], specs: set[str]) -> None:
        self.learned(keys, specs)
        self.on_written()

    # ---- keeping the index -------------------------------------------------------------------

    def learned(self, keys: Iterable[str], specs: Iterable[str]) -> None:
        """Claims of these keys, or specs of these names, may have changed."""
        changed = set()
        for key in keys:
            self._read_claims(key)
            changed.add(key)
        for name in specs:
            self._read_spec(name)
            changed.add(name)
        self._settle(changed)

    def review(self, view: View, boots: Iterable[str]) -> None:
        """Take a new view into account; ``boots`` are those whose presence may have changed."""
        self._view = view
        changed = set()
        for boot in boots:
            for key in self._keys_of.get(boot, ()):
                self._show(key)
                changed.add(key)
        self._settle(changed)

    def retire_stale(self) -> None:
        """Forget boots that are nobody's current one, once all their names have moved on.

        Not at once: what a new node claims can be here before the news that it is a member.
        """
        now = self._world.now()
        strangers = [boot for boot in self._keys_of if boot not in self._view.by_boot]
        self._strangers = {boot: self._strangers.get(boot, now) for boot in strangers}
        for boot in [b for b, since in self._strangers.items() if now - since >= RETIRE_AFTER]:
            keys = self._keys_of[boot]
            if all(key not in self._specs or self._visible.get(key) for key in keys):
                changed = self._replica.retire(boot)
                del self._keys_of[boot]
                self.learned(changed, set())

    def _read_claims(self, key: str) -> None:
        for claim in self._claims.get(key, ()):
            self._keys_of.get(claim.boot, set()).discard(key)
            if not claim.is_process:
                self._let_go(claim)
        found = [record.decode_claim(*claimed) for claimed in self._replica.claims(key)]
        claims = tuple(claim for claim in found if claim is not None)
        for claim in claims:
            self._keys_of.setdefault(claim.boot, set()).add(key)
            if not claim.is_process:
                self._held.setdefault(claim.process, set()).add(key)
        if claims:
            self._claims[key] = claims
        else:
            self._claims.pop(key, None)
        self._show(key)

    def _let_go(self, claim: Claim) -> None:
        held = self._held.get(claim.process, set())
        held.discard(claim.key)
        if not held:
            self._held.pop(claim.process, None)

    def _show(self, key: str) -> None:
        shown = [c for c in self._claims.get(key, ()) if self._view.is_present(c.boot)]
        if shown:
            shown.sort(key=lambda claim: (claim.is_process, claim.rank), reverse=True)
            self._visible[key] = tuple(shown)
        else:
            self._visible.pop(key, None)

    def _read_spec(self, name: str) -> None:
        register = self._replica.register(SPECS, name)
        spec = record.decode_spec(register.value) if register and register.value else None
        if isinstance(spec, Spec):
            self._specs[name] = spec
        else:
            self._specs.pop(name, None)

    def _settle(self, changed: set[str]) -> None:
        for name in changed:
            if name in self._specs and self.owner(name) is None:
                self.orphans.setdefault(name, self._world.now())
            else:
                self.orphans.pop(name, None)
            for waiter in self._waiters.pop(name, ()):
                if not waiter.done():
                    waiter.set_result(None)
        if changed:
            self.on_changed(changed)
