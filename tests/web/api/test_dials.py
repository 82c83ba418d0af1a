"""Calls by a click, ordered over the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.events.event import EventType
from agi_server.web.access import Scope
from agi_server.web.api.dials import DialOut
from storage import dials
from tests.web.front import Front, open_front

ANA = "+493023125010"
STRANGER = "+4930999999"
BLOCKED = "+4930900900"  # as the house has it


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(tmp_path, more='[dialling]\nper_minute = 3\n[ami]\nhost = "127.0.0.1"\n') as opened:
        opened.server.parts["pbx"] = "ok"
        yield opened


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    return await front.client(Scope.READ, Scope.DIAL)


async def order(
    client: httpx.AsyncClient, number: str = ANA, agent: str = "101", **more: Any
) -> httpx.Response:
    return await client.post("/api/v1/calls", json={"agent": agent, "number": number, **more})


async def went(front: Front, dial_id: str, state: str, reason: str = "") -> None:
    await front.database.write(lambda conn: dials.went_on(conn, dial_id, state, reason, int(front.clock())))


async def change(front: Front, sql: str) -> None:
    async def job(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql(sql)

    await front.database.write(job)


async def test_an_order(front: Front, client: httpx.AsyncClient) -> None:
    with front.services.events.listen(9) as listener:
        answer = await order(client, "030 23125010")
        assert answer.status_code == 202
        made = DialOut.model_validate(answer.json())
        assert (made.agent, made.number, made.name, made.contact_id) == ("101", ANA, "Ana Muñoz", 1)
        assert (made.state, made.reason, made.who, made.call_id) == ("asked", "", "token:token 0", "")
        event = await listener.next()
    assert (event.type, event.extension) == (EventType.PROGRESS, "101")
    assert (event.data["id"], event.data["state"]) == (made.id, "asked")
    assert front.server.dials == [
        {"id": made.id, "agent": "101", "number": ANA, "shown": ANA, "name": "Ana Muñoz"}
    ]
    assert answer.headers["Location"] == f"/api/v1/dials/{made.id}"
    assert (await client.get(answer.headers["Location"])).json() == answer.json()


async def test_several_clicks_are_one_call(front: Front, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(order(client, spelling) for spelling in (ANA, "030/23125010", f"tel:{ANA}"))
    )
    assert sorted(each.status_code for each in answers) == [200, 200, 202]
    assert len({each.json()["id"] for each in answers}) == 1
    assert len(front.server.dials) == 1


async def test_an_agent_dials_so_often_in_a_minute(client: httpx.AsyncClient) -> None:
    for n in range(3):
        assert (await order(client, f"{STRANGER}{n}")).status_code == 202
    answer = await order(client, f"{STRANGER}7")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert (await order(client, agent="200")).status_code == 202


@pytest.mark.parametrize(
    ("number", "status", "reason"),
    [
        ("nobody", 422, "no-number"),
        ("101", 422, "self"),
        ("*21*030123456#", 422, "code"),
        ("112", 409, "emergency"),
        ("+12125552671", 409, "not-allowed"),
        ("+499001234567", 409, "premium"),
        (BLOCKED, 409, "blacklisted"),
    ],
)
async def test_what_is_not_dialled(
    front: Front, client: httpx.AsyncClient, number: str, status: int, reason: str
) -> None:
    answer = await order(client, number)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["detail"]
    assert front.server.dials == []
    assert await front.rows("SELECT * FROM dials") == []


async def test_who_does_not_want_to_be_called(front: Front, client: httpx.AsyncClient) -> None:
    await change(front, "UPDATE contacts SET do_not_call = 1 WHERE id = 1")
    answer = await order(client)
    assert (answer.status_code, answer.json()["reason"]) == (409, "do-not-call")


async def test_only_an_admin_overrides_and_it_is_noted(front: Front, client: httpx.AsyncClient) -> None:
    assert (await order(client, BLOCKED, override=True)).status_code == 403
    admin = await front.client(Scope.DIAL, Scope.ADMIN)
    assert (await order(admin, BLOCKED, override=True)).status_code == 202
    assert (await order(admin, "112", override=True)).status_code == 409, "nobody overrides that"
    assert (await order(admin, "+12125552671", override=True)).status_code == 409
    (noted,) = await front.rows("SELECT who, after FROM audit WHERE what = 'dials.override'")
    assert noted.who.startswith("token:")
    assert BLOCKED in noted.after
    assert (await order(admin, STRANGER, override=True)).status_code == 202
    assert len(await front.rows("SELECT 1 FROM audit WHERE what = 'dials.override'")) == 1


async def test_whose_telephone_it_is(front: Front, client: httpx.AsyncClient) -> None:
    assert (await order(client, agent="999")).status_code == 422
    operator = await front.client_as("operator")
    assert (await order(operator, agent="200")).status_code == 202
    await change(front, "UPDATE users SET extension = '101'")
    refused = await order(operator, STRANGER, agent="200")
    assert (refused.status_code, "101" in refused.json()["detail"]) == (403, True)
    assert (await order(operator, STRANGER)).status_code == 202
    admin = await front.client_as("admin")
    assert (await order(admin, f"{STRANGER}1", agent="200")).status_code == 202
    assert (await order(await front.client_as("viewer"))).status_code == 403


@pytest.mark.parametrize("agent", ["101&PJSIP/200", "Local/1@x", "a@b"])
async def test_an_agent_s_extension_that_is_no_single_phone(
    front: Front, client: httpx.AsyncClient, agent: str
) -> None:
    await change(front, f"UPDATE agents SET extension = '{agent}' WHERE extension = '101'")
    assert (await order(client, agent=agent)).status_code == 422
    assert front.server.dials == []


@pytest.mark.parametrize(
    ("state", "more"), [("off", ""), ("degraded: pbx: cannot be reached", "")], ids=["off", "degraded"]
)
async def test_no_pbx_is_there(front: Front, client: httpx.AsyncClient, state: str, more: str) -> None:
    front.server.parts["pbx"] = state
    answer = await order(client)
    assert (answer.status_code, front.server.dials) == (503, [])
    assert more in answer.json()["detail"]
    front.server.down = True
    assert (await order(client)).status_code == 503
    assert await front.rows("SELECT * FROM dials") == []


async def test_one_of_several_pbxs_is_enough(tmp_path: Path) -> None:
    more = '[ami]\nhost = "127.0.0.1"\nothers = [{name = "b", host = "127.0.0.2"}]\n'
    async with open_front(tmp_path, more=more) as front:
        front.server.parts["pbx"] = "degraded: b: cannot be reached"
        assert (await order(await front.client(Scope.DIAL))).status_code == 202


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with open_front(tmp_path, more="[dialling]\nenabled = false\n") as front:
        front.server.parts["pbx"] = "ok"
        answer = await order(await front.client(Scope.DIAL))
        assert (answer.status_code, "dialling.enabled" in answer.json()["detail"]) == (409, True)


async def test_a_number_the_pbx_wants_otherwise(tmp_path: Path) -> None:
    async with open_front(tmp_path, more='[dialling]\nformat = "national"\nprefix = "0"\n') as front:
        front.server.parts["pbx"] = "ok"
        assert (await order(await front.client(Scope.DIAL))).status_code == 202
        assert [(each["number"], each["shown"]) for each in front.server.dials] == [("003023125010", ANA)]


async def test_a_colleague_is_called(front: Front, client: httpx.AsyncClient) -> None:
    made = (await order(client, "200")).json()
    assert (made["number"], made["name"]) == ("200", "Reception")
    assert front.server.dials[0]["number"] == "200"


async def test_cancelling(front: Front, client: httpx.AsyncClient) -> None:
    dial_id = (await order(client)).json()["id"]
    with front.services.events.listen(9) as listener:
        answer = await client.delete(f"/api/v1/dials/{dial_id}")
        assert (await listener.next()).data["reason"] == "cancelled"
    assert (answer.status_code, answer.json()["state"], front.server.hung_up) == (200, "failed", [])
    other = (await order(client, STRANGER)).json()["id"]
    await front.database.write(lambda conn: dials.claim(conn, other, "pbx", 1))
    assert (await client.delete(f"/api/v1/dials/{other}")).status_code == 202
    assert front.server.hung_up == [other]
    await went(front, other, "failed", "cancelled")
    assert (await client.delete(f"/api/v1/dials/{other}")).json()["reason"] == "cancelled"
    assert front.server.hung_up == [other]
    assert (await client.delete("/api/v1/dials/nosuch")).status_code == 404
    assert (await client.get("/api/v1/dials/nosuch")).status_code == 404


async def test_only_calls_of_one_s_own_telephone_are_ended(front: Front, client: httpx.AsyncClient) -> None:
    theirs = (await order(client, agent="200")).json()["id"]
    operator = await front.client_as("operator")
    await change(front, "UPDATE users SET extension = '101'")
    assert (await operator.delete(f"/api/v1/dials/{theirs}")).status_code == 403
    mine = (await order(client)).json()["id"]
    assert (await operator.delete(f"/api/v1/dials/{mine}")).status_code == 200


async def test_the_list(front: Front, client: httpx.AsyncClient) -> None:
    front.clock.stop()
    ids = []
    for n in range(3):
        ids.append((await order(client, f"{STRANGER}{n}", agent="200" if n == 1 else "101")).json()["id"])
        front.clock.ahead += 1
    first = (await client.get("/api/v1/dials?limit=2")).json()
    rest = (await client.get("/api/v1/dials", params={"cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    of_one = (await client.get("/api/v1/dials?agent=200")).json()["items"]
    assert [item["id"] for item in of_one] == [ids[1]]
    assert (await client.get("/api/v1/dials?cursor=x")).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent": "101"},
        {"agent": "", "number": ANA},
        {"agent": "101", "number": ""},
        {"agent": "101", "number": ANA, "override": "yes"},
        {"agent": "101", "number": "1\n2"},
        {"agent": 101, "number": ANA},
        {"agent": "101", "number": ANA, "more": 1},
    ],
)
async def test_orders_that_are_none(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/api/v1/calls", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
