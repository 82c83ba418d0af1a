from __future__ import annotations

import re

import pytest

from agi_server.web.console.render import STATIC, static_url
from agi_server.web.headers import HEADERS
from tests.web.front import Front

LARGEST = 40_000  # bytes of all static files together: a page and what it loads stay below 100 kB


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("style.css", "text/css"),
        ("live.js", "text/javascript"),
        ("my_calls.js", "text/javascript"),
        ("words.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_files_may_be_kept_for_ever(front: Front, name: str, type_: str) -> None:
    answer = await (await front.client()).get(static_url(name))

    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == type_
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content == (STATIC / name).read_bytes()


@pytest.mark.parametrize("name", ["nothing.css", "..%2Frender.py", "%2e%2e%2frender.py", "style.css%00"])
async def test_nothing_else_is_served(front: Front, name: str) -> None:
    answer = await (await front.client()).get(f"/static/{name}")

    assert answer.status_code == 404


def test_files_are_small_and_load_nothing() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir()}

    assert sum(map(len, files.values())) < LARGEST
    for name, text in files.items():
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]+\.", text), name
        assert "innerHTML" not in text, name
        assert "@import" not in text, name


async def test_answers_carry_the_headers_of_safety(front: Front) -> None:
    client = await front.client()
    for path in (static_url("style.css"), "/nowhere", "/"):
        answer = await client.get(path, headers={"Accept": "text/html"})
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("language", ["de", "es", "pt", "en"])
async def test_a_language_is_kept(front: Front, language: str) -> None:
    client = await front.client()
    answer = await client.post("/language", data={"language": language, "to": "/calls?text=x"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/calls?text=x")
    shown = await client.get("/nowhere", headers={"Accept": "text/html", "Accept-Language": "fr"})
    assert f'<html lang="{language}">' in shown.text


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", "javascript:x", "/\t/evil"],
)
async def test_the_choice_of_a_language_leads_nowhere_else(front: Front, to: str) -> None:
    answer = await (await front.client()).post("/language", data={"language": "de", "to": to})

    assert answer.headers["location"] == "/"


async def test_an_unknown_language_is_not_kept(front: Front) -> None:
    answer = await (await front.client()).post("/language", data={"language": "xx"})

    assert answer.status_code == 303
    assert "set-cookie" not in answer.headers
