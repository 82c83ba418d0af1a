from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

from agi_server.web.access import Scope
from tests.web.front import Front
from tests.web.phonebooks.forms import CISCO, read, texts
from tests.web.phonebooks.people import add, add_many, change
from tests.web.phonebooks.walking import HOSTILE, phone, walk


def following(page: ET.Element) -> str:
    urls = {key.findtext("Name"): key.findtext("URL") or "" for key in page.findall("SoftKeyItem")}
    return urls.get("Next", "")


async def test_the_menu_leads_to_the_search_and_to_everyone(front: Front) -> None:
    token = await front.token(Scope.PHONEBOOK)
    client = await front.client()
    menu = read(await client.get(f"/phonebooks/cisco?token={token}&language=de"), CISCO)
    assert menu.tag == "CiscoIPPhoneMenu"
    assert texts(menu, "Name") == ["Suchen", "Alle"]
    search, everyone = texts(menu, "URL")
    asked = read(await client.get(search), CISCO)
    assert asked.tag == "CiscoIPPhoneInput"
    assert texts(asked, "InputFlags") == ["A"]
    url, (parameter,) = texts(asked, "URL")[0], texts(asked, "QueryStringParam")
    assert parse_qs(urlsplit(url).query) == {"token": [token], "language": ["de"]}
    # The phone appends its parameter with & where the URL has a query already.
    found = read(await client.get(f"{url}&{parameter}=mu%F1oz"), CISCO)
    assert (texts(found, "Name")[:1], texts(found, "Telephone")) == (["Ana Muñoz"], ["+493023125010"])
    assert len(texts(read(await client.get(everyone), CISCO), "Telephone")) == 4


async def test_keys_and_header_walk_through_everyone_once(front: Front) -> None:
    numbers = await add_many(front, 70)
    client = await front.client()
    url = f"/phonebooks/cisco/list?token={await front.token(Scope.PHONEBOOK)}&term=person"
    pages = await walk(client, url, CISCO, following)
    found = [number for page in pages for number in texts(page, "Telephone")]
    assert sorted(found) == sorted(numbers)
    assert all(len(page.findall("DirectoryEntry")) <= 32 for page in pages)
    assert texts(pages[0], "Position") == ["1", "2", "3"]
    assert texts(pages[-1], "Position") == ["1", "2"]
    first = await client.get(url)
    assert first.headers["refresh"] == f"0; url={following(pages[0])}"
    last = await client.get(following(pages[-2]))
    assert "refresh" not in last.headers


async def test_the_soft_keys_dial_and_leave(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/cisco/list"), CISCO)
    keys = {key.findtext("Name"): key.findtext("URL") for key in root.findall("SoftKeyItem")}
    assert keys == {"Dial": "SoftKey:Dial", "Exit": "SoftKey:Exit"}


async def test_nobody_found_is_said_in_words(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/cisco/list?term=nobody"), CISCO)
    assert (root.tag, texts(root, "Text")) == ("CiscoIPPhoneText", ["Nobody found"])


async def test_a_term_is_shown_as_text(front: Front) -> None:
    await add(front, {"Name": "Bold b", "Phone": "+49301555010"})
    root = read(await (await phone(front)).get("/phonebooks/cisco/list?term=%3Cb%3E%22%26%00"), CISCO)
    assert texts(root, "Prompt") == ['<b>"&']
    response = await (await phone(front)).get("/phonebooks/cisco/list?term=b%C3%B6+%3F&charset=ascii")
    assert texts(read(response, CISCO), "Prompt") == ["bo ?"]


async def test_a_number_is_looked_up(front: Front) -> None:
    client = await phone(front)
    root = read(await client.get("/phonebooks/cisco/number?number=%2B493023125010"), CISCO)
    assert texts(root, "Telephone") == ["+493023125010"]
    assert root.findtext("DirectoryEntry/Name") == "Ana Muñoz"
    assert texts(root, "Prompt") == ["+493023125010"]
    assert read(await client.get("/phonebooks/cisco/number"), CISCO).tag == "CiscoIPPhoneText"


async def test_names_are_text_of_64_characters_at_most(front: Front) -> None:
    for name in (*HOSTILE, "ñ" * 200):
        await add(front, {"Name": "x", "Phone": "+49301555010", "MobilePhone": "+491701555010"})
        await change(front, "UPDATE contacts SET name = ? WHERE name = 'x'", name)
    for charset in ("utf-8", "latin-1", "ascii"):
        pages = await walk(await phone(front), f"/phonebooks/cisco/list?charset={charset}", CISCO, following)
        names = [
            name for page in pages for entry in page.iter("DirectoryEntry") for name in texts(entry, "Name")
        ]
        assert "<script>alert(1)</script>, work" in names
        assert max(map(len, names)) <= 64
        assert len(names) == 4 + 2 * (len(HOSTILE) + 1)
