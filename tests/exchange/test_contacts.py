from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import InputError
from agi_server.exchange.cells import clean, salesforce_id
from agi_server.exchange.contacts import BATCH, ContactFile, import_contacts, read_contacts, write_table
from agi_server.exchange.headings import PHONE_FIELDS
from agi_server.exchange.report import Report
from storage.contacts import ContactRow, export_contacts
from storage.database import Database
from storage.migrate import migrate

SAMPLE = Path(__file__).parents[2].joinpath("agi_server/samples/contacts.csv")


def read(
    text: str | bytes, mapping: dict[str, str] | None = None, database: str = ""
) -> tuple[list[ContactRow], Report]:
    data = text.encode() if isinstance(text, str) else text
    report = Report()
    source = ContactFile(file=io.BytesIO(data), mapping=mapping, database=database)
    return [row for _, row in read_contacts(source, report)], report


def one(text: str) -> ContactRow:
    rows, report = read(text)
    assert report.count == 0, report.problems
    return rows[0]


def test_salesforce_fields() -> None:
    row = one(
        "Id,FirstName,LastName,Account.Name,AccountId,Phone,MobilePhone,HomePhone,OtherPhone,Email,OwnerId,Owner.Email,"
        "Type\n0035g00000Q1xYzAAJ,Ana,Núñez,Acme,0015g00000A1bCdAAJ,+351210000001,+351910000001,,+351210000002,"
        "ana@example.com,0055g00000B1bCdAAJ,Maria@Example.com,Lead\n"
    )
    assert row == ContactRow(
        salesforce_id="0035g00000Q1xYzAAJ",
        kind="Lead",
        name="Ana Núñez",
        first_name="Ana",
        last_name="Núñez",
        email="ana@example.com",
        account_salesforce_id="0015g00000A1bCdAAJ",
        account="Acme",
        owner_salesforce_id="0055g00000B1bCdAAJ",
        owner_email="maria@example.com",
        phones=(
            ("Phone", "+351210000001"),
            ("MobilePhone", "+351910000001"),
            ("OtherPhone", "+351210000002"),
        ),
    )


def test_a_salesforce_report() -> None:
    row = one(
        '"Contact ID","First Name","Last Name","Account Name","Business Phone","Mobile","Contact Owner"\n'
        '"0015g00000A1bCd","Ana","Núñez","Acme","(415) 555-0123","","Maria Keller"\n'
    )
    assert row.salesforce_id == salesforce_id("0015g00000A1bCd")
    assert (row.kind, row.owner, row.phones) == ("Account", "Maria Keller", (("Phone", "(415) 555-0123"),))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("001A0000006Vm9u", "001A0000006Vm9uIAC"),
        ("003300000000000", "003300000000000AAA"),
        ("005A0000000ABCD", "005A0000000ABCDIA4"),
        ("001A0000006Vm9uIAC", "001A0000006Vm9uIAC"),
        ("C-1001", ""),
        ("42", ""),
        ("", ""),
        ("00330000000000é", ""),
    ],
)
def test_ids_have_eighteen_characters(short: str, long: str) -> None:
    assert salesforce_id(short) == long


def test_another_systems_id_is_the_key() -> None:
    rows, _ = read("Id,Name\nC-1001,Ana\n", database="crm")
    assert (rows[0].salesforce_id, rows[0].key, rows[0].database) == ("", "C-1001", "crm")


def test_a_row_with_its_own_database_keeps_it() -> None:
    rows, _ = read("Name,Database,Key\nAna,erp,7\nBen,,8\n", database="crm")
    assert [(row.database, row.key) for row in rows] == [("erp", "7"), ("crm", "8")]


