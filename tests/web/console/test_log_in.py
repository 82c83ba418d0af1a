"""Logging in and out, and choosing passwords."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from agi_server.web.throttle import FREE
from storage.invitations import DAY, first_invitation, invite, invite_again
from storage.users import set_disabled
from tests.web.front import PASSWORD, Front, open_front

FAR = "192.0.2.7"
NEW = "battery staple"


@pytest.fixture
async def browser(front: Front) -> httpx.AsyncClient:
    """A browser without a session; there is an operator."""
    await front.user("operator", "operator")
    return await front.client_as(None)


async def log_in(
    browser: httpx.AsyncClient, name: str = "operator", password: str = PASSWORD, **more: str
) -> httpx.Response:
    return await browser.post("/log-in", data={"name": name, "password": password, **more})


async def is_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/password")).status_code == 200


def cookie_of(answer: httpx.Response) -> tuple[str, str, set[str]]:
    """Return the name, the value and the attributes of the session's cookie that an answer sets."""
    (cookie,) = [
        text for text in answer.headers.get_list("set-cookie") if "ostiary=" in text.partition(";")[0]
    ]
    pair, *attributes = cookie.split("; ")
    name, _, value = pair.partition("=")
    return name, value, set(attributes)


def csrf_in(answer: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]


def count_of(front: Front, outcome: str) -> float:
    return float(front.services.counts.log_ins.labels(outcome)._value.get())


# --- logging in


