"""The process classes a node offers, by the type names under which the cluster knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyhorde.errors import ConfigError, UnknownType
from pyhorde.runtime.process import Process, check_class

Offered = Iterable[type[Process]] | Mapping[str, type[Process]]


class Offers:
    """Type name ``MODULE:CLASS`` to class, and back."""

    def __init__(self, processes: Offered) -> None:
        named = processes if isinstance(processes, Mapping) else {}
        if not isinstance(processes, Mapping):
            named = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in processes}
        for cls in named.values():
            try:
                check_class(cls)
            except TypeError as error:
                raise ConfigError("processes", str(error)) from None
        self._classes: dict[str, type[Process]] = dict(named)
        self._names = {cls: name for name, cls in reversed(self._classes.items())}

    @property
    def types(self) -> tuple[str, ...]:
        """All type names, sorted."""
        return tuple(sorted(self._classes))

    @property
    def classes(self) -> tuple[type[Process], ...]:
        """All classes."""
        return tuple(self._classes.values())

    def get(self, type_name: str) -> type[Process]:
        """The class. Raises ``UnknownType``."""
        cls = self._classes.get(type_name)
        if cls is None:
            raise UnknownType(type_name, self.types)
        return cls

    def find(self, type_name: str) -> type[Process] | None:
        """The class, or None."""
        return self._classes.get(type_name)

    def name_of(self, cls: type[Process]) -> str:
        """The type name of a class; its own path when this node does not offer it."""
        return self._names.get(cls) or f"{cls.__module__}:{cls.__qualname__}"


def full_type(wanted: str, offered: Iterable[str]) -> str:
    """The type meant: as given, or the only one whose class has that name."""
    known = set(offered)
    if wanted in known or ":" in wanted:
        return wanted
    matches = [name for name in known if name.rpartition(":")[2] == wanted]
    return matches[0] if len(matches) == 1 else wanted
