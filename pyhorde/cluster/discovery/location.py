"""The URL of a source: ``scheme://body?option=value``, taken apart and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, unquote

from pyhorde.cluster.discovery.addresses import DEFAULT_PORT, check_address
from pyhorde.config import split_address
from pyhorde.errors import ConfigError


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint that names the nearest of the known words, else the other text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


@dataclass(frozen=True, slots=True)
class Location:
    """A URL in its parts. Every problem with it is a :class:`~pyhorde.errors.ConfigError`."""

    url: str
    scheme: str
    body: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str) -> Self:
        head, _, query = url.partition("?")
        scheme, mark, body = head.partition("://")
        if not mark or not scheme:
            raise ConfigError(
                "discovery",
                f"{url[:200]!r} is no URL of a source",
                "for example dns://horde.example.com:7411 or static://10.0.0.5:7411",
            )
        options = parse_qsl(query, keep_blank_values=True)
        parsed = cls(url, scheme.lower(), unquote(body), dict(options))
        if len(parsed.options) < len(options):
            raise parsed.wrong("an option is given twice")
        return parsed

    def wrong(self, problem: str, hint: str = "") -> ConfigError:
        """The error that says what is wrong with this URL."""
        return ConfigError("discovery", f"{self.url[:200]}: {problem}", hint)

    def allow(self, *known: str) -> None:
        """Refuse every option but these."""
        for option in self.options:
            if option not in known:
                otherwise = f"it takes {', '.join(known)}" if known else "it takes none"
                hint = did_you_mean(option, known, otherwise)
                raise self.wrong(f"{self.scheme}:// has no option {option!r}", hint)

    def number(self, option: str, default: float, low: float, high: float) -> float:
        """The option's value, a number between the two."""
        text = self.options.get(option)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(f"{option} = {text!r} is no number") from None
        if not low <= value <= high:
            raise self.wrong(f"{option} = {text} does not lie between {low:g} and {high:g}")
        return value

    def integer(self, option: str, default: int, low: int, high: int) -> int:
        """The option's value, a whole number between the two."""
        value = self.number(option, default, low, high)
        if value != int(value):
            raise self.wrong(f"{option} = {value:g} is no whole number")
        return int(value)

    def check(self, address: str) -> str:
        """The address, which stands in this URL."""
        try:
            return check_address(address)
        except ConfigError as error:
            raise self.wrong(error.problem, error.hint) from None

    def host_and_port(self, example: str) -> tuple[str, int]:
        """The body as ``HOST[:PORT]``."""
        if not self.body:
            raise self.wrong("it names no host", f"for example {example}")
        bare = ":" not in self.body.rpartition("]")[2]
        text = f"{self.body}:{DEFAULT_PORT}" if bare else self.body
        return split_address(self.check(text), "discovery")
