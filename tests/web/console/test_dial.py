"""The page that asks before it dials, and the one that tells how it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.ami import progress
from agi_server.web.console.dial import REASONS, REFUSALS, STATES
from storage import dials
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front, open_front

ANA = "+493023125010"
BLOCKED = "+4930900900"


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(tmp_path, more='[ami]\nhost = "127.0.0.1"\n') as opened:
        opened.server.parts["pbx"] = "ok"
        yield opened


async def change(front: Front, sql: str, *values: object) -> None:
    async def job(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql(sql, values)

    await front.database.write(job)


async def ordered(operator: httpx.AsyncClient, number: str = ANA) -> str:
    """Order a call; return the address of its page."""
    answer = await operator.post("/call", data={"number": number, "agent": "101"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_looking_dials_nothing(front: Front) -> None:
    operator = await front.client_as("operator")
    page = await operator.get("/call", params={"number": "tel:030 23125010"})
    assert page.status_code == 200
    text = shown(page)
    assert "Ana Muñoz" in text
    assert "+49 30 23125010" in text
    assert "Acme" in text
    assert "Whose telephone rings first?" in text
    assert hidden(page, "number") == ["tel:030 23125010"]
    assert front.server.dials == []
    assert await front.rows("SELECT 1 FROM dials") == []


async def test_a_call_is_ordered_once_and_followed(front: Front) -> None:
    operator = await front.client_as("operator")
    where = await ordered(operator)
    assert await ordered(operator) == where
    assert len(front.server.dials) == 1
    page = await operator.get(where)
    assert "The telephone will ring in a moment." in shown(page)
    assert "dial.js" in page.text
    assert '<meta http-equiv="refresh"' in page.text, "without scripts"
    dial_id = where.rpartition("/")[2]
    await front.database.write(lambda conn: dials.claim(conn, dial_id, "pbx", 1))
    cancelled = await operator.post(f"{where}/cancel")
    assert (cancelled.status_code, cancelled.headers["location"]) == (303, where)
    assert front.server.hung_up == [dial_id]
    await front.database.write(lambda conn: dials.went_on(conn, dial_id, "failed", "busy", 1))
    page = await operator.get(where)
    assert "The number is busy." in shown(page)
    assert "Call again" in shown(page)
    assert "dial.js" not in page.text
    assert '<meta http-equiv="refresh"' not in page.text


async def test_one_s_own_telephone_rings(front: Front) -> None:
    operator = await front.client_as("operator")
    await change(front, "UPDATE users SET extension = '101'")
    page = await operator.get("/call", params={"number": ANA})
    assert "Your telephone rings first: Ana's agent (101)" in shown(page)
    assert hidden(page, "agent") == ["101"]
    other = await operator.post("/call", data={"number": ANA, "agent": "200"})
    assert other.status_code == 403
    admin = await front.client_as("admin")
    await change(front, "UPDATE users SET extension = '200'")
    assert '<option value="200" selected>' in (await admin.get("/call", params={"number": ANA})).text


@pytest.mark.parametrize("number", [BLOCKED, "+12125552671", "112", "*21#", "nobody", HOSTILE])
async def test_what_may_not_be_dialled_cannot_be_ordered(front: Front, number: str) -> None:
    operator = await front.client_as("operator")
    page = await operator.get("/call", params={"number": number})
    assert page.status_code == 200
    assert 'method="post" action="/call"' not in page.text
    assert 'role="alert"' in page.text
    assert is_text_only(page)
    answer = await operator.post("/call", data={"number": number, "agent": "101", "override": ""})
    assert answer.status_code == 409
    assert is_text_only(answer)
    assert front.server.dials == []


async def test_an_admin_may_call_whom_a_rule_is_against(front: Front) -> None:
    admin = await front.client_as("admin")
    page = await admin.get("/call", params={"number": BLOCKED})
    assert "This number is on the blacklist." in shown(page)
    assert 'name="override"' in page.text
    without = await admin.post("/call", data={"number": BLOCKED, "agent": "101"})
    assert without.status_code == 409
    with_it = await admin.post("/call", data={"number": BLOCKED, "agent": "101", "override": "on"})
    assert with_it.status_code == 303
    operator = await front.client_as("operator")
    refused = await operator.post("/call", data={"number": BLOCKED, "agent": "101", "override": "on"})
    assert refused.status_code == 403


async def test_mistakes_are_told(front: Front) -> None:
    operator = await front.client_as("operator")
    assert (await operator.post("/call", data={"number": ANA, "agent": "999"})).status_code == 409
    assert (await operator.post("/call", data={"number": ANA})).status_code == 409
    front.server.parts["pbx"] = "degraded: pbx: it is away"
    away = await operator.post("/call", data={"number": ANA, "agent": "101"})
    assert (away.status_code, "it is away" in shown(away)) == (409, True)
    assert (await operator.get("/call/nosuch")).status_code == 404
    assert (await operator.post("/call/nosuch/cancel")).status_code == 404


async def test_too_many_calls(front: Front) -> None:
    operator = await front.client_as("operator")
    for n in range(10):
        await ordered(operator, f"+4930999999{n}")
    answer = await operator.post("/call", data={"number": ANA, "agent": "101"})
    assert answer.status_code == 429
    assert hidden(answer, "number") == [ANA]


async def test_an_empty_page_asks_for_a_number(front: Front) -> None:
    page = await (await front.client_as("operator")).get("/call")
    assert page.status_code == 200
    assert 'name="number"' in page.text
    assert 'action="/call" role' not in page.text


async def test_it_is_switched_off(tmp_path: Path) -> None:
    async with open_front(tmp_path, more="[dialling]\nenabled = false\n") as front:
        assert "switched off" in shown(await (await front.client_as("operator")).get("/call"))


async def test_hostile_names_are_text(front: Front) -> None:
    await change(front, "UPDATE contacts SET name = ?, first_name = '', last_name = '' WHERE id = 1", HOSTILE)
    operator = await front.client_as("operator")
    assert is_text_only(await operator.get("/call", params={"number": ANA}))
    assert is_text_only(await operator.get(await ordered(operator)))


async def test_browsers_may_open_telephone_links_here(front: Front) -> None:
    page = await (await front.client_as("operator")).get("/call/handler")
    assert page.status_code == 200
    assert "dial_handler.js" in page.text
    assert "<script>" not in page.text


async def test_numbers_lead_there_for_whoever_may_dial(front: Front) -> None:
    for role, link in (("operator", "/call?number=%2B493023125010"), ("viewer", "tel:%2B493023125010")):
        client = await front.client_as(role)
        for path in ("/contacts/1", "/contacts?text=ana"):
            assert f'href="{link}"' in (await client.get(path)).text, (role, path)


async def test_without_a_pbx_numbers_lead_to_the_telephone_beside_the_screen(tmp_path: Path) -> None:
    async with open_front(tmp_path) as front:
        page = await (await front.client_as("operator")).get("/contacts/1")
        assert 'href="tel:%2B493023125010"' in page.text


def test_everything_that_can_be_said_has_words() -> None:
    assert set(STATES) == set(dials.STATES)
    told = {*progress._AGENT.values(), *progress._AGENT_CAUSES.values(), "agent-no-answer"}
    told |= {
        *progress._CALLED.values(),
        *progress._CALLED_CAUSES.values(),
        "failed",
        "lost",
        "no-pbx",
        "refused",
    }
    assert told <= set(REASONS)
    assert set(REFUSALS) >= {"no-number", "emergency", "blacklisted", "do-not-call"}
