import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Verdict
from agi_server.calls.document import document
from agi_server.errors import DirectoryError
from agi_server.events.event import EventType
from agi_server.events.schemas import Decision as DecisionDocument
from agi_server.web.access import Scope
from agi_server.web.api import decisions
from tests.web.front import Front

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    opened = await front.client(Scope.DECIDE)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


async def decide(client: httpx.AsyncClient, number: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/decisions", json={"number": number, **more})
    assert answer.status_code == 200, answer.text
    DecisionDocument.model_validate_json(answer.content, strict=True, extra="forbid")
    told: dict[str, Any] = answer.json()
    return told


async def create_contacts(front: Front) -> None:
    async def on(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT INTO dids (did, create_contacts) VALUES ('555', 1)")

    await front.database.write(on)


async def test_a_known_caller_is_named_and_routed(client: httpx.AsyncClient) -> None:
    told = await decide(client, "030 23125010", did="030 555", uniqueid="1.1", trunk="t")
    assert (told["number"], told["display_name"], told["verdict"]) == ("+493023125010", "Ana Muñoz", "allow")
    assert (told["contact"]["name"], told["agent"]["extension"], told["route"]) == ("Ana Muñoz", "101", "101")
    assert (told["did"], told["uniqueid"], told["trunk"]) == ("030 555", "1.1", "t")
    assert [step["stage"] for step in told["trace"]] == ["number", "match", "screen", "name", "route"]


async def test_who_is_on_the_blacklist_is_blocked(client: httpx.AsyncClient) -> None:
    told = await decide(client, "+4930900900")
    assert (told["verdict"], told["reason"], told["treatment"]) == ("block", "blacklist-exact", "busy")
    assert told["rule"]["pattern"] == "+4930900900"


async def test_no_number_and_a_withheld_one_are_anonymous(client: httpx.AsyncClient) -> None:
    for asked in ({"number": ""}, {"number": "+493023125010", "presentation": 32}):
        assert (await decide(client, **asked))["number_state"] == "anonymous"


async def test_an_outbound_call_is_named(client: httpx.AsyncClient) -> None:
    told = await decide(client, "+4930900900", direction="outbound", extension="101")
    assert (told["direction"], told["verdict"], told["agent"]["extension"]) == ("outbound", "allow", "101")
    told = await decide(client, "+493023125010", direction="outbound", extension="101")
    assert (told["display_name"], told["route"]) == ("Ana Muñoz", "")


async def test_a_decision_is_handed_over_and_announced(client: httpx.AsyncClient, front: Front) -> None:
    with front.services.events.listen(10) as listener:
        told = await decide(client, "+493023125010")
        ((decision, seconds),) = front.server.decisions
        assert document(decision, told["at"]) == told
        assert 0 < seconds < 60
        types = [(await listener.next()).type for _ in range(len(listener))]
    assert types == [EventType.DECISION, EventType.RINGING, EventType.SCREEN_POP]


async def test_every_call_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    told = await asyncio.gather(*(decide(client, "+493023125010") for _ in range(20)))
    assert len({each["id"] for each in told}) == 20


async def test_without_the_database_the_call_is_let_in(client: httpx.AsyncClient, front: Front) -> None:
    await decide(client, "")  # the token is known now
    (front.settings.storage.state_directory / "ostiary.db").rename(
        front.settings.storage.state_directory / "gone.db"
    )
    front.services.directory.close()  # type: ignore[attr-defined]  # a SqliteDirectory here
    told = await decide(client, "+4930900900")
    assert (told["verdict"], told["reason"]) == ("allow", "error")


async def test_an_unknown_caller_becomes_a_contact_where_that_is_wanted(
    client: httpx.AsyncClient, front: Front
) -> None:
    assert (await decide(client, "+4930777888"))["contact"] is None
    await create_contacts(front)
    told = await decide(client, "+4930777888", did="555", name="Zoë")
    ((id_, name),) = await front.rows("SELECT id, name FROM contacts WHERE source = 'insert'")
    assert (told["create_contact"], told["contact"]["id"]) == (True, id_)
    assert name == "+4930777888"
    ((payload,),) = await front.rows("SELECT payload FROM outbox")
    assert json.loads(payload)["name"] == "Zoë"
    again = await decide(client, "+4930777888", did="555")
    assert (again["create_contact"], again["contact"]["id"]) == (False, id_)


@pytest.mark.parametrize("late", [False, True])
async def test_a_contact_that_cannot_be_stored_costs_the_call_nothing(
    client: httpx.AsyncClient, front: Front, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    await create_contacts(front)

    async def fail(*_: object, **__: object) -> None:
        if late:
            await asyncio.Event().wait()
        raise DirectoryError("the disk is full")

    monkeypatch.setattr(decisions, "insert_contact", fail)
    told = await decide(client, "+4930777888", did="555")
    assert (told["verdict"], told["contact"]) == ("allow", None)


async def test_what_is_no_call_is_refused(client: httpx.AsyncClient, front: Front) -> None:
    for content in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"number": null}',
        b'{"number": 4930123}',
        b'{"number": "", "more": 1}',
        b'{"number": "", "\\ud800": 1}',
        b'{"number": "\\ud800"}',
        b'{"number": "\xff"}',
        b'{"number": "", "direction": "sideways"}',
        b'{"number": "", "presentation": "32"}',
        b'{"number": "", "presentation": 256}',
        b'{"number": "", "presentation": -1}',
        b'{"number": "", "presentation": 1e999}',
        b'{"number": "", "presentation": 1.5}',
        b'{"number": "", "presentation": true}',
        b'{"number": "' + b"1" * 1001 + b'"}',
        b"[" * 10_000,
    ):
        answer = await client.post("/decisions", content=content)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["errors"]
        assert front.server.decisions == []


async def test_too_long_a_body_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/decisions", content=b" " * 20_000)).status_code == 413


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=TEXT, name=TEXT, did=TEXT, presentation=st.integers(0, 255))
async def test_any_call_is_decided(
    client: httpx.AsyncClient, number: str, name: str, did: str, presentation: int
) -> None:
    told = await decide(client, number, name=name, did=did, trunk=name, presentation=presentation)
    assert (told["number_sent"], told["name_sent"], told["did"]) == (number, name, did)
    assert told["verdict"] == Verdict.ALLOW


