"""What the node counts, for Prometheus. Every node has a registry of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

_TOTAL = "_total"
_VERBS = frozenset("GET HEAD POST PUT DELETE OPTIONS PATCH".split())


class Metrics(Collector):
    """The node's statistics, and the answers and refusals of its HTTP edge.

    A statistic ``x`` is the gauge ``pyhorde_x``; one named ``x_total`` is a counter. ``states``
    says how many members are in which state, ``streams`` how many streams of events are read.
    """

    def __init__(
        self,
        statistics: Callable[[], Mapping[str, int | float]],
        states: Callable[[], Mapping[str, int]] = dict,
        streams: Callable[[], int] = int,
    ) -> None:
        self._statistics = statistics
        self._states = states
        self._streams = streams
        self._answered: Counter[tuple[str, str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, method: str, route: str, status: int) -> None:
        """A request was answered; ``route`` is its pattern, never its path."""
        self._answered[method if method in _VERBS else "other", route, str(status)] += 1

    def refused(self, code: str) -> None:
        """A request was answered with the error of this code."""
        self._refused[code] += 1

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that the ``Accept`` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Nothing in advance: the node is not asked before it runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, as they stand now."""
        for key, value in sorted(self._statistics().items()):
            kind = CounterMetricFamily if key.endswith(_TOTAL) else GaugeMetricFamily
            words = key.removesuffix(_TOTAL).replace("_", " ")
            yield kind(f"pyhorde_{key}", f"The node's {words}.", value=float(value))
        members = GaugeMetricFamily(
            "pyhorde_members", "Members the node knows, by state.", labels=("state",)
        )
        for state, count in sorted(self._states().items()):
            members.add_metric((state,), float(count))
        yield members
        about = "Streams of events that are read now."
        yield GaugeMetricFamily("pyhorde_event_streams", about, value=float(self._streams()))
        requests = CounterMetricFamily(
            "pyhorde_http_requests",
            "Requests answered, by verb, route and HTTP status.",
            labels=("method", "route", "status"),
        )
        for labels, count in sorted(self._answered.items()):
            requests.add_metric(labels, count)
        yield requests
        refused = CounterMetricFamily(
            "pyhorde_http_refused", "Requests refused, by error code.", labels=("code",)
        )
        for code, count in sorted(self._refused.items()):
            refused.add_metric((code,), count)
        yield refused
