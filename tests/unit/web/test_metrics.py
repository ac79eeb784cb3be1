"""Prometheus text: the node's statistics and the HTTP edge's own counts."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from pyhorde.web.metrics import Metrics
from tests.unit.web.conftest import Edge


async def samples(edge: Edge) -> dict[tuple[str, ...], float]:
    async with edge.client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(await response.text())
        return {
            (sample.name, *(sample.labels[k] for k in sorted(sample.labels))): sample.value
            for family in families
            for sample in family.samples
        }


async def test_statistics_are_gauges_or_counters(edge: Edge):
    edge.node.numbers = {"members_alive": 2, "calls_total": 7, "lag_seconds": 0.25}
    found = await samples(edge)
    assert found["pyhorde_members_alive",] == 2
    assert found["pyhorde_calls_total",] == 7
    assert found["pyhorde_lag_seconds",] == 0.25
    async with edge.client.get("/metrics") as response:
        text = await response.text()
    assert "# TYPE pyhorde_members_alive gauge" in text
    assert "# TYPE pyhorde_calls_total counter" in text
    assert "# HELP pyhorde_calls_total The node's calls." in text


async def test_members_are_counted_by_state(edge: Edge):
    found = await samples(edge)
    states = {labels[0]: n for (name, *labels), n in found.items() if name == "pyhorde_members"}
    assert states == {
        "alive": 1,
        "suspect": 0,
        "stalled": 0,
        "draining": 1,
        "dead": 1,
        "left": 0,
    }


async def test_requests_are_counted_by_route_not_by_path(edge: Edge):
    for name in ("x", "y", "a%2Fb"):
        await edge.ask("GET", f"/v1/meta/{name}")
    await edge.ask("GET", "/nowhere")
    await edge.ask("POST", "/v1/status")
    await edge.get("/v1/status")
    found = await samples(edge)
    requests = "pyhorde_http_requests_total"
    assert found[requests, "GET", "/v1/meta/{key}", "404"] == 3
    assert found[requests, "GET", "/v1/status", "200"] == 1
    assert found[requests, "GET", "unmatched", "404"] == 1
    assert found[requests, "POST", "unmatched", "405"] == 1
    refused = "pyhorde_http_refused_total"
    assert found[refused, "name_not_found"] == 3
    assert found[refused, "not_found"] == 1
    assert found[refused, "method_not_allowed"] == 1


async def test_open_metrics_is_spoken_when_asked_for(edge: Edge):
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with edge.client.get("/metrics", headers=headers) as response:
        assert response.content_type == "application/openmetrics-text"
        assert (await response.text()).endswith("# EOF\n")


def test_invented_verbs_do_not_make_new_series():
    metrics = Metrics(dict)
    metrics.answered("BREW", "unmatched", 405)
    metrics.answered("STEEP", "unmatched", 405)
    text, _ = metrics.text("")
    assert b'method="other",route="unmatched",status="405"} 2.0' in text


def test_two_nodes_in_one_program_do_not_share_anything():
    one, other = Metrics(lambda: {"x": 1}), Metrics(lambda: {"x": 2})
    one.refused("not_found")
    assert b"pyhorde_x 1.0" in one.text("")[0]
    assert b"not_found" not in other.text("")[0]
    assert not any(f.name.startswith("pyhorde") for f in REGISTRY.collect())
