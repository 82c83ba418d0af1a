from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Scope
from agi_server.web.api.callers import CallerOut
from tests.web.front import Front

NUMBERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=40)


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    opened = await front.client(Scope.DECIDE)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


async def test_who_has_a_number_in_any_spelling(client: httpx.AsyncClient, front: Front) -> None:
    for number in (
        "+493023125010",
        "%2B493023125010",
        "030%2023125010",
        "004930-23125010",
    ):
        told = (await client.get(f"/callers/{number}")).json()
        assert (told["number"], told["display_name"], told["contact"]["account"]) == (
            "+493023125010",
            "Ana Muñoz",
            "Acme",
        )
        assert (told["agent"]["extension"], told["verdict"]) == ("101", "allow")
        assert front.server.decisions == []
        assert front.services.events.since(0) == []


async def test_who_would_be_blocked(client: httpx.AsyncClient) -> None:
    told = (await client.get("/callers/+4930900900")).json()
    assert (told["verdict"], told["reason"], told["contact"]) == ("block", "blacklist-exact", None)


async def test_the_name_alone(client: httpx.AsyncClient) -> None:
    answer = await client.get("/callers/+493023125010/name")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.content == "Ana Muñoz".encode()
    unknown = await client.get("/callers/+4930777888/name")
    assert (unknown.status_code, unknown.content) == (200, b"")


async def test_the_name_as_the_did_has_it(client: httpx.AsyncClient, front: Front) -> None:
    async def put(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT INTO dids (did, template) VALUES ('555', '{name} ({account})')")

    await front.database.write(put)
    answer = await client.get("/callers/+493023125010/name", params={"did": "555"})
    assert answer.text == "Ana Muñoz (Acme)"


async def test_a_name_is_one_line_whatever_it_holds(client: httpx.AsyncClient, front: Front) -> None:
    async def rename(conn: AsyncConnection) -> None:
        name = "<b>A\r\nB\u2028C\u202e\"'\x00"
        await conn.exec_driver_sql("UPDATE contacts SET name = ?, first_name = '', last_name = ''", (name,))

    await front.database.write(rename)
    answer = await client.get("/callers/+493023125010/name")
    assert answer.text.startswith("<b>A")
    assert len(answer.text.splitlines()) == 1
    assert "\x00" not in answer.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=NUMBERS)
async def test_any_number_can_be_asked_about(client: httpx.AsyncClient, number: str) -> None:
    if number in {".", ".."}:
        return
    answer = await client.get(f"/callers/{quote(number, safe='')}")
    assert answer.status_code == 200
    CallerOut.model_validate_json(answer.content, strict=True, extra="forbid")
    name = await client.get(f"/callers/{quote(number, safe='')}/name")
    assert name.text == answer.json()["display_name"]


async def test_what_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    for number in (
        "1" * 256,
        "x" * 300,
    ):
        assert (await client.get(f"/callers/{number}")).status_code == 422
        assert (await client.get("/callers/1", params={"did": number})).status_code == 422


async def test_nobody_asks_unknown(front: Front) -> None:
    for client, status in ((await front.client(), 401), (await front.client(Scope.READ), 403)):
        for path in ("", "/name"):
            assert (await client.get(f"/api/v1/callers/+493023125010{path}")).status_code == status
