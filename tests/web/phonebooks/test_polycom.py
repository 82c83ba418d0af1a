from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import httpx

from agi_server.web.access import Scope
from tests.web.front import Front
from tests.web.phonebooks.forms import POLYCOM, parse, read, texts
from tests.web.phonebooks.people import add, add_many, change
from tests.web.phonebooks.walking import HOSTILE, phone

X = "{http://www.w3.org/1999/xhtml}"
ALLOWED = {"html", "head", "title", "body", "form", "p", "label", "input", "ol", "li", "a"}


def page_of(response: httpx.Response) -> ET.Element:
    """Return a page: XHTML of the few elements that the microbrowser has."""
    assert response.status_code == 200
    assert re.fullmatch(r"text/html; charset=(utf-8|iso-8859-1)", response.headers["content-type"])
    root = parse(response.content)
    assert {element.tag.removeprefix(X) for element in root.iter()} <= ALLOWED
    assert root.find(f"{X}head/{X}title") is not None
    return root


def links(root: ET.Element, prefix: str) -> list[tuple[str, str]]:
    found = [(link.attrib["href"], link.text or "") for link in root.iter(f"{X}a")]
    return [link for link in found if link[0].startswith(prefix)]


async def test_the_form_carries_what_the_next_page_needs(front: Front) -> None:
    token = await front.token(Scope.PHONEBOOK)
    client = await front.client()
    root = page_of(await client.get(f"/phonebooks/polycom/search?token={token}&plus=00&language=pt"))
    (form,) = root.iter(f"{X}form")
    assert form.attrib["method"] == "get"
    values = {
        field.attrib["name"]: field.attrib["value"]
        for field in form.iter(f"{X}input")
        if "name" in field.attrib
    }
    assert values == {"term": "", "token": token, "plus": "00", "language": "pt"}
    found = page_of(await client.get(form.attrib["action"], params={**values, "term": "munoz"}))
    assert links(found, "tel:") == [("tel://00493023125010", "Ana Muñoz")]


async def test_the_next_link_walks_through_everyone_once(front: Front) -> None:
    numbers = await add_many(front, 40)
    client = await front.client()
    url = f"/phonebooks/polycom/list?token={await front.token(Scope.PHONEBOOK)}&term=person"
    found: list[str] = []
    while url:
        page = page_of(await client.get(url))
        tels = links(page, "tel:")
        assert 0 < len(tels) <= 16
        found += [href.removeprefix("tel://") for href, _ in tels]
        url = next((href for href, _ in links(page, "http")), "")
    assert sorted(found) == sorted(numbers)


async def test_nobody_found_is_said_in_words(front: Front) -> None:
    root = page_of(await (await phone(front)).get("/phonebooks/polycom/list?term=%3Cnobody"))
    assert [each.text for each in root.iter(f"{X}p")] == ["Nobody found"]


async def test_a_number_is_looked_up(front: Front) -> None:
    root = page_of(await (await phone(front)).get("/phonebooks/polycom/number?number=%2B493023125010"))
    assert links(root, "tel:") == [("tel://+493023125010", "Ana Muñoz")]


async def test_a_number_stays_within_its_address(front: Front) -> None:
    await change(front, "INSERT INTO agents (name, extension) VALUES ('Odd', '*9#/<>\"')")
    root = page_of(await (await phone(front)).get("/phonebooks/polycom/list?term=odd"))
    assert links(root, "tel:") == [("tel://*9%23", "Odd")]


async def test_the_file_has_each_number_once(front: Front) -> None:
    await add(
        front,
        {
            "FirstName": "Tri",
            "LastName": "Phon",
            "Phone": "+49301555010",
            "MobilePhone": "+491701555010",
            "HomePhone": "+49302555010",
        },
        {
            "FirstName": "Same",
            "LastName": "Number",
            "Phone": "+49301555010",
            "MobilePhone": "",
            "HomePhone": "",
        },
    )
    root = read(await (await phone(front)).get("/phonebooks/polycom/000000000000-directory.xml"), POLYCOM)
    numbers = texts(root, "ct")
    assert sorted(numbers) == sorted(
        ["101", "200", "+4930231250", "+493023125010", "+49301555010", "+491701555010", "+49302555010"]
    )
    names = dict(zip(numbers, zip(texts(root, "fn"), texts(root, "ln"), strict=True), strict=True))
    assert names["+49301555010"] == ("Same", "Number")  # the first by name
    assert names["+491701555010"] == ("Tri", "Phon")


async def test_names_are_text_of_40_bytes_at_most(front: Front) -> None:
    for index, name in enumerate((*HOSTILE, "漢" * 200)):
        await add(front, {"Name": "x", "Phone": f"+493055501{index:02}"})
        await change(
            front,
            "UPDATE contacts SET name = ?, first_name = ?, last_name = ? WHERE name = 'x'",
            *(name,) * 3,
        )
    client = await phone(front)
    for charset in ("utf-8", "latin-1", "ascii"):
        root = read(
            await client.get(f"/phonebooks/polycom/000000000000-directory.xml?charset={charset}"), POLYCOM
        )
        assert max(len(text.encode()) for text in texts(root, "fn") + texts(root, "ln")) <= 40
        assert "<script>alert(1)</script>" in texts(root, "fn")
        shown = page_of(await client.get(f"/phonebooks/polycom/list?charset={charset}"))
        assert "<script>alert(1)</script>" in [text for _, text in links(shown, "tel:")]
