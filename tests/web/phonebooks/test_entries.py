from __future__ import annotations

from pathlib import Path

import pytest

from agi_server.errors import InputError
from agi_server.web.phonebooks import entries
from agi_server.web.phonebooks.cards import Card, Limits
from agi_server.web.phonebooks.entries import find_page, look_up, whole_book
from agi_server.web.phonebooks.people import FRESH_SECONDS
from agi_server.web.phonebooks.question import Question
from storage.phonebook import Kind
from tests.web.front import Front, open_front
from tests.web.phonebooks.people import add, add_many, change

LIMITS = Limits(lines=8)


def question(term: str = "", cursor: str = "", number: str = "") -> Question:
    return Question(term=term, cursor=cursor, number=number, carried={})


def numbers_of(cards: list[Card]) -> list[str]:
    return [number for card in cards for _, number in card.numbers]


async def walk(front: Front, term: str, limits: Limits = LIMITS) -> list[Card]:
    """Return everyone from the first page to the last."""
    cards: list[Card] = []
    cursor = ""
    while True:
        page = await find_page(front.services, question(term, cursor), limits)
        assert len(page.cards) == 1 or len(numbers_of([*page.cards])) <= limits.lines
        assert page.cards
        cards += page.cards
        if not page.following:
            return cards
        cursor = page.following


async def test_a_search_meets_everyone_once(front: Front) -> None:
    numbers = await add_many(front, 70)
    for lines in (1, 3, 8, 32, 500):
        found = numbers_of(await walk(front, "person", Limits(lines=lines)))
        assert sorted(found) == sorted(numbers)


async def test_everyone_is_met_once_without_a_search(front: Front) -> None:
    numbers = await add_many(front, 40)
    for lines in (1, 8, 500):
        found = numbers_of(await walk(front, "", Limits(lines=lines)))
        assert sorted(found[2:]) == sorted([*numbers, "+493023125010", "+4930231250"])
        assert found[:2] == ["101", "200"]


async def test_a_page_is_filled(front: Front) -> None:
    await add(front, *({"Name": f"Solo {index}", "Phone": f"+4930777{index:04}"} for index in range(40)))
    page = await find_page(front.services, question("solo"), LIMITS)
    assert len(page.cards) == LIMITS.lines
    last = await find_page(front.services, question("solo"), Limits(lines=40))
    assert (len(last.cards), last.following) == (40, "")


async def test_people_without_a_number_are_passed_over(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"Name": f"Mute {index}", "Phone": "", "Email": "x@ostiary.example"} for index in range(90)]
    await add(front, *rows, {"Name": "Mute Speaks", "Phone": "+493055501055", "Email": ""})
    page = await find_page(front.services, question("mute"), LIMITS)
    assert [card.name for card in page.cards] == ["Mute Speaks"]
    monkeypatch.setattr(entries, "BLOCKS", 2)  # the agents and one block of contacts
    page = await find_page(front.services, question("mute"), LIMITS)
    assert (page.cards, page.following != "") == ([], True)
    while page.following:
        page = await find_page(front.services, question("mute", page.following), LIMITS)
    assert [card.name for card in page.cards] == ["Mute Speaks"]


async def test_agents_are_found_by_words_and_extension(front: Front) -> None:
    async def names(term: str) -> list[str]:
        return [card.name for card in (await find_page(front.services, question(term), LIMITS)).cards]

    assert await names("RECEP") == ["Reception"]
    assert await names("200") == ["Reception"]
    assert await names("agent ana") == ["Ana's agent"]
    assert await names("ana") == ["Ana's agent", "Ana Muñoz"]
    assert await names("munoz") == ["Ana Muñoz"]
    assert await names("eception") == []
    await change(front, "UPDATE agents SET name = 'Jörg Müßig' WHERE extension = '200'")
    assert [await names(term) for term in ("jorg", "joerg", "MUES", "mussig")] == [["Jörg Müßig"]] * 4
    assert await names("$%") == []


