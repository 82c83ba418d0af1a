from __future__ import annotations

import html
import json
import re
from typing import Any

from agi_server.web.console.live import MOST, RINGS
from agi_server.web.console.render import STATIC
from agi_server.web.console.terms import TERMS
from tests.web.console.calls import NAUGHTY, journal
from tests.web.front import Front

LARGEST = 100_000  # bytes of a page with everything that it loads


def ids(page: str) -> list[str]:
    return re.findall(r'<li data-call="([^"]+)"', page)


def attribute(page: str, name: str) -> Any:
    (text,) = re.findall(rf' {name}="([^"]*)"', page)
    return json.loads(html.unescape(text))


async def test_calls_that_go_on_come_first(front: Front) -> None:
    await journal(front, "old", "+34911234567", ago=RINGS + 60)  # nobody will tell of its end
    await journal(front, "rings", "+34911234567", ago=50)
    await journal(front, "ended", "+34911234567", ago=40, disposition="noanswer")
    await journal(front, "bad", "+4930900900", ago=30)
    await journal(front, "new", "+493023125010", ago=20)
    page = (await (await front.client_as("viewer")).get("/")).text

    assert ids(page) == ["new", "rings", "bad", "ended", "old"]
    assert set(re.findall(r'<li data-call="(\w+)" class="\w+ over"', page)) == {"bad", "ended", "old"}
    assert "Ana Muñoz" in page
    assert "Ana&#39;s agent (101)" in page
    assert "number on the blacklist" in page


async def test_names_of_callers_are_text(front: Front) -> None:
    await journal(front, "who", "+34911234567", name=NAUGHTY)
    page = (await (await front.client_as("operator")).get("/")).text

    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not {"\u2028", "\x07"} & set(page)


async def test_forms_are_for_those_who_may(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    viewer = (await (await front.client_as("viewer")).get("/")).text
    operator = (await (await front.client_as("operator")).get("/")).text

    assert "/block" not in viewer
    assert 'action="/calls/who/block"' in operator
    assert "/calls/who#person" in operator


async def test_the_script_gets_its_words_from_the_page(front: Front) -> None:
    page = (await (await front.client_as("viewer")).get("/", headers={"Accept-Language": "de"})).text
    terms, sentences = attribute(page, "data-terms"), attribute(page, "data-sentences")

    assert terms["verdict"] == {"allow": "durchgelassen", "block": "gesperrt"}
    assert set(terms["reason"]) == set(TERMS["reason"])
    assert ["nobody\\ has\\ this\\ number", "niemand hat diese Nummer"] in sentences
    assert all("(?P<" not in pattern for pattern, _ in sentences)
    script = (STATIC / "live.js").read_text(encoding="utf-8")
    for slot in re.findall(r'put\(row, "(\w+)"', script):
        assert f'data-slot="{slot}"' in page
    for word in set(re.findall(r"words\.(\w+)", script)):
        name = re.sub("([A-Z])", lambda capital: f"-{capital[1].lower()}", word)
        assert f"data-{name}=" in page


async def test_a_full_page_stays_small(front: Front) -> None:
    for place in range(MOST + 5):
        name = f"{place} {NAUGHTY * 3}"
        await journal(front, f"c{place}", "+34911234567", name=name, did="+4930555100", ago=place)
    for path in ("/", "/calls", "/statistics"):
        for language in ("de", "es"):
            browser = await front.client_as("admin")
            page = await browser.get(path, headers={"Accept-Language": language})
            loaded = sum(path.stat().st_size for path in STATIC.iterdir())
            assert len(page.content) + loaded < LARGEST, path


async def test_without_calls_it_says_so(front: Front) -> None:
    page = (await (await front.client_as("viewer")).get("/")).text

    assert re.search(r'id="none"><p>No calls yet', page)
    assert 'href="/"' in page
