"""Who asks, and may they?"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import AccessError, DirectoryError
from agi_server.web.access import ANYONE, ROLES, Actor, Needs, Scope, _is_loopback, _secret_in
from storage.database import Database
from storage.sessions import find_session
from storage.tokens import add_token, list_tokens, remove_token
from storage.users import set_disabled
from tests.web.front import BASE, Front, open_front

HTTPS = "https://ostiary.example"
FAR = "192.0.2.7"


async def rules(actor: Annotated[Actor, Depends(Needs(Scope.BLACKLIST))]) -> dict[str, Any]:
    return {"who": actor.who, "user": actor.user, "scopes": sorted(actor.scopes)}


async def shown(
    request: Request, actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
) -> dict[str, Any]:
    async with request.form() as form:
        return {"who": actor.who, "form": {name: str(text) for name, text in form.items()}}


async def whoever(actor: Annotated[Actor | None, Depends(ANYONE)]) -> dict[str, Any]:
    return {"who": actor.who if actor is not None else None}


@pytest.fixture
async def front(front: Front) -> Front:
    return with_routes(front)


def with_routes(front: Front) -> Front:
    """Add one route for programs, one for people and one for all."""
    for path, answer in (("/api/v1/try-rules", rules), ("/try-page", shown), ("/try-open", whoever)):
        for method in ("GET", "POST"):
            front.app.add_api_route(path, answer, methods=[method])
    return front


async def ask(
    client: httpx.AsyncClient, path: str = "/api/v1/try-rules", method: str = "GET", **more: Any
) -> Any:
    """Return the answer's document, or the status of a refusal."""
    answer = await client.request(
        method, path, headers={"Accept": "application/json"} | more.pop("headers", {}), **more
    )
    return answer.json() if answer.status_code == 200 else answer.status_code


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- tokens


async def test_a_token_opens_what_it_is_good_for(front: Front) -> None:
    client = await front.client(Scope.BLACKLIST)
    assert await ask(client) == {"who": "token:token 0", "user": "", "scopes": ["blacklist"]}
    assert await ask(client, method="POST") == await ask(
        client
    )  # no CSRF token: browsers do not send it unasked
    assert await ask(await front.client(*(set(Scope) - {Scope.BLACKLIST}))) == 403
    assert await ask(await front.client()) == 401


async def test_a_token_is_taken_as_the_password_of_http_basic(front: Front) -> None:
    """All that FreePBX's and FreeSWITCH's look-ups can send."""
    client, secret = await front.client(), await front.token(Scope.BLACKLIST)
    for sent in (f"Bearer {secret}", f"bearer  {secret}", basic("", secret), basic("pbx", secret)):
        assert (await ask(client, headers={"Authorization": sent}))["who"] == "token:token 0"
    for sent in (
        "",
        "Bearer",
        "Bearer ",
        secret,
        f"Digest {secret}",
        basic(secret, ""),
        "Basic !",
        "Basic /w==",
    ):
        assert await ask(client, headers={"Authorization": sent}) == 401, sent


async def test_who_is_not_known_is_told_how_to_be(front: Front) -> None:
    answer = await (await front.client()).get("/api/v1/try-rules")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    answer = await (await front.client()).get(
        "/api/v1/try-rules", headers={"Authorization": "Bearer ost_secret"}
    )
    assert answer.status_code == 401
    assert "ost_secret" not in answer.text


async def test_a_wrong_token_is_not_made_good_by_a_session(front: Front) -> None:
    client = await front.client_as("admin")
    assert await ask(client, headers={"Authorization": "Bearer ost_wrong"}) == 401


async def test_a_token_opens_no_page(front: Front) -> None:
    assert await ask(await front.client(*Scope), "/try-page") == 401
    assert await ask(await front.client(*Scope), "/try-open") == {"who": None}


async def test_a_token_expires_to_the_second(front: Front) -> None:
    front.clock.stop()
    end = int(front.clock()) + 1000
    _, secret = await front.database.write(
        lambda conn: add_token(conn, name="t", scopes=[Scope.BLACKLIST], expires_at=end, who="test", now=0)
    )
    client = await front.client()
    client.headers["Authorization"] = f"Bearer {secret}"
    front.clock.ahead += 999  # found, and kept for a moment
    assert (await ask(client))["who"] == "token:t"
    front.clock.ahead += 1
    assert await ask(client) == 401