def test_google_old_and_new() -> None:
    old = one(
        "Name,Given Name,Family Name,E-mail 1 - Type,E-mail 1 - Value,Phone 1 - Type,Phone 1 - Value,"
        "Phone 2 - Type,Phone 2 - Value,Organization 1 - Type,Organization 1 - Name\n"
        "Ana Núñez,Ana,Núñez,* Work,ana@example.com,Mobile,"
        "+351910000001 ::: +351910000002,Work Fax,+351210000009,,Acme\n"
    )
    new = one(
        "First Name,Middle Name,Last Name,Organization Name,E-mail 1 - Label,E-mail 1 - Value,"
        "Phone 1 - Label,Phone 1 - Value,Phone 2 - Label,Phone 2 - Value\n"
        "Ana,,Núñez,Acme,* ,ana@example.com,Mobile,+351910000001 ::: +351910000002,Home Fax,+351210000009\n"
    )
    assert old == new
    assert old.phones == (("MobilePhone", "+351910000001"), ("MobilePhone", "+351910000002"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            (
                '"Title","First Name","Last Name","Company","Business Phone","Home Phone",'
                '"Mobile Phone","E-mail Address"\r\n'
                '"","Ana","Núñez","Acme","1","2","3","a@example.com"\r\n'
            ),
            "cp1252",
        ),
        (
            (
                "Anrede;Vorname;Nachname;Firma;Telefon geschäftlich;Telefon privat;"
                "Mobiltelefon;E-Mail-Adresse\r\n"
                ";Ana;Núñez;Acme;1;2;3;a@example.com\r\n"
            ),
            "cp1252",
        ),
        (
            (
                "Nombre\tApellidos\tOrganización\tTeléfono del trabajo\tTeléfono particular\tTeléfono móvil\t"
                "Dirección de correo electrónico\r\nAna\tNúñez\tAcme\t1\t2\t3\ta@example.com\r\n"
            ),
            "utf-16",
        ),
        (
            (
                "Nome,Apelido,Empresa,Telefone comercial,Telefone residencial,Telemóvel,Endereço de e-mail\r\n"
                "Ana,Núñez,Acme,1,2,3,a@example.com\r\n"
            ),
            "utf-8-sig",
        ),
    ],
)
def test_outlook(text: str, encoding: str) -> None:
    rows, report = read(text.encode(encoding))
    assert report.count == 0
    assert rows == [
        ContactRow(
            name="Ana Núñez",
            first_name="Ana",
            last_name="Núñez",
            account="Acme",
            email="a@example.com",
            phones=tuple(
                sorted((("Phone", "1"), ("HomePhone", "2"), ("MobilePhone", "3")), key=lambda p: p[1])
            ),
        )
    ]


def test_a_company_without_a_person_is_an_account() -> None:
    row = one("First Name,Last Name,Company,Phone\n,,Acme,1\n")
    assert (row.kind, row.name, row.account) == ("Account", "Acme", "Acme")


def test_rows_without_a_name_are_reported() -> None:
    rows, report = read("Name,Phone,Email\nAna,1,\n,2,x@example.com\n , ,\n")
    assert [row.name for row in rows] == ["Ana"]
    assert [(p.line, p.column, p.row_taken) for p in report.problems] == [(3, "Name", False)]


def test_ragged_rows() -> None:
    rows, report = read("Name,Phone,Email\nAna\nBen,1,b@example.com,,\nSmith, John,1,j@example.com\n")
    assert [(row.name, row.email) for row in rows] == [("Ana", ""), ("Ben", "b@example.com")]
    assert [problem.line for problem in report.problems] == [4]
    assert "4 cells under 3 headings" in report.problems[0].reason


def test_columns_of_the_same_heading() -> None:
    row = one("Name,Phone,Phone,Email,Email\nAna,1,2,,a@example.com\n")
    assert row.phones == (("Phone", "1"), ("Phone", "2"))
    assert row.email == "a@example.com"


@pytest.mark.parametrize(
    ("kind", "taken", "problems"),
    [("lead", "Lead", 0), ("ACCOUNT", "Account", 0), ("", "Contact", 0), ("Customer - Direct", "Contact", 1)],
)
def test_kinds(kind: str, taken: str, problems: int) -> None:
    rows, report = read(f"Name,Type\nAna,{kind}\n")
    assert (rows[0].kind, report.count, report.not_taken) == (taken, problems, 0)


def test_an_id_tells_the_kind_where_the_type_does_not() -> None:
    row = one("Id,Name,Type\n0015g00000A1bCdAAJ,Acme,Customer - Direct\n")
    assert row.kind == "Account"


def test_values_that_say_nothing_are_reported_and_the_row_is_taken() -> None:
    rows, report = read("Name,Vip,LastActivityDate\nAna,perhaps,yesterday\nBen,ja,2026-05-01\n")
    assert [(row.vip, row.active_at) for row in rows] == [(False, 0), (True, 1777593600)]
    assert [(p.line, p.column, p.value, p.row_taken) for p in report.problems] == [
        (2, "Vip", "perhaps", True),
        (2, "LastActivityDate", "yesterday", True),
    ]


