"""Pages of DIDs."""

from __future__ import annotations

from typing import Any

from storage.dids import DidRow, list_dids
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front

SWITCHED: dict[str, Any] = {"did": "+49 30 555", "name": HOSTILE, "screening": "off", "routing": "on"}
SWITCHED |= {"ring_seconds": "15", "region": "pt", "template": "{name}", "last_agent_minutes": "0"}


async def dids(front: Front) -> list[DidRow]:
    return await front.database.read(list_dids)


async def test_a_did_is_added_changed_and_removed(front: Front) -> None:
    client = await front.client_as("admin")
    answer = await client.post("/dids/new", data=SWITCHED)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dids")
    (row,) = await dids(front)
    assert (row.did, row.region, row.ring_seconds, row.last_agent_minutes) == ("+49 30 555", "PT", 15, 0)
    assert (row.screening, row.routing, row.naming, row.default_agent) == (False, True, None, None)
    page = await client.get("/dids")
    assert is_text_only(page)
    assert "Blacklist: off Route to the responsible: on" in shown(page)
    form = await client.get(f"/dids/{row.id}")
    assert "as the settings say: on" in shown(form)
    assert is_text_only(form)
    typed = {"version": hidden(form, "version")[0], "did": "0049 30 556", "screening": ""}
    assert (await client.post(f"/dids/{row.id}", data=typed)).status_code == 303
    (row,) = await dids(front)
    assert (row.did, row.screening, row.region) == ("0049 30 556", None, None)
    assert "Remove" in shown(await client.post(f"/dids/{row.id}/remove", data={}))
    assert len(await dids(front)) == 1
    assert (await client.post(f"/dids/{row.id}/remove", data={"sure": "yes"})).status_code == 303
    assert await dids(front) == []


async def test_mistakes_are_shown_at_their_fields(front: Front) -> None:
    client = await front.client_as("admin")
    await client.post("/dids/new", data=SWITCHED)
    wrong = {
        "did": ["", "+49 30 555", "4930555"],
        "region": ["Portugal"],
        "screening": ["perhaps"],
        "ring_seconds": ["0", "601", "x", "9" * 30],
        "default_agent": ["1 2"],
        "fallback": ["1 2"],
        "last_agent_minutes": ["-1"],
        "template": ["{nobody}"],
    }
    for field, values in wrong.items():
        for value in values:
            page = await client.post("/dids/new", data=SWITCHED | {"did": "777", field: value})
            assert page.status_code == 422, (field, value)
            assert f'id="e-{field}"' in page.text, (field, value)
    assert len(await dids(front)) == 1


async def test_who_saves_second_is_shown_both(front: Front) -> None:
    client = await front.client_as("admin")
    await client.post("/dids/new", data=SWITCHED)
    (row,) = await dids(front)
    typed = SWITCHED | {"version": hidden(await client.get(f"/dids/{row.id}"), "version")[0]}
    await client.post(f"/dids/{row.id}", data=typed | {"name": "Theirs"})
    both = await client.post(f"/dids/{row.id}", data=typed | {"name": "Mine", "naming": "off"})
    assert both.status_code == 409
    assert "Name Theirs Mine" in shown(both)
    assert "Name on the phone (empty) off" in shown(both)
    assert [row.name for row in await dids(front)] == ["Theirs"]


async def test_others_see_without_buttons_and_change_nothing(front: Front) -> None:
    admin = await front.client_as("admin")
    await admin.post("/dids/new", data=SWITCHED)
    (row,) = await dids(front)
    client = await front.client_as("operator")
    for path in ("/dids", f"/dids/{row.id}"):
        page = shown(await client.get(path))
        assert "+49 30 555" in page
        assert "Save" not in page
        assert "Remove" not in page
    assert (await client.get("/dids/new")).status_code == 403
    for path in ("/dids/new", f"/dids/{row.id}", f"/dids/{row.id}/remove"):
        assert (await client.post(path, data={"sure": "yes", "did": "7"})).status_code == 403
    assert await dids(front) == [row]
    assert (await admin.get("/dids/99")).status_code == 404
