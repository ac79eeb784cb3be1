"""A small synchronous client of a node's HTTP API, on the standard library alone.

Every method asks one node one question and returns its JSON answer as plain data. Errors come out
as the classes of :mod:`pyhorde.errors` that the node raised. Beyond those:

- :class:`~pyhorde.errors.PeerUnreachable`: no node answers at the address;
- :class:`~pyhorde.errors.CallTimeout`: it took the request and did not answer in time;
- :class:`~pyhorde.errors.Indeterminate`: the connection was lost after a request that changes
  something was sent, so that it may or may not have run.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

from pyhorde.config import DEFAULT_ADDRESS, split_address
from pyhorde.errors import (
    BY_CODE,
    CallTimeout,
    ConfigError,
    HordeError,
    Indeterminate,
    InvalidName,
    NodeDraining,
    PeerUnreachable,
    RemoteError,
)

Json = dict[str, Any]

CALL_MARGIN: Final = 2.0
"""Seconds the node gets beyond a call's own time-out to say that the call timed out."""

SILENCE: Final = 45.0
"""Seconds without a word after which a stream of events is lost; a node breaks it every 15."""

_POLL: Final = 0.1
_BY_CLASS_NAME: Final = {kind.__name__: kind for kind in BY_CODE.values()}


class Client:
    """Talks to the node at ``address``; ``timeout`` is in seconds, for each request.

    With ``tls_ca``, the file of an authority, or an address that begins with ``https://``, by TLS.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, timeout: float = 5.0, *, tls_ca: str | None = None
    ) -> None:
        scheme, given, rest = address.rpartition("://")
        if given and scheme not in ("http", "https"):
            raise ConfigError("address", f"{address!r} is no HOST:PORT", "or https://HOST:PORT")
        self.address = rest.rstrip("/")
        self.timeout = timeout
        self._host, self._port = split_address(self.address)
        self._is_secure = scheme == "https" or tls_ca is not None
        self._tls_ca = tls_ca

    def at(self, address: str) -> Client:
        """The same for another node of the cluster."""
        scheme = "https://" if self._is_secure else ""
        return type(self)(f"{scheme}{address}", self.timeout, tls_ca=self._tls_ca)

    def _connection(self, timeout: float) -> HTTPConnection:
        if not self._is_secure:
            return HTTPConnection(self._host, self._port, timeout=timeout)
        context = ssl.create_default_context()
        if self._tls_ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(self._tls_ca)
            except (OSError, ssl.SSLError) as error:
                reason = getattr(error, "strerror", None) or "no certificate in PEM form"
                raise ConfigError("tls_ca", f"cannot read {self._tls_ca}: {reason}") from None
        return HTTPSConnection(self._host, self._port, timeout=timeout, context=context)

    def status(self) -> Json:
        """What the node knows about itself and its members."""
        return self._object("GET", "/v1/status")

    def ready(self) -> bool:
        """Whether the node has joined, is in sync and is not draining."""
        status, _ = self._exchange("GET", "/readyz", None, self.timeout, None)
        return status == 200

    def members(self) -> list[Json]:
        """The members, as this node sees them."""
        answer = self._ask("GET", "/v1/members")
        members: list[Json] = answer["members"] if isinstance(answer, dict) else answer
        return members

    def cordon(self, node: str) -> Json:
        """Place nothing new on this member. Its row. Raises :class:`NameNotFound`."""
        path = _path("members", node) + "/cordon"
        return self._object("POST", path, changes=(node, "cordon"))

    def uncordon(self, node: str) -> Json:
        """Take that back. Its row."""
        path = _path("members", node) + "/cordon"
        return self._object("DELETE", path, changes=(node, "uncordon"))

    def events(
        self, *, after: str | None = None, kind: str | None = None, follow: bool = True
    ) -> Iterator[Json]:
        """What happened on the node: ``{"id", "wall", "kind", "fields"}`` for each event.

        All that is kept, or what came after the event of that id; only kinds that begin with
        ``kind``. Then, to ``follow``, what comes, until the node stops. Raises
        :class:`PeerUnreachable` when the connection is lost; go on after the last id.
        """
        query = {"after": after or "0", "kind": kind, "follow": None if follow else "0"}
        wanted = {key: value for key, value in query.items() if value is not None}
        path = f"/v1/events?{urlencode(wanted, errors='replace')}"
        connection, begun = self._connection(self.timeout), False
        try:
            self._connect(connection, self.timeout)
            connection.request("GET", path, headers={"Accept": "text/event-stream"})
            socket, response = connection.sock, connection.getresponse()
            if response.status != 200:
                self._read(response.status, response.read())
                raise self._no_node(f"HTTP {response.status} without events")
            begun = True
            socket.settimeout(SILENCE)
            for line in _lines(response):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except TimeoutError:
            if not begun:
                raise CallTimeout(self.address, "GET /v1/events", self.timeout) from None
            raise PeerUnreachable(self.address, f"silent for {SILENCE:g} s") from None
        except (OSError, HTTPException, ValueError) as lost:
            raise PeerUnreachable(self.address, _reason(lost)) from lost
        finally:
            connection.close()

    def processes(
        self, *, prefix: str | None = None, node: str | None = None, local: bool = False
    ) -> list[Json]:
        """All processes, page by page; ``local``: those that really run in this node."""
        query = {"prefix": prefix, "node": node, "local": "1" if local else None}
        wanted = {key: value for key, value in query.items() if value is not None}
        found: list[Json] = []
        while True:
            path = "/v1/processes" + (f"?{urlencode(wanted, errors='replace')}" if wanted else "")
            page = self._object("GET", path)
            found += page["processes"]
            if not page.get("next") or page["next"] == wanted.get("after"):
                return found
            wanted["after"] = page["next"]

    def process(self, name: str) -> Json:
        """One process: its type, node and epoch. Raises :class:`NameNotFound`."""
        return self._object("GET", _path("processes", name))

    def start(
        self, type_: str, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] = {}
    ) -> Json:
        """Start a process of ``type_`` (``MODULE:CLASS``) somewhere in the cluster."""
        _path("processes", name)
        body = {"type": type_, "name": name, "args": list(args), "kwargs": dict(kwargs)}
        return self._object("POST", "/v1/processes", body, changes=(name, "start"))

    def stop(self, name: str) -> None:
        """End a process for good; the removal is replicated when this returns."""
        self._ask("DELETE", _path("processes", name), changes=(name, "stop"))

    def call(
        self,
        name: str,
        method: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """The answer of ``method``. The same ``request_id`` again gives the same answer."""
        wait = self.timeout if timeout is None else timeout
        body = {"method": method, "args": list(args), "kwargs": dict(kwargs), "timeout": wait}
        if request_id is not None:
            body["request_id"] = request_id
        path = _path("processes", name) + "/call"
        limit = wait + CALL_MARGIN
        return self._object("POST", path, body, changes=(name, method), limit=limit)["result"]

    def cast(
        self, name: str, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] = {}
    ) -> None:
        """Send a message that has no answer."""
        body = {"method": method, "args": list(args), "kwargs": dict(kwargs)}
        self._ask("POST", _path("processes", name) + "/cast", body, changes=(name, method))

    def meta_get(self, key: str) -> Any:
        """The value under ``key``. Raises :class:`NameNotFound`."""
        return self._object("GET", _path("meta", key))["value"]

    def meta_put(self, key: str, value: Any) -> None:
        """Set ``key``; the last writer wins."""
        self._ask("PUT", _path("meta", key), {"value": value}, changes=(key, "put"))

    def meta_delete(self, key: str) -> None:
        """Remove ``key``."""
        self._ask("DELETE", _path("meta", key), changes=(key, "delete"))

    def drain(self) -> None:
        """Ask the node to hand everything off and leave; progress is under ``status()``."""
        self._ask("POST", "/v1/drain")

    def drained(self) -> Iterator[Json]:
        """Drain the node and yield its progress until it has left.

        Each step is ``{"node", "state", "total", "moved", "remaining"}``. The last ``state`` is
        ``"left"``, or ``"gone"`` when nothing answers there any more or a new boot does. Raises
        :class:`~pyhorde.errors.CallTimeout` when it is still there after ``timeout`` seconds.
        """
        deadline = time.monotonic() + self.timeout
        node = self.status()["node"]
        with suppress(NodeDraining):
            self.drain()
        step: Json = {"node": node, "state": "ready", "total": 0, "moved": 0, "remaining": []}
        begun = False
        while time.monotonic() < deadline:
            try:
                seen = self.status()
            except PeerUnreachable:
                yield {**step, "state": "gone"}
                return
            step = {**step, **(seen.get("drain") or {}), "state": seen["state"]}
            if begun and step["state"] in ("joining", "ready"):
                step["state"] = "gone"
            begun = begun or step["state"] == "draining"
            yield step
            if step["state"] in ("left", "closed", "gone"):
                return
            time.sleep(_POLL)
        raise CallTimeout(node, "drain", self.timeout, f"it is still {step['state']}")

    def _object(self, verb: str, path: str, body: Any = None, **how: Any) -> Json:
        answer = self._ask(verb, path, body, **how)
        if not isinstance(answer, dict):
            raise self._no_node(f"{verb} {path.partition('?')[0]} was answered with no JSON object")
        return answer

    def _ask(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        changes: tuple[str, str] | None = None,
        limit: float | None = None,
    ) -> Any:
        """One request. ``changes`` is (name, method) when doing it twice is not the same."""
        limit = self.timeout if limit is None else limit
        return self._read(*self._exchange(verb, path, body, limit, changes))

    def _read(self, status: int, raw: bytes) -> Any:
        """The answer's data. Raises the error that it holds."""
        try:
            answer = json.loads(raw) if raw.strip() else None
        except ValueError:
            raise self._no_node(f"HTTP {status} without JSON") from None
        if status < 400:
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(error, dict):
            raise self._no_node(f"HTTP {status} without an error body")
        raise rebuild(error)

    def _exchange(
        self, verb: str, path: str, body: Any, limit: float, changes: tuple[str, str] | None
    ) -> tuple[int, bytes]:
        payload = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Connection": "close"}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection(limit)
        try:
            self._connect(connection, limit)
            try:
                connection.request(verb, path, payload, headers)
                response = connection.getresponse()
                return response.status, response.read()
            except TimeoutError:
                name, method = changes or (self.address, f"{verb} {path.partition('?')[0]}")
                raise CallTimeout(name, method, limit) from None
            except (OSError, HTTPException) as lost:
                self._lost(lost, changes)
        finally:
            connection.close()

    def _connect(self, connection: HTTPConnection, limit: float) -> None:
        try:
            connection.connect()
        except TimeoutError:
            reason = f"no connection within {limit:g} s"
            raise PeerUnreachable(self.address, reason) from None
        except (OSError, UnicodeError) as refused:
            raise PeerUnreachable(self.address, _reason(refused)) from refused

    def _lost(self, lost: Exception, changes: tuple[str, str] | None) -> NoReturn:
        if changes is None:
            raise PeerUnreachable(self.address, _reason(lost)) from lost
        raise Indeterminate(*changes, f"{self.address}: {_reason(lost)}") from lost

    def _no_node(self, what: str) -> PeerUnreachable:
        return PeerUnreachable(self.address, f"something answers there, but no node ({what})")


