import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Scope
from agi_server.web.api.contacts import CardOut
from storage.calls import record_calls
from tests.web.front import Front

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ZOE = {
    "first_name": "Zoë",
    "last_name": "O'Brien \u202e<b>",
    "email": "zoe@acme.example",
    "account": "Acme",
    "phones": [{"label": "MobilePhone", "text": "0171 1234567"}],
    "vip": True,
}


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    opened = await front.client(Scope.READ, Scope.CONTACTS)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


async def make(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    answer = await client.post("/contacts", json=ZOE | more)
    assert answer.status_code == 201, answer.text
    CardOut.model_validate_json(answer.content, strict=True, extra="forbid")
    return answer


async def names(client: httpx.AsyncClient, q: str) -> list[str]:
    answer = await client.get("/contacts", params={"q": q})
    return [item["name"] for item in answer.json()["items"]]


async def test_a_contact_is_made_found_and_known_to_calls(client: httpx.AsyncClient, front: Front) -> None:
    answer = await make(client)
    card = answer.json()
    assert (card["name"], card["account"], card["vip"]) == ("Zoë O'Brien \u202e<b>", "Acme", True)
    assert (card["numbers"], card["editable"], card["waiting"]) == (["+491711234567"], True, False)
    assert answer.headers["location"] == f"/api/v1/contacts/{card['id']}"
    shown = await client.get(f"/contacts/{card['id']}")
    assert (shown.json(), shown.headers["etag"]) == (card, answer.headers["etag"])
    switch = await front.client(Scope.DECIDE)
    assert (await switch.get("/api/v1/callers/0171-1234567/name")).text.startswith("Zoë O'Brien")
    assert len(await front.rows("SELECT 1 FROM audit WHERE what = 'contact.add' AND who LIKE 'token:%'")) == 1


async def test_a_contact_is_made_in_salesforce_where_that_is_wanted(client: httpx.AsyncClient) -> None:
    assert (await make(client, to_salesforce=True)).json()["waiting"] is True


async def test_a_contact_sent_twice_with_its_key_is_one(client: httpx.AsyncClient, front: Front) -> None:
    first, again = [
        await client.post("/contacts", json=ZOE, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert len(await front.rows("SELECT 1 FROM contacts WHERE last_name LIKE 'O%'")) == 1


async def test_contacts_are_found(client: httpx.AsyncClient) -> None:
    await make(client)
    for q in ("munoz ana", "+49 30 23125010", "125010"):
        assert "Ana Muñoz" in await names(client, q)
    for q in ("brien zoe", "zoe@acme.example", "0171 1234567"):
        assert await names(client, q) == ["Zoë O'Brien \u202e<b>"]
    assert await names(client, "nobody at all") == []


async def test_contacts_come_in_pages(client: httpx.AsyncClient) -> None:
    for index in range(5):
        await make(client, last_name=f"Number {index}")
    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get("/contacts", params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(found) == len(set(found)) == 7
    assert (await client.get("/contacts", params={"cursor": "x"})).status_code == 422


async def test_what_is_left_out_stays(client: httpx.AsyncClient) -> None:
    card = (await make(client)).json()
    path = f"/contacts/{card['id']}"
    changed = (await client.patch(path, json={"email": "z@acme.example"})).json()
    assert changed == card | {"email": "z@acme.example"}
    changed = (await client.patch(path, json={"vip": False, "phones": []})).json()
    assert changed == card | {"email": "z@acme.example", "vip": False, "phones": [], "numbers": []}
    assert (await client.patch(path, json={})).json() == changed


async def test_nobody_undoes_what_he_did_not_see(client: httpx.AsyncClient) -> None:
    made = await make(client)
    path, seen = f"/contacts/{made.json()['id']}", {"If-Match": made.headers["etag"]}
    changed = await client.patch(path, json={"vip": False}, headers=seen)
    assert (changed.status_code, changed.headers["etag"] != made.headers["etag"]) == (200, True)
    assert (await client.patch(path, json={"vip": True}, headers=seen)).status_code == 412
    assert (await client.delete(path, headers=seen)).status_code == 412
    assert (await client.get(path)).json()["vip"] is False
    assert (await client.delete(path, headers={"If-Match": changed.headers["etag"]})).status_code == 200


async def test_what_salesforce_has_is_changed_there(client: httpx.AsyncClient) -> None:
    (ana,) = (await client.get("/contacts", params={"q": "ana"})).json()["items"]
    card = (await client.get(f"/contacts/{ana['id']}")).json()
    assert (card["editable"], card["salesforce_id"]) == (False, "003000000000001AAA")
    assert (await client.patch(f"/contacts/{ana['id']}", json={"vip": True})).status_code == 409
    assert (await client.delete(f"/contacts/{ana['id']}")).status_code == 409


async def test_a_person_is_erased(client: httpx.AsyncClient, front: Front) -> None:
    card = (await make(client)).json()
    call = {"id": "a-1", "started_at": 1_800_000_000, "number": 491711234567, "name": "Zoë O'Brien"}
    await front.database.write(lambda conn: record_calls(conn, [call | {"contact_id": card["id"]}]))
    answer = await client.delete(f"/contacts/{card['id']}")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["contacts"], told["calls"], told["audit"]) == (1, 1, 1)
    assert (await client.get(f"/contacts/{card['id']}")).status_code == 404
    assert (await client.get("/calls/a-1")).json()["name"] == ""
    assert await names(client, "zoe") == []
    assert (await client.delete(f"/contacts/{card['id']}")).status_code == 404


async def test_a_number_of_nobody_is_erased(client: httpx.AsyncClient, front: Front) -> None:
    call = {"id": "a-1", "started_at": 1_800_000_000, "number": 4930777888, "number_text": "030777888"}
    await front.database.write(lambda conn: record_calls(conn, [call]))
    answer = await client.delete("/callers/030-777888")
    assert (answer.status_code, answer.json()["calls"]) == (200, 1)
    assert (await client.get("/calls/a-1")).json()["number"] == ""
    assert (await client.delete("/callers/+493023125010")).status_code == 409
    assert (await client.delete("/callers/anonymous")).status_code == 422


async def test_a_contacts_calls(client: httpx.AsyncClient, front: Front) -> None:
    (ana,) = (await client.get("/contacts", params={"q": "ana"})).json()["items"]
    rows = [
        {"id": f"a-{each}", "started_at": each, "contact_id": ana["id"] * (each % 2)} for each in (1, 2, 3)
    ]
    await front.database.write(lambda conn: record_calls(conn, rows))
    page = (await client.get(f"/contacts/{ana['id']}/calls", params={"limit": 1})).json()
    assert ([call["id"] for call in page["items"]], page["next"] is None) == (["a-3"], False)
    assert (await client.get("/contacts/99/calls")).status_code == 404


async def test_what_is_no_contact_is_refused(client: httpx.AsyncClient, front: Front) -> None:
    bodies: tuple[Any, ...] = (
        {"name": ""},
        {"name": "A", "email": "nobody"},
        {"name": "A\nB"},
        {"name": "A\x00"},
        {"name": "x" * 201},
        {"name": None},
        {"name": 1},
        {"name": "A", "kind": "User"},
        {"name": "A", "vip": "yes"},
        {"name": "A", "phones": [{"text": "nobody"}]},
        {"name": "A", "phones": [{"text": ""}]},
        {"name": "A", "phones": ["+491711234567"]},
        {"name": "A", "phones": [{"text": f"+4917112345{index:02}"} for index in range(21)]},
        {"name": "A", "phones": {}},
        {"name": "A", "owner": "me"},
        [],
        None,
    )
    card = (await make(client)).json()
    before = await front.rows("SELECT count(*) FROM contacts")
    for body in bodies:
        assert (await client.post("/contacts", json=body)).status_code == 422
        if body != {"name": ""}:  # a change to the empty name is one back to first and last name
            assert (await client.patch(f"/contacts/{card['id']}", json=body)).status_code == 422
        assert await front.rows("SELECT count(*) FROM contacts") == before
        assert (await client.get(f"/contacts/{card['id']}")).json() == card


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
async def test_any_text_can_be_typed(client: httpx.AsyncClient, text: str) -> None:
    assert (await client.get("/contacts", params={"q": text})).status_code == 200
    body = json.dumps({"name": text, "account": text, "phones": [{"text": text}]})
    assert (await client.post("/contacts", content=body)).status_code in {201, 422}


async def test_what_is_no_id_is_refused(client: httpx.AsyncClient) -> None:
    for contact_id in (
        "0",
        "-1",
        "x",
        "9223372036854775808",
        "%00",
        "1.5",
    ):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/calls")):
            answer = await client.request(method, f"/contacts/{contact_id}{path}", json={"vip": True})
            assert answer.status_code in {404, 422}


async def test_who_may_only_see_changes_nothing(front: Front) -> None:
    viewer = await front.client(Scope.READ, Scope.BLACKLIST)
    for method, path in (
        ("POST", "contacts"),
        ("PATCH", "contacts/1"),
        ("DELETE", "contacts/1"),
        ("DELETE", "callers/1"),
    ):
        assert (await viewer.request(method, f"/api/v1/{path}", json={})).status_code == 403

    async def count(conn: AsyncConnection) -> int:
        return int((await conn.exec_driver_sql("SELECT count(*) FROM contacts")).scalar_one())

    assert await front.database.read(count) == 2
