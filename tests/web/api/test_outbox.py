"""The outbox over HTTP."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Scope
from tests.web.front import Front

AT = 1_790_000_000


@pytest.fixture
async def waiting(front: Front) -> Front:
    """Return a front where rows 1 … 4 wait, 2 and 4 of them for an admin."""

    async def job(conn: AsyncConnection) -> None:
        for number in range(1, 5):
            await conn.exec_driver_sql(
                "INSERT INTO outbox (id, kind, payload, created_at, attempts, next_attempt_at, error, parked) "
                "VALUES (?, 'contact', ?, ?, 3, ?, 'refused', ?)",
                (number, json.dumps({"name": f"<b>{number}"}), AT, AT + 60, number % 2 == 0),
            )

    await front.database.write(job)
    return front


async def test_what_waits_is_listed(waiting: Front) -> None:
    client = await waiting.client(Scope.READ)
    page = (await client.get("/api/v1/outbox", params={"limit": 3})).json()
    assert page["items"][1] == {
        "id": 2,
        "kind": "contact",
        "contact_id": None,
        "payload": {"name": "<b>2"},
        "created_at": "2026-09-21T14:13:20Z",
        "attempts": 3,
        "next_attempt_at": "2026-09-21T14:14:20Z",
        "error": "refused",
        "ref": None,
        "parked": True,
        "key": None,
    }
    rest = (await client.get("/api/v1/outbox", params={"limit": 3, "cursor": page["next"]})).json()
    assert ([row["id"] for row in rest["items"]], rest["next"]) == ([4], None)
    parked = (await client.get("/api/v1/outbox", params={"parked": "true"})).json()
    assert [row["id"] for row in parked["items"]] == [2, 4]
    others = (await client.get("/api/v1/outbox", params={"parked": "false"})).json()
    assert [row["id"] for row in others["items"]] == [1, 3]
    assert (await client.get("/api/v1/outbox", params={"cursor": "x"})).status_code == 422
    assert (await client.get("/api/v1/outbox/2")).json() == page["items"][1]
    assert (await client.get("/api/v1/outbox/9")).status_code == 404


async def test_one_is_sent_again(waiting: Front) -> None:
    client = await waiting.client(Scope.ADMIN)
    row = (await client.post("/api/v1/outbox/2/retry")).json()
    assert (row["parked"], row["attempts"], row["next_attempt_at"]) == (False, 0, None)
    assert (await client.post("/api/v1/outbox/9/retry")).status_code == 404
    (noted,) = await waiting.rows("SELECT after FROM audit WHERE what = 'outbox.retry'")
    assert json.loads(noted.after) == {"ids": [2], "rows": 1}


async def test_all_that_wait_for_an_admin_are_sent_again(waiting: Front) -> None:
    client = await waiting.client(Scope.ADMIN)
    assert (await client.post("/api/v1/outbox/retry")).json() == {"rows": 2}
    assert (await client.post("/api/v1/outbox/retry")).json() == {"rows": 0}
    assert await waiting.rows("SELECT 1 FROM outbox WHERE parked") == []
    assert len(await waiting.rows("SELECT 1 FROM audit WHERE what = 'outbox.retry'")) == 1


async def test_one_is_dropped(waiting: Front) -> None:
    client = await waiting.client(Scope.ADMIN)
    assert (await client.delete("/api/v1/outbox/2")).status_code == 204
    assert (await client.delete("/api/v1/outbox/2")).status_code == 404
    assert [row.id for row in await waiting.rows("SELECT id FROM outbox ORDER BY id")] == [1, 3, 4]
    (noted,) = await waiting.rows("SELECT before FROM audit WHERE what = 'outbox.drop'")
    assert json.loads(noted.before)["payload"] == {"name": "<b>2"}


async def test_who_only_reads_changes_nothing(waiting: Front) -> None:
    client = await waiting.client(Scope.READ)
    for answer in (
        await client.post("/api/v1/outbox/2/retry"),
        await client.post("/api/v1/outbox/retry"),
        await client.delete("/api/v1/outbox/2"),
    ):
        assert answer.status_code == 403
