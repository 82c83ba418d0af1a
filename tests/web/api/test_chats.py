from typing import Any

import httpx
import pytest

from agi_server.events.event import EventType
from agi_server.events.schemas import Chat as ChatEvent
from agi_server.web.access import Scope
from agi_server.web.api.chats import LONGEST
from tests.web.front import Front, open_front

ANA = "+493023125010"  # a contact
AT = "2026-11-21T18:00:00Z"


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    opened = await front.client(Scope.DECIDE, Scope.READ)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


def body(*texts: str, **more: Any) -> dict[str, Any]:
    messages = [{"at": AT, "who": "Ana", "text": text} for text in texts or ("Hello",)]
    return {"number": ANA, "messages": messages, **more}


async def send(client: httpx.AsyncClient, status: int = 201, **document: Any) -> dict[str, Any]:
    answer = await client.post("/chats", json=document)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_a_chat_is_kept_told_and_found_again(front: Front, client: httpx.AsyncClient) -> None:
    with front.services.events.listen(10) as heard:
        answer = await client.post(
            "/chats",
            json=body(
                "Hello\nyou", channel="whatsapp", agent="101", did="+49 30 5", queue="sales", name="Ana M."
            ),
        )
        (event,) = [await heard.next() for _ in range(len(heard))]
    assert answer.status_code == 201
    told = answer.json()
    assert answer.headers["Location"] == f"/api/v1/chats/{told['id']}"
    assert (told["number"], told["number_sent"], told["channel"], told["agent"]) == (
        ANA,
        ANA,
        "whatsapp",
        "101",
    )
    assert (told["started_at"], told["ended_at"], told["direction"]) == (AT, AT, "inbound")
    assert told["messages"] == [{"at": AT, "who": "Ana", "text": "Hello\nyou"}]
    contact = (await front.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'"))[0][0]
    assert told["contact_id"] == contact
    assert (event.type, event.extension) == (EventType.CHAT, "101")
    ChatEvent.model_validate(event.data, strict=True, extra="forbid")
    assert (event.data["id"], event.data["messages"], event.data["number"]) == (told["id"], 1, ANA)
    assert (await client.get(f"/chats/{told['id']}")).json() == told
    (listed,) = (await client.get("/chats", params={"number": "030 23125010"})).json()["items"]
    assert listed == told | {"messages": 1}
    assert (await client.get("/chats", params={"number": "030 99"})).json()["items"] == []


async def test_sent_again_with_its_id_it_is_there_once(front: Front, client: httpx.AsyncClient) -> None:
    first = await send(client, **body("one", id="web-1"))
    with front.services.events.listen(10) as heard:
        assert await send(client, **body("one", id="web-1")) == first
        assert len(heard) == 0
        more = await send(client, **body("one", "two", id="web-1"))
        assert len(heard) == 1
    assert [each["text"] for each in more["messages"]] == ["one", "two"]
    assert len(await front.rows("SELECT id FROM chats")) == 1


async def test_what_comes_soon_after_goes_on_with_it(front: Front, client: httpx.AsyncClient) -> None:
    front.clock.stop()
    first = await send(client, number=ANA, messages=[{"text": "one"}])
    front.clock.ahead += 60 * 30
    second = await send(client, number="030 23125010", messages=[{"text": "two", "who": "desk"}])
    assert second["id"] == first["id"]
    front.clock.ahead += 60 * 30 + 1
    assert (await send(client, number=ANA, messages=[{"text": "three"}]))["id"] != first["id"]
    assert [each["who"] for each in second["messages"]] == [ANA, "desk"]


async def test_a_retry_with_its_key_is_the_same(front: Front, client: httpx.AsyncClient) -> None:
    document = {"number": ANA, "messages": [{"text": "one"}]}
    answers = [await client.post("/chats", json=document, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    front.clock.ahead += 5
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert len(answers[1].json()["messages"]) == 1


async def test_an_address_finds_its_contact(front: Front, client: httpx.AsyncClient) -> None:
    async def mail(conn: Any) -> None:
        await conn.exec_driver_sql(
            "UPDATE contacts SET email = 'Ana.M@Acme.example' WHERE name = 'Ana Muñoz'"
        )

    await front.database.write(mail)
    contact = (await front.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'"))[0][0]
    messages = [{"text": "Hi", "at": AT}]
    told = await send(client, email="ana.m@ACME.example", messages=messages)
    assert (told["contact_id"], told["email"]) == (contact, "ana.m@acme.example")
    assert (await send(client, email="m@acme.example", messages=messages))["contact_id"] is None
    (listed,) = (await client.get("/chats", params={"email": "ANA.M@acme.example"})).json()["items"]
    assert listed["id"] == told["id"]

    async def another(conn: Any) -> None:
        await conn.exec_driver_sql("INSERT INTO contacts (name, email) VALUES ('Otto', 'ana.m@acme.example')")

    await front.database.write(another)
    told = await send(client, email="ana.m@acme.example", channel="mail", messages=messages)
    assert told["contact_id"] is None  # whose of the two it is nobody knows


async def test_who_knows_whose_it_is_says_so(front: Front, client: httpx.AsyncClient) -> None:
    acme = (await front.rows("SELECT id FROM contacts WHERE name = 'Acme'"))[0][0]
    assert (await send(client, **body(contact_id=acme)))["contact_id"] == acme
    await send(client, 422, **body(contact_id=999))
    told = await send(client, contact_id=acme, channel="web", messages=[{"text": "no number"}])
    assert (told["number"], told["contact_id"]) == ("", acme)


@pytest.mark.parametrize("enabled", [True, False])
async def test_salesforce_gets_a_task(tmp_path: Any, enabled: bool) -> None:
    more = f'[salesforce]\nenabled = {str(enabled).lower()}\nclient_id = "x"\nclient_secret = "y"\n'
    async with open_front(tmp_path, more=more) as front:
        front.clock.stop()
        client = await front.client(Scope.DECIDE, base="http://127.0.0.1:8080/api/v1")
        await send(client, **body("one", id="w"))
        await send(client, **body("one", id="w"))
        await send(client, **body("one", "two", id="w"))
        rows = await front.rows("SELECT kind, key, next_attempt_at FROM outbox")
        due = int(front.clock()) + 60
        assert [tuple(row) for row in rows] == ([("chat", "chat:w", due)] if enabled else [])

        async def sent(conn: Any) -> None:
            await conn.exec_driver_sql("DELETE FROM outbox")

        await front.database.write(sent)
        await send(client, **body("one", "two", id="w"))  # no news
        assert await front.rows("SELECT key FROM outbox") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"text": "x" * (LONGEST + 1)}]},
        {"messages": [{"text": "x"}] * 1001},
        {"messages": [{"text": "ö" * LONGEST}] * 17},
        {"messages": [{"text": "x", "at": "yesterday"}]},
        {"messages": [{"text": "x", "who": "a\nb"}]},
        {"messages": [{"text": "\ud800"}]},
        {"number": "", "email": ""},
        {"number": " "},
        {"email": "no address"},
        {"email": "a@b\r\nBcc: c@d"},
        {"channel": "Chat Room"},
        {"direction": "sideways"},
        {"id": "a/b"},
        {"id": "../secret"},
        {"agent": "101, or 102"},
        {"contact_id": 0},
        {"surprise": 1},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
async def test_what_cannot_be_taken(front: Front, client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    import json  # noqa: PLC0415  # httpx refuses to send half a character

    content = json.dumps(body() | wrong)
    answer = await client.post("/chats", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert await front.rows("SELECT id FROM chats") == []


async def test_a_chat_that_is_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/chats/nothing")).status_code == 404
    assert (await client.get("/chats", params={"cursor": "x"})).status_code == 422


async def test_reading_is_not_writing(front: Front) -> None:
    reader = await front.client(Scope.READ, base="http://127.0.0.1:8080/api/v1")
    assert (await reader.post("/chats", json=body())).status_code == 403
    writer = await front.client(Scope.DECIDE, base="http://127.0.0.1:8080/api/v1")
    assert (await writer.get("/chats")).status_code == 403
