"""What the command line, the environment and a TOML file say, made into a :class:`NodeConfig`.

Flags beat ``PYHORDE_<OPTION>`` beat the file beat the defaults. Every value remembers where it
came from, and an error names that place (``--bind``, ``PYHORDE_BIND``, ``horde.toml:bind``) rather
than the setting, because there it can be mended. The file has the options as top-level keys, and
the tables ``[membership]``, ``[replication]`` and ``[runtime]`` with the fields of their classes.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pyhorde.config import (
    DEFAULT_ADDRESS,
    HOW_TO_MAKE_ONE,
    MembershipConfig,
    NodeConfig,
    ReplicationConfig,
    RuntimeConfig,
    TlsFiles,
    check_secrets,
    split_address,
)
from pyhorde.errors import ConfigError

MAX_SECRET_FILE: Final = 64 * 1024
OTHERS: Final = 0o027
"""Who is not in the group may do nothing with a file of secrets, and the group only read it."""

_TABLES: Final[Mapping[str, type[Any]]] = {
    "membership": MembershipConfig,
    "replication": ReplicationConfig,
    "runtime": RuntimeConfig,
}
_PROFILES: Final[Mapping[str, Callable[[], MembershipConfig]]] = {
    "local": MembershipConfig.local,
    "lan": MembershipConfig,
    "wan": MembershipConfig.wan,
}
_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything ``pyhorde node`` needs to start."""

    config: NodeConfig
    apps: tuple[str, ...] = ()
    log_format: str = "text"
    log_level: str = "info"
    secret_files: tuple[Path, ...] = ()
    """Where the secrets were read."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and the place where the user wrote it."""

    value: Any
    origin: str
    folder: Path = field(default_factory=Path)


