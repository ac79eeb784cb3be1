"""The name table: every spec, claim and state record, as this node knows them, and the writes.

An index over the replica, kept current name by name. A claim is *visible* while its boot is a
present member; the visible claim of the highest rank is the *owner* (those of the spec's life come
first). A name with a spec and no owner is an *orphan*. Reads are dictionary look-ups and never do
I/O.

The end of a name is a deletion and is forgotten once every member has seen it. How far its life
went is remembered here a little longer; after that, as how far epochs went, in one mark for all
such names together, so that neither ever falls: a member that returns may still have that end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, KeysView
from dataclasses import replace
from typing import Any, Final

from pyhorde.cluster.member import View
from pyhorde.crdt import Dot, Replica
from pyhorde.errors import WriteRefused
from pyhorde.runtime import record
from pyhorde.runtime.copies import Copies, Copy
from pyhorde.runtime.record import SPECS, Claim, Ended, Life, Spec, StateRecord
from pyhorde.seam import World

EPOCH_MARK: Final = "epoch"
"""The highest epoch of any name that has ended."""
LIFE_MARK: Final = "life"
"""The last life of any name whose end has been forgotten."""
REMEMBER_ENDS: Final = 15.0
"""Seconds for which the end of a name is remembered after the last look at its record."""
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
        self._shown = self._visible.keys()
        self._names_of: dict[str, set[str]] = {}
        self._ended: dict[str, tuple[float, Ended]] = {}
        """Every end, also those just forgotten elsewhere, and when they were looked at last."""
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self.orphans: dict[str, float] = {}
        """Names with a spec but no owner, and since when."""
        self.on_changed: Callable[[set[str]], None] = lambda _: None
        self.on_written: Callable[[], None] = lambda: None
        self.on_moved: Callable[[str, Claim | None, Claim | None], None] | None = None
        """Called with a name and its owners before and after, while somebody listens."""

    # ---- reading -----------------------------------------------------------------------------

    def owner(self, name: str) -> Claim | None:
        """The claim of the node that runs the process of this name, in the life of its spec."""
        claims = self._visible.get(name)
        if not claims:
            return None
        spec = self._specs.get(name)
        in_life = spec is None or claims[0].life.number == spec.life.number
        return claims[0] if in_life else None

    @property
    def shown(self) -> KeysView[str]:
        """Every name with a visible claim; it stays the same object."""
        return self._shown

    def visible(self, name: str) -> tuple[Claim, ...]:
        """All visible claims, highest rank first; two or more during a conflict."""
        return self._visible.get(name, _NO_CLAIMS)

    def spec(self, name: str) -> Spec | None:
        """What should run under this name; None when nothing should."""
        return self._specs.get(name)

    def claimed(self) -> Iterator[str]:
        """Every name with a visible claim."""
        return iter(self._visible)

    def count(self) -> int:
        """How many names have a visible claim."""
        return len(self._visible)

    def process_count(self) -> int:
        """How many processes should run."""
        return len(self._specs)

    def processes(self) -> list[str]:
        """The names of all processes that should run, sorted."""
        return sorted(self._specs)

    def are_free(self, names: Iterable[str]) -> bool:
        """Whether none of them names a process."""
        names = list(names)
        return self._specs.keys().isdisjoint(names) and self._visible.keys().isdisjoint(names)

    def floor(self, name: str) -> int:
        """The highest epoch that is known of this name; of any ended name, if it is a new one."""
        epochs = [claim.epoch for claim in self._claims.get(name, ())]
        epochs += [copy.record.epoch for copy in self.copies(name)]
        known = self._record(name)
        return max([*epochs, known.epoch if known else self._replica.marks.get(EPOCH_MARK, 0)])

    def next_life(self, name: str, start_id: str) -> Life:
        """The life that a start would begin now."""
        known = self._record(name)
        lived = known.life.number if known is not None else self._replica.marks.get(LIFE_MARK, 0)
        return Life(lived + 1, start_id)

    def ended(self, name: str) -> Ended | None:
        """How the last life of this name ended; None when it did not, or there was none."""
        known = self._record(name)
        return known if isinstance(known, Ended) else None

    def _record(self, name: str) -> Spec | Ended | None:
        spec = self._specs.get(name)
        if spec is not None:
            return spec
        return self._ended[name][1] if name in self._ended else None

    def get(self, table: str, key: str) -> bytes | None:
        """A plain register's value."""
        register = self._replica.register(table, key)
        return None if register is None or register.deleted else register.value

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
        """The names this boot claims (a copy)."""
        return set(self._names_of.get(boot, ()))

    def own_claims(self, name: str) -> list[Claim]:
        """This node's claims of a name."""
        me = self._replica.origin
        return [claim for claim in self._claims.get(name, ()) if claim.boot == me]

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

    def claim(self, name: str, epoch: int, type_name: str, life: Life) -> Claim:
        """Say that this node runs the process."""
        nowhere = Dot(self._replica.origin, 0)
        claim = Claim(name, nowhere, epoch, self._node, type_name, life)
        dot = self._replica.add(name, record.encode_claim(claim))
        self._written({name}, set())
        return replace(claim, dot=dot)

    def release(self, claims: Iterable[Claim]) -> None:
        """Withdraw own claims; those already gone are passed over."""
        claims = list(claims)
        for claim in claims:
            self._replica.remove(claim.dot)
        self._written({claim.name for claim in claims}, set())

    def update(self, claim: Claim, **changes: Any) -> None:
        """Give an own claim another ``epoch``."""
        self._replica.replace(claim.dot, record.encode_claim(replace(claim, **changes)))
        self._written({claim.name}, set())

    def put(self, table: str, key: str, value: bytes | None) -> None:
        """Write a plain register (None deletes). Raises ``WriteRefused``."""
        try:
            done = self._replica.put(table, key, value, self._world.wall())
        except OverflowError:
            raise WriteRefused(key, "no later stamp is left") from None
        if not done:
            raise WriteRefused(key, "it was written with a rank")
        self._written(set(), set())

    def publish(self, name: str, spec: Spec) -> bool:
        """Say what should run. False when a later life of the name is known already, or its end."""
        known = self._record(name)
        if isinstance(known, Ended) and known.rank > spec.rank:
            return False
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
        self._replica.put(SPECS, name, None, wall, end.rank, note=end.encode())
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
        self, names: Iterable[str], specs: Iterable[str], states: Iterable[str] = ()
    ) -> None:
        """Claims or specs of these names, or these saved states, may have changed."""
        changed = self._copies.learned(states)
        for name in names:
            self._read_claims(name)
            changed.add(name)
        for name in specs:
            self._read_spec(name)
            changed.add(name)
        self._settle(changed)

    def review(self, view: View, boots: Iterable[str]) -> None:
        """Take a new view into account; ``boots`` are those whose presence may have changed."""
        self._view = view
        changed = set()
        for boot in boots:
            for name in self._names_of.get(boot, ()):
                self._show(name)
                changed.add(name)
        self._settle(changed)

    def have_moved_on(self, boot: str) -> bool:
        """Whether everything that this boot ran, and should still run, has another owner."""
        names = self._names_of.get(boot, ())
        return all(name not in self._specs or self._visible.get(name) for name in names)

    def _read_claims(self, name: str) -> None:
        for claim in self._claims.get(name, ()):
            self._names_of.get(claim.boot, set()).discard(name)
        found = [
            record.decode_claim(name, claimed.dot, claimed.value or b"")
            for claimed in self._replica.claims(name)
        ]
        claims = tuple(claim for claim in found if claim is not None)
        for claim in claims:
            self._names_of.setdefault(claim.boot, set()).add(name)
        if claims:
            self._claims[name] = claims
        else:
            self._claims.pop(name, None)
        self._show(name)

    def forget_boot(self, boot: str) -> None:
        """This boot has been retired."""
        self.learned(self._names_of.pop(boot, ()), set())

    def _show(self, name: str) -> None:
        if self.on_moved is None:
            self._show_claims(name)
            return
        before = self.owner(name)
        self._show_claims(name)
        after = self.owner(name)
        if (before and before.node) != (after and after.node):
            self.on_moved(name, before, after)

    def _show_claims(self, name: str) -> None:
        shown = [c for c in self._claims.get(name, ()) if self._view.is_present(c.boot)]
        if shown:
            spec = self._specs.get(name)
            life = spec.life.number if spec is not None else 0
            shown.sort(key=lambda c: (c.life.number == life, c.rank), reverse=True)
            self._visible[name] = tuple(shown)
        else:
            self._visible.pop(name, None)

    def _read_spec(self, name: str) -> None:
        register = self._replica.register(SPECS, name)
        known = record.decode_spec(register.value) if register is not None else None
        if isinstance(known, Spec) and register is not None and not register.deleted:
            self._specs[name] = known
        else:
            self._specs.pop(name, None)
        if isinstance(known, Ended):
            self._replica.mark(EPOCH_MARK, known.epoch)
            _, last = self._ended.pop(name, (0.0, known))
            self._ended[name] = self._world.now(), max(last, known, key=lambda end: end.rank)
            self._forget_ends()
        self._show(name)

    def _forget_ends(self) -> None:
        oldest = self._world.now() - REMEMBER_ENDS
        while self._ended:
            name, (when, end) = next(iter(self._ended.items()))
            if when >= oldest:
                return
            del self._ended[name]
            if self._replica.register(SPECS, name) is not None:
                self._ended[name] = self._world.now(), end
            else:
                self._replica.mark(LIFE_MARK, end.life.number)

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
