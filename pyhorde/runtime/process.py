"""What users write: a process class with marked methods and optional hooks."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn, Protocol, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pyhorde.runtime.ref import Ref

Restart = Literal["permanent", "transient", "temporary"]
Durability = Literal["none", "checkpoint", "replicated"]
RESTARTS: Final = ("permanent", "transient", "temporary")
DURABILITIES: Final = ("none", "checkpoint", "replicated")

F = TypeVar("F", bound=Callable[..., Any])
_MARK: Final = "__pyhorde__"


@dataclass(frozen=True, slots=True)
class Resume:
    """Why a process starts with a past, and what is left of it.

    ``kind``: ``"graceful"`` (its former node handed it over, complete), ``"clumsy"`` (its former
    node was lost; ``state`` is the newest copy found), ``"restart"`` (it crashed here), or
    ``"conflict"`` (the other copy of a duplicate, given to ``merge``). ``state`` is None when there
    is no copy; ``version`` is the ``state_version`` it was saved with.
    """

    kind: Literal["graceful", "clumsy", "restart", "conflict"]
    state: Any
    version: int
    epoch: int
    node: str
    reason: str = ""


class Timer(Protocol):
    """A pending :meth:`Process.send_after`."""

    def cancel(self) -> None: ...


class Context(Protocol):
    """What the runtime lends to one running process."""

    @property
    def name(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    @property
    def node(self) -> Any: ...

    @property
    def ref(self) -> Ref[Any]: ...

    async def checkpoint(self) -> None: ...

    def send_after(self, seconds: float, message: Any) -> Timer: ...

    def request_stop(self, reason: str) -> None: ...


def call(method: F) -> F:
    """Mark a method as callable from anywhere: the caller waits for its result.

    An exception goes to the caller as ``RemoteError`` and the process lives on.
    """
    return _marked(method, "call")


def cast(method: F) -> F:
    """Mark a method as castable from anywhere: the caller does not wait, and hears nothing.

    An exception ends the process abnormally; its restart type decides what follows.
    """
    return _marked(method, "cast")


def is_remote(method: Any) -> bool:
    """Whether this is a method that was marked ``@call`` or ``@cast``."""
    return hasattr(method, _MARK)


def _marked(method: F, kind: str) -> F:
    if not callable(method):
        raise TypeError(f"@{kind} marks methods, not {method!r}")
    setattr(method, _MARK, kind)
    return method


class Process:
    """One mailbox, one state, one handler at a time; found by name, restarted where needed.

    Only methods marked ``@call`` or ``@cast`` can be reached from outside. ``self.state`` is what
    survives a move or a crash, as far as ``durability`` says.
    """

    restart: ClassVar[Restart] = "permanent"
    """``permanent``: always restarted; ``transient``: unless it ended normally; ``temporary``:
    never (but it is handed over when its node stops)."""

    shutdown: ClassVar[float | None] = 5.0
    """Seconds for the running handler and ``terminate`` until the process is cut off; None: any."""

    durability: ClassVar[Durability] = "checkpoint"
    """``none``: a restart begins afresh; ``checkpoint``: state is copied to the other nodes now and
    then; ``replicated``: a call is answered only when its effect is safe on other nodes."""

    state_version: ClassVar[int] = 1
    """Raise it when the shape of the state changes; ``load`` is told the version it gets."""

    types: ClassVar[tuple[type, ...]] = ()
    """Dataclasses and enums that appear in state, arguments or results."""

    state: Any = None
    _context: Context | None = None

    async def init(self, resume: Resume | None) -> None:
        """Run before the first message; ``resume`` is None on a first start.

        ``self.state`` is restored already. Raise :class:`~pyhorde.errors.Ignore` to not start.
        """

    async def handle_info(self, message: Any) -> None:
        """Run for a message that is no call or cast, such as a timer's."""

    async def terminate(self, reason: str) -> None:
        """Run when the process ends in an orderly way; changes to ``self.state`` still count."""

    async def merge(self, other: Resume) -> None:
        """Run once on the survivor of a duplicate with the other copy's last state.

        By default documents (``pycrdt.Doc``) are merged, and other states of the loser are dropped.
        """
        if hasattr(self.state, "apply_update") and hasattr(other.state, "get_update"):
            self.state.apply_update(other.state.get_update())

    def dump(self) -> Any:
        """What leaves the process as its state."""
        return self.state

    def load(self, state: Any, version: int) -> None:
        """Take the state that ``dump`` gave, possibly in an older ``version``."""
        self.state = state

    @property
    def name(self) -> str:
        """The name under which everyone finds this process."""
        return self._lent.name

    @property
    def node(self) -> Any:
        """The :class:`pyhorde.Node` that runs this process now."""
        return self._lent.node

    @property
    def ref(self) -> Ref[Any]:
        """A handle to this process that survives moves; give it to others."""
        return self._lent.ref

    @property
    def epoch(self) -> int:
        """Grows with every change of owner: a fencing token for systems outside the cluster."""
        return self._lent.epoch

    async def checkpoint(self) -> None:
        """Copy the state to the other nodes now. Raises ``NotReplicated``."""
        await self._lent.checkpoint()

    def send_after(self, seconds: float, message: Any) -> Timer:
        """Have ``message`` handed to ``handle_info`` in ``seconds``, if the process lives then."""
        return self._lent.send_after(seconds, message)

    def stop(self, reason: str = "normal") -> None:
        """End this process after the current handler's reply."""
        self._lent.request_stop(reason)

    @property
    def _lent(self) -> Context:
        if self._context is None:
            _not_running(self)
        return self._context