def load(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a node; ``flags`` has the command line's options by name, unset ones as None.

    Raises :class:`~pyhorde.errors.ConfigError` for anything wrong, naming where it was written.
    """
    given = _gather(flags, os.environ if environ is None else environ)
    try:
        config = _config(given)
    except ConfigError as error:
        origin = given[error.option].origin if error.option in given else error.option
        raise ConfigError(origin, error.problem, error.hint) from None
    read = {key: given[key].value for key in ("apps", "log_format", "log_level") if key in given}
    return Settings(config, secret_files=_secret_files(given), **read)


def _config(given: Mapping[str, _Given]) -> NodeConfig:
    def value(key: str, default: Any = None) -> Any:
        return given[key].value if key in given else default

    bind = value("bind", DEFAULT_ADDRESS)
    return NodeConfig(
        name=value("name") or default_name(bind),
        bind=bind,
        advertise=value("advertise"),
        peers=value("peers", ()),
        discovery=value("discovery", ()),
        members=_named(value("members", ())),
        labels=value("labels", ()),
        data_dir=_directory(given.get("data_dir")),
        cluster=value("cluster", "horde"),
        secrets=read_secrets(_secret_files(given)),
        tls=_tls(given),
        insecure=value("insecure", default=False),
        membership=_table(_PROFILES[value("profile", "lan")](), "membership", given),
        replication=_table(ReplicationConfig(), "replication", given),
        runtime=_table(RuntimeConfig(), "runtime", given),
    )


def _named(members: tuple[str, ...]) -> tuple[str, ...]:
    """``auto`` says that whoever joins counts."""
    return () if members == ("auto",) else members


def _directory(given: _Given | None) -> str | None:
    return str(given.folder / given.value) if given is not None else None


def default_name(bind: str) -> str:
    """``<hostname>-<port>``, in letters that a node's name may have."""
    port = split_address(bind, "bind")[1]
    suffix = f"-{port or os.getpid()}"
    host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-") or "node"
    return host[: 63 - len(suffix)] + suffix


def _secret_files(given: Mapping[str, _Given]) -> tuple[Path, ...]:
    found = given.get("secret_file")
    return tuple(found.folder / path for path in found.value) if found is not None else ()


def read_secrets(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """The cluster's secrets: the lines of these files but empty ones and those that begin with #.

    Raises ``ConfigError`` for a file that others can read, and for what is no good secret.
    """
    found: list[bytes] = []
    for path in paths:
        lines = [line.strip() for line in _private_bytes(path).splitlines()]
        secrets = tuple(line for line in lines if line and not line.startswith(b"#"))
        if not secrets:
            raise ConfigError("secret_file", f"{path} has no secret in it", _make_secret(path))
        try:
            check_secrets(secrets)
        except ConfigError as error:
            raise ConfigError(
                "secret_file", f"{path}: {error.problem}", _make_secret(path)
            ) from None
        found += secrets
    return tuple(dict.fromkeys(found))


def _make_secret(path: Path) -> str:
    return f"{HOW_TO_MAKE_ONE} > {path} && chmod 600 {path}"


def _private_bytes(path: Path) -> bytes:
    """What is in a file that only this user, and perhaps its group, can read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode if os.name == "posix" else 0
            data = file.read(MAX_SECRET_FILE + 1)
    except OSError as error:
        problem = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise ConfigError("secret_file", problem, _make_secret(path)) from None
    if mode & OTHERS:
        problem = f"{path} can be read or written by others (mode {mode & 0o777:03o})"
        raise ConfigError("secret_file", problem, f"chmod 600 {path}")
    if len(data) > MAX_SECRET_FILE:
        raise ConfigError("secret_file", f"{path} is too large", _make_secret(path))
    return data


def _tls(given: Mapping[str, _Given]) -> TlsFiles | None:
    names = ("tls_cert", "tls_key", "tls_ca")
    there = [name for name in names if name in given]
    if not there:
        return None
    if len(there) < len(names):
        missing = ", ".join(_flag(name) for name in names if name not in given)
        raise ConfigError(there[0], f"{missing} is missing", "the three go together")
    return TlsFiles(*(str(given[name].folder / given[name].value) for name in names))


def _table(preset: T, table: str, given: Mapping[str, _Given]) -> T:
    """The preset with what the file's table (or an option of the same meaning) says."""
    prefix = f"{table}."
    changes = {k.removeprefix(prefix): g.value for k, g in given.items() if k.startswith(prefix)}
    changed: T = replace(preset, **changes)  # type: ignore[type-var]
    return changed


# --- where values come from ----------------------------------------------------------------------


def _gather(flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, _Given]:
    """Every value that was given somewhere, the strongest place winning."""
    strong = _from_environ(environ) | _from_flags(flags)
    path = strong.pop("config", None)
    return (_from_file(Path(path.value), path.origin) if path else {}) | strong


def _from_flags(flags: Mapping[str, Any]) -> dict[str, _Given]:
    named = {key: flags.get(key) for key in _OPTIONS}
    return {
        _KEYS.get(key, key): _read(value, _OPTIONS[key].from_text, _flag(key))
        for key, value in named.items()
        if value is not None and value != ()
    }


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    """An empty variable counts as not set."""
    named = {key: environ.get(_variable(key), "").strip() for key in _OPTIONS}
    return {
        _KEYS.get(key, key): _read(value, _OPTIONS[key].from_text, _variable(key))
        for key, value in named.items()
        if value
    }


def _from_file(path: Path, origin: str) -> dict[str, _Given]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise ConfigError(origin, problem) from None
    except ValueError as error:
        raise ConfigError(origin, f"{path} is no TOML: {error}") from None
    found: dict[str, _Given] = {}
    for key, value in raw.items():
        if key in _TABLES:
            found |= _from_table(key, value, path)
        elif key in _OPTIONS and key != "config":
            place, kind = f"{path}:{key}", _OPTIONS[key]
            found[_KEYS.get(key, key)] = _read(value, kind.from_toml, place, path.parent)
        else:
            raise ConfigError(f"{path}:{key}", "there is no such setting", _meant(key))
    if "drain_timeout" in raw and "drain_timeout" in raw.get("runtime", {}):
        place = f"{path}:drain_timeout"
        raise ConfigError(place, "it is given twice", "drop the one in [runtime]")
    return found


def _from_table(table: str, raw: Any, path: Path) -> dict[str, _Given]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}:{table}", "must be a table", f"write [{table}] above its keys")
    numbers = {each.name: type(each.default) for each in fields(_TABLES[table])}
    found = {}
    for key, value in raw.items():
        place = f"{path}:{table}.{key}"
        if key not in numbers:
            raise ConfigError(place, "there is no such setting", _closest(key, numbers))
        kind = _WHOLE if numbers[key] is int else _NUMBER
        found[f"{table}.{key}"] = _read(value, kind.from_toml, place)
    return found


def _read(value: Any, parse: Callable[[Any], Any], origin: str, folder: Path = Path()) -> _Given:
    try:
        return _Given(parse(value), origin, folder)
    except ValueError as error:
        raise ConfigError(origin, str(error)) from None


def _meant(key: str) -> str:
    for table, kind in _TABLES.items():
        if key in {each.name for each in fields(kind)}:
            return f"put it into the table [{table}]"
    return _closest(key, [*(name for name in _OPTIONS if name != "config"), *_TABLES])


def _closest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key.replace("-", "_"), known := list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"


# --- how values are written ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a value is read: from text, and from a value that has a type already."""

    from_text: Callable[[Any], Any]
    from_toml: Callable[[Any], Any]


def _words(value: Any) -> tuple[str, ...]:
    """``a,b`` or several of them."""
    texts = [value] if isinstance(value, str) else value
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'must be a list of texts, such as ["a", "b"], and not {value!r}')
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text in quotes, and not {value!r}")
    return value


