"""/tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from agi_server.web.access import Scope
from tests.web.front import Front

NEW = {"name": "crm", "scopes": ["read", "decide", "read"], "expires_at": None}


@pytest.fixture
async def admin(front: Front) -> httpx.AsyncClient:
    return await front.client_as("admin")


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def scopes_of(front: Front, secret: str) -> list[str] | int:
    """Return what a token is good for, or the status that it is refused with."""
    client = await front.client()
    answer = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
    return list(answer.json()["scopes"]) if answer.status_code == 200 else answer.status_code


async def test_a_token_is_made_and_its_secret_shown_once(front: Front, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/tokens", json=NEW)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    secret = made.pop("secret")
    assert made == {"id": made["id"], "name": "crm", "scopes": ["decide", "read"], "expires_at": None}
    assert await scopes_of(front, secret) == ["decide", "read"]
    listed = await admin.get("/api/v1/tokens")
    (token,) = listed.json()["items"]
    assert token == made | {
        "created_at": token["created_at"], "created_by": "user:admin", "used_at": token["used_at"],
    }  # fmt: skip
    assert token["used_at"].endswith(":00:00Z")
    assert secret not in listed.text
    assert secret not in str(await front.rows("SELECT * FROM tokens")) + str(
        await front.rows("SELECT * FROM audit")
    )


async def test_a_removed_token_opens_nothing(front: Front, admin: httpx.AsyncClient) -> None:
    made = (await admin.post("/api/v1/tokens", json=NEW)).json()
    assert await scopes_of(front, made["secret"]) == ["decide", "read"]
    assert (await admin.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
    assert await scopes_of(front, made["secret"]) == 401
    assert (await admin.delete(f"/api/v1/tokens/{made['id']}")).status_code == 404
    rows = await front.rows("SELECT who, what FROM audit WHERE what LIKE 'tokens%' ORDER BY id")
    assert rows == [("user:admin", "tokens.add"), ("user:admin", "tokens.remove")]


async def test_a_token_expires(front: Front, admin: httpx.AsyncClient) -> None:
    at = iso(front.clock() + 100)
    made = (await admin.post("/api/v1/tokens", json=NEW | {"expires_at": at})).json()
    assert made["expires_at"] == at
    assert await scopes_of(front, made["secret"]) == ["decide", "read"]
    front.clock.ahead += 100
    assert await scopes_of(front, made["secret"]) == 401
    (token,) = (await admin.get("/api/v1/tokens")).json()["items"]
    assert token["expires_at"] == at


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "there"}, 409),
        ({"name": ""}, 422),
        ({"name": "a\u202eb"}, 422),
        ({"name": "x" * 101}, 422),
        ({"scopes": []}, 422),
        ({"scopes": ["king"]}, 422),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 422),
        ({"expires_at": "tomorrow"}, 422),
        ({"expires_at": "2999-01-01T00:00:00"}, 422),
        ({"secret": "ost_mine"}, 422),
    ],
)
async def test_a_token_that_cannot_be(
    admin: httpx.AsyncClient, change: dict[str, object], status: int
) -> None:
    await admin.post("/api/v1/tokens", json=NEW | {"name": "there"})
    answer = await admin.post("/api/v1/tokens", json=NEW | change)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_when_it_ends_must_be_said(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/api/v1/tokens", json={"name": "crm", "scopes": ["read"]})).status_code == 422


async def test_tokens_are_listed_in_pages(front: Front, admin: httpx.AsyncClient) -> None:
    for _ in range(3):
        await front.token(Scope.READ)
    first = (await admin.get("/api/v1/tokens?limit=2")).json()
    second = (await admin.get("/api/v1/tokens", params={"limit": 2, "cursor": first["next"]})).json()
    names = [token["name"] for token in [*first["items"], *second["items"]]]
    assert names == ["token 0", "token 1", "token 2"]
    assert second["next"] is None


async def test_a_token_for_everything_needs_an_admin(front: Front) -> None:
    every = NEW | {"scopes": sorted(Scope)}
    program = await front.client(*(set(Scope) - {Scope.ADMIN}))
    assert (await program.post("/api/v1/tokens", json=every)).status_code == 403
    assert (await (await front.client(Scope.ADMIN)).post("/api/v1/tokens", json=every)).status_code == 201