async def test_name_and_password_open_a_session(front: Front, browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/log-in")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert not await is_in(browser)
    answer = await log_in(browser, " operator ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert await is_in(browser)
    assert count_of(front, "ok") == 1
    answer = await browser.get("/log-in")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_cookie_over_plain_http(browser: httpx.AsyncClient) -> None:
    name, value, attributes = cookie_of(await log_in(browser))
    assert name == "ostiary"
    assert len(value) > 40
    assert attributes == {"HttpOnly", "Path=/", "SameSite=lax"}


async def test_the_cookie_over_https(front: Front, browser: httpx.AsyncClient) -> None:
    browser = await front.client_as(None, base="https://ostiary.example", address=FAR)
    name, _, attributes = cookie_of(await log_in(browser))
    assert name == "__Host-ostiary"
    assert attributes == {"HttpOnly", "Path=/", "SameSite=lax", "Secure"}
    assert await is_in(browser)


async def test_what_a_browser_brought_along_is_never_its_session(browser: httpx.AsyncClient) -> None:
    browser.cookies.set("ostiary", "chosen-by-somebody-else", domain="127.0.0.1")
    _, value, _ = cookie_of(await log_in(browser))
    assert value != "chosen-by-somebody-else"
    browser.cookies.clear()
    browser.cookies.set("ostiary", "chosen-by-somebody-else")
    assert not await is_in(browser)


async def test_logging_in_again_closes_the_session_there_was(
    front: Front, browser: httpx.AsyncClient
) -> None:
    _, first, _ = cookie_of(await log_in(browser))
    _, second, _ = cookie_of(await log_in(browser))
    assert first != second
    browser.cookies.clear()
    browser.cookies.set("ostiary", first)
    assert not await is_in(browser)
    assert len(await front.rows("SELECT * FROM sessions")) == 1


async def test_a_failure_says_nothing_about_who_there_is(front: Front, browser: httpx.AsyncClient) -> None:
    await front.user("gone", "viewer")
    await front.database.write(lambda conn: set_disabled(conn, "gone", disabled=True, who="test", now=0))
    answers = [
        await log_in(browser, name, password)
        for name, password in (("operator", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD))
    ]
    names = ("operator", "nobody", "gone")
    assert {answer.status_code for answer in answers} == {422}
    texts = {
        answer.text.replace(f'value="{name}"', "").replace(' autofocus=""', "")
        for answer, name in zip(answers, names, strict=True)
    }
    assert len(texts) == 1
    assert not any(answer.headers.get_list("set-cookie") for answer in answers)
    assert count_of(front, "refused") == 3


async def test_what_was_typed_comes_back_but_for_the_password(browser: httpx.AsyncClient) -> None:
    answer = await log_in(browser, '<b>"ana"</b>\u202e', "secret-typed", next="/calls?q=a&b")
    assert "&lt;b&gt;" in answer.text
    assert "<b>" not in answer.text
    assert 'name="next" value="/calls?q=a&amp;b"' in answer.text
    assert "secret-typed" not in answer.text


async def test_a_form_without_its_fields_is_a_failure(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/log-in")).status_code == 422
    assert (await browser.post("/log-in", files={"name": ("a", b"operator")})).status_code == 422
    assert (await browser.post("/log-in", json={"name": "operator", "password": PASSWORD})).status_code == 422


async def test_the_log_has_the_name_and_never_the_password(front: Front, browser: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await log_in(browser, password="secret-typed")
        await log_in(browser, "a\r\nb" + "x" * 1000)
        _, cookie, _ = cookie_of(await log_in(browser))
    assert [line["event"] for line in lines] == ["log-in refused", "log-in refused", "logged in"]
    assert lines[0]["user"] == lines[2]["user"] == "operator"
    assert lines[0]["address"] == "127.0.0.1"
    assert len(lines[1]["user"]) == 100
    assert not any(secret in str(lines) for secret in ("secret-typed", PASSWORD, cookie))
    assert not await front.rows("SELECT * FROM audit WHERE what LIKE '%log%'")


# --- where to go afterwards


@pytest.mark.parametrize("path", ["/calls", "/calls?from=2026-11-01&q=a%20b", "/contacts/7#phones"])
async def test_the_page_that_was_asked_for_follows(browser: httpx.AsyncClient, path: str) -> None:
    assert (await log_in(browser, next=path)).headers["location"] == path
    assert (await browser.get("/log-in", params={"next": path})).headers["location"] == path


@pytest.mark.parametrize(
    "path",
    [
        "", "calls", "https://evil.example/", "//evil.example", "///evil.example", "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", " //evil.example", "/a\r\nSet-Cookie: a=b",
        "http:evil.example", "/calls\\..\\", "/\u2028",
    ],
)  # fmt: skip
async def test_no_link_leads_elsewhere_by_a_log_in(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get("/log-in", params={"next": path})
    assert 'name="next" value="/"' in answer.text
    assert (await log_in(browser, next=path)).headers["location"] == "/"
    assert (await browser.get("/log-in", params={"next": path})).headers["location"] == "/"


async def test_a_page_comes_back_after_the_log_in(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/password")
    assert (answer.status_code, answer.headers["location"]) == (303, "/log-in?next=%2Fpassword")
    form = await browser.get(answer.headers["location"])
    assert 'name="next" value="/password"' in form.text


# --- guessing


async def test_guessing_takes_ever_longer(front: Front, browser: httpx.AsyncClient) -> None:
    front.clock.stop()
    for _ in range(FREE):
        assert (await log_in(browser, password="wrong")).status_code == 422
    answer = await log_in(browser)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert "Too many tries" in answer.text
    assert not await is_in(browser)
    assert (count_of(front, "throttled"), count_of(front, "refused")) == (1, FREE)
    elsewhere = await front.client_as(None, address="127.0.0.2")
    assert (await log_in(elsewhere)).status_code == 303
    front.clock.ahead += 1
    assert (await log_in(browser)).status_code == 303


async def test_many_guesses_at_once_are_no_way_around(front: Front, browser: httpx.AsyncClient) -> None:
    front.clock.stop()
    answers = await asyncio.gather(*(log_in(browser, password="wrong") for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [422] * FREE + [429] * 7


async def test_a_name_nobody_has_is_slowed_down_alike(front: Front, browser: httpx.AsyncClient) -> None:
    front.clock.stop()
    statuses = [(await log_in(browser, "nobody", "wrong")).status_code for _ in range(FREE + 1)]
    assert statuses == [422] * FREE + [429]


# --- other machines, other sites


async def test_no_password_is_asked_for_in_clear_over_the_network(front: Front) -> None:
    await front.user("operator", "operator")
    far = await front.client_as(None, address=FAR)
    link = "/welcome/" + await front.database.write(
        lambda conn: invite(conn, name="", role="admin", who="test", now=int(front.clock()))
    )
    for answer in (
        await far.get("/log-in"),
        await log_in(far),
        await far.get(link),
        await far.post(link, data={"name": "ana", "password": NEW, "again": NEW}),
    ):
        assert answer.status_code == 403
        assert "http.plain_log_in" in answer.text
        assert "<form method" not in answer.text.partition("<footer>")[0]
        assert not [text for text in answer.headers.get_list("set-cookie") if "ostiary" in text]
    assert count_of(front, "ok") == count_of(front, "refused") == 0


async def test_it_is_where_the_settings_say_so(tmp_path: Path) -> None:
    async with open_front(tmp_path, environ={"OSTIARY_HTTP__PLAIN_LOG_IN": "yes"}) as opened:
        await opened.user("operator", "operator")
        far = await opened.client_as(None, address=FAR)
        assert (await log_in(far)).status_code == 303
        assert await is_in(far)


async def test_another_site_cannot_log_a_browser_in(browser: httpx.AsyncClient) -> None:
    """As somebody who then reads what is typed."""
    browser.headers["Origin"] = "https://evil.example"
    answer = await log_in(browser)
    assert answer.status_code == 403
    assert not answer.headers.get_list("set-cookie")


# --- logging out


async def test_logging_out_closes_the_session_here_and_there(
    front: Front, browser: httpx.AsyncClient
) -> None:
    _, secret, _ = cookie_of(await log_in(browser))
    csrf = csrf_in(await browser.get("/password"))
    assert (await browser.post("/log-out")).status_code == 403
    assert await is_in(browser)
    answer = await browser.post("/log-out", data={"csrf": csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/log-in")
    name, value, attributes = cookie_of(answer)
    assert (name, value) == ("ostiary", '""')
    assert {"Max-Age=0", "Path=/", "HttpOnly"} <= attributes
    browser.cookies.clear()
    browser.cookies.set("ostiary", secret)
    assert not await is_in(browser)
    assert await front.rows("SELECT * FROM sessions") == []


async def test_no_link_logs_out(browser: httpx.AsyncClient) -> None:
    await log_in(browser)
    assert (await browser.get("/log-out")).status_code == 405
    assert await is_in(browser)


# --- invitations


async def invited(front: Front, name: str = "", role: str = "viewer") -> str:
    now = int(front.clock())
    return "/welcome/" + await front.database.write(
        lambda conn: invite(conn, name=name, role=role, who="test", now=now)
    )


async def choose(browser: httpx.AsyncClient, link: str, **fields: str) -> httpx.Response:
    return await browser.post(link, data={"name": "ana", "password": NEW, "again": NEW} | fields)


async def test_the_first_admin_follows_a_link(front: Front) -> None:
    secret = await first_invitation(front.database, int(front.clock()))
    browser = await front.client_as(None)
    answer = await browser.get(f"/welcome/{secret}")
    assert answer.status_code == 200
    assert 'name="name"' in answer.text
    answer = await choose(browser, f"/welcome/{secret}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert await is_in(browser)
    assert await front.rows("SELECT name, role FROM users") == [("ana", "admin")]
    again = await front.client_as(None)
    assert (await again.get(f"/welcome/{secret}")).status_code == 404
    assert (await choose(again, f"/welcome/{secret}", name="mallory")).status_code == 404
    assert (await log_in(again, "ana", NEW)).status_code == 303


async def test_a_link_is_used_once_however_quickly(front: Front) -> None:
    link, browser = await invited(front), await front.client_as(None)
    answers = await asyncio.gather(*(choose(browser, link, name=f"ana {i}") for i in range(3)))
    assert sorted(answer.status_code for answer in answers) == [303, 404, 404]
    assert len(await front.rows("SELECT * FROM users")) == 1


async def test_a_link_expires(front: Front) -> None:
    link, browser = await invited(front), await front.client_as(None)
    front.clock.ahead += DAY
    assert (await browser.get(link)).status_code == 404
    assert (await choose(browser, link)).status_code == 404
    assert await front.rows("SELECT * FROM users") == []


async def test_looking_at_a_link_does_not_use_it(front: Front) -> None:
    """Chat programs do, to show a preview."""
    link, browser = await invited(front), await front.client_as(None)
    for _ in range(3):
        assert (await browser.get(link)).status_code == 200
    assert (await choose(browser, link)).status_code == 303


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "short", "again": "short"}, "8 characters or more"),
        ({"password": "x" * 1001, "again": "x" * 1001}, "at most"),
        ({"again": "another one"}, "not the same"),
        ({"name": "operator"}, "already"),
        ({"name": " "}, "name"),
        ({"name": "a\u202eb"}, "visible"),
    ],
)
async def test_what_cannot_be_chosen_leaves_the_link_good(
    front: Front, browser: httpx.AsyncClient, fields: dict[str, str], said: str
) -> None:
    link = await invited(front)
    answer = await choose(browser, link, **fields)
    assert answer.status_code == 422
    assert re.search(rf'<p class="error"[^>]*>[^<]*{said}', answer.text)
    assert NEW not in answer.text
    assert (await choose(browser, link)).status_code == 303


async def test_the_name_of_an_invitation_counts(front: Front, browser: httpx.AsyncClient) -> None:
    link = await invited(front, '<b>"eva"</b>', "operator")
    answer = await browser.get(link)
    assert 'name="name"' not in answer.text
    assert "&lt;b&gt;" in answer.text
    assert "<b>" not in answer.text
    assert (await choose(browser, link, name="operator")).status_code == 303
    rows = await front.rows("SELECT name, role FROM users ORDER BY name")
    assert rows == [('<b>"eva"</b>', "operator"), ("operator", "operator")]


async def test_who_forgot_the_password_chooses_a_new_one(front: Front, browser: httpx.AsyncClient) -> None:
    await log_in(browser)
    link = "/welcome/" + await front.database.write(
        lambda conn: invite_again(conn, name="operator", who="test", now=int(front.clock()))
    )
    other = await front.client_as(None)
    with capture_logs() as lines:
        assert (await choose(other, link)).status_code == 303
    assert await is_in(other)
    assert not await is_in(browser)
    assert lines[0]["user"] == "operator"
    assert link.rpartition("/")[2] not in str(lines)
    assert (await log_in(browser)).status_code == 422
    assert (await log_in(browser, password=NEW)).status_code == 303


async def test_another_sites_form_uses_no_link(front: Front, browser: httpx.AsyncClient) -> None:
    link = await invited(front)
    browser.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await choose(browser, link)).status_code == 403


# --- one's own password


async def change(browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    csrf = csrf_in(await browser.get("/password"))
    typed = {"csrf": csrf, "current": PASSWORD, "password": NEW, "again": NEW}
    return await browser.post("/password", data=typed | fields)


async def test_a_new_password_ends_the_other_sessions(front: Front, browser: httpx.AsyncClient) -> None:
    other = await front.client_as("operator")
    _, before, _ = cookie_of(await log_in(browser))
    answer = await change(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    _, after, _ = cookie_of(answer)
    assert before != after
    assert await is_in(browser)
    assert not await is_in(other)
    assert (await log_in(other)).status_code == 422
    assert (await log_in(other, password=NEW)).status_code == 303
    ((who, before_, after_),) = await front.rows(
        "SELECT who, before, after FROM audit WHERE what = 'users.password'"
    )
    assert (who, before_, after_) == ("user:operator", '{"name": "operator"}', '{"name": "operator"}')


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"current": "wrong"}, "not your password"),
        ({"current": ""}, "not your password"),
        ({"password": "short", "again": "short"}, "8 characters"),
        ({"again": ""}, "not the same"),
    ],
)
async def test_a_mistake_changes_nothing(
    browser: httpx.AsyncClient, fields: dict[str, str], said: str
) -> None:
    await log_in(browser)
    answer = await change(browser, **fields)
    assert answer.status_code == 422
    assert re.search(rf'<p class="error"[^>]*>[^<]*{said}', answer.text)
    assert NEW not in answer.text
    assert (await log_in(browser)).status_code == 303


async def test_an_open_browser_is_no_place_to_guess_the_password(
    front: Front, browser: httpx.AsyncClient
) -> None:
    front.clock.stop()
    await log_in(browser)
    answers: list[Any] = [await change(browser, current="wrong") for _ in range(FREE + 1)]
    assert [answer.status_code for answer in answers] == [422] * FREE + [429]
    assert "Too many tries" in answers[-1].text


async def test_changing_a_password_needs_a_session_and_its_token(browser: httpx.AsyncClient) -> None:
    typed = {"current": PASSWORD, "password": NEW, "again": NEW}
    assert (await browser.post("/password", data=typed)).headers["location"] == "/log-in"
    await log_in(browser)
    assert (await browser.post("/password", data=typed)).status_code == 403