async def test_a_contact_is_found_by_a_number(front: Front) -> None:
    for term in ("+49 30 23125010", "030 23125010", "23125010"):
        page = await find_page(front.services, question(term), LIMITS)
        assert "Ana Muñoz" in [card.name for card in page.cards]


async def test_no_term_is_more_than_a_text(front: Front) -> None:
    for term in [
        '"',
        "a*",
        "<b>",
        "&amp;",
        "name:x",
        "(",
        "OR",
        "-",
        "\u202e",
        "{}",
        "%",
        "NEAR(",
        ";",
        "drop",
    ]:
        await find_page(front.services, question(term), LIMITS)
    assert (await find_page(front.services, question("munoz"), LIMITS)).cards


async def test_a_cursor_of_nobody_is_refused(front: Front) -> None:
    for cursor in [
        "x",
        "0",
        "0.",
        "0.x",
        "0.aa",
        "0.wx",
        "-1.a",
        "9999999.a",
        "0.cnothing",
        "0.c1.2.3",
        "1.a.b",
    ]:
        with pytest.raises(InputError):
            await find_page(front.services, question("person", cursor), LIMITS)


async def test_a_cursor_behind_the_end_is_an_empty_page(front: Front) -> None:
    page = await find_page(front.services, question("", "9999.w"), LIMITS)
    assert page == ([], "")


async def test_a_whole_book_has_agents_first_then_contacts_by_name(front: Front) -> None:
    await add(front, {"Name": "Ärger", "Phone": "+49301555010"}, {"Name": "Zoe", "Phone": "+49302555010"})
    cards = await whole_book(front.services, question(), LIMITS)
    assert [card.name for card in cards] == ["Ana's agent", "Reception", "Acme", "Ana Muñoz", "Ärger", "Zoe"]
    assert cards[0].numbers == ((Kind.EXTENSION, "101"),)


async def test_a_whole_book_is_as_long_as_the_setting_says(tmp_path: Path) -> None:
    async with open_front(tmp_path, more="[phonebook]\nwhole = 3\n") as front:
        assert len(await whole_book(front.services, question(), LIMITS)) == 3
        await change(front, "UPDATE contacts SET vip = (kind = 'Contact')")
        front.clock.ahead += FRESH_SECONDS
        assert [card.name for card in await whole_book(front.services, question(), LIMITS)][2] == "Ana Muñoz"
        for number in range(5):
            await change(front, "INSERT INTO agents (extension) VALUES (?)", f"30{number}")
        cards = await whole_book(front.services, question(), LIMITS)
        assert [card.numbers[0][0] for card in cards] == [Kind.EXTENSION] * 3


async def test_agents_are_left_out_where_the_setting_says_so(tmp_path: Path) -> None:
    async with open_front(tmp_path, more="[phonebook]\nagents = false\n") as front:
        assert [card.name for card in await whole_book(front.services, question(), LIMITS)] == [
            "Acme",
            "Ana Muñoz",
        ]
        page = await find_page(front.services, question("ana"), LIMITS)
        assert [card.name for card in page.cards] == ["Ana Muñoz"]


async def test_contacts_are_named_as_the_setting_says(tmp_path: Path) -> None:
    async with open_front(tmp_path, more='[naming]\ntemplate = "{name}[ / {account}]"\n') as front:
        page = await find_page(front.services, question("munoz"), LIMITS)
        assert [card.name for card in page.cards] == ["Ana Muñoz / Acme"]


async def test_a_number_is_looked_up_as_for_a_call(front: Front) -> None:
    for number, name in (
        ("+49 30 23125010", "Ana Muñoz"),
        ("030/23125010", "Ana Muñoz"),
        ("+49 30 23125077", "Acme"),  # of its switchboard
        ("101", "Ana's agent"),
        ("+49 30 999", ""),
        ("anonymous", ""),
        ("", ""),
        ("<script>", ""),
    ):
        cards = look_up(front.services, question(number=number), LIMITS)
        assert [card.name for card in cards] == ([name] if name else [])
    assert front.server.decisions == []