def rebuild(raw: Mapping[str, Any]) -> HordeError:
    """The error that a body's ``{"type", "code", "message", ...fields}`` stands for.

    A field whose name the envelope also uses (``message``, ``type``) may have been covered by it:
    a ``message`` that is the error's whole text is cut back to the field.
    """
    kind, text = str(raw.get("type", "UnknownError")), str(raw.get("message", ""))
    wanted = BY_CODE.get(str(raw.get("code"))) or _BY_CLASS_NAME.get(kind)
    if wanted is None:
        return RemoteError(kind, text)
    data = raw.get("data")
    values = {**raw, **data} if isinstance(data, dict) else raw
    known = {field.name: values[field.name] for field in fields(wanted) if field.name in values}
    known = {key: tuple(v) if isinstance(v, list) else v for key, v in known.items()}
    try:
        if "message" in known:
            prefix = str(wanted(**{**known, "message": ""}))
            known["message"] = str(known["message"]).removeprefix(prefix)
        error = wanted(**known)
        str(error)
    except (TypeError, ValueError):
        return RemoteError(kind, text)
    return error


def _path(collection: str, name: str) -> str:
    if not name:
        raise InvalidName(name, "it is empty")
    try:
        encoded = quote(name, safe="")
    except UnicodeEncodeError:
        raise InvalidName(name, "it is no valid text") from None
    return f"/v1/{collection}/" + (encoded.replace(".", "%2E") if name in (".", "..") else encoded)


def _lines(response: HTTPResponse) -> Iterator[bytes]:
    """The lines as they come. ``readline`` would take a lost connection for the end."""
    rest = b""
    while chunk := response.read1(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
