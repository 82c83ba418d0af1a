from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request, Response
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader

from agi_server.settings import Settings
from agi_server.web.access import ROLES, Actor, Scope
from agi_server.web.console import render
from agi_server.web.console.formats import duration, phone
from agi_server.web.console.render import local_path, page, redirect, static_url, visible
from agi_server.web.console.terms import TERMS, explain, term
from agi_server.web.services import Services
from tests.web.front import Front

CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]))


def asked(
    path: str = "/calls", query: str = "", *, cookies: str = "", accept: str = "", **settings: Any
) -> Request:
    """Return a request as pages see one."""
    services = object.__new__(Services)
    object.__setattr__(services, "settings", Settings(**settings))
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"cookie", cookies.encode()), (b"accept-language", accept.encode())],
            "app": SimpleNamespace(state=SimpleNamespace(services=services)),
        }
    )


def actor(role: str) -> Actor:
    return Actor(who=f"user:{role}", user=role, role=role, scopes=ROLES[role], csrf="t0ken")


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that shows a template of the test's own."""

    def shown(text: str, request: Request | None = None, **values: Any) -> str:
        with monkeypatch.context() as patched:
            loader = DictLoader(
                {"own.html": text, "parts.html": (render.TEMPLATES / "parts.html").read_text()}
            )
            patched.setattr(render, "FileSystemLoader", lambda _path: loader)
            render._environment.cache_clear()
            answer = page(request or asked(), actor("admin"), "own.html", **values)
        render._environment.cache_clear()
        return bytes(answer.body).decode()

    return shown


def text_of(response: Response) -> str:
    return bytes(response.body).decode()


def error_of(role: str | None, request: Request) -> str:
    who = actor(role) if role is not None else None
    return text_of(page(request, who, "error.html", error="Something went wrong", code=500, detail="x"))


def test_navigation_offers_what_may_be_done() -> None:
    viewer, admin = error_of("viewer", asked("/calls/17")), error_of("admin", asked("/calls/17"))

    assert '<a href="/calls" aria-current="page">' in viewer
    assert viewer.count('aria-current="page"') == 1
    assert 'href="/users"' in admin
    assert 'href="/users"' not in viewer
    assert "<nav" not in error_of(None, asked())


def test_a_page_is_in_one_language_of_which_it_tells() -> None:
    fixed = error_of("admin", asked(cookies="language=es", accept="pt", http={"language": "de"}))
    chosen = error_of("admin", asked(cookies="language=es", accept="pt"))
    wished = error_of("admin", asked(accept="pt"))

    assert '<html lang="de">' in fixed
    assert 'name="language"' not in fixed  # there is nothing to choose
    assert '<html lang="es">' in chosen
    assert '<html lang="pt">' in wished
    assert "Abmelden" in fixed


@given(st.text(max_size=50))
@settings(max_examples=100)
def test_text_shows_no_control_characters_and_keeps_the_rest(text: str) -> None:
    shown = visible(text)

    assert not set(shown) & set(CONTROLS)
    assert len(shown) == len(text)
    assert all(a == b for a, b in zip(text, shown, strict=True) if a not in CONTROLS)


def test_what_callers_chose_is_shown_as_text(template: Callable[..., str]) -> None:
    own = '{% import "parts.html" as parts with context %}{{ parts.text(name) }}'

    shown = template(own, name="<script>alert(1)</script>\u2028\x00\u202e\"'")

    assert shown == "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;\ufffd\u2400\u202e&#34;&#39;</bdi>"


def test_a_field_keeps_what_was_typed_and_names_its_mistake(template: Callable[..., str]) -> None:
    own = (
        '{% import "parts.html" as parts with context %}'
        "{{ parts.field('pattern', 'Pattern', value, error='no <number>', hint='as +49', more={'maxlength': 9}) }}"
    )

    shown = template(own, value='"><script>')

    assert 'value="&#34;&gt;&lt;script&gt;"' in shown
    assert 'aria-invalid="true" aria-describedby="e-pattern h-pattern"' in shown
    assert 'id="e-pattern">no &lt;number&gt;</p>' in shown
    assert 'id="h-pattern">as +49</p>' in shown
    assert '<label for="f-pattern">' in shown
    assert 'maxlength="9"' in shown


def test_forms_carry_the_token_of_the_session(template: Callable[..., str]) -> None:
    own = '{% import "parts.html" as parts with context %}{{ parts.post("/x", "Do", {"id": 7}) }}'

    shown = template(own)

    assert '<input type="hidden" name="csrf" value="t0ken">' in shown
    assert '<input type="hidden" name="id" value="7">' in shown


def test_addresses_keep_the_filters(template: Callable[..., str]) -> None:
    request = asked(query="text=%C3%BC%26x&cursor=old")

    assert template("{{ query(cursor='a b') }}", request) == "/calls?text=%C3%BC%26x&amp;cursor=a+b"
    assert template("{{ query(cursor='') }}", request) == "/calls?text=%C3%BC%26x"