async def test_a_token_removed_here_opens_nothing_at_once(front: Front) -> None:
    client, admin = await front.client(Scope.BLACKLIST), await front.client(Scope.ADMIN)
    assert (await ask(client))["who"] == "token:token 0"
    (token, _) = await front.database.read(list_tokens)
    assert (await admin.delete(f"/api/v1/tokens/{token.id}")).status_code == 204
    assert await ask(client) == 401


async def test_a_token_removed_by_another_process_opens_nothing_soon(front: Front) -> None:
    client = await front.client(Scope.BLACKLIST)
    assert (await ask(client))["who"] == "token:token 0"
    (token,) = await front.database.read(list_tokens)
    await front.database.write(lambda conn: remove_token(conn, token.id, who="test", now=0))
    front.clock.ahead += 2
    assert await ask(client) == 401


async def test_a_busy_token_is_not_looked_up_for_every_request(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.clock.stop()
    client = await front.client(Scope.BLACKLIST)
    asked = count_calls(front.database, "read", monkeypatch)
    for _ in range(20):
        await ask(client)
    assert len(asked) == 1


async def test_when_a_token_was_used_is_kept_to_the_hour(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.clock.stop()
    client = await front.client(Scope.BLACKLIST)
    written = count_calls(front.database, "write", monkeypatch)
    for _ in range(3):
        front.clock.ahead += 3
        await ask(client)
    (token,) = await front.database.read(list_tokens)
    assert token.used_at == front.clock.stopped
    assert len(written) == 1
    front.clock.ahead += 3600
    await ask(client)
    (later,) = await front.database.read(list_tokens)
    assert later.used_at == token.used_at + 3600


def count_calls(database: Database, name: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    real: Callable[[Any], Awaitable[Any]] = getattr(database, name)

    def counted(job: Any) -> Awaitable[Any]:
        calls.append(job)
        return real(job)

    monkeypatch.setattr(database, name, counted)
    return calls


@settings(max_examples=100)
@given(
    st.one_of(
        st.text(),
        st.text().map(lambda text: f"Basic {text}"),
        st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()),
    )
)
def test_whatever_is_sent_is_a_token_or_none(sent: str) -> None:
    with contextlib.suppress(AccessError):
        assert isinstance(_secret_in(sent), str)


# --- roles


@pytest.mark.parametrize(("role", "may"), [("viewer", 403), ("operator", 200), ("admin", 200)])
async def test_a_role_is_a_set_of_scopes(front: Front, role: str, may: int) -> None:
    client = await front.client_as(role)
    assert (await client.get("/api/v1/try-rules")).status_code == may
    assert (await ask(client, "/try-page"))["who"] == f"user:{role}"


def test_the_roles_grow() -> None:
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["admin"] == set(Scope)
    assert Scope.ADMIN not in ROLES["operator"]


async def test_a_role_nobody_knows_may_nothing(front: Front) -> None:
    """The row was written by something else."""
    client = await front.client_as("viewer")

    async def job(conn: Any) -> None:
        await conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        await conn.exec_driver_sql("UPDATE users SET role = 'king'")

    await front.database.write(job)
    assert await ask(client, "/try-page") == 403


# --- sessions


async def test_a_page_sends_who_is_not_logged_in_to_the_log_in_page(front: Front) -> None:
    answer = await (await front.client_as(None)).get("/try-page?a=b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/log-in?next=%2Ftry-page%3Fa%3Db")


async def test_a_change_needs_the_csrf_token_of_the_session(front: Front) -> None:
    client, other = await front.client_as("operator"), await front.client_as("admin")
    csrf = client.headers.pop("X-CSRF-Token")
    assert (await ask(client))["who"] == "user:operator"  # looking needs none
    assert await ask(client, method="POST") == 403
    for wrong in ("", "x", csrf[:-1], csrf + "x", other.headers["X-CSRF-Token"], "\u00fc"):
        sent = httpx.Headers({"X-CSRF-Token": wrong}, encoding="latin-1")
        assert (await client.post("/api/v1/try-rules", headers=sent)).status_code == 403
    assert (await ask(client, method="POST", headers={"X-CSRF-Token": csrf}))["who"] == "user:operator"


async def test_a_form_holds_the_csrf_token_and_stays_readable(front: Front) -> None:
    client = await front.client_as("viewer")
    csrf = client.headers.pop("X-CSRF-Token")
    fields = {"csrf": csrf, "name": "Muñoz & co"}
    assert (await ask(client, "/try-page", "POST", data=fields))["form"] == fields
    files = {"file": ("a.csv", b"a,b")}
    assert (await ask(client, "/try-page", "POST", data=fields, files=files))["form"]["name"] == "Muñoz & co"
    for wrong in ({}, {"csrf": ""}, {"csrf": csrf + "x"}, {"name": csrf}):
        assert await ask(client, "/try-page", "POST", data=wrong) == 403
    assert await ask(client, "/try-page", "POST", files={"csrf": ("a", csrf.encode())}) == 403
    assert await ask(client, "/try-page", "POST", json={"csrf": csrf}) == 403
    assert await ask(client, f"/try-page?csrf={csrf}", "POST") == 403
    assert await ask(client, "/try-page", "POST", data=fields, headers={"X-CSRF-Token": "wrong"}) == 403


OTHERS = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:8081"},
    {"Origin": "null"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
)
OWN: tuple[dict[str, str], ...] = (
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": BASE},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
)


@pytest.mark.parametrize("headers", OTHERS)
async def test_what_another_site_sends_is_refused(front: Front, headers: dict[str, str]) -> None:
    """Even with the right CSRF token; and the log-in form, which has none."""
    client = await front.client_as("operator")
    assert await ask(client, method="POST", headers=headers) == 403
    assert await ask(client, "/try-open", "POST", headers=headers) == 403
    assert await ask(await front.client(), "/try-open", "POST", headers=headers) == 403
    assert (await ask(client, headers=headers))["who"] == "user:operator"  # a link from elsewhere


@pytest.mark.parametrize("headers", OWN)
async def test_what_our_own_page_sends_is_not(front: Front, headers: dict[str, str]) -> None:
    client = await front.client_as("operator")
    assert (await ask(client, method="POST", headers=headers))["who"] == "user:operator"
    assert (await ask(client, "/try-open", "POST", headers=headers))["who"] == "user:operator"


async def test_a_proxy_may_end_tls(front: Front) -> None:
    """Browsers leave out the usual ports, and name https where the request came by http."""
    client = await front.client_as("operator", base="http://ostiary.example")
    assert (await ask(client, method="POST", headers={"Origin": HTTPS}))["who"] == "user:operator"


async def test_the_cookie_over_https_has_a_name_of_its_own(front: Front) -> None:
    """What plain HTTP may have put into a browser does not count there."""
    client = await front.client_as("viewer", base=HTTPS)
    assert (await ask(client, "/try-page"))["who"] == "user:viewer"
    secret = client.cookies["__Host-ostiary"]
    client.cookies.clear()
    client.cookies.set("ostiary", secret)
    assert await ask(client, "/try-page") == 401


async def test_a_session_ends_when_it_was_not_used(tmp_path: Path) -> None:
    async with open_front(tmp_path, environ={"OSTIARY_HTTP__SESSION_HOURS": "1"}) as opened:
        client = await with_routes(opened).client_as("viewer")
        for _ in range(3):
            opened.clock.ahead += 3500
            assert (await ask(client, "/try-page"))["who"] == "user:viewer"
        opened.clock.ahead += 3601
        assert await ask(client, "/try-page") == 401


async def test_a_session_is_noted_once_a_minute(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.clock.stop()
    client = await front.client_as("viewer")
    written = count_calls(front.database, "write", monkeypatch)
    for _ in range(20):
        front.clock.ahead += 2.5
        await ask(client, "/try-page")
    assert not written
    front.clock.ahead += 20
    for _ in range(5):
        await ask(client, "/try-page")
    assert len(written) == 1
    secret = client.cookies["ostiary"]
    session = await front.database.read(lambda conn: find_session(conn, secret, int(front.clock()), 10**6))
    assert session is not None
    assert session.seen_at == front.clock()


async def test_a_note_that_cannot_be_written_turns_nobody_away(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, program = await front.client_as("viewer"), await front.client(Scope.BLACKLIST)
    front.clock.ahead += 3600

    async def full(_job: object) -> None:
        raise DirectoryError("the disk is full")

    monkeypatch.setattr(front.database, "write", full)
    assert (await ask(client, "/try-page"))["who"] == "user:viewer"
    assert (await ask(program))["who"] == "token:token 0"


async def test_a_session_ends_with_its_user(front: Front) -> None:
    admin, viewer = await front.client_as("admin"), await front.client_as("viewer")
    assert (await ask(viewer, "/try-page"))["who"] == "user:viewer"
    id_ = await front.user("viewer", "viewer")
    assert (await admin.patch(f"/api/v1/users/{id_}", json={"disabled": True})).status_code == 200
    assert await ask(viewer, "/try-page") == 401


async def test_another_process_ends_a_session_soon(front: Front) -> None:
    viewer = await front.client_as("viewer")
    assert (await ask(viewer, "/try-page"))["who"] == "user:viewer"
    await front.database.write(lambda conn: set_disabled(conn, "viewer", disabled=True, who="cli:ana", now=0))
    front.clock.ahead += 2
    assert await ask(viewer, "/try-page") == 401


async def test_what_is_open_to_all_says_who_is_there_and_needs_no_database(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, nobody = await front.client_as("viewer"), await front.client_as(None)
    assert await ask(viewer, "/try-open") == {"who": "user:viewer"}
    assert await ask(nobody, "/try-open") == {"who": None}
    nobody.cookies.set("ostiary", "made up")
    assert await ask(nobody, "/try-open") == {"who": None}
    front.services.known.forget()

    async def gone(_job: object) -> None:
        raise DirectoryError("the file is gone")

    monkeypatch.setattr(front.database, "read", gone)
    assert await ask(viewer, "/try-open") == {"who": None}
    assert await ask(viewer, "/try-page") == 503


# --- plain HTTP


async def test_no_secret_is_taken_in_clear_from_another_machine(front: Front) -> None:
    secret = await front.token(Scope.BLACKLIST)
    for sent in (f"Bearer {secret}", basic("pbx", secret), "Bearer ost_wrong"):
        far = await front.client(address=FAR)
        answer = await far.get("/api/v1/try-rules", headers={"Authorization": sent})
        assert answer.status_code == 403
        assert "http.plain_log_in" in answer.text
    assert await ask(await front.client_as("viewer", address=FAR), "/try-page") == 403
    assert await ask(await front.client(address=FAR)) == 401  # there is no secret in it
    assert await ask(await front.client(Scope.BLACKLIST, address=FAR, base=HTTPS)) != 403
    assert (await ask(await front.client_as("viewer", address=FAR, base=HTTPS), "/try-page"))["who"]


async def test_it_is_where_the_settings_say_so(tmp_path: Path) -> None:
    async with open_front(tmp_path, environ={"OSTIARY_HTTP__PLAIN_LOG_IN": "true"}) as opened:
        with_routes(opened)
        assert (await ask(await opened.client(Scope.BLACKLIST, address=FAR)))["who"]
        assert (await ask(await opened.client_as("viewer", address=FAR), "/try-page"))["who"]


@pytest.mark.parametrize(
    ("host", "is_"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("192.0.2.7", False), ("::ffff:192.0.2.7", False), ("fe80::1", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_what_is_this_machine(host: str, is_: bool) -> None:
    assert _is_loopback(host) is is_


# --- the description


async def test_the_description_says_which_routes_need_a_token(front: Front) -> None:
    description = front.app.openapi()
    assert description["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert description["paths"]["/api/v1/try-rules"]["get"]["security"] == [{"token": []}]
    assert "security" not in description["paths"]["/try-open"]["get"]
