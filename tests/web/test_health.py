"""Health and metrics over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.front import Front


async def test_alive(front: Front) -> None:
    web = await front.client()
    answer = await web.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert (await web.head("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({}, 200),
        ({"directory": "ok", "journal": "off"}, 200),
        ({"directory": "ok: 12 contacts", "journal": "ok (3 wait)"}, 200),
        ({"directory": "ok", "salesforce": "degraded: no answer"}, 200),
        ({"directory": "ok", "journal": "failed: disk full"}, 503),
        ({"directory": "starting"}, 503),
        ({"directory": ""}, 503),
        ({"directory": "okay"}, 503),
    ],
)
async def test_ready(front: Front, parts: Mapping[str, str], status: int) -> None:
    front.server.parts = dict(parts)
    web = await front.client()
    answer = await web.get("/readyz")
    assert answer.status_code == status
    assert answer.json() == {"ready": status == 200, "parts": parts}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert (await web.head("/readyz")).status_code == status


async def test_a_serving_process_that_does_not_answer_is_told_of(front: Front) -> None:
    front.server.down = True
    web = await front.client()
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = await web.get(path)
        assert answer.status_code == 503
        assert "does not answer" in answer.text


async def test_metrics_are_those_of_both_processes(front: Front) -> None:
    web = await front.client()
    await web.get("/healthz")
    await web.get("/api/v1/agents")
    answer = await web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert "ostiary_calls" in families
    counted = {
        (sample.labels["part"], sample.labels["status"]): sample.value
        for sample in families["ostiary_http_requests"].samples
        if sample.name.endswith("_total")
    }
    assert counted["health", "2xx"] == 1
    assert counted["api", "4xx"] == 1