async def test_how_a_call_went_is_handed_over(client: httpx.AsyncClient, front: Front) -> None:
    assert (await client.post("/calls/66-a-1/answered", json={"extension": "101"})).status_code == 202
    body = {"disposition": "ANSWERED", "seconds": 60.0, "answered_by": "101"}
    assert (await client.post("/calls/66-a-1/ended", json=body)).status_code == 202
    assert (await client.post("/calls/66-a-2/ended", json={})).status_code == 202
    (answer,) = front.server.answers
    assert (answer["call_id"], answer["extension"]) == ("66-a-1", "101")
    assert abs(answer["at"] - front.clock()) < 60
    assert [(end["call_id"], end["disposition"], end["seconds"], end["answered_by"]) for end in front.server.ends] == [
        ("66-a-1", "answered", 60, "101"), ("66-a-2", "", 0, ""),
    ]  # fmt: skip


async def test_what_is_no_way_a_call_goes_is_refused(client: httpx.AsyncClient, front: Front) -> None:
    for path, body in (
        ("a/ended", {"seconds": -1}),
        ("a/ended", {"seconds": "1"}),
        ("a/ended", {"seconds": True}),
        ("a/ended", {"seconds": 1.5}),
        ("a/ended", {"seconds": 2**70}),
        ("a/ended", {"disposition": "\x00"}),
        ("a/ended", {"answered_by": "1,2"}),
        ("a/answered", {"extension": "1 2"}),
        ("a/answered", {"extension": None}),
        ("a/answered", None),
        (f"{'a' * 101}/answered", {}),
        ("%00/answered", {}),
    ):
        assert (await client.post(f"/calls/{path}", json=body)).status_code == 422
        assert front.server.ends == front.server.answers == []


async def test_who_may_only_see_decides_nothing(front: Front) -> None:
    viewer = await front.client(Scope.READ, Scope.BLACKLIST, Scope.CONTACTS)
    for path in ("decisions", "calls/a/answered", "calls/a/ended"):
        assert (await viewer.post(f"/api/v1/{path}", json={})).status_code == 403
