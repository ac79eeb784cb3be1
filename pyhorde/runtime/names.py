"""The name table: every spec, claim and state record, as this node knows them, and the writes.

An index over the replica, kept current key by key. A claim is *visible* while its boot is a present
member; the visible claim of the highest rank is the *owner* (those of the spec's life come first,
and a process's own name before a key registered for another one). A name with a spec and no owner
is an *orphan*. Reads are dictionary look-ups and never do I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from pyhorde.cluster.member import View
from pyhorde.crdt import Dot, Replica
from pyhorde.runtime import record
from pyhorde.runtime.copies import Copies, Copy
from pyhorde.runtime.record import SPECS, Claim, Ended, Life, Spec, StateRecord
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
        self._copies = Copies(replica, world)
        self._specs: dict[str, Spec] = {}
        self._claims: dict[str, tuple[Claim, ...]] = {}
        self._visible: dict[str, tuple[Claim, ...]] = {}
        self._keys_of: dict[str, set[str]] = {}
        self._held: dict[str, set[str]] = {}
        self._strangers: dict[str, float] = {}
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self.orphans: dict[str, float] = {}
        """Names with a spec but no owner, and since when."""
        self.on_changed: Callable[[set[str]], None] = lambda _: None
        self.on_written: Callable[[], None] = lambda: None

    # ---- reading -----------------------------------------------------------------------------

    def owner(self, name: str) -> Claim | None:
        """The claim of the node that runs the process of this name, in the life of its spec."""
        claims = self._visible.get(name)
        if not claims or not claims[0].is_process:
            return None
        spec = self._specs.get(name)
        in_life = spec is None or claims[0].life.number == spec.life.number
        return claims[0] if in_life else None

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
        epochs = [claim.epoch for claim in self._claims.get(name, ())]
        epochs += [copy.record.epoch for copy in self.copies(name)]
        known = self._record(name)
        return max([*epochs, known.epoch if known is not None else 0])

    def next_life(self, name: str, start_id: str) -> Life:
        """The life that a start would begin now."""
        known = self._record(name)
        return Life(known.life.number + 1 if known is not None else 1, start_id)

    def ended(self, name: str) -> Ended | None:
        """How the last life of this name ended; None when it did not, or there was none."""
        known = self._record(name)
        return known if isinstance(known, Ended) else None

    def _record(self, name: str) -> Spec | Ended | None:
        spec = self._specs.get(name)
        if spec is not None:
            return spec
        value = self.get(SPECS, name)
        return record.decode_spec(value) if value is not None else None

    def get(self, table: str, key: str) -> bytes | None:
        """A plain register's value."""
        register = self._replica.register(table, key)
        return register.value if register is not None else None

    def state(self, name: str) -> StateRecord | None:
        """The saved state of the highest epoch of the present life."""
        copies = self.copies(name)
        return copies[0].record if copies else None

    def copies(self, name: str) -> list[Copy]:
        """All saved states of the present life that nobody has taken in, highest epoch first."""
        known = self._record(name)
        return self._copies.of(name, known.life.number) if known is not None else []

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
        waiters = self._waiters.setdefault(name, {})
        waiters[waiter] = None
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiters.pop(waiter, None)
            if not waiters and self._waiters.get(name) is waiters:
                del self._waiters[name]

    # ---- writing -----------------------------------------------------------------------------

    def claim(
        self,
        key: str,
        epoch: int,
        process: str,
        type_name: str,
        life: Life,
        value: bytes | None = None,
    ) -> Claim:
        """Say that this node runs the process, or holds the key for one."""
        nowhere = Dot(self._replica.origin, 0)
        claim = Claim(key, nowhere, epoch, self._node, process, type_name, life, value)
        dot = self._replica.add(key, record.encode_claim(claim))
        self._written({key}, set())
        return replace(claim, dot=dot)

    def release(self, claims: Iterable[Claim]) -> None:
        """Withdraw own claims; those already gone are passed over."""
        claims = list(claims)
        for claim in claims:
            self._replica.remove(claim.dot)
        self._written({claim.key for claim in claims}, set())

    def update(self, claim: Claim, **changes: Any) -> None:
        """Give an own claim another ``value``, or another ``epoch``."""
        self._replica.replace(claim.dot, record.encode_claim(replace(claim, **changes)))
        self._written({claim.key}, set())

    def put(self, table: str, key: str, value: bytes | None) -> None:
        """Write a plain register (None deletes)."""
        self._replica.put(table, key, value, self._world.wall())
        self._written(set(), set())

    def publish(self, name: str, spec: Spec) -> bool:
        """Say what should run. False when a later life of the name is known already."""
        wall = self._world.wall()
        done = self._replica.put(SPECS, name, spec.encode(), wall, spec.rank)
        self._written(set(), {name})
        return done

    def end(self, name: str, reason: str) -> None:
        """Say that nothing should run any more; saved state goes too, for good."""
        spec, wall = self._specs.get(name), self._world.wall()
        if spec is None:
            return
        end = Ended(self.floor(name), reason, spec.life)
        self._copies.forget(name, self.copies(name))
        self._replica.put(SPECS, name, end.encode(), wall, end.rank)
        self._written(set(), {name})

    def save(self, name: str, saved: StateRecord) -> bool:
        """Keep a state. False when that life of the name has ended."""
        known = self._record(name)
        over = isinstance(known, Ended) and known.life.number >= saved.life
        if over or (known is not None and known.life.number > saved.life):
            return False
        self._copies.save(name, saved)
        self._written(set(), set())
        return True

    def forget(self, name: str, copies: Iterable[Copy]) -> None:
        """Remove saved states that have been taken in."""
        self._copies.forget(name, copies)
        self._written(set(), set())

    @property
    def seq(self) -> int:
        """This node's last own event: what must be replicated to make all writes so far safe."""
        return self._replica.seq

    def _written(self, keys: set[str], specs: set[str]) -> None:
        self.learned(keys, specs)
        self.on_written()

    # ---- keeping the index -------------------------------------------------------------------

    def learned(
        self, keys: Iterable[str], specs: Iterable[str], states: Iterable[str] = ()
    ) -> None:
        """Claims of these keys, specs of these names, or these saved states may have changed."""
        changed = self._copies.learned(states)
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
            spec = self._specs.get(key)
            life = spec.life.number if spec is not None else 0
            shown.sort(key=lambda c: (c.is_process, c.life.number == life, c.rank), reverse=True)
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
        self._show(name)

    def _settle(self, changed: set[str]) -> None:
        for name in sorted(changed):
            if name in self._specs and self.owner(name) is None:
                self.orphans.setdefault(name, self._world.now())
            else:
                self.orphans.pop(name, None)
            for waiter in self._waiters.pop(name, ()):
                if not waiter.done():
                    waiter.set_result(None)
        if changed:
            self.on_changed(changed)
