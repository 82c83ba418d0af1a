from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import InputError
from agi_server.exchange.cells import clean
from agi_server.exchange.report import Report
from agi_server.exchange.vcard import holds_cards, read_cards, write_cards
from storage.contacts import ContactRow

IOS = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Apple Inc.//iPhone OS 17.4//EN
N:Núñez;Ana;;;
FN:Ana Núñez
ORG:Acme\\, Inc.;Sales
EMAIL;type=INTERNET;type=HOME:home@example.com
EMAIL;type=INTERNET;type=WORK;type=pref:ana@example.com
TEL;type=CELL;type=VOICE;type=pref:(415) 555-0123
item1.TEL:+44 20 7946 0123
item1.X-ABLabel:_$!<Other>!$_
item2.TEL;type=HOME;type=FAX:+44 20 7946 0999
NOTE:Met in Lisbon
PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD/4gHYSUNDX1BST0ZJTEU
 AAQEAAAHIAAAAAAQwAABtbnRyUkdCIFhZWiAH4AABAAEAAAAAAABhY3NwAAAAAAAA
END:VCARD
"""
GOOGLE = """BEGIN:VCARD
VERSION:3.0
FN:Ana Núñez
N:Núñez;Ana;;;
EMAIL;TYPE=INTERNET;TYPE=WORK:ana@example.com
TEL;TYPE=CELL:+14155550123
TEL;TYPE=WORK:+442079460123
item1.TEL:+442079460124
item1.X-ABLabel:Workshop
item1.ORG:Acme\\, Inc.
CATEGORIES:myContacts
END:VCARD
"""
NEXTCLOUD = """BEGIN:VCARD
VERSION:4.0
PRODID:-//Sabre//Sabre VObject 4.4.1//EN
UID:0e42ff07-3a0c-4c39-8f0e-1a6b8c3e5f11
FN:Ana Núñez
N:Núñez;Ana;;;
ORG:Acme\\, Inc.
EMAIL;TYPE=WORK;PREF=1:ana@example.com
TEL;VALUE=uri;PREF=1;TYPE="cell,voice":tel:+1-415-555-0123
TEL;VALUE=uri;TYPE="work:x,voice":tel:+44-20-7946-0123;ext=12
TEL;TYPE="HOME,VOICE":0301234567
REV;VALUE=DATE-AND-OR-TIME:20260301T101010Z
END:VCARD
"""
OUTLOOK = """BEGIN:VCARD
VERSION:2.1
N;LANGUAGE=es;CHARSET=Windows-1252;ENCODING=QUOTED-PRINTABLE:N=FA=F1ez;Ana
FN;CHARSET=Windows-1252;ENCODING=QUOTED-PRINTABLE:Ana =
N=FA=F1ez
ORG:Acme, Inc.
TEL;WORK;VOICE:+44 (20) 7946-0123
TEL;CELL;VOICE:(415) 555-0123
TEL;WORK;FAX:+44 (20) 7946-0999
EMAIL;PREF;INTERNET:ana@example.com
PHOTO;TYPE=JPEG;ENCODING=BASE64:
 /9j/4AAQSkZJRgABAQAAAQABAAD