def test_invisible_characters_go() -> None:
    row = one('Name,Phone\n"Ana\nNu\0nes\u200b",\u202a+351\xa0210 000 001\u202c\n')
    assert (row.name, row.phones) == ("Ana Nu nes", (("Phone", "+351 210 000 001"),))


def test_emoji_stay_whole() -> None:
    assert one("Name\nAna 👩‍👩‍👧\n").name == "Ana 👩‍👩‍👧"


def test_headings_nobody_knows_are_an_error_that_lists_them() -> None:
    with pytest.raises(InputError, match=r"“Wer”, “Nummer 1”; known are .*“Phone”.*--map"):
        read("Wer,Nummer 1\nAna,1\n")
    rows, _ = read("Wer,Nummer 1\nAna,1\n", {"Wer": "Name", "Nummer 1": "Phone"})
    assert rows == [ContactRow(name="Ana", phones=(("Phone", "1"),))]


def test_columns_not_read_are_named() -> None:
    _, report = read("Name,Fax,Shoe size\nAna,1,38\n")
    assert "columns not read: Fax, Shoe size" in report.notes


async def test_without_a_database_all_is_read_and_nothing_written() -> None:
    source = ContactFile(file=io.BytesIO(b"Name,Phone\nAna,+351210000001\nBen,call me\n,+351210000002\n"))
    result = await import_contacts(source, database=None, region="PT")
    assert (result.rows, result.taken, result.written) == (3, 2, False)
    assert sorted((p.line, p.column, p.row_taken) for p in result.report.problems) == [
        (3, "Phone", True),
        (4, "Name", False),
    ]


async def test_contacts_are_stored_and_found_again(database: Database) -> None:
    text = b"Id,Name,Phone\n0035g00000Q1xYzAAJ,Ana,+351210000001\n,Ben,+351210000002\n,,+351210000003\n"
    seen: list[tuple[int, float]] = []
    source = ContactFile(file=io.BytesIO(text))
    first = await import_contacts(
        source, database=database, region="PT", progress=lambda rows, share: seen.append((rows, share))
    )
    assert (first.rows, first.taken, first.inserted, first.updated, first.written) == (3, 2, 2, 0, True)
    assert seen == [(2, 1.0)]
    changed = text.replace(b"Ana", b"Ana Maria")
    again = await import_contacts(ContactFile(file=io.BytesIO(changed)), database=database, region="PT")
    assert (again.inserted, again.updated) == (0, 1)


async def test_all_or_nothing_refuses_before_it_writes(database: Database, tmp_path: Path) -> None:
    good = "Name,Phone\n" + "".join(f"Ana {i},+3512100{i:05d}\n" for i in range(2 * BATCH))
    bad = good.replace("Ana", "Ben") + ",+351210000001\n"
    taken = await import_contacts(
        ContactFile(file=io.BytesIO(good.encode())), database=database, region="PT", all_or_nothing=True
    )
    assert (taken.refused, taken.written, taken.taken) == (False, True, 2 * BATCH)
    refused = await import_contacts(
        ContactFile(file=io.BytesIO(bad.encode())), database=database, region="PT", all_or_nothing=True
    )
    assert (refused.refused, refused.written, refused.taken) == (True, False, 0)
    assert [problem.line for problem in refused.report.problems] == [2 * BATCH + 2]
    assert {row.name[:3] for row in export_contacts(tmp_path / "ostiary.db")} == {"Ana"}


async def test_a_number_not_understood_is_no_reason_to_refuse(database: Database) -> None:
    source = ContactFile(file=io.BytesIO(b"Name,Phone\nAna,call me\n"))
    result = await import_contacts(source, database=database, region="PT", all_or_nothing=True)
    assert (result.inserted, result.report.count, result.report.not_taken) == (1, 1, 0)


async def test_the_sample_is_taken(database: Database) -> None:
    result = await import_contacts(
        ContactFile(file=io.BytesIO(SAMPLE.read_bytes())), database=database, region="DE"
    )
    assert result.rows == result.inserted >= 40
    assert [(p.column, p.value) for p in result.report.problems] == [("Phone", "call after six")]


