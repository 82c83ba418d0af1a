"""/users, /invitations and /me."""

from __future__ import annotations

import httpx
import pytest

from agi_server.web.access import Scope
from tests.web.front import PASSWORD, Front

NEW = {"name": "ana", "role": "operator", "password": "correct horse"}


@pytest.fixture
async def admin(front: Front) -> httpx.AsyncClient:
    """A program that may do everything; there is an admin, too."""
    await front.user("root", "admin")
    return await front.client(Scope.ADMIN)


async def id_of(admin: httpx.AsyncClient, name: str) -> int:
    items = (await admin.get("/api/v1/users")).json()["items"]
    return next(int(user["id"]) for user in items if user["name"] == name)


async def may_log_in(front: Front, name: str, password: str) -> bool:
    browser = await front.client_as(None)
    answer = await browser.post("/log-in", data={"name": name, "password": password})
    return answer.status_code == 303


# --- users


async def test_a_user_is_added_and_may_log_in(front: Front, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/users", json=NEW)
    assert answer.status_code == 201
    user = answer.json()
    assert {name: user[name] for name in ("name", "role", "disabled")} == {
        "name": "ana", "role": "operator", "disabled": False,
    }  # fmt: skip
    assert answer.headers["location"] == f"/api/v1/users/{user['id']}"
    assert (await admin.get(answer.headers["location"])).json() == user
    assert await may_log_in(front, "ana", NEW["password"])
    ((who, after),) = await front.rows(
        "SELECT who, after FROM audit WHERE what = 'users.add' AND who <> 'test'"
    )
    assert (who, after) == ("token:token 0", '{"name": "ana", "role": "operator"}')


async def test_users_are_listed_by_name_in_pages(front: Front, admin: httpx.AsyncClient) -> None:
    for name in ("zoe", "ben", "Eva"):
        await front.user(name, "viewer")
    first = (await admin.get("/api/v1/users?limit=2")).json()
    second = (await admin.get("/api/v1/users", params={"limit": 2, "cursor": first["next"]})).json()
    assert [user["name"] for user in first["items"]] == ["Eva", "ben"]
    assert [user["name"] for user in second["items"]] == ["root", "zoe"]
    assert second["next"] is None
    assert "hash" not in str(first)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"password": "short"}, 422, "password"),
        ({"password": None}, 422, "password"),
        ({"role": "king"}, 422, "role"),
        ({"name": ""}, 422, "name"),
        ({"name": "a\nb"}, 422, "visible"),
        ({"name": "root"}, 409, "'root'"),
        ({"scopes": ["admin"]}, 422, "scopes"),
    ],
)
async def test_a_user_that_cannot_be(
    admin: httpx.AsyncClient, change: dict[str, object], status: int, said: str
) -> None:
    answer = await admin.post("/api/v1/users", json=NEW | change)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert "short" not in answer.text
    assert "correct horse" not in answer.text


async def test_a_role_is_changed_and_ends_the_sessions(front: Front, admin: httpx.AsyncClient) -> None:
    viewer = await front.client_as("viewer")
    path = f"/api/v1/users/{await id_of(admin, 'viewer')}"
    assert (await viewer.get("/api/v1/me")).status_code == 200
    answer = await admin.patch(path, json={"role": "operator"})
    assert answer.json()["role"] == "operator"
    assert (await viewer.get("/api/v1/me")).status_code == 401


async def test_a_disabled_user_cannot_log_in_until_enabled(front: Front, admin: httpx.AsyncClient) -> None:
    path = f"/api/v1/users/{await front.user('ana', 'viewer')}"
    assert (await admin.patch(path, json={"disabled": True})).json()["disabled"]
    assert not await may_log_in(front, "ana", PASSWORD)
    assert not (await admin.patch(path, json={"disabled": False})).json()["disabled"]
    assert await may_log_in(front, "ana", PASSWORD)


async def test_two_admins_do_not_undo_each_others_changes(front: Front, admin: httpx.AsyncClient) -> None:
    path = f"/api/v1/users/{await front.user('ana', 'viewer')}"
    seen = (await admin.get(path)).headers["etag"]
    changed = await admin.patch(path, json={"role": "operator"}, headers={"If-Match": seen})
    assert changed.status_code == 200
    assert changed.headers["etag"] != seen
    for refused in (
        await admin.patch(path, json={"disabled": True}, headers={"If-Match": seen}),
        await admin.delete(path, headers={"If-Match": seen}),
    ):
        assert refused.status_code == 412
    assert (await admin.get(path)).json()["disabled"] is False
    gone = await admin.delete(path, headers={"If-Match": changed.headers["etag"]})
    assert gone.status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_a_removed_user_is_out_at_once(front: Front, admin: httpx.AsyncClient) -> None:
    viewer = await front.client_as("viewer")
    assert (await viewer.get("/api/v1/me")).status_code == 200
    assert (await admin.delete(f"/api/v1/users/{await id_of(admin, 'viewer')}")).status_code == 204
    assert (await viewer.get("/api/v1/me")).status_code == 401
    assert not await may_log_in(front, "viewer", PASSWORD)


