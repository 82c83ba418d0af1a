from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

from agi_server.web.access import Scope
from tests.web.front import Front
from tests.web.phonebooks.forms import FANVIL, FANVIL_BOOK, read, texts
from tests.web.phonebooks.people import add, add_many, change
from tests.web.phonebooks.walking import HOSTILE, phone, walk


def keys_of(page: ET.Element) -> dict[str, str]:
    return {key.findtext("Name") or "": key.findtext("URI") or "" for key in page.findall("SoftKey")}


def people_of(page: ET.Element) -> list[tuple[str, str]]:
    items = page.findall("MenuItem")
    return [(item.findtext("Prompt") or "", item.findtext("URI") or "") for item in items]


async def test_the_input_leads_to_what_the_search_finds(front: Front) -> None:
    token = await front.token(Scope.PHONEBOOK)
    client = await front.client()
    root = read(await client.get(f"/phonebooks/fanvil/search?token={token}&language=de"), FANVIL)
    assert root.tag == "FanvilIPPhoneInputScreen"
    (url,), (parameter,) = texts(root, "URL"), texts(root, "Parameter")
    assert parse_qs(urlsplit(url).query) == {"token": [token], "language": ["de"]}
    found = read(await client.get(f"{url}&{parameter}=munoz"), FANVIL)
    assert people_of(found) == [("Ana Muñoz", "+493023125010")]
    assert keys_of(found) == {"Wählen": "SoftKey:Dial", "Ende": "SoftKey:Exit"}


async def test_the_next_key_walks_through_everyone_once(front: Front) -> None:
    numbers = await add_many(front, 70)
    client = await front.client()
    url = f"/phonebooks/fanvil/list?token={await front.token(Scope.PHONEBOOK)}&term=person"
    pages = await walk(client, url, FANVIL, lambda page: keys_of(page).get("Next", ""))
    assert sorted(number for page in pages for _, number in people_of(page)) == sorted(numbers)


async def test_nobody_found_is_said_in_words(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/fanvil/list?term=nobody"), FANVIL)
    assert people_of(root) == [("Nobody found", "")]


async def test_a_number_is_looked_up(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/fanvil/number?number=%2B493023125010"), FANVIL)
    assert people_of(root) == [("Ana Muñoz", "+493023125010")]


async def test_the_file_has_three_numbers_a_person(front: Front) -> None:
    four = {
        "Phone": "+49301555010",
        "MobilePhone": "+491701555010",
        "HomePhone": "+49302555010",
        "OtherPhone": "+49303555010",
    }
    await add(front, {"Name": "Tri", **four})
    await add(front, {"Name": "Two", "MobilePhone": "+491702555010"})
    await change(front, "UPDATE phones SET label = 'MobilePhone' WHERE number = 493023125010")
    await change(front, "INSERT INTO phones (contact_id, number, label) SELECT contact_id, 491709555010, 'MobilePhone' "
                 "FROM phones WHERE number = 491702555010")  # fmt: skip
    root = read(await (await phone(front)).get("/phonebooks/fanvil/phonebook.xml"), FANVIL_BOOK)
    entries = {
        entry.findtext("Name"): [entry.findtext(field) for field in ("Telephone", "Mobile", "Other")]
        for entry in root
    }
    assert entries["Tri"] == ["+49301555010", "+491701555010", "+49302555010"]
    assert entries["Two"] == ["", "+491702555010", "+491709555010"]
    assert entries["Reception"] == ["200", "", ""]
    assert set(texts(root, "Ring")) == {"Default"}


async def test_names_are_text_without_ampersands(front: Front) -> None:
    for name in HOSTILE:
        await add(front, {"Name": "x", "Phone": "+49301555010"})
        await change(front, "UPDATE contacts SET name = ? WHERE name = 'x'", name)
    client = await phone(front)
    for charset in ("utf-8", "latin-1", "ascii"):
        root = read(await client.get(f"/phonebooks/fanvil/phonebook.xml?charset={charset}"), FANVIL_BOOK)
        names = texts(root, "Name")
        assert "<script>alert(1)</script>" in names
        assert [name for name in names if "&" in name] == []
        assert any('"Rika" + S' in name for name in names)
        read(await client.get(f"/phonebooks/fanvil/list?charset={charset}"), FANVIL)