def _switch(value: Any) -> bool:
    if str(value).lower() not in _SWITCH:
        raise ValueError(f"must be true or false, and not {value!r}")
    return _SWITCH[str(value).lower()]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, and not {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, and not {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"must be a number from 0 up, and not {value!r}")
    return value


def _parsed(value: Any) -> float:
    try:
        return _number(float(value))
    except ValueError:
        raise ValueError(f"must be a number from 0 up, and not {value!r}") from None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, and not {value!r}")
    return int(_number(value))


def _one_of(*choices: str) -> _Kind:
    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, and not {value!r}")
        return str(value)

    return _Kind(parse, parse)


def _spaced(value: Any) -> tuple[str, ...]:
    """URLs with white space between them (a comma may be part of one), or several texts."""
    texts = [value] if isinstance(value, str) else value
    return tuple(word for text in texts for word in text.split())


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    """``key=value,key=value``, or several of them."""
    pairs = [word.partition("=") for word in _words(value)]
    if not all(equals and key for key, equals, _ in pairs):
        raise ValueError("must be KEY=VALUE, such as zone=eu-1")
    return tuple((key, text) for key, _, text in pairs)


def _label_table(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('must be a table of texts, such as { zone = "eu-1" }')
    return tuple(value.items())


def _paths(value: Any) -> tuple[str, ...]:
    """One path, or several texts; several in one variable have white space between them."""
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


def _one_or_more(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else _list(value)


_TEXT: Final = _Kind(str, _text)
_PATHS: Final = _Kind(_paths, _one_or_more)
_LIST: Final = _Kind(_words, _list)
_URLS: Final = _Kind(_spaced, _list)
_LABELS: Final = _Kind(_labels, _label_table)
_BOOLEAN: Final = _Kind(_switch, _boolean)
_NUMBER: Final = _Kind(_parsed, _number)
_WHOLE: Final = _Kind(_parsed, _whole)

_OPTIONS: Final[Mapping[str, _Kind]] = {
    "name": _TEXT,
    "bind": _TEXT,
    "advertise": _TEXT,
    "peers": _LIST,
    "discovery": _URLS,
    "members": _LIST,
    "labels": _LABELS,
    "data_dir": _TEXT,
    "cluster": _TEXT,
    "apps": _LIST,
    "secret_file": _PATHS,
    "tls_cert": _TEXT,
    "tls_key": _TEXT,
    "tls_ca": _TEXT,
    "insecure": _BOOLEAN,
    "config": _TEXT,
    "log_format": _one_of("text", "json"),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "profile": _one_of(*_PROFILES),
    "drain_timeout": _NUMBER,
}
_KEYS: Final = {"drain_timeout": "runtime.drain_timeout"}
"""Options that are a field of a table."""
_SINGULAR: Final = {"apps": "app", "labels": "label"}
"""Options that are given once for each value."""


def _flag(key: str) -> str:
    return f"--{_SINGULAR.get(key, key).replace('_', '-')}"


def _variable(key: str) -> str:
    return f"PYHORDE_{_SINGULAR.get(key, key).upper()}"
