"""What is an address that a node can be dialled at."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from pyhorde.config import DEFAULT_ADDRESS, split_address
from pyhorde.errors import ConfigError

DEFAULT_PORT: Final = split_address(DEFAULT_ADDRESS)[1]
MAX_ADDRESSES: Final = 10_000
"""So many addresses are taken from one source; further ones are refused."""
MAX_LENGTH: Final = 300
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,253}")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_NUMBERS: Final = re.compile(r"[0-9.]+")


def join_address(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(text: str) -> str:
    """The address as it is. Raises :class:`~pyhorde.errors.ConfigError` if nobody can dial it."""
    if len(text) > MAX_LENGTH or not text.isascii():
        raise ConfigError("discovery", f"{text[:60]!r} is no HOST:PORT")
    host, port = split_address(text, "discovery")
    if port == 0:
        raise ConfigError("discovery", f"{text!r} has the port 0, which nobody listens on")
    if not _is_host(text.rpartition(":")[0], host):
        raise ConfigError(
            "discovery",
            f"the host of {text!r} is neither a name nor an address",
            "brackets belong around IPv6, and around nothing else",
        )
    return text


def _is_host(written: str, host: str) -> bool:
    try:
        if written == f"[{host}]":
            return _IPV6.fullmatch(host) is not None and bool(IPv6Address(host))
        if _NUMBERS.fullmatch(written):
            return bool(IPv4Address(written))
    except AddressValueError:
        return False
    return _NAME.fullmatch(written) is not None
