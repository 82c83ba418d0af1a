"""The page of one's own calls."""

from __future__ import annotations

import re
from functools import partial
from html import unescape

import pytest

from agi_server.calls.call import Direction
from agi_server.web.console.render import STATIC
from storage.people import get_contact
from storage.users import set_extension
from tests.web.console.calls import NAUGHTY, converse, journal
from tests.web.console.pages import shown
from tests.web.front import Front


@pytest.fixture(autouse=True)
def noon(front: Front) -> None:
    """Let it be noon, so that an hour ago is today."""
    front.clock.stopped = front.clock() // 86_400 * 86_400 + 43_200


async def mine(front: Front, extension: str, role: str = "viewer") -> None:
    """Give the user of a role an extension."""
    await front.user(role, role)
    await front.database.write(
        partial(set_extension, name=role, extension=extension, who="test", now=int(front.clock()))
    )


def lists(page: str) -> str:
    return page[page.index('id="lists"') :]


def calls_in(text: str) -> list[str]:
    return re.findall(r'<td[^>]*><a href="/calls/([^"]+)"', text)


def pops(page: str) -> list[str]:
    return re.findall(r'<li data-call="([^"]*)"', page)


async def test_who_has_an_extension_sees_its_calls(front: Front) -> None:
    await mine(front, "101")
    await journal(front, "missed", "+493023125010", ago=400, disposition="noanswer")
    await journal(front, "spoke", "+4930231250123", ago=300, disposition="answer", answered_by="101")
    await journal(front, "other", "+34911234567", ago=200, disposition="answer", answered_by="200")
    part = await converse(front, "u9", ago=100, legs=())
    browser = await front.client_as("viewer")
    page = (await browser.get("/my-calls?extension=200")).text  # whose it is, is not for the address to say
    assert 'data-extension="101"' in page
    assert "<select" not in page
    assert calls_in(lists(page)) == ["missed", "spoke", "missed"]
    assert shown(await browser.get("/my-calls")).count("missed no answer") == 1
    assert part not in page


async def test_who_has_none_chooses_one(front: Front) -> None:
    await journal(front, "a", "+493023125010", disposition="noanswer")
    browser = await front.client_as("viewer")
    page = (await browser.get("/my-calls")).text
    assert 'id="pops"' not in page
    assert "my_calls.js" not in page
    assert re.findall(r'<option value="(\d+)"', page) == ["101", "200"]
    assert calls_in(lists((await browser.get("/my-calls?extension=101")).text)) == ["a", "a"]
    assert calls_in(lists((await browser.get("/my-calls?extension=200")).text)) == []
    for odd in ("nobody", NAUGHTY, "%00"):
        answer = await browser.get("/my-calls", params={"extension": odd})
        assert answer.status_code == 200
        assert 'id="pops"' not in answer.text


async def test_yesterdays_calls_are_not_todays(front: Front) -> None:
    await mine(front, "101")
    await journal(front, "old", "+493023125010", ago=90_000, disposition="answer", answered_by="101")
    await journal(front, "missed", "+493023125010", ago=89_000, disposition="noanswer")
    page = (await (await front.client_as("viewer")).get("/my-calls")).text
    assert calls_in(lists(page)) == ["missed"]  # to call back it is still


async def test_a_call_that_goes_on_is_shown_on_top_with_its_record(front: Front) -> None:
    await mine(front, "101")
    front.services.events.desk.instance = "https://acme.example"
    await journal(front, "now", "+493023125010", ago=5, name="Ana")
    await journal(front, "over", "+493023125010", ago=50, disposition="answer", answered_by="101")
    await journal(front, "theirs", "+34911234567", ago=5)
    await journal(front, "forgotten", "+493023125010", ago=4000)
    await journal(front, "out", "+34911234567", ago=5, direction=Direction.OUTBOUND, extension="101")
    browser = await front.client_as("viewer")
    page = (await browser.get("/my-calls")).text
    assert pops(page) == ["now"]
    contact = await front.database.read(partial(get_contact, contact_id=1))
    assert contact is not None
    link = f"https://acme.example/lightning/r/Contact/{contact.salesforce_id}/view"
    assert f'target="_blank" rel="noopener noreferrer" href="{link}"' in page
    assert "Acme" in page
    front.services.events.desk.instance = ""
    page = (await browser.get("/my-calls")).text
    assert 'rel="noopener noreferrer" hidden' in page


async def test_what_callers_send_is_text(front: Front) -> None:
    await mine(front, "200")
    await journal(front, "a", "+34911234567", ago=5, name=NAUGHTY, disposition="noanswer", answered_by="200")
    await journal(front, "b", NAUGHTY, ago=5, name=NAUGHTY)
    await converse(front, "u9", ago=100, name=NAUGHTY, number=NAUGHTY, answered_by="200")
    page = (await (await front.client_as("viewer")).get("/my-calls")).text
    assert "<img src=x" not in page
    assert not {"\u2028", "\x07"} & set(page)


@pytest.mark.parametrize("language", ["en", "de"])
async def test_the_script_gets_its_words_from_the_page(front: Front, language: str) -> None:
    await mine(front, "101")
    page = (
        await (await front.client_as("viewer")).get("/my-calls", headers={"Accept-Language": language})
    ).text
    script = (STATIC / "my_calls.js").read_text(encoding="utf-8")
    for slot in re.findall(r'put\(row, "(\w+)"', script):
        assert f'data-slot="{slot}"' in page
    for name in re.findall(r'link\(row, "(\w+)"', script):
        assert f'data-link="{name}"' in page
    for word in set(re.findall(r"words\.(\w+)", script)):
        name = re.sub("([A-Z])", lambda capital: f"-{capital[1].lower()}", word)
        assert f"data-{name}=" in page
    for name in set(re.findall(r'getElementById\("(\w+)"', script)):
        assert f'id="{name}"' in page
    kinds = set(re.findall(r'"(\w+)": \{', unescape(re.findall(r'data-terms="([^"]*)"', page)[0])))
    assert set(re.findall(r'term\("(\w+)"', script)) <= kinds
