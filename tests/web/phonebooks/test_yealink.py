from __future__ import annotations

import pytest

from agi_server.web.phonebooks.document import encode
from agi_server.web.phonebooks.yealink import screen
from tests.web.front import Front
from tests.web.phonebooks.forms import YEALINK, check, parse, read, texts
from tests.web.phonebooks.people import add, add_many, change
from tests.web.phonebooks.walking import HOSTILE, phone


@pytest.mark.parametrize("query", ["", "?term=", "?term=%23SEARCH", "?term=#SEARCH"])
async def test_without_a_search_it_is_the_whole_book(front: Front, query: str) -> None:
    root = read(await (await phone(front)).get(f"/phonebooks/yealink{query}"), YEALINK)
    assert root.tag == "YealinkIPPhoneDirectory"
    assert texts(root, "Name") == ["Ana's agent", "Reception", "Acme", "Ana Muñoz"]
    assert texts(root, "Telephone") == ["101", "200", "+4930231250", "+493023125010"]


async def test_a_search_finds_people(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/yealink?term=munoz"), YEALINK)
    assert texts(root, "Name") == ["Ana Muñoz"]


async def test_nobody_found_is_an_empty_directory(front: Front) -> None:
    root = read(await (await phone(front)).get("/phonebooks/yealink?term=%3Cb%3Enobody"), YEALINK)
    assert root.tag == "YealinkIPPhoneDirectory"
    assert texts(root, "Name") == []


async def test_a_person_has_all_their_numbers(front: Front) -> None:
    await add(
        front,
        {"Name": "Tri", "Phone": "+49301555010", "MobilePhone": "+491701555010", "HomePhone": "+49302555010"},
    )
    root = read(await (await phone(front)).get("/phonebooks/yealink?term=tri&plus=00"), YEALINK)
    assert texts(root, "Name") == ["Tri"]
    assert texts(root, "Telephone") == ["0049301555010", "00491701555010", "0049302555010"]


async def test_what_a_search_finds_is_within_ten_kilobytes(front: Front) -> None:
    await add_many(front, 200, "Person & " + "ñ" * 60 + " {}")
    for charset in ("utf-8", "latin-1", "ascii"):
        response = await (await phone(front)).get(f"/phonebooks/yealink?term=person&charset={charset}")
        read(response, YEALINK)
        assert 8_000 < len(response.content) <= 10_000


async def test_names_are_text(front: Front) -> None:
    for name in HOSTILE:
        await add(front, {"Name": "x", "Phone": "+49301555010"})
        await change(front, "UPDATE contacts SET name = ? WHERE name = 'x'", name)
    root = read(await (await phone(front)).get("/phonebooks/yealink"), YEALINK)
    assert "<script>alert(1)</script>" in texts(root, "Name")
    assert len(root.findall("DirectoryEntry")) == 4 + len(HOSTILE)


async def test_a_number_is_looked_up(front: Front) -> None:
    client = await phone(front)
    root = read(await client.get("/phonebooks/yealink/number?number=%2B493023125010"), YEALINK)
    assert (texts(root, "Name"), texts(root, "Telephone")) == (["Ana Muñoz"], ["+493023125010"])
    assert texts(read(await client.get("/phonebooks/yealink/number?number=999"), YEALINK), "Name") == []


def test_a_text_is_a_text_screen() -> None:
    check(parse(encode(screen("a < b"), "utf-8")), YEALINK)
