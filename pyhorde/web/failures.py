"""What can go wrong on the way in, and the one place where errors become HTTP answers.

Every error body is ``{"error": {"type", "code", "message", "hint"?, "data", ...}}``; the error's
fields are under ``data``, and beside it as far as the envelope leaves their names free. What nobody
expected is logged with its traceback and answered without any of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pyhorde.errors import HordeError
from pyhorde.web.bodies import BadRequest, answer

log = logging.getLogger("pyhorde.web")

UNMATCHED: Final = "unmatched"
"""The route of requests that no route takes."""

_SAFE: Final = ("GET", "HEAD")
_ENVELOPE: Final = ("type", "code", "message", "hint", "data")
_PORTS: Final = {"http": 80, "https": 443}


class Counts(Protocol):
    """Who is told of every answer."""

    def answered(self, method: str, route: str, status: int) -> None: ...

    def refused(self, code: str) -> None: ...


@dataclass(eq=False, repr=False)
class NotFound(HordeError):
    """There is no such path."""

    path: str
    hint: str = ""
    http_status: ClassVar[int] = 404
    exit_code: ClassVar[int] = 3

    def __str__(self) -> str:
        return f"there is nothing at {self.path}"


@dataclass(eq=False, repr=False)
class MethodNotAllowed(HordeError):
    """The path exists, for other verbs."""

    method: str
    allowed: tuple[str, ...]
    http_status: ClassVar[int] = 405
    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return f"{self.method} is not possible here; these are: {', '.join(self.allowed)}"


@dataclass(eq=False, repr=False)
class TooLarge(HordeError):
    """The request's body takes more than ``limit`` bytes."""

    limit: int
    http_status: ClassVar[int] = 413
    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return f"the body takes more than {self.limit} bytes"


@dataclass(eq=False, repr=False)
class CrossSite(HordeError):
    """A web page of another origin tries to drive the node."""

    origin: str
    http_status: ClassVar[int] = 403

    def __str__(self) -> str:
        return f"web pages of {self.origin[:100]!r} may not drive this node"


@dataclass(eq=False, repr=False)
class TooManyStreams(HordeError):
    """The node serves ``limit`` streams of events already."""

    limit: int
    http_status: ClassVar[int] = 503

    def __str__(self) -> str:
        return f"this node serves {self.limit} streams of events already"


@dataclass(eq=False, repr=False)
class InternalError(HordeError):
    """Something broke inside the node."""

    http_status: ClassVar[int] = 500

    def __str__(self) -> str:
        return "something broke inside the node; its log says what"


def render(error: HordeError, headers: dict[str, str] | None = None) -> web.Response:
    """The error as an HTTP answer."""
    data = error.data
    body: dict[str, Any] = {
        "type": type(error).__name__,
        "code": error.code,
        "message": str(error),
        "data": data,
    }
    if hint := data.get("hint"):
        body["hint"] = hint
    body |= {name: value for name, value in data.items() if name not in _ENVELOPE}
    return answer({"error": body}, error.http_status, headers)


def boundary(counts: Counts, hint: str) -> Middleware:
    """The middleware around every request; ``hint`` tells the lost what exists."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = UNMATCHED if resource is None else resource.canonical
        try:
            _check_origin(request)
            response = await _mapped(request, handler, hint)
        except HordeError as error:
            counts.refused(error.code)
            allowed = error.allowed if isinstance(error, MethodNotAllowed) else ()
            response = render(error, {"Allow": ", ".join(allowed)} if allowed else None)
        counts.answered(request.method, route, response.status)
        return response

    return guarded


async def _mapped(request: web.Request, handler: Handler, hint: str) -> web.StreamResponse:
    """The handler's answer; whatever it raises comes out as a ``HordeError``."""
    try:
        return await handler(request)
    except HordeError:
        raise
    except web.HTTPException as error:
        raise _known(error, request, hint) from error
    except web.RequestPayloadError as error:
        raise BadRequest("the body cannot be read as its headers announce it") from error
    except Exception as error:
        fields = {"method": request.method, "path": request.path}
        log.exception("request_failed", extra={"fields": fields})
        raise InternalError from error


def _known(error: web.HTTPException, request: web.Request, hint: str) -> HordeError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(request.method, tuple(sorted(error.allowed_methods)))
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge(request.client_max_size)
    if isinstance(error, web.HTTPNotFound):
        return NotFound(request.path, hint)
    return BadRequest(error.reason)


def _check_origin(request: web.Request) -> None:
    """Refuse browsers that act for a page from elsewhere. Reading is safe: no page sees the answer.

    The peers' way in is not served here, and no browser can ask for it.
    """
    origin = request.headers.get("Origin")
    if origin is None or request.method in _SAFE:
        return
    if _place(origin) is None or _place(origin) != _place(f"//{request.host}", _scheme(origin)):
        raise CrossSite(origin)


def _scheme(origin: str) -> str:
    return origin.partition(":")[0].lower()


def _place(url: str, scheme: str = "") -> tuple[str, int | None] | None:
    """Host and port; None when there is no host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, port or _PORTS.get(parts.scheme or scheme)
