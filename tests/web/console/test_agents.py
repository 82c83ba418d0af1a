"""Pages of agents."""

from __future__ import annotations

from agi_server.calls.directory import Agent
from agi_server.exchange.values import NO_END
from storage.agents import list_agents
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front

WHOLE = {
    "extension": "301",
    "name": HOSTILE,
    "email": "Bo@Ostiary.example",
    "salesforce_user_id": "005000000000301",
    "hours": "Mo-Fr 09:00-17:00",
    "timezone": "Europe/Berlin",
    "absent": "until",
    "absent_until": "2037-07-01T12:00",
    "delegate": "1",
    "ring_seconds": "25",
    "fallback": "900",
    "pop": "answer",
}


async def agents(front: Front) -> dict[str, Agent]:
    return {agent.extension: agent for agent in await front.database.read(list_agents)}


async def test_an_agent_is_added_changed_and_removed(front: Front) -> None:
    client = await front.client_as("admin")
    assert (await client.post("/agents/new", data=WHOLE)).status_code == 303
    bo = (await agents(front))["301"]
    assert bo.email == "bo@ostiary.example"
    assert bo.salesforce_user_id == "005000000000301AAA"
    assert bo.absent_until == 2_130_055_200  # 10:00 UTC
    assert (bo.delegate, bo.ring_seconds, bo.fallback, bo.pop) == (1, 25, "900", "answer")
    page = await client.get(f"/agents/{bo.id}")
    assert is_text_only(page)
    assert is_text_only(await client.get("/agents"))
    assert 'value="2037-07-01T12:00"' in page.text
    # Another extension: it is still the same person.
    typed = WHOLE | {"version": hidden(page, "version")[0], "extension": "302", "absent": "open"}
    assert (await client.post(f"/agents/{bo.id}", data=typed)).status_code == 303
    assert {*await agents(front)} == {"101", "200", "302"}
    assert (await agents(front))["302"].id == bo.id
    assert (await agents(front))["302"].absent_until == NO_END
    assert "until further notice" in shown(await client.get("/agents"))
    assert "Remove" in shown(await client.post(f"/agents/{bo.id}/remove", data={}))
    assert "302" in await agents(front)
    assert (await client.post(f"/agents/{bo.id}/remove", data={"sure": "yes"})).status_code == 303
    assert {*await agents(front)} == {"101", "200"}


async def test_mistakes_are_shown_at_their_fields(front: Front) -> None:
    client = await front.client_as("admin")
    version = hidden(await client.get("/agents/2"), "version")[0]
    wrong = {
        "extension": ["", "10 1", "101"],
        "email": ["bo", "ana@ostiary.example"],
        "salesforce_user_id": ["bo"],
        "hours": ["early"],
        "timezone": ["Mars/Olympus"],
        "absent_until": ["", "yesterday"],
        "delegate": ["99", "x"],
        "ring_seconds": ["-1", "601"],
        "fallback": ["9 0"],
        "pop": ["always"],
    }
    for path in ("/agents/new", "/agents/2"):
        for field, values in wrong.items():
            for value in values:
                page = await client.post(path, data=WHOLE | {"version": version, field: value})
                assert page.status_code == 422, (path, field, value)
                assert f'id="e-{field}"' in page.text, (path, field, value)
                assert 'value="900"' in page.text or field == "fallback"
    assert {*await agents(front)} == {"101", "200"}


async def test_nobody_stands_in_for_himself(front: Front) -> None:
    client = await front.client_as("admin")
    page = await client.get("/agents/2")
    typed = {"version": hidden(page, "version")[0], "extension": "200", "delegate": "2"}
    answer = await client.post("/agents/2", data=typed)
    assert answer.status_code == 422
    assert 'id="e-delegate"' in answer.text


async def test_who_saves_second_is_shown_both(front: Front) -> None:
    client = await front.client_as("admin")
    typed = {"version": hidden(await client.get("/agents/2"), "version")[0], "extension": "200"}
    await client.post("/agents/2", data=typed | {"name": "Theirs"})
    both = await client.post("/agents/2", data=typed | {"name": "Mine"})
    assert both.status_code == 409
    assert "Name Theirs Mine" in shown(both)
    assert (await agents(front))["200"].name == "Theirs"
    again = typed | {"name": "Mine", "version": hidden(both, "version")[0]}
    assert (await client.post("/agents/2", data=again)).status_code == 303
    assert (await agents(front))["200"].name == "Mine"


async def test_the_default_responsible_is_marked_and_changed(front: Front) -> None:
    client = await front.client_as("admin")
    assert "responsible by default" not in shown(await client.get("/agents"))
    assert (await client.post("/agents", data={"default_agent": "200"})).status_code == 303
    assert "Reception responsible by default" in shown(await client.get("/agents"))
    assert front.services.directory.policy().default.default_agent == "200"
    assert "This is the default responsible" in shown(await client.post("/agents/2/remove", data={}))
    page = await client.post("/agents", data={"default_agent": "no such thing"})
    assert page.status_code == 422
    assert 'id="e-default_agent"' in page.text
    assert (await client.post("/agents", data={"default_agent": ""})).status_code == 303
    assert front.services.directory.policy().default.default_agent == ""


async def test_others_see_without_buttons_and_change_nothing(front: Front) -> None:
    for role in ("viewer", "operator"):
        client = await front.client_as(role)
        for path in ("/agents", "/agents/1"):
            page = shown(await client.get(path))
            assert "Ana's agent" in page
            assert "Save" not in page
            assert "Remove" not in page
        assert (await client.get("/agents/new")).status_code == 403
        for path in ("/agents", "/agents/new", "/agents/1", "/agents/1/remove"):
            assert (await client.post(path, data={"sure": "yes", "extension": "7"})).status_code == 403
    assert {*await agents(front)} == {"101", "200"}


async def test_an_agent_that_is_not_there_is_not_found(front: Front) -> None:
    client = await front.client_as("admin")
    assert (await client.get("/agents/99")).status_code == 404
    assert (await client.post("/agents/99", data=WHOLE)).status_code == 404
    assert (await client.post("/agents/99/remove", data={"sure": "yes"})).status_code == 404