async def test_the_last_admin_stays(front: Front, admin: httpx.AsyncClient) -> None:
    root = f"/api/v1/users/{await id_of(admin, 'root')}"

    async def statuses() -> list[int]:
        return [
            (await admin.patch(root, json={"role": "viewer"})).status_code,
            (await admin.patch(root, json={"disabled": True})).status_code,
            (await admin.delete(root)).status_code,
        ]

    assert await statuses() == [409, 409, 409]
    second = await front.user("second", "admin")
    await admin.patch(f"/api/v1/users/{second}", json={"disabled": True})
    assert await statuses() == [409, 409, 409]
    await admin.patch(f"/api/v1/users/{second}", json={"disabled": False})
    assert await statuses() == [200, 200, 204]
    assert (await admin.delete(f"/api/v1/users/{second}")).status_code == 409


async def test_a_change_that_cannot_be_changes_nothing(front: Front, admin: httpx.AsyncClient) -> None:
    """Half of it could."""
    root = f"/api/v1/users/{await id_of(admin, 'root')}"
    await front.user("second", "admin")
    before = (await admin.get(root)).json()
    await admin.patch(f"/api/v1/users/{await id_of(admin, 'second')}", json={"disabled": True})
    assert (await admin.patch(root, json={"role": "admin", "disabled": True})).status_code == 409
    assert (await admin.get(root)).json() == before


async def test_nobody_is_not_there(admin: httpx.AsyncClient) -> None:
    for answer in (
        await admin.get("/api/v1/users/999"),
        await admin.patch("/api/v1/users/999", json={"disabled": True}),
        await admin.delete("/api/v1/users/999"),
        await admin.post("/api/v1/users/999/invitation"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_admins_give_rights(front: Front, role: str) -> None:
    """Nobody can make themselves more than they are."""
    client = await front.client_as(role)
    mine = f"/api/v1/users/{await front.user(role, role)}"
    for answer in (
        await client.patch(mine, json={"role": "admin"}),
        await client.post("/api/v1/users", json=NEW),
        await client.post("/api/v1/invitations", json={"name": "ana", "role": "admin"}),
        await client.post("/api/v1/tokens", json={"name": "t", "scopes": ["read"], "expires_at": None}),
        await client.get("/api/v1/users"),
    ):
        assert answer.status_code == 403


# --- invitations


async def test_an_invited_user_chooses_the_password(front: Front, admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/invitations", json={"name": "ana", "role": "operator"})
    assert answer.status_code == 201
    assert set(answer.json()) == {"link", "expires_at"}
    assert answer.headers["cache-control"] == "no-store"
    link = answer.json()["link"]
    assert link.startswith("http://127.0.0.1:8080/welcome/")
    browser = await front.client_as(None)
    done = await browser.post(link, data={"password": "battery staple", "again": "battery staple"})
    assert done.status_code == 303
    assert (await browser.get("/api/v1/me")).json()["role"] == "operator"
    assert link.rpartition("/")[2] not in str(await front.rows("SELECT * FROM audit"))


async def test_a_user_gets_a_link_for_a_new_password(front: Front, admin: httpx.AsyncClient) -> None:
    path = f"/api/v1/users/{await front.user('ana', 'viewer')}"
    link = (await admin.post(f"{path}/invitation")).json()["link"]
    browser = await front.client_as(None)
    await browser.post(link, data={"password": "battery staple", "again": "battery staple"})
    assert await may_log_in(front, "ana", "battery staple")
    await admin.patch(path, json={"disabled": True})
    assert (await admin.post(f"{path}/invitation")).status_code == 409


async def test_who_is_there_is_not_invited(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/invitations", json={"name": "root", "role": "admin"})
    assert answer.status_code == 409


# --- me


async def test_who_am_i(front: Front) -> None:
    assert (await (await front.client_as("viewer")).get("/api/v1/me")).json() == {
        "who": "user:viewer", "user": "viewer", "role": "viewer", "scopes": ["read"],
    }  # fmt: skip
    token = await front.client(Scope.PHONEBOOK, Scope.DECIDE)
    assert (await token.get("/api/v1/me")).json() == {
        "who": "token:token 0", "user": None, "role": None, "scopes": ["decide", "phonebook"],
    }  # fmt: skip
    assert (await (await front.client()).get("/api/v1/me")).status_code == 401


async def test_a_user_is_given_an_extension(front: Front, admin: httpx.AsyncClient) -> None:
    await front.user("ben", "operator")
    path = f"/api/v1/users/{await id_of(admin, 'ben')}"
    changed = await admin.patch(path, json={"extension": "101"})
    assert (changed.status_code, changed.json()["extension"]) == (200, "101")
    assert (await admin.patch(path, json={"disabled": False})).json()["extension"] == "101"
    assert (await admin.patch(path, json={"extension": "1 0"})).status_code == 422
    assert (await admin.patch(path, json={"extension": ""})).json()["extension"] == ""
