from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from agi_server.web.access import Scope
from tests.web.front import Front
from tests.web.phonebooks.forms import SNOM, SNOM_CONTACTS, SNOM_TBOOK, read, texts
from tests.web.phonebooks.people import add, add_many, change
from tests.web.phonebooks.walking import HOSTILE, phone, walk


def following(page: ET.Element) -> str:
    keys = {key.findtext("Name"): key.findtext("URL") or "" for key in page.findall("SoftKeyItem")}
    return keys.get("F4", "")


async def test_the_search_asks_and_puts_what_was_typed_into_the_address(front: Front) -> None:
    token = await front.token(Scope.PHONEBOOK)
    client = await front.client()
    root = read(await client.get(f"/phonebooks/snom/search?token={token}&language=de"), SNOM)
    assert root.tag == "SnomIPPhoneInput"
    assert texts(root, "DisplayName") == ["Name oder Nummer"]
    assert texts(root, "InputFlags") == ["a"]
    (url,), (typed,) = texts(root, "Url"), texts(root, "InputToken")
    assert parse_qs(urlsplit(url).query)["term"] == [typed]
    assert url.count(typed) == 1
    found = read(await client.get(url.replace(typed, "mu%C3%B1oz")), SNOM)
    assert texts(found, "Name") == ["Ana Muñoz"]
    assert texts(read(await client.get(url), SNOM), "Name")[:1] == ["Ana's agent"]  # left as it was: everyone


async def test_the_next_key_walks_through_everyone_once(front: Front) -> None:
    numbers = await add_many(front, 70)
    client = await front.client()
    url = f"/phonebooks/snom/list?token={await front.token(Scope.PHONEBOOK)}&term=person"
    pages = await walk(client, url, SNOM, following)
    found = [number for page in pages for number in texts(page, "Telephone")]
    assert sorted(found) == sorted(numbers)
    assert all(len(page.findall("DirectoryEntry")) <= 32 for page in pages)
    assert [key.findtext("Label") for key in pages[0].findall("SoftKeyItem")] == ["Next"]


async def test_nobody_found_is_said_in_words(front: Front) -> None:
    root = read(
        await (await phone(front)).get("/phonebooks/snom/list?term=nobody&language=es&charset=ascii"), SNOM
    )
    assert (root.tag, texts(root, "Text")) == ("SnomIPPhoneText", ["No se encontro a nadie"])


async def test_a_number_is_looked_up(front: Front) -> None:
    client = await phone(front)
    root = read(await client.get("/phonebooks/snom/number?number=030+23125010"), SNOM)
    assert (texts(root, "Name"), texts(root, "Telephone")) == (["Ana Muñoz"], ["03023125010"])
    assert read(await client.get("/phonebooks/snom/number?number=999"), SNOM).tag == "SnomIPPhoneText"


async def add_tri(front: Front) -> None:
    await add(
        front,
        {
            "FirstName": "Tri",
            "LastName": "Phon",
            "Phone": "+49301555010",
            "MobilePhone": "+491701555010",
            "HomePhone": "+49302555010",
            "OtherPhone": "+49303555010",
        },
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_book_has_an_item_for_each_number(front: Front, method: str) -> None:
    await add_tri(front)
    root = read(await (await phone(front)).request(method, "/phonebooks/snom/tbook.xml"), SNOM_TBOOK)
    assert root.attrib == {"e": "2", "complete": "true"}
    assert [item.attrib["index"] for item in root] == [str(index) for index in range(8)]
    assert texts(root, "number_type") == ["sip", "sip", "fixed", "fixed", "fixed", "mobile", "fixed", "fixed"]
    assert texts(root, "first_name")[4:] == ["Tri"] * 4
    assert texts(root, "last_name")[:4] == ["Ana's agent", "Reception", "Acme", "Muñoz"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_version_two_has_all_numbers_with_the_contact(front: Front, method: str) -> None:
    await add_tri(front)
    root = read(await (await phone(front)).request(method, "/phonebooks/snom/contacts.xml"), SNOM_CONTACTS)
    types = [[number.attrib["type"] for number in contact.iter("number")] for contact in root]
    assert types == [
        ["extension"],
        ["extension"],
        ["business"],
        ["business"],
        ["business", "mobile", "home", "fixed"],
    ]
    assert [number.attrib["no"] for number in root[4].iter("number")] == [
        "+49301555010",
        "+491701555010",
        "+49302555010",
        "+49303555010",
    ]


async def test_names_are_text(front: Front) -> None:
    for name in HOSTILE:
        await add(front, {"Name": "x", "Phone": "+49301555010"})
        await change(front, "UPDATE contacts SET name = ?, last_name = ? WHERE name = 'x'", name, name)
    client = await phone(front)
    for charset in ("utf-8", "latin-1", "ascii"):
        pages = await walk(client, f"/phonebooks/snom/list?charset={charset}", SNOM, following)
        names = [name for page in pages for name in texts(page, "Name")]
        assert "<script>alert(1)</script>" in names
        assert all(name.isprintable() and name for name in names)
        read(await client.get(f"/phonebooks/snom/tbook.xml?charset={charset}"), SNOM_TBOOK)
        read(await client.get(f"/phonebooks/snom/contacts.xml?charset={charset}"), SNOM_CONTACTS)
