"""Addresses from outside: each is checked; what is none is refused, reported and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from pyhorde.cluster.discovery.addresses import MAX_ADDRESSES, MAX_LENGTH, check_address
from pyhorde.errors import ConfigError

log = logging.getLogger("pyhorde.discovery")

_REPORTED: Final = 100
"""So many refusals of a source are reported; all are counted."""


class Sieve:
    """Lets through what is an address, for the source of this name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reported: set[str] = set()
        self.refused = 0
        """Addresses that were refused, as often as they came."""

    def sift(self, given: Iterable[object]) -> frozenset[str]:
        """The good ones among them, at most ``MAX_ADDRESSES``."""
        passed: set[str] = set()
        for text in given:
            if not isinstance(text, str):
                self._refuse(type(text).__name__, "no text")
            elif len(passed) >= MAX_ADDRESSES:
                self._refuse("", f"more than {MAX_ADDRESSES} addresses")
            else:
                self._pass(text, passed)
        return frozenset(passed)

    def _pass(self, text: str, passed: set[str]) -> None:
        try:
            passed.add(check_address(text))
        except ConfigError as error:
            self._refuse(text[:MAX_LENGTH], error.problem)

    def _refuse(self, text: str, problem: str) -> None:
        self.refused += 1
        if problem in self._reported or len(self._reported) >= _REPORTED:
            return
        self._reported.add(problem)
        fields = {"source": self._name, "address": text, "problem": problem}
        log.warning("discovery_address_refused", extra={"fields": fields})