def test_the_samples_owners_are_the_samples_agents() -> None:
    with (
        SAMPLE.open(encoding="utf-8") as contacts,
        SAMPLE.with_name("agents.csv").open(encoding="utf-8") as agents,
    ):
        known = {(row["SalesforceUserId"], row["Email"]) for row in csv.DictReader(agents)}
        owners = {(row["OwnerId"], row["Owner.Email"]) for row in csv.DictReader(contacts)} - {("", "")}
    assert owners <= known
    assert len(owners) == 4


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20).map(clean)
ID = st.from_regex(r"(003|001|00Q)[0-9A-Za-z]{12}", fullmatch=True).map(salesforce_id)
NUMBER = TEXT.filter(lambda text: text and ":::" not in text)
ROW = st.builds(
    ContactRow,
    salesforce_id=ID | st.just(""),
    kind=st.sampled_from(["Contact", "Account", "Lead", "Opportunity"]),
    name=TEXT.filter(bool),
    first_name=TEXT,
    last_name=TEXT,
    email=TEXT,
    account_salesforce_id=ID | st.just(""),
    account=TEXT,
    owner_salesforce_id=ID | st.just(""),
    owner_email=TEXT.map(str.lower).map(clean),
    owner=TEXT.filter(lambda text: "@" not in text),
    vip=st.sampled_from([None, True]),
    active_at=st.integers(0, 4_000_000_000),
    database=TEXT,
    key=TEXT.filter(bool) | st.none(),
    phones=st.lists(st.tuples(st.sampled_from(PHONE_FIELDS), NUMBER), max_size=4, unique=True).map(
        lambda phones: tuple(sorted(phones, key=lambda phone: PHONE_FIELDS.index(phone[0])))
    ),
)


@settings(max_examples=200)
@given(st.lists(ROW, max_size=5))
def test_what_is_exported_is_imported_as_it_was(rows: list[ContactRow]) -> None:
    out = io.StringIO(newline="")
    assert write_table(rows, out) == len(rows)
    found, report = read(out.getvalue())
    assert found == rows
    assert report.count == 0


PEOPLE = [
    ContactRow(salesforce_id="0035g00000Q1xYzAAJ", name="Ana Núñez", first_name="Ana", last_name="Núñez",
               email="ana@example.com", vip=True, active_at=1_777_593_600),
    ContactRow(kind="Account", name="Brückner GmbH", account="Brückner GmbH", key="C-1", database="crm"),
    ContactRow(kind="Lead", name='田中, "宏"', owner_email="maria@example.com", owner="Maria; Keller"),
    ContactRow(kind="Opportunity", name="=HYPERLINK(1)", account_salesforce_id="0015g00000A1bCdAAJ", account="Acme"),
    ContactRow(name="👩‍👩‍👧", owner_salesforce_id="0055g00000B1bCdAAJ", owner_email="ben@example.com", owner="Ben"),
]  # fmt: skip
NUMBERS = [
    "+351210000001",
    "+49 69 90009-0",
    "030 23125 12",
    "call me",
    "+4930231250 / +4930231251",
    "204",
    "*30",
]


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(PEOPLE), unique=True, max_size=5),
    st.lists(
        st.lists(st.tuples(st.sampled_from(PHONE_FIELDS), st.sampled_from(NUMBERS)), max_size=4), min_size=5
    ),
)
def test_an_export_imported_into_an_empty_database_is_the_same_export(
    people: list[ContactRow], phones: list[list[tuple[str, str]]]
) -> None:
    rows = [replace(row, phones=tuple(numbers)) for row, numbers in zip(people, phones, strict=False)]
    out = io.StringIO(newline="")
    write_table(rows, out)
    first = asyncio.run(_through_a_database(out.getvalue()))
    assert first.count("\r\n") == 1 + len(rows)
    assert asyncio.run(_through_a_database(first)) == first


async def _through_a_database(text: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "ostiary.db")
        await migrate(f"sqlite+aiosqlite:///{path}")
        database = await Database.open(f"sqlite+aiosqlite:///{path}")
        try:
            source = ContactFile(file=io.BytesIO(text.encode()))
            await import_contacts(source, database=database, region="DE")
        finally:
            await database.close()
        out = io.StringIO(newline="")
        write_table(export_contacts(path), out)
        return out.getvalue()
