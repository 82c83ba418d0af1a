"""Agents over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agi_server.web.access import Scope
from tests.web.front import Front

ANA = {
    "extension": "101",
    "name": "Ana's agent",
    "email": "ana@ostiary.example",
    "salesforce_user_id": "",
    "hours": "",
    "timezone": "",
    "delegate": None,
    "ring_seconds": 0,
    "fallback": "",
    "pop": "ringing",
    "absent_until": None,
}


async def audited(front: Front) -> list[tuple[str, str]]:
    return [
        tuple(row) for row in await front.rows("SELECT who, what FROM audit WHERE who <> 'test' ORDER BY id")
    ]


async def test_agents_are_listed_in_pages(front: Front) -> None:
    client = await front.client(Scope.READ)
    everybody = (await client.get("/api/v1/agents")).json()
    assert everybody["items"][0] == ANA
    assert [agent["extension"] for agent in everybody["items"]] == ["101", "200"]
    assert everybody["next"] is None
    first = (await client.get("/api/v1/agents", params={"limit": 1})).json()
    second = (await client.get("/api/v1/agents", params={"limit": 1, "cursor": first["next"]})).json()
    assert [first["items"], second["items"]] == [[everybody["items"][0]], [everybody["items"][1]]]
    assert second["next"] is None


async def test_an_agent_is_added_changed_and_removed(front: Front) -> None:
    client = await front.client(Scope.ADMIN, Scope.READ)
    wanted = {
        "name": "Béa \u2028<b>",
        "email": "Bea@Ostiary.example",
        "delegate": "101",
        "ring_seconds": 25,
        "pop": "off",
    }
    added = await client.put("/api/v1/agents/102", json=wanted, headers={"If-None-Match": "*"})
    assert added.status_code == 422  # a line is one line
    wanted["name"] = "Béa <b>"
    added = await client.put("/api/v1/agents/102", json=wanted, headers={"If-None-Match": "*"})
    assert added.status_code == 201, added.text
    assert added.json() == ANA | wanted | {"extension": "102", "email": "bea@ostiary.example"}
    got = await client.get("/api/v1/agents/102")
    assert (got.json(), got.headers["ETag"]) == (added.json(), added.headers["ETag"])
    changed = await client.put(
        "/api/v1/agents/102", json={"name": "Bea"}, headers={"If-Match": got.headers["ETag"]}
    )
    assert changed.status_code == 200
    assert changed.json() == ANA | {"extension": "102", "name": "Bea", "email": ""}
    assert (await client.delete("/api/v1/agents/102")).status_code == 204
    assert (await client.get("/api/v1/agents/102")).status_code == 404
    assert (await client.delete("/api/v1/agents/102")).status_code == 404
    assert [what for _, what in await audited(front)] == ["agents.put", "agents.put", "agents.remove"]
    assert all(who.startswith("token:") for who, _ in await audited(front))
    assert "102" not in front.services.directory.policy().by_extension


async def test_nobody_undoes_what_they_did_not_see(front: Front) -> None:
    client = await front.client(Scope.ADMIN, Scope.READ)
    seen = (await client.get("/api/v1/agents/101")).headers["ETag"]
    assert (await client.put("/api/v1/agents/101", json={"name": "A"})).status_code == 200
    stale = {"If-Match": seen}
    for answer in (
        await client.put("/api/v1/agents/101", json={"name": "B"}, headers=stale),
        await client.delete("/api/v1/agents/101", headers=stale),
        await client.put("/api/v1/agents/101", json={"name": "B"}, headers={"If-None-Match": "*"}),
        await client.put("/api/v1/agents/999", json={"name": "B"}, headers=stale),
        await client.put("/api/v1/agents/999", json={"name": "B"}, headers={"If-Match": "*"}),
    ):
        assert answer.status_code == 412
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/api/v1/agents/101")).json()["name"] == "A"
    assert (await client.delete("/api/v1/agents/101", headers={"If-Match": "*"})).status_code == 204


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hours": "whenever"}, "whenever"),
        ({"timezone": "Nowhere/X"}, "Nowhere/X"),
        ({"delegate": "999"}, "no agent has the extension '999'"),
        ({"delegate": "200"}, "their own delegate"),
        ({"email": "ana@ostiary.example"}, "extension 101"),
        ({"fallback": "a b"}, "fallback"),
        ({"ring_seconds": 601}, "ring_seconds"),
        ({"nonsense": 1}, "nonsense"),
        ({"name": "x" * 201}, "name"),
    ],
)
async def test_what_cannot_be_is_refused(front: Front, values: dict[str, Any], told: str) -> None:
    client = await front.client(Scope.ADMIN)
    answer = await client.put("/api/v1/agents/200", json=values)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert await audited(front) == []


async def test_half_a_character_is_refused(front: Front) -> None:
    client = await front.client(Scope.ADMIN)
    body = json.dumps({"name": "\ud800"})
    answer = await client.put(
        "/api/v1/agents/200", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


async def test_absence(front: Front) -> None:
    client = await front.client(Scope.ADMIN, Scope.READ)
    address = "/api/v1/agents/101/absence"
    away = await client.post(address, json={"until": "2040-01-01T01:00:00+01:00"})
    assert (away.status_code, away.json()["absent_until"]) == (200, "2040-01-01T00:00:00Z")
    kept = await client.put("/api/v1/agents/101", json={"name": "A"})
    assert kept.json()["absent_until"] == "2040-01-01T00:00:00Z"
    assert front.services.directory.policy().by_extension["101"].absent_until == 2_208_988_800
    back = await client.post(address, json={"until": None})
    assert back.json()["absent_until"] is None
    for body in (
        {},
        {"until": "tomorrow"},
        {"until": 5},
        {"until": "2040-01-01T01:00:00"},
        {"until": "9999-01-01T00:00:00Z"},
    ):
        assert (await client.post(address, json=body)).status_code == 422
    assert (await client.post("/api/v1/agents/999/absence", json={"until": None})).status_code == 404
    assert [what for _, what in await audited(front)] == ["agents.absence", "agents.put", "agents.absence"]


async def test_who_only_reads_changes_nothing(front: Front) -> None:
    client = await front.client(Scope.READ)
    for answer in (
        await client.put("/api/v1/agents/101", json={}),
        await client.delete("/api/v1/agents/101"),
        await client.post("/api/v1/agents/101/absence", json={"until": None}),
    ):
        assert answer.status_code == 403
