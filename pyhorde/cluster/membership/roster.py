"""The table of members: one record per name, and for how long the absent ones have been gone.

A member that died or left stays in the table, so that it can be dialled again and old news about it
is recognised as old. It is forgotten after ``former_member_ttl``. Tables that travel between nodes
say for how many seconds each absent member has been gone, and the longest such time counts;
otherwise nodes that forget at different moments would teach each other the same member for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pyhorde.cluster.member import Member, View
from pyhorde.cluster.membership.effects import Changed

MAX_ABSENCE: Final = 2.0**53


class Roster:
    """The members as one node knows them, itself included."""

    def __init__(self, me: Member) -> None:
        self.me = me
        self._members: dict[str, Member] = {me.name: me}
        self._gone: dict[str, float] = {}
        self._since: dict[str, float] = {}
        """When each member became what it is, as this node saw it."""
        self._view: View | None = None

    @property
    def view(self) -> View:
        """The members now; the same object until something changes."""
        if self._view is None:
            ordered = tuple(self._members[name] for name in sorted(self._members))
            self._view = View(self.me, ordered)
        return self._view

    @property
    def size(self) -> int:
        """How many members are present, the own one included."""
        return len(self.view.present)

    def get(self, name: str) -> Member | None:
        """The record of this name."""
        return self._members.get(name)

    def by_boot(self, boot: str) -> Member | None:
        """The record of this boot, unless another boot of its name has replaced it."""
        return self.view.by_boot.get(boot)

    def name_of(self, boot: str) -> str:
        """The name of a boot, or what stands for it when its record is not known."""
        member = self.by_boot(boot)
        return member.name if member else boot[:8]

    def store(self, after: Member, cause: str, now: float) -> Changed | None:
        """Put the record in its place; None when that is what the table says already."""
        before = self._members.get(after.name)
        if before == after:
            return None
        self._members[after.name] = after
        self._view = None
        if before is None or before.state != after.state or before.boot != after.boot:
            self._since[after.name] = now
        if after.name == self.me.name:
            self.me = after
        elif after.present:
            self._gone.pop(after.name, None)
        elif before is None or before.present or before.boot != after.boot:
            self._gone[after.name] = now
        return Changed(before, after, cause)

    def absence(self, name: str, now: float) -> float:
        """For how many seconds this member has been absent; 0 while it is not."""
        return now - self._gone.get(name, now)

    def begin(self, now: float) -> None:
        """The own record is what it is from now on."""
        self._since.setdefault(self.me.name, now)

    def age(self, name: str, now: float) -> float:
        """For how many seconds this member has been in its present state."""
        return now - self._since.get(name, now)

    def went(self, name: str, when: float) -> None:
        """Somebody knows the absent member of this name to have been gone since ``when``."""
        if name in self._gone:
            self._gone[name] = min(self._gone[name], when)

    def forget(self, now: float, ttl: float) -> None:
        """Drop members that have been gone for more than ``ttl`` seconds."""
        old = [name for name, since in self._gone.items() if now - since > ttl]
        for name in old:
            del self._gone[name], self._members[name]
            self._since.pop(name, None)
            self._view = None

    def rows(self, now: float, voucher: Callable[[Member], str] = lambda _: "") -> list[Any]:
        """Plain data for messages: each record, and for how many seconds it has been absent.

        And who has seen that its machine lives, although it is silent.
        """
        members = self.view.members
        return [[m.to_wire(), now - self._gone.get(m.name, now), voucher(m)] for m in members]

    def validate(self) -> None:
        """Check what must always hold."""
        assert self._members[self.me.name] is self.me
        assert all(name == member.name for name, member in self._members.items())
        absent = {m.name for m in self.view.members if not m.present and m.name != self.me.name}
        assert set(self._gone) == absent


def read_row(raw: Any) -> tuple[Member, float, str]:
    """Check and rebuild one of the ``rows`` of a table. Raises ``ValueError``."""
    if not isinstance(raw, list) or len(raw) != 3 or not isinstance(raw[2], str):
        raise ValueError("table: expected a member, its absence and its voucher")
    absent = raw[1]
    if isinstance(absent, bool) or not isinstance(absent, int | float):
        raise ValueError("table: the absence is no number")
    if not 0 <= absent <= MAX_ABSENCE:
        raise ValueError("table: bad absence")
    return Member.from_wire(raw[0]), float(absent), raw[2][:64]