def _not_running(process: Process) -> NoReturn:
    raise RuntimeError(
        f"this {type(process).__name__} is not run by a node; start it with node.start_child(...)"
    )


@dataclass(frozen=True, slots=True)
class Method:
    """A method that can be reached from outside."""

    name: str
    kind: Literal["call", "cast"]
    function: Callable[..., Any]
    is_async: bool

    def invoke(self, process: Process, args: list[Any], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Start the method. Raises ``TypeError`` when the arguments do not fit, before it runs."""
        if self.is_async:
            coroutine: Awaitable[Any] = self.function(process, *args, **kwargs)
            return coroutine
        inspect.signature(self.function).bind(process, *args, **kwargs)
        return _later(self.function, process, args, kwargs)


async def _later(
    function: Callable[..., Any], process: Process, args: list[Any], kwargs: dict[str, Any]
) -> Any:
    result = function(process, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def methods_of(cls: type[Process]) -> Mapping[str, Method]:
    """The marked methods of a process class, by name."""
    known = _METHODS.get(cls)
    if known is None:
        known = _METHODS[cls] = _marked_methods(cls)
    return known


_METHODS: WeakKeyDictionary[type[Process], Mapping[str, Method]] = WeakKeyDictionary()


def _marked_methods(cls: type[Process]) -> Mapping[str, Method]:
    found = {}
    for name, member in inspect.getmembers(cls, callable):
        kind = getattr(member, _MARK, None)
        if kind is not None:
            found[name] = Method(name, kind, member, inspect.iscoroutinefunction(member))
    return found


def check_class(cls: Any) -> None:
    """Raise ``TypeError`` when ``cls`` cannot be offered, saying why."""
    if not (isinstance(cls, type) and issubclass(cls, Process)) or cls is Process:
        raise TypeError(f"{cls!r} is no subclass of pyhorde.Process")
    if cls.restart not in RESTARTS:
        raise TypeError(f"{cls.__name__}.restart is {cls.restart!r}, not one of {RESTARTS}")
    if cls.durability not in DURABILITIES:
        raise TypeError(
            f"{cls.__name__}.durability is {cls.durability!r}, not one of {DURABILITIES}"
        )
    if cls.shutdown is not None and cls.shutdown < 0:
        raise TypeError(f"{cls.__name__}.shutdown is negative")
