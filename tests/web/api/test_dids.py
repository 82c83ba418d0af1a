"""DIDs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from agi_server.web.access import Scope
from tests.web.front import Front

NOTHING = dict.fromkeys(
    (
        "region", "identify", "naming", "screening", "routing", "create_contacts", "template", "default_agent",
        "ring_seconds", "fallback", "last_agent_minutes",
    )
)  # fmt: skip


async def test_a_did_is_set_found_however_it_is_written_and_forgotten(front: Front) -> None:
    client = await front.client(Scope.ADMIN, Scope.READ)
    wanted = {"name": "Hotline", "region": "PT", "screening": False, "ring_seconds": 9, "default_agent": ""}
    made = await client.put("/api/v1/dids/+49301", json=wanted, headers={"If-None-Match": "*"})
    assert made.status_code == 201, made.text
    assert made.json() == NOTHING | wanted | {"did": "+49301"}
    got = await client.get("/api/v1/dids/49301")
    assert (got.json(), got.headers["ETag"]) == (made.json(), made.headers["ETag"])
    policy = front.services.directory.policy().dids["49301"]
    assert (policy.region, policy.screening, policy.ring_seconds) == ("PT", False, 9)
    changed = await client.put(
        "/api/v1/dids/49301", json={"routing": False}, headers={"If-Match": got.headers["ETag"]}
    )
    assert (changed.status_code, changed.json()["did"], changed.json()["region"]) == (200, "+49301", None)
    stale = {"If-Match": got.headers["ETag"]}
    assert (await client.put("/api/v1/dids/49301", json={}, headers=stale)).status_code == 412
    assert (
        await client.put("/api/v1/dids/49301", json={}, headers={"If-None-Match": "*"})
    ).status_code == 412
    assert (await client.delete("/api/v1/dids/49301", headers=stale)).status_code == 412
    assert (await client.delete("/api/v1/dids/49301")).status_code == 204
    assert (await client.delete("/api/v1/dids/49301")).status_code == 404
    assert (await client.get("/api/v1/dids/49301")).status_code == 404
    rows = await front.rows("SELECT what FROM audit WHERE who LIKE 'token:%' ORDER BY id")
    assert [row.what for row in rows] == ["dids.put", "dids.put", "dids.remove"]


async def test_dids_are_listed_in_pages(front: Front) -> None:
    client = await front.client(Scope.ADMIN, Scope.READ)
    for did in ("3", "1", "2"):
        assert (await client.put(f"/api/v1/dids/{did}", json={})).status_code == 201
    found, cursor = [], ""
    while True:
        page = (await client.get("/api/v1/dids", params={"limit": 2, "cursor": cursor})).json()
        found.append([each["did"] for each in page["items"]])
        if (cursor := page["next"]) is None:
            break
    assert found == [["1", "2"], ["3"]]


@pytest.mark.parametrize(
    "values",
    [
        {"region": "Germany"},
        {"region": "XX"},
        {"template": "{nonsense}"},
        {"default_agent": "a b"},
        {"ring_seconds": 0},
        {"ring_seconds": "5"},
        {"screening": "yes"},
        {"did": "5"},
        {"last_agent_minutes": -1},
    ],
)
async def test_what_cannot_be_is_refused(front: Front, values: dict[str, Any]) -> None:
    client = await front.client(Scope.ADMIN)
    assert (await client.put("/api/v1/dids/1", json=values)).status_code == 422
    assert await front.rows("SELECT 1 FROM dids") == []


async def test_who_only_reads_changes_nothing(front: Front) -> None:
    client = await front.client(Scope.READ)
    assert (await client.put("/api/v1/dids/1", json={})).status_code == 403
    assert (await client.delete("/api/v1/dids/1")).status_code == 403
