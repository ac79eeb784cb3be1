"""Requests to the Kubernetes API in the name of the pod's own service account."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp

from pyhorde.cluster.discovery.pods import Expired, Unintelligible, message_of
from pyhorde.errors import DiscoveryError

MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
MAX_TOKEN_BYTES: Final = 64 * 1024
TIMEOUT: Final = 10.0
"""Seconds to connect, and to wait for the next bytes of a page."""

_RULE: Final = (
    'its service account needs a Role with apiGroups [""], resources ["pods"] and'
    ' verbs ["list", "watch"], and a RoleBinding to it'
)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, and what proves to it who asks."""

    base: str
    """``https://HOST:PORT``, without a slash at the end."""

    token_file: Path
    """Read again for every request: Kubernetes replaces the token long before it expires."""

    ca_file: Path


class ByteStream:
    """The bytes of an answer, as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content

    async def read(self) -> bytes:
        """The next ones; none at the end, and none either where the connection was cut."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return b""


class KubernetesApi:
    """An HTTP session with the API; close it by leaving the context."""

    def __init__(self, url: str, access: Access) -> None:
        self._url = url
        self._access = access

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls(), limit=1, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def page(self, path: str, options: Mapping[str, str]) -> bytes:
        """A whole answer. Raises :class:`DiscoveryError` or :class:`Expired`."""
        async with self._get("list", path, options, TIMEOUT) as response:
            try:
                return await _read(response, MAX_PAGE_BYTES)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._unreachable(error) from error

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, options: Mapping[str, str], silence: float
    ) -> AsyncIterator[ByteStream]:
        """An answer as it comes, until it is silent for so many seconds.

        Entering raises :class:`DiscoveryError` or :class:`Expired`.
        """
        async with self._get("watch", path, options, silence) as response:
            yield ByteStream(response)

    @contextlib.asynccontextmanager
    async def _get(
        self, verb: str, path: str, options: Mapping[str, str], silence: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self._token()}"}
        timeout = aiohttp.ClientTimeout(connect=TIMEOUT, sock_connect=TIMEOUT, sock_read=silence)
        try:
            response = await self._session.get(
                self._access.base + path,
                params=options,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error
        async with response:
            if response.status != 200:
                raise await self._refused(verb, response)
            yield response

    async def _refused(self, verb: str, response: aiohttp.ClientResponse) -> Exception:
        if response.status == 410:
            return Expired()
        said = ""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, Unintelligible):
            said = message_of(await _read(response, MAX_TOKEN_BYTES))
        problem = f"the Kubernetes API answers {response.status} {response.reason}: {said}"
        match response.status:
            case 401:
                hint = f"is the token in {self._access.token_file} the one of this cluster?"
            case 403:
                problem = f"this pod may not {verb} pods: {said}"
                hint = f'the verb "{verb}" is missing: {_RULE}'
            case _:
                hint = ""
        return DiscoveryError(self._url, problem, hint, _retry_after(response))

    def _token(self) -> str:
        path = self._access.token_file
        try:
            with path.open("rb") as file:
                token = file.read(MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            hint = "does the pod have automountServiceAccountToken: true?"
            problem = f"cannot read the token {path}: {error}"
            raise DiscoveryError(self._url, problem, hint) from error
        if not token or not token.isprintable() or not token.isascii():
            raise DiscoveryError(self._url, f"there is no token in {path}")
        return token

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._access.base.startswith("https:"):
            return True
        try:
            return ssl.create_default_context(cafile=self._access.ca_file)
        except OSError as error:
            problem = f"cannot read the certificate {self._access.ca_file}: {error}"
            raise DiscoveryError(self._url, problem, "add ?ca-file=PATH") from error

    def _unreachable(self, error: Exception) -> DiscoveryError:
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):  # whose text has the whole query in it
            why = f"no answer within {TIMEOUT:g} s"
        problem = f"cannot reach the Kubernetes API at {self._access.base}: {why}"
        return DiscoveryError(self._url, problem, "does a NetworkPolicy forbid it?")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise Unintelligible(f"an answer of more than {limit} bytes")
    return bytes(body)


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