@pytest.mark.parametrize(
    ("language", "zone", "shown"),
    [
        ("en", "UTC", "21 Nov 2026, 18:14:02"),
        ("de", "Europe/Berlin", "21.11.2026, 19:14:02"),
        ("es", "America/Bogota", "21 nov 2026, 13:14:02"),
        ("pt", "Europe/Lisbon", "21/11/2026, 18:14:02"),
    ],
)
def test_times_are_those_of_the_house(
    template: Callable[..., str], language: str, zone: str, shown: str
) -> None:
    request = asked(http={"language": language}, routing={"timezone": zone})

    written = template("{{ at|when }}", request, at=1795284842)

    assert written == f'<time datetime="2026-11-21T18:14:02Z">{shown}</time>'
    assert template("{{ 0|when }}{{ none|seconds }}", request) == "––"


def test_numbers_are_written_as_the_language_does(template: Callable[..., str]) -> None:
    german = asked(http={"language": "de"})

    assert template("{{ 1234567|number }}", german) == "1.234.567"
    assert template("{{ 1234567|number }}") == "1,234,567"
    assert phone("+493023125010") == "+49 30 23125010" == phone(493023125010)
    assert phone("100") == "100"
    assert phone(None) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 sec"),
        (0.0005, "0.5 ms"),
        (42, "42 secs"),
        (65, "1 min 5 secs"),
        (120, "2 mins"),
        (3900, "1 hr 5 mins"),
    ],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    written = duration(seconds, "en")

    assert written.replace("secs", "sec").replace("mins", "min") == shown.replace("secs", "sec").replace(
        "mins", "min"
    )


@pytest.mark.parametrize("path", ["//x", "/\\x", "http://x", "", "x", "/a\nb", "/a\x00", "/a\\b"])
def test_redirections_stay_here(path: str) -> None:
    assert local_path(path) == "/"
    assert redirect(asked(), path).headers["location"] == "/"


def test_a_notice_is_shown_once(front: Front) -> None:
    left = redirect(asked(), "/calls", notice="Größe: <b>;\u202e, 100 %").headers["set-cookie"].split(";")[0]

    answer = page(asked(cookies=left), actor("admin"), "error.html", error="x", code=1, detail="")

    assert "Größe: &lt;b&gt;;\u202e, 100 %" in text_of(answer)
    assert 'notice="";' in answer.headers["set-cookie"]
    assert front is not None


def test_tokens_are_words_and_unknown_ones_stay() -> None:
    assert term(str.upper, "allow") == "LET IN"
    assert term(str.upper, "exact", "kind") == "EXACT NUMBER"
    assert term(str.upper, "never-heard", "reason") == "never-heard"
    assert explain(str, "somebody said this") == "somebody said this"
    assert explain(str, "the default agent is not at work") == "the default agent is not at work"
    assert set(TERMS["verdict"]) == {"allow", "block"}


async def test_errors_are_pages_for_people_and_problems_for_programs(front: Front) -> None:
    browser = await front.client_as("viewer")
    page_ = await browser.get("/nowhere", headers={"Accept": "text/html", "Accept-Language": "de"})
    problem = await browser.get("/api/v1/nowhere", headers={"Accept": "text/html"})
    plain = await browser.get("/nowhere", headers={"Accept": "application/json"})

    assert page_.status_code == problem.status_code == plain.status_code == 404
    assert page_.headers["content-type"].startswith("text/html")
    assert '<html lang="de">' in page_.text
    assert 'aria-label="Seiten"' in page_.text  # the way on
    assert problem.headers["content-type"] == plain.headers["content-type"] == "application/problem+json"


async def test_who_is_not_logged_in_is_led_there_and_back(front: Front) -> None:
    browser = await front.client_as(None)
    answer = await browser.get("/calls?text=a%26b", headers={"Accept": "text/html"})

    assert answer.status_code == 303
    assert answer.headers["location"] == "/log-in?next=%2Fcalls%3Ftext%3Da%2526b"
    program = await browser.get("/calls", headers={"Accept": "application/json"})
    assert program.status_code == 401


async def test_a_page_of_others_is_refused_with_a_page(front: Front) -> None:
    browser = await front.client_as("viewer")
    answer = await browser.post("/calls/x/block", headers={"Accept": "text/html"})

    assert answer.status_code == 403
    assert "You may not do that" in answer.text


def test_static_files_have_an_address_that_changes_with_them() -> None:
    assert static_url("style.css").startswith("/static/style.css?v=")
    assert static_url("style.css") != static_url("live.js").replace("live.js", "style.css")
    assert Scope.READ in ROLES["viewer"]
