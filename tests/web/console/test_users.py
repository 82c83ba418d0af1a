"""The page of users and tokens."""

from __future__ import annotations

import re

import pytest

from agi_server.web.access import Scope
from tests.web.front import PASSWORD, Front


def shown_once(text: str) -> str:
    found = re.search(r'<code class="secret">([^<]+)</code>', text)
    assert found is not None
    return found[1]


async def test_a_new_user_chooses_a_password_by_the_link(front: Front) -> None:
    admin = await front.client_as("admin")
    answer = await admin.post("/users", data={"do": "invite", "name": "Eva", "role": "operator"})
    link = shown_once(answer.text)
    assert link.startswith("http://127.0.0.1:8080/welcome/")
    assert link not in (await admin.get("/users")).text
    browser = await front.client_as(None)
    form = {"password": PASSWORD, "again": PASSWORD}
    assert (await browser.post(link, data=form)).status_code == 303
    assert [*map(tuple, await front.rows("SELECT role FROM users WHERE name = 'Eva'"))] == [("operator",)]
    assert (await browser.get("/users")).status_code == 403


async def test_a_token_is_shown_once_and_good_for_what_it_says(front: Front) -> None:
    admin = await front.client_as("admin")
    form = {"do": "token", "name": "crm", "scope": ["read", "nonsense"], "expires": "2999-01-01"}
    secret = shown_once((await admin.post("/users", data=form)).text)
    program = await front.client()
    program.headers["Authorization"] = f"Bearer {secret}"
    assert (await program.get("/api/v1/agents")).status_code == 200
    assert (await program.get("/api/v1/audit")).status_code == 403
    assert secret not in (await admin.get("/users")).text
    ((number,),) = await front.rows("SELECT id FROM tokens WHERE name = 'crm'")
    assert (await admin.post("/users", data={"do": "remove_token", "token": str(number)})).status_code == 303
    assert (await program.get("/api/v1/agents")).status_code == 401


@pytest.mark.parametrize(
    "form",
    [
        {"do": "token", "name": "crm"},
        {"do": "token", "name": "", "scope": "read"},
        {"do": "token", "name": "crm", "scope": "read", "expires": "2001-01-01"},
        {"do": "token", "name": "crm", "scope": "read", "expires": "tomorrow"},
        {"do": "invite", "name": "admin", "role": "viewer"},
        {"do": "invite", "name": "x", "role": "king"},
        {"do": "role", "name": "admin", "role": "viewer"},
        {"do": "remove", "name": "admin"},
        {"do": "disable", "name": "<b>nobody</b>"},
    ],
)
async def test_a_mistake_is_told_and_changes_nothing(front: Front, form: dict[str, str]) -> None:
    admin = await front.client_as("admin")
    before = await front.rows("SELECT name, role, disabled FROM users")
    answer = await admin.post("/users", data=form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "<b>" not in answer.text
    assert await front.rows("SELECT name, role, disabled FROM users") == before
    assert await front.rows("SELECT 1 FROM tokens") == []


async def test_who_is_kept_from_logging_in_is_out_at_once(front: Front) -> None:
    admin, operator = await front.client_as("admin"), await front.client_as("operator")
    assert (await operator.get("/outbox")).status_code == 200
    await admin.post("/users", data={"do": "disable", "name": "operator"})
    assert (await operator.get("/outbox")).status_code == 303
    assert "disabled" in (await admin.get("/users")).text


async def test_every_scope_can_be_chosen(front: Front) -> None:
    shown = (await (await front.client_as("admin")).get("/users")).text
    for scope in Scope:
        assert f'name="scope" value="{scope}"' in shown


async def test_a_user_is_given_an_extension(front: Front) -> None:
    await front.user("viewer", "viewer")
    admin = await front.client_as("admin")
    form = {"do": "extension", "name": "viewer", "extension": "101"}
    assert (await admin.post("/users", data=form)).status_code == 303
    assert [*map(tuple, await front.rows("SELECT extension FROM users WHERE name = 'viewer'"))] == [("101",)]
    assert (
        'name="extension" size="8" maxlength="32" autocomplete="off" value="101"'
        in (await admin.get("/users")).text
    )
    wrong = await admin.post("/users", data=form | {"extension": "1 2"})
    assert wrong.status_code == 422
    assert "no extension" in wrong.text
    assert (await admin.post("/users", data=form | {"extension": ""})).status_code == 303
    assert [*map(tuple, await front.rows("SELECT extension FROM users WHERE name = 'viewer'"))] == [("",)]
