from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from agi_server.exchange import ContactFile, import_contacts
from storage.database import Database
from storage.phonebook import Entry, Kind, choose_entries, find_entries, kind_of
from tests.storage.conftest import Query

FILE = """\
Name,FirstName,LastName,Account.Name,Email,Phone,MobilePhone,HomePhone,OtherPhone
,Ana,Muñoz,Acme,ana@ostiary.example,+49 30 23125010,+49 170 1555010,+49 30 23125011,
Mute,,,,mute@ostiary.example,,,,
Bo,,,,,+49 30 23125020,,,
Cy,,,,,+49 30 23125030,,,
"""


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    await import_contacts(ContactFile(file=BytesIO(FILE.encode())), database=database, region="DE")


async def chosen(database: Database, limit: int = 9) -> list[str]:
    entries = await database.read(lambda conn: choose_entries(conn, limit))
    return [entry.name for entry in entries]


async def find(database: Database, text: str) -> list[Entry]:
    async def job(conn: AsyncConnection) -> list[Entry]:
        return (await find_entries(conn, text, limit=9, region="DE"))[0]

    return await database.read(job)


LOCAL = (
    "INSERT INTO local_phones (digits, contact_id, label, tail) "
    "SELECT '555123', id, 'OtherPhone', 555123 FROM contacts WHERE name = 'Ana Muñoz'"
)


async def test_an_entry_has_names_and_numbers_to_dial(database: Database, query: Query) -> None:
    query(LOCAL)
    (ana,) = await find(database, "munoz")
    assert (ana.name, ana.first_name, ana.last_name, ana.account) == ("Ana Muñoz", "Ana", "Muñoz", "Acme")
    assert ana.kind == "Contact"
    assert ana.numbers == (
        (Kind.WORK, "+493023125010"),
        (Kind.MOBILE, "+491701555010"),
        (Kind.HOME, "+493023125011"),
        (Kind.OTHER, "555123"),
    )
    assert "@" not in repr(ana)


async def test_a_number_without_a_country_is_chosen_too(database: Database, query: Query) -> None:
    query(LOCAL)
    query("DELETE FROM phones")
    assert await chosen(database) == ["Ana Muñoz"]
    assert [entry.name for entry in await find(database, "555123")] == ["Ana Muñoz"]


async def test_who_has_no_number_is_found_but_not_chosen(database: Database) -> None:
    assert [(entry.name, entry.numbers) for entry in await find(database, "mute")] == [("Mute", ())]
    assert "Mute" not in await chosen(database)


async def test_a_fax_is_no_number_to_call(database: Database, query: Query) -> None:
    query("UPDATE phones SET label = 'Business Fax' WHERE number = 493023125020")
    assert [entry.numbers for entry in await find(database, "bo")] == [()]


async def test_vips_are_chosen_first_then_the_active_then_the_new(database: Database, query: Query) -> None:
    assert await chosen(database) == ["Cy", "Bo", "Ana Muñoz"]
    query("UPDATE contacts SET active_at = 7 WHERE name = 'Bo'")
    assert await chosen(database, 2) == ["Bo", "Cy"]
    query("UPDATE contacts SET vip = 1 WHERE name LIKE 'Ana%'")
    assert await chosen(database, 1) == ["Ana Muñoz"]
    assert await chosen(database, 0) == []


async def test_pages_follow_one_another(database: Database) -> None:
    async def page(after: str) -> tuple[Sequence[Entry], str]:
        return await database.read(lambda conn: find_entries(conn, "", limit=2, after=after))

    first, after = await page("")
    second, end = await page(after)
    assert sorted(entry.name for entry in (*first, *second)) == ["Ana Muñoz", "Bo", "Cy", "Mute"]
    assert end == ""
    with pytest.raises(InputError):
        await page("nowhere")


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("Phone", Kind.WORK),
        ("", Kind.WORK),
        ("MobilePhone", Kind.MOBILE),
        ("Cell__c", Kind.MOBILE),
        ("HomePhone", Kind.HOME),
        ("OtherPhone", Kind.OTHER),
        ("AssistantPhone", Kind.OTHER),
    ],
)
def test_a_label_says_where_a_number_rings(label: str, kind: Kind) -> None:
    assert kind_of(label) is kind
