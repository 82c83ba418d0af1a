"""How the exchange with Salesforce stands, over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.salesforce.report import KINDS
from agi_server.web.access import Scope
from storage import salesforce_state
from storage.sync import note_unread
from tests.web.front import Front, open_front


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Front]:
    """Return a front where Salesforce is used."""
    directory = tmp_path / "linked"
    directory.mkdir()
    async with open_front(directory, more="[salesforce]\nenabled = true\n") as opened:
        yield opened


async def keep(front: Front, **states: object) -> None:
    async def job(conn: AsyncConnection) -> None:
        for name, value in states.items():
            await salesforce_state.put(conn, name.replace("__", ":"), value, 0)  # type: ignore[arg-type]

    await front.database.write(job)


async def test_before_anything_is_known(front: Front) -> None:
    client = await front.client(Scope.READ)
    assert (await client.get("/api/v1/sync")).json() == {
        "enabled": False,
        "in_step": False,
        "last_done_at": None,
        "lag_seconds": None,
        "error": None,
        "usage": {"used": None, "limit": None, "ours": 0},
        "objects": [],
        "notes": [],
        "outbox": {"waiting": 0, "parked": 0, "oldest_at": None},
        "unread": 0,
        "lookups": None,
    }


async def test_how_it_stands(linked: Front) -> None:
    now = int(linked.clock())
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    await keep(
        linked,
        last={
            "ok_at": now - 90,
            "kind": "login",
            "error": "no such <user>",
            "since": 1_790_000_000,
            "usage": [5, 100],
            "day": day,
            "calls": 7,
            "notes": ["a note"],
        },
        sync__Contact={
            "watermark": "2026-09-21T16:13:20.5+02:00",
            "at": 1,
            "doubt": {"missing": 3, "known": 5},
        },
        sync__Lead={"full": {"stage": "reading"}},
        sync__seen={"of": "Contact"},
    )
    linked.server.salesforce = {
        "records": {"Contact": {"read": 9, "inserted": 1, "updated": 2, "removed": 3}},
        "lookups": "",
    }
    client = await linked.client(Scope.READ)
    state = (await client.get("/api/v1/sync")).json()
    assert 90 <= state.pop("lag_seconds") < 150
    assert state.pop("last_done_at").endswith("Z")
    nothing = dict.fromkeys(("read", "inserted", "updated", "removed"))
    assert state == {
        "enabled": True,
        "in_step": False,
        "error": {
            "kind": "login",
            "text": "no such <user>",
            "since": "2026-09-21T14:13:20Z",
            "todo": "see `ostiary check`",
        },
        "usage": {"used": 5, "limit": 100, "ours": 7},
        "objects": [
            {
                "object": "Contact",
                "watermark": "2026-09-21T14:13:20Z",
                "loading": False,
                "missing": 3,
                "read": 9,
                "inserted": 1,
                "updated": 2,
                "removed": 3,
            },
            {"object": "Lead", "watermark": None, "loading": True, "missing": 0} | nothing,
        ],
        "notes": ["a note"],
        "outbox": {"waiting": 0, "parked": 0, "oldest_at": None},
        "unread": 0,
        "lookups": "",
    }


async def test_what_the_database_knows_is_shown_with_the_server_gone(linked: Front) -> None:
    await keep(linked, last={"ok_at": 1, "kind": "", "error": "", "since": 0, "usage": None})
    linked.server.down = True
    client = await linked.client(Scope.READ)
    state = (await client.get("/api/v1/sync")).json()
    assert (state["in_step"], state["lookups"]) == (True, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_failure_says_what_to_do(linked: Front, kind: str) -> None:
    await keep(linked, last={"ok_at": 0, "kind": kind, "error": "e", "since": 1})
    client = await linked.client(Scope.READ)
    assert (await client.get("/api/v1/sync")).json()["error"]["todo"]


async def test_a_round_is_started(linked: Front) -> None:
    client = await linked.client(Scope.ADMIN)
    started = await client.post("/api/v1/sync", json={"full": True})
    assert (started.status_code, started.json()) == (202, {"full": True, "accept_removals": False})
    assert linked.server.syncs == [{"full": True, "accept_removals": False}]
    (noted,) = await linked.rows("SELECT after FROM audit WHERE what = 'sync.start'")
    assert json.loads(noted.after) == started.json()
    assert (await client.post("/api/v1/sync", json={"full": "yes"})).status_code == 422


async def test_no_round_without_salesforce_or_the_right_to(front: Front, linked: Front) -> None:
    client = await front.client(Scope.ADMIN)
    refused = await client.post("/api/v1/sync", json={})
    assert refused.status_code == 409
    assert "salesforce.enabled" in refused.json()["detail"]
    assert front.server.syncs == []
    reader = await linked.client(Scope.READ)
    assert (await reader.post("/api/v1/sync", json={})).status_code == 403
    assert linked.server.syncs == []


async def test_numbers_nobody_can_read_are_listed_in_pages(front: Front) -> None:
    rows = [
        ("003A", "Contact", "Phone", "<ask>"),
        ("003A", "Contact", "MobilePhone", "?"),
        ("003B", "Contact", "Phone", "-"),
    ]
    await front.database.write(lambda conn: note_unread(conn, [], rows))
    client = await front.client(Scope.READ)
    first = (await client.get("/api/v1/sync/unread", params={"limit": 2})).json()
    rest = (await client.get("/api/v1/sync/unread", params={"limit": 2, "cursor": first["next"]})).json()
    assert [(each["salesforce_id"], each["field"]) for each in first["items"] + rest["items"]] == [
        ("003A", "MobilePhone"), ("003A", "Phone"), ("003B", "Phone")
    ]  # fmt: skip
    assert first["items"][1] == {
        "salesforce_id": "003A",
        "kind": "Contact",
        "field": "Phone",
        "text": "<ask>",
    }
    assert rest["next"] is None
    assert (await client.get("/api/v1/sync/unread", params={"cursor": "x"})).status_code == 422
    assert (await client.get("/api/v1/sync")).json()["unread"] == 3
