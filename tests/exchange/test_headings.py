from __future__ import annotations

import pytest

from agi_server.errors import InputError
from agi_server.exchange import headings
from agi_server.exchange.headings import contact_fields, find_fields, label_columns, phone_field, simplify


@pytest.mark.parametrize(
    ("heading", "field"),
    [
        ("Id", "Id"),
        ("FirstName", "FirstName"),
        ("Account.Name", "Account.Name"),
        ("AccountId", "AccountId"),
        ("Phone", "Phone"),
        ("MobilePhone", "MobilePhone"),
        ("HomePhone", "HomePhone"),
        ("OtherPhone", "OtherPhone"),
        ("OwnerId", "OwnerId"),
        ("Owner.Email", "Owner.Email"),
        ("Type", "Type"),
        ("Account Name", "Account.Name"),  # Salesforce reports
        ("Business Phone", "Phone"),
        ("Mobile", "MobilePhone"),
        ("Contact ID", "Id"),
        ("Contact Owner", "Owner.Name"),
        ("Company / Account", "Account.Name"),
        ("Lead Owner: Email", "Owner.Email"),
        ("Given Name", "FirstName"),  # Google, old
        ("Family Name", "LastName"),
        ("Organization 1 - Name", "Account.Name"),
        ("Phone 1 - Value", "Phone"),
        ("Phone 12 - Value", "Phone"),
        ("E-mail 1 - Value", "Email"),
        ("Organization Name", "Account.Name"),  # Google, new
        ("Telefon geschäftlich", "Phone"),  # Outlook
        ("Telefon (geschäftlich)", "Phone"),
        ("Mobiltelefon", "MobilePhone"),
        ("Telefon privat", "HomePhone"),
        ("Weiteres Telefon", "OtherPhone"),
        ("E-Mail-Adresse", "Email"),
        ("Vorname", "FirstName"),
        ("Nachname", "LastName"),
        ("Firma", "Account.Name"),
        ("Teléfono del trabajo", "Phone"),
        ("Teléfono móvil", "MobilePhone"),
        ("Teléfono particular", "HomePhone"),
        ("Apellidos", "LastName"),
        ("Dirección de correo electrónico", "Email"),
        ("Telefone comercial", "Phone"),
        ("Telemóvel", "MobilePhone"),
        ("Telefone residencial", "HomePhone"),
        ("Apelido", "LastName"),
        ("Endereço de correio eletrónico", "Email"),
        ("  TELEFONO_MOVIL ", "MobilePhone"),
        ("account name", "Account.Name"),
        ("Fax", ""),
        ("Business Fax", ""),
        ("Notes", ""),
        ("", ""),
    ],
)
def test_headings_are_recognised(heading: str, field: str) -> None:
    assert contact_fields([heading]) == [field]


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        (["Nombre", "Apellidos"], ["FirstName", "LastName"]),
        (["Nombre", "Teléfono"], ["Name", "Phone"]),
        (["Nome", "Apelido"], ["FirstName", "LastName"]),
        (["Name", "Vorname"], ["LastName", "FirstName"]),
        (["Name", "Vorname", "Nachname"], ["Name", "FirstName", "LastName"]),
        (["Name", "FirstName", "LastName"], ["Name", "FirstName", "LastName"]),
    ],
)
def test_half_a_name_beside_its_other_half(row: list[str], fields: list[str]) -> None:
    assert contact_fields(row) == fields


def test_every_spelling_means_one_thing() -> None:
    for table in (headings.CONTACT_HEADINGS, headings.BLACKLIST_HEADINGS, headings.AGENT_HEADINGS):
        seen: dict[str, str] = {}
        for field, aliases in table.items():
            for heading in {simplify(name) for name in (field, *aliases)}:
                assert seen.setdefault(heading, field) == field, heading


def test_a_mapping_wins() -> None:
    row = ["Wer", "Tel. 1", "Phone"]
    assert contact_fields(row, {"wer": "Name", "TEL 1": "mobilephone", "Phone": ""}) == [
        "Name",
        "MobilePhone",
        "",
    ]


@pytest.mark.parametrize(
    ("mapping", "text"),
    [({"Who": "Name"}, "no column “Who”; it has “Wer”"), ({"Wer": "Nam"}, "“Nam” is no field")],
)
def test_a_mapping_that_cannot_be(mapping: dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        find_fields(["Wer"], headings.CONTACT_HEADINGS, mapping)


def test_googles_labels_belong_to_their_numbers() -> None:
    assert label_columns(
        ["Name", "Phone 1 - Type", "Phone 1 - Value", "Phone 2 - Label", "Phone 2 - Value"]
    ) == {
        2: 1,
        4: 3,
    }


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Mobile", "MobilePhone"),
        ("* Mobile", "MobilePhone"),
        ("Work", "Phone"),
        ("Main", "Phone"),
        ("", "Phone"),
        ("Home", "HomePhone"),
        ("Work Fax", ""),
        ("Home Fax", ""),
        ("Pager", ""),
        ("Holiday house", "OtherPhone"),
        ("VOICE,OTHER", "OtherPhone"),
        ("CELL WORK", "MobilePhone"),
    ],
)
def test_kinds_of_numbers(kind: str, field: str) -> None:
    assert phone_field(kind) == field