END:VCARD
"""


def read(text: str | bytes, encoding: str = "") -> tuple[list[ContactRow], Report]:
    data = text.encode() if isinstance(text, str) else text
    report = Report()
    return [row for _, row in read_cards(io.BytesIO(data), report, encoding=encoding)], report


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("card", "phones"),
    [
        (IOS, [("MobilePhone", "(415) 555-0123"), ("OtherPhone", "+44 20 7946 0123")]),
        (
            GOOGLE,
            [("MobilePhone", "+14155550123"), ("Phone", "+442079460123"), ("OtherPhone", "+442079460124")],
        ),
        (
            NEXTCLOUD,
            [
                ("MobilePhone", "+1-415-555-0123"),
                ("Phone", "+44-20-7946-0123 ext. 12"),
                ("HomePhone", "0301234567"),
            ],
        ),
        (OUTLOOK, [("Phone", "+44 (20) 7946-0123"), ("MobilePhone", "(415) 555-0123")]),
    ],
    ids=["ios", "google", "nextcloud", "outlook"],
)
def test_cards(card: str, phones: list[tuple[str, str]], end: str) -> None:
    rows, report = read(card.replace("\n", end) * 2)
    assert report.count == 0
    assert rows[0] == rows[1]
    row = rows[0]
    assert (row.name, row.first_name, row.last_name, row.email) == (
        "Ana Núñez",
        "Ana",
        "Núñez",
        "ana@example.com",
    )
    assert (row.kind, row.account) == ("Contact", "Acme, Inc.")
    assert list(row.phones) == phones


def test_the_uid_is_what_the_contact_is_found_again_by() -> None:
    rows, _ = read(NEXTCLOUD)
    assert rows[0].key == "0e42ff07-3a0c-4c39-8f0e-1a6b8c3e5f11"
    rows, _ = read("BEGIN:VCARD\nFN:A\nUID:0015g00000A1bCdAAJ\nEND:VCARD\n")
    assert (rows[0].salesforce_id, rows[0].kind) == ("0015g00000A1bCdAAJ", "Account")


@pytest.mark.parametrize(
    "card", ["FN:Acme\nX-ABShowAs:COMPANY\nORG:Acme", "N:;;;;\nORG:Acme;", "KIND:org\nFN:Acme\nORG:Acme"]
)
def test_companies(card: str) -> None:
    rows, _ = read(f"BEGIN:VCARD\nVERSION:3.0\n{card}\nEND:VCARD\n")
    assert [(row.kind, row.name, row.account) for row in rows] == [("Account", "Acme", "Acme")]


@pytest.mark.parametrize("kind", ["KIND:group", "X-ADDRESSBOOKSERVER-KIND:group"])
def test_groups_are_passed_over(kind: str) -> None:
    rows, report = read(f"BEGIN:VCARD\nVERSION:4.0\n{kind}\nFN:Friends\nEND:VCARD\n{GOOGLE}")
    assert [row.name for row in rows] == ["Ana Núñez"]
    assert report.count == 0


def test_broken_cards_cost_only_themselves() -> None:
    text = (
        "BEGIN:VCARD\nVERSION:3.0\nFN:Open\nTEL:1\n"  # no end
        + GOOGLE
        + "junk between cards\nBEGIN:VCARD\nTEL:2\nEND:VCARD\n"  # no name
        + "BEGIN:VCARD\nthis is no property\nFN;=;:Fine\n;;;\nEND:VCARD\n"
        + "BEGIN:VCARD\nFN:Cut"
    )
    rows, report = read(text)
    assert [row.name for row in rows] == ["Ana Núñez", "Fine"]
    assert [(p.line, p.row_taken) for p in report.problems] == [(1, False), (18, False), (26, False)]


def test_bytes_of_another_encoding() -> None:
    umlauts = "BEGIN:VCARD\nFN:Jürgen Groß\nEND:VCARD\n"
    rows, report = read(umlauts.encode("cp1252"))
    assert [row.name for row in rows] == ["Jürgen Groß"]
    rows, report = read(umlauts.encode() * 2 + umlauts.encode("cp1252"))
    assert [row.name for row in rows] == ["Jürgen Groß"] * 2
    assert [problem.line for problem in report.problems] == [7]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_cards_are_known_by_their_beginning(encoding: str) -> None:
    file = io.BytesIO(("\r\n" + GOOGLE).encode(encoding))
    assert holds_cards(file)
    assert read(file.getvalue())[0][0].name == "Ana Núñez"


@pytest.mark.parametrize("text", ["", "Name,Phone\nAna,1\n", "END:VCARD\n"])
def test_a_file_without_cards_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="no vCard"):
        read(text)


def test_a_table_is_no_card() -> None:
    assert not holds_cards(io.BytesIO(b"Name,Phone\nBEGIN:VCARD,1\n"))


def test_lines_are_folded_within_75_octets() -> None:
    out = io.StringIO(newline="")
    row = ContactRow(name="Ä" * 100, phones=(("Phone", "1"),))
    write_cards([row], out)
    lines = out.getvalue().encode().split(b"\r\n")
    assert max(map(len, lines)) <= 75
    assert read(out.getvalue())[0][0].name == row.name


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40).map(clean)
ROW = st.builds(
    ContactRow,
    kind=st.sampled_from(["Contact", "Account"]),
    name=TEXT.filter(bool),
    first_name=TEXT,
    last_name=TEXT,
    email=TEXT,
    account=TEXT,
    key=TEXT.filter(lambda text: bool(text) and not (text.isascii() and text.isalnum())) | st.none(),
    phones=st.lists(
        st.tuples(st.sampled_from(["Phone", "MobilePhone", "HomePhone", "OtherPhone"]), TEXT.filter(bool)),
        max_size=3,
    )
    .filter(lambda phones: not any(text.lower().startswith("tel:") for _, text in phones))
    .map(tuple),
)


@settings(max_examples=200)
@given(st.lists(ROW, min_size=1, max_size=4))
def test_what_is_written_is_read(rows: list[ContactRow]) -> None:
    out = io.StringIO(newline="")
    assert write_cards(rows, out) == len(rows)
    found, report = read(out.getvalue())
    assert found == rows
    assert report.count == 0


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(["BEGIN:VCARD", "END:VCARD", "FN:A", " x", "TEL;", 'TEL;TYPE="a', "N:;", "=", "a=\n"])
    )
)
def test_no_lines_break_the_reader(lines: list[str]) -> None:
    read("BEGIN:VCARD\nFN:A\nEND:VCARD\n" + "\n".join(lines))
