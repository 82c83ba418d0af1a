import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError
from agi_server.web.access import Actor
from agi_server.web.idempotency import IdempotencyKey, once, reply
from agi_server.web.problems import answer_with_problems
from agi_server.web.services import Use
from storage.audit import note
from storage.replies import Reply
from tests.web.front import Front


def app_of(front: Front) -> FastAPI:
    app = FastAPI()
    app.state.services = front.services

    @app.post("/things/{name}")
    async def create(
        request: Request, services: Use, name: str, given: dict[str, Any], key: IdempotencyKey = None
    ) -> Response:
        actor = Actor(who=request.headers.get("x-who", "test"), scopes=frozenset())

        async def job(conn: AsyncConnection) -> Reply:
            await note(conn, who=actor.who, what="thing", before=None, after=given, now=1)
            if given.get("refused"):
                raise ConflictError("no")
            return reply({"name": name, "ü": "\u2028"}, location=f"/things/{name}", etag='"1"')

        return await once(request, services, actor, key, job)

    answer_with_problems(app)
    return app


@pytest.fixture
async def client(front: Front) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(front))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as opened:
        yield opened


KEY = {"Idempotency-Key": "6ba7b810"}


async def done(front: Front) -> int:
    return len(await front.rows("SELECT 1 FROM audit WHERE what = 'thing'"))


async def test_sent_twice_it_is_done_once_and_answered_alike(client: httpx.AsyncClient, front: Front) -> None:
    first = await client.post("/things/a", json={"x": 1}, headers=KEY)
    again = await client.post("/things/a", json={"x": 1}, headers=KEY)
    assert (first.status_code, first.json()["name"], first.headers["location"]) == (201, "a", "/things/a")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("location", "etag", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await done(front) == 1


async def test_sent_at_once_it_is_done_once(client: httpx.AsyncClient, front: Front) -> None:
    answers = await asyncio.gather(*(client.post("/things/a", json={"x": 1}, headers=KEY) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert await done(front) == 1


async def test_without_a_key_it_is_done_each_time(client: httpx.AsyncClient, front: Front) -> None:
    for _ in range(2):
        assert (await client.post("/things/a", json={"x": 1})).status_code == 201
    assert await done(front) == 2


@pytest.mark.parametrize(
    ("path", "body"), [("/things/a", {"x": 2}), ("/things/b", {"x": 1}), ("/things/a?y=1", {"x": 1})]
)
async def test_the_same_key_with_another_request_is_refused(
    client: httpx.AsyncClient, front: Front, path: str, body: Any
) -> None:
    await client.post("/things/a", json={"x": 1}, headers=KEY)
    assert (await client.post(path, json=body, headers=KEY)).status_code == 422
    assert await done(front) == 1


async def test_somebody_elses_key_is_another(client: httpx.AsyncClient, front: Front) -> None:
    await client.post("/things/a", json={"x": 1}, headers=KEY | {"X-Who": "ana"})
    answer = await client.post("/things/a", json={"x": 1}, headers=KEY | {"X-Who": "bo"})
    assert "idempotency-replayed" not in answer.headers
    assert await done(front) == 2


async def test_a_refusal_is_not_kept(client: httpx.AsyncClient, front: Front) -> None:
    for _ in range(2):
        answer = await client.post("/things/a", json={"refused": True}, headers=KEY)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (409, False)
    assert await done(front) == 0
    assert (await client.post("/things/a", json={"x": 1}, headers=KEY)).status_code == 201


async def test_after_a_day_the_key_is_forgotten(client: httpx.AsyncClient, front: Front) -> None:
    await client.post("/things/a", json={"x": 1}, headers=KEY)
    front.clock.ahead = 24 * 3600 + 1
    answer = await client.post("/things/a", json={"x": 1}, headers=KEY)
    assert "idempotency-replayed" not in answer.headers
    assert await done(front) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_what_is_no_key_is_refused(client: httpx.AsyncClient, front: Front, key: str) -> None:
    answer = await client.post(
        "/things/a", json={"x": 1}, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
    )
    assert answer.status_code == 422
    assert await done(front) == 0
