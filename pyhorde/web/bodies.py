"""What comes in and goes out: names, queries and bodies checked at the door; results as JSON."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from aiohttp import web

from pyhorde.errors import HordeError, InvalidName
from pyhorde.runtime.record import check_name

MAX_NESTING: Final = 100
"""Levels of lists and objects in a body; what travels between nodes has no more either."""
BODY_TIMEOUT: Final = 10.0
"""Seconds in which the body of a request has to come."""
MAX_TIMEOUT: Final = 3600.0
MAX_REQUEST_ID: Final = 128
_REQUIRED: Final = object()
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(eq=False, repr=False)
class TooSlow(HordeError):
    """The request's body did not come within ``seconds``."""

    seconds: float
    http_status: ClassVar[int] = 408

    def __str__(self) -> str:
        return f"the body did not come within {self.seconds:g} s"


@dataclass(eq=False, repr=False)
class BadRequest(HordeError):
    """The request is not what it should be; ``line`` and ``column`` where JSON ends to be JSON."""

    problem: str
    hint: str = ""
    line: int | None = None
    column: int | None = None
    http_status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 2

    @property
    def data(self) -> dict[str, Any]:
        return {name: value for name, value in super().data.items() if value not in (None, "")}

    def __str__(self) -> str:
        where = "" if self.line is None else f" (line {self.line}, column {self.column})"
        return self.problem + where


# ---- names and queries --------------------------------------------------------------------------


def name_in(request: web.Request) -> str:
    """The name or key in ``/v1/COLLECTION/NAME...``. Raises ``InvalidName``.

    Decoded from the raw path, in which a ``/`` of the name is still a ``%2F``.
    """
    raw = request.rel_url.raw_path.split("/")[3]
    try:
        return check_name(unquote_to_bytes(raw.encode(errors="surrogateescape")).decode())
    except UnicodeDecodeError:
        raise InvalidName(raw, "it is not percent-encoded UTF-8") from None


def query_of(request: web.Request, known: Sequence[str]) -> dict[str, str]:
    """The query's parameters. Raises ``BadRequest`` for unknown or repeated ones."""
    raw = request.rel_url.raw_query_string
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict")
    except ValueError:
        raise BadRequest("the query is not percent-encoded UTF-8") from None
    query = dict(pairs)
    for name in query:
        if name not in known:
            raise BadRequest(f"there is no parameter {name!r}", _suggestion(name, known))
    if len(query) < len(pairs):
        raise BadRequest("a parameter is given twice")
    return query


def whole_number(text: str, name: str, most: int) -> int:
    """The number from 1 to ``most`` that a parameter gives. Raises ``BadRequest``."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} must be a whole number from 1 to {most}, not {text[:40]!r}")


def switch(text: str, name: str) -> bool:
    """Whether a parameter is on. Raises ``BadRequest``."""
    if text in ("1", "true"):
        return True
    if text in ("0", "false", ""):
        return False
    raise BadRequest(f"{name} must be 1 or 0, not {text[:40]!r}")


# ---- bodies -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request's body: what it must be, in words and as a check, and its default."""

    name: str
    must_be: str
    fits: Callable[[Any], bool]
    default: Callable[[], Any] | object = _REQUIRED


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_timeout(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= MAX_TIMEOUT


def _is_request_id(value: Any) -> bool:
    return value is None or (isinstance(value, str) and 1 <= len(value) <= MAX_REQUEST_ID)


_METHOD: Final = Field("method", "the name of a method", _is_text)
_ARGS: Final = Field("args", "an array", lambda v: isinstance(v, list), list)
_KWARGS: Final = Field("kwargs", "an object", lambda v: isinstance(v, dict), dict)

START: Final = (
    Field("type", "a type, such as MODULE:CLASS", _is_text),
    Field("name", "a string", lambda v: v is None or isinstance(v, str), lambda: None),
    _ARGS,
    _KWARGS,
)
CAST: Final = (_METHOD, _ARGS, _KWARGS)
CALL: Final = (
    *CAST,
    Field("timeout", f"above 0 and at most {MAX_TIMEOUT:g} seconds", _is_timeout, lambda: 5.0),
    Field("request_id", f"a string of 1 to {MAX_REQUEST_ID}", _is_request_id, lambda: None),
)
META: Final = (Field("value", "a value", lambda _: True),)


async def read(request: web.Request, fields: Iterable[Field]) -> dict[str, Any]:
    """The body's fields, checked, with defaults. Raises ``BadRequest``, ``TooSlow``."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            raw = await request.read()
    except TimeoutError:
        raise TooSlow(BODY_TIMEOUT) from None
    body = parse(raw)
    if not isinstance(body, dict):
        raise BadRequest(f"the body must be an object, not {_kind(body)}")
    known = {field.name: field for field in fields}
    for name in body:
        if name not in known:
            raise BadRequest(f"there is no field {name[:80]!r}", _suggestion(name, list(known)))
    return {name: _taken(body, field) for name, field in known.items()}


def _is_deep(value: Any) -> bool:
    """Whether lists and objects are nested in more than ``MAX_NESTING`` levels."""
    level = [value]
    for _ in range(MAX_NESTING):
        below: list[Any] = []
        for each in level:
            if isinstance(each, list):
                below += [one for one in each if isinstance(one, list | dict)]
            elif isinstance(each, dict):
                below += [one for one in each.values() if isinstance(one, list | dict)]
        if not below:
            return False
        level = below
    return True


def parse(raw: bytes) -> Any:
    """The value that the bytes are as JSON: UTF-8, and only what JSON has. Or ``BadRequest``."""
    if not raw.strip():
        raise BadRequest("the body is empty; it must be a JSON object")
    try:
        text = raw.decode()
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if text.count("[") + text.count("{") > MAX_NESTING and _is_deep(value):
            raise RecursionError
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        problem = f"the body is no JSON: {error.msg}"
        raise BadRequest(problem, line=error.lineno, column=error.colno) from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} cannot be read") from None
    except UnicodeEncodeError:
        raise BadRequest("the body holds half a surrogate pair, which is no text") from None
    except RecursionError:
        raise BadRequest(f"the body is nested more than {MAX_NESTING} levels deep") from None
    except ValueError:
        raise BadRequest("the body holds a number with too many digits") from None
    return value


def _no_number(text: str) -> None:
    raise BadRequest(f"the body holds {text}, which JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise BadRequest(f"the body holds {text[:40]}, which is too large for a number")
    return number


def _taken(body: Mapping[str, Any], field: Field) -> Any:
    if field.name not in body:
        if callable(field.default):
            return field.default()
        raise BadRequest(f"{field.name!r} is missing", f"it must be {field.must_be}")
    value = body[field.name]
    if not field.fits(value):
        raise BadRequest(f"{field.name!r} must be {field.must_be}, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "..."


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(known)}"


# ---- results ------------------------------------------------------------------------------------


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The data as a JSON answer."""
    text = json.dumps(plain(data), allow_nan=False)
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


def plain(value: Any) -> Any:
    """The value as JSON has it; what JSON lacks comes out as its closest likeness, or as text."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=repr)]
    return _likeness(value)


def _likeness(value: Any) -> Any:
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name, None)) for name in names}
    if hasattr(value, "get_update"):
        return plain(value.get_update())
    return str(value)


def _key(key: Any) -> str:
    key = key.value if isinstance(key, Enum) else key
    text = plain(key)
    return text if isinstance(text, str) else str(key)
