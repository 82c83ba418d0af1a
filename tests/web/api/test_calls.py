from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agi_server.web.access import Scope
from agi_server.web.api.calls import Statistics, TracedCall
from storage.calls import record_calls
from tests.web.front import Front

AT = 1_800_000_000  # 2027-01-15T08:00:00Z
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
STEP = ["screen", "block", "block rule 1 (exact)", "+4930900900"]


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    await front.database.write(lambda conn: record_calls(conn, [
        {"id": "a-1", "started_at": AT, "number": 4930900900, "number_text": "030900900", "did": "555",
         "verdict": "block", "reason": "blacklist-exact", "rule_id": 1, "trace": [STEP], "name": "<b>\u202e"},
        {"id": "a-2", "started_at": AT + 60, "ended_at": AT + 90, "number": 493023125010, "contact_id": 1,
         "number_text": "+493023125010", "name": "Ana Muñoz", "rung": "exact", "reason": "known",
         "routed_to": "101", "answered_by": "101", "seconds": 20, "disposition": "answered"},
        {"id": "a-3", "started_at": AT + 3600, "number_text": "", "rung": "anonymous", "reason": "anonymous"},
        {"id": "a-4", "started_at": AT + 3660, "number": 4930777888, "direction": "outbound"},
    ]))  # fmt: skip
    opened = await front.client(Scope.READ, Scope.CONTACTS)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/calls", params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_calls_are_found(client: httpx.AsyncClient) -> None:
    for query, found in (
        ({}, "4321"),
        ({"q": "muñ"}, "2"),
        ({"q": "90090"}, "1"),
        ({"number": "030 23125010"}, "2"),
        ({"contact_id": 1}, "2"),
        ({"verdict": "block"}, "1"),
        ({"verdict": "allow", "direction": "inbound"}, "32"),
        ({"direction": "outbound"}, "4"),
        ({"did": "555"}, "1"),
        ({"agent": "101"}, "2"),
        ({"reason": "anonymous"}, "3"),
        ({"rung": "exact"}, "2"),
        ({"since": "2027-01-15T08:01:00Z", "until": "2027-01-15T09:00:00Z"}, "32"),
        ({"until": "2027-01-15T09:01:00+01:00"}, "21"),
        ({"q": "nobody"}, ""),
    ):
        assert await ids(client, **query) == [f"a-{each}" for each in found]


async def test_calls_come_in_pages(client: httpx.AsyncClient) -> None:
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get("/calls", params={"limit": 3, "cursor": cursor})).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert found == ["a-4", "a-3", "a-2", "a-1"]


async def test_what_is_no_question_is_refused(client: httpx.AsyncClient) -> None:
    for query in (
        {"number": "nobody"},
        {"verdict": "maybe"},
        {"direction": ""},
        {"rung": "ladder"},
        {"contact_id": -1},
        {"contact_id": 2**63},
        {"since": "1800000000"},
        {"since": "2027-01-15"},
        {"since": "0001-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59Z"},
        {"cursor": "x"},
        {"limit": 201},
        {"q": "x" * 101},
    ):
        assert (await client.get("/calls", params=query)).status_code == 422


async def test_a_call_is_shown_with_its_trace(client: httpx.AsyncClient) -> None:
    answer = await client.get("/calls/a-1")
    TracedCall.model_validate_json(answer.content, strict=True, extra="forbid")
    call = answer.json()
    assert (call["started_at"], call["ended_at"], call["seconds"]) == ("2027-01-15T08:00:00Z", None, None)
    assert (call["number"], call["number_sent"], call["name"]) == ("+4930900900", "030900900", "<b>\u202e")
    assert call["trace"] == [dict(zip(("stage", "outcome", "detail", "personal"), STEP, strict=True))]
    other = (await client.get("/calls/a-2")).json()
    assert (other["ended_at"], other["contact_name"]) == ("2027-01-15T08:01:30Z", "Ana Muñoz")


async def test_a_call_is_said_to_be_somebodys(client: httpx.AsyncClient, front: Front) -> None:
    answer = await client.put("/calls/a-3/contact", json={"contact_id": 1})
    assert (answer.json()["contact_id"], answer.json()["contact_name"]) == (1, "Ana Muñoz")
    assert await ids(client, contact_id=1) == ["a-3", "a-2"]
    assert (await client.put("/calls/a-3/contact", json={"contact_id": None})).json()["contact_id"] is None
    assert (
        len(await front.rows("SELECT 1 FROM audit WHERE what = 'calls.assign' AND who LIKE 'token:%'")) == 2
    )


async def test_what_nobody_can_be_said_to_be(client: httpx.AsyncClient) -> None:
    for path, body, status in (
        ("a-9", {"contact_id": 1}, 404),
        ("a-1", {"contact_id": 99}, 404),
        ("a-1", {"contact_id": 2**63}, 422),
        ("a-1", {"contact_id": 0}, 422),
        ("a-1", {"contact_id": "1"}, 422),
        ("a-1", {}, 422),
        ("a-1", None, 422),
    ):
        assert (await client.put(f"/calls/{path}/contact", json=body)).status_code == status


async def test_calls_are_counted(client: httpx.AsyncClient) -> None:
    query: Any = {"since": "2027-01-15T08:00:00Z", "until": "2027-01-15T10:00:00Z"}
    answer = await client.get("/calls/statistics", params=query)
    Statistics.model_validate_json(answer.content, strict=True, extra="forbid")
    told = answer.json()
    assert told["verdicts"] == {"allow": 2, "block": 1}
    assert told["hours"] == [
        {"at": "2027-01-15T08:00:00Z", "allowed": 1, "blocked": 1},
        {"at": "2027-01-15T09:00:00Z", "allowed": 1, "blocked": 0},
    ]
    assert [(each["number"], each["name"], each["count"], each["blocked"]) for each in told["callers"]] == [
        ("+493023125010", "Ana Muñoz", 1, 0), ("+4930900900", "<b>\u202e", 1, 1),
    ]  # fmt: skip
    few = await client.get("/calls/statistics", params=query | {"top": 1})
    assert len(few.json()["callers"]) == 1


async def test_the_last_day_is_counted_where_nothing_is_said(client: httpx.AsyncClient, front: Front) -> None:
    front.clock.ahead = AT + 24 * 3600 + 30 - front.clock()
    told = (await client.get("/calls/statistics")).json()
    assert told["verdicts"] == {"allow": 2}  # the first call was half a minute too early


async def test_what_cannot_be_counted(client: httpx.AsyncClient) -> None:
    for query in (
        {"since": "2027-01-02T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
        {"top": 0},
        {"top": 101},
    ):
        assert (await client.get("/calls/statistics", params=query)).status_code == 422


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
async def test_any_text_can_be_asked_for(client: httpx.AsyncClient, text: str) -> None:
    assert (
        await client.get("/calls", params={"q": text, "did": text, "agent": text, "reason": text})
    ).status_code == 200
    if text not in {".", ".."} and "/" not in text:
        assert (await client.get(f"/calls/{quote(text, safe='')}")).status_code == 404


async def test_who_may_only_see_assigns_nothing(front: Front, client: httpx.AsyncClient) -> None:
    viewer = await front.client(Scope.READ)
    assert (await viewer.get("/api/v1/calls/a-1")).status_code == 200
    assert (await viewer.put("/api/v1/calls/a-1/contact", json={"contact_id": 1})).status_code == 403
    assert (await client.get("/calls/a-1")).json()["contact_id"] is None
