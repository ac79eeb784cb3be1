"""Refs: location-transparent handles to processes, and how to call through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from pyhorde.errors import UnknownMethod
from pyhorde.runtime.process import Process, methods_of

S_co = TypeVar("S_co", bound=Process, covariant=True)
Q = TypeVar("Q", bound=Process)
P = ParamSpec("P")
R = TypeVar("R")


class Caller(Protocol):
    """What a ref needs of the router."""

    async def call(
        self,
        name: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any: ...

    async def cast(
        self, name: str, method: str, args: list[Any], kwargs: dict[str, Any]
    ) -> None: ...


class Ref(Generic[S_co]):
    """A handle to the process of one name, wherever it runs; resolved at each use.

    ``await ref.call(Counter.increment, 5)`` is checked by type checkers; ``await ref.increment(5)``
    does the same by name. Equal names give equal refs.
    """

    __slots__ = ("_caller", "_cls", "_name", "_request_id", "_timeout")

    def __init__(
        self,
        name: str,
        caller: Caller,
        cls: type[S_co] | None = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> None:
        self._name = name
        self._caller = caller
        self._cls = cls
        self._timeout = timeout
        self._request_id = request_id

    @property
    def name(self) -> str:
        """The process's name."""
        return self._name

    def options(self, *, timeout: float | None = None, request_id: str | None = None) -> Ref[S_co]:
        """The same handle with another time-out (seconds) or a fixed request id for its calls.

        A call repeated with the same request id gets the same answer and does not run again.
        """
        return Ref(
            self._name,
            self._caller,
            self._cls,
            timeout=timeout if timeout is not None else self._timeout,
            request_id=request_id,
        )

    @overload
    async def call(
        self: Ref[Q],
        method: Callable[Concatenate[Q, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    @overload
    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...

    async def call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the method and return its result.

        Raises ``NameNotFound``, ``CallTimeout``, ``RemoteError`` (the method raised),
        ``Indeterminate`` (it may or may not have run), ``BadArguments``, ``UnknownMethod``.
        """
        return await self._caller.call(
            self._name,
            _name_of(method),
            list(args),
            kwargs,
            timeout=self._timeout,
            request_id=self._request_id,
        )

    @overload
    async def cast(
        self: Ref[Q],
        method: Callable[Concatenate[Q, P], Awaitable[Any]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...

    @overload
    async def cast(self, method: str, *args: Any, **kwargs: Any) -> None: ...

    async def cast(self, method: Any, *args: Any, **kwargs: Any) -> None:
        """Send the message and return; at most once, and nobody hears of failures."""
        await self._caller.cast(self._name, _name_of(method), list(args), kwargs)

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        """``ref.method(...)``: a call, or a cast when the class is known and marks it so."""
        if method.startswith("_"):
            raise AttributeError(method)
        marked = None
        if self._cls is not None:
            known = methods_of(self._cls)
            marked = known.get(method)
            if marked is None:
                names = tuple(sorted(known))
                raise AttributeError(str(UnknownMethod(self._cls.__name__, method, names)))

        def send(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            if marked is not None and marked.kind == "cast":
                return self.cast(method, *args, **kwargs)
            return self.call(method, *args, **kwargs)

        return send

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.name == self._name

    def __hash__(self) -> int:
        return hash((Ref, self._name))

    def __repr__(self) -> str:
        kind = f" {self._cls.__name__}" if self._cls is not None else ""
        return f"<Ref{kind} {self._name!r}>"


def _name_of(method: Any) -> str:
    name: str = method if isinstance(method, str) else method.__name__
    return name
