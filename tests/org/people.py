"""Made-up people and companies, the same ones for the same seed, with telephone numbers as people type them.

Every number comes from libphonenumber's example of a region with its last six digits changed, so what it
means (E.164) is known although it is written in one of many ways.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType, format_number

from tests.org.records import Org

Row = dict[str, Any]
REGIONS = ("DE", "US", "GB", "PT", "ES", "FR", "IT", "NL", "BR", "MX", "PL", "AT", "CH")
FIRST_NAMES = (
    "Ana", "Anders", "Björn", "Chloé", "Darius", "Elif", "Francisca", "Georg", "Hanna", "İpek", "João", "Karin",
    "Łukasz", "Marta", "Nuno", "Olga", "Paul", "Quentin", "Rita", "Søren", "Tereza", "Ulrich", "Vera", "Wiebke",
    "Xavier", "Yasmin", "Zoë", "Óscar", "Renée", "Jürgen",
)  # fmt: skip
LAST_NAMES = (
    "Almeida", "Bäcker", "Carvalho", "Dąbrowski", "Engström", "Ferreira", "García", "Hoffmann", "Ionescu", "Jansen",
    "Kovač", "Lindqvist", "Müller", "Núñez", "O'Brien", "Pereira", "Quast", "Rossi", "Schäfer", "Teixeira", "Urban",
    "van den Berg", "Weiß", "Xu", "Yılmaz", "Zieliński", "Smith-Jones", "D'Angelo", "Nguyễn", "Østergaard",
)  # fmt: skip
TRADES = (
    "Bau",
    "Logistics",
    "Papier",
    "Óptica",
    "Software",
    "Vinhos",
    "Elektro",
    "Foods",
    "Druck",
    "Consulting",
)
FORMS = ("GmbH", "Ltd", "SA", "Lda", "Inc.", "S.L.", "B.V.", "AG", "Sp. z o.o.", "& Söhne")


@dataclass(frozen=True)
class Written:
    """A telephone field as typed, and what it means."""

    text: str
    meaning: tuple[str, ...]  # E.164, in the order written


@dataclass
class Person:
    """A person of a company; `company` is its place in the list of companies, -1: none."""

    first: str
    last: str
    email: str
    company: int
    owner: int
    phones: dict[str, Written] = field(default_factory=dict)


@dataclass(frozen=True)
class Pattern:
    """One way of writing one number: `text` has marks where its last digits go."""

    text: str
    e164: str
    region: str


CHANGED = 6  # digits
TRUNK_ZERO = ("DE", "AT", "CH", "GB")  # where people write +49 (0)30
_MARK = "\x00"
_Style = Callable[[PhoneNumber], str]


def _national(number: PhoneNumber) -> str:
    return format_number(number, PhoneNumberFormat.NATIONAL)


def _international(number: PhoneNumber) -> str:
    return format_number(number, PhoneNumberFormat.INTERNATIONAL)


def _e164(number: PhoneNumber) -> str:
    return format_number(number, PhoneNumberFormat.E164)


STYLES: tuple[_Style, ...] = (
    _e164,
    _international,
    _national,
    lambda number: "00" + _international(number).removeprefix("+"),
    lambda number: _international(number).replace(" ", "."),
    lambda number: _international(number).replace(" ", "-"),
    lambda number: f"tel:{_e164(number)}",
    lambda number: _international(number).replace(" ", " (0)", 1),
    lambda number: f"{_international(number)} (mobile)",
    lambda number: f"{_international(number)} privat",
    lambda number: f"Tel. {_international(number)}",
)


@cache
def patterns() -> tuple[Pattern, ...]:
    """Return every way of writing the examples of every region."""
    found = []
    for region in REGIONS:
        for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is None:
                continue
            for style in STYLES:
                text = style(number)
                if "(0)" not in text or region in TRUNK_ZERO:
                    found.append(_pattern(text, _e164(number), region))
    return tuple(found)


def _pattern(text: str, e164: str, region: str) -> Pattern:
    """Put marks where the last digits of the number stand in the text."""
    places = {place for place, letter in enumerate(text) if letter.isdigit()}
    changed = set(sorted(places)[-CHANGED:])
    letters = [_MARK if place in changed else letter for place, letter in enumerate(text)]
    return Pattern("".join(letters), e164[:-CHANGED], region)


def number(chance: random.Random, region: str = "") -> Written:
    """Make a field with one number; `region` empty: any, and then never written without its country."""
    while True:
        pattern = chance.choice(patterns())
        if pattern.region == region or (not region and re.search(r"^(Tel\. |tel:)?(\+|00)", pattern.text)):
            digits = f"{chance.randrange(10**CHANGED):0{CHANGED}d}"
            text = pattern.text
            for digit in digits:
                text = text.replace(_MARK, digit, 1)
            return Written(text, (pattern.e164 + digits,))


def phone_field(chance: random.Random, region: str) -> Written:
    """Make what stands in a telephone field: mostly one number, sometimes an extension, two numbers or a mere word."""
    dice = chance.random()
    if dice < 0.02:
        return Written(chance.choice(("-", "n/a", "siehe Notiz", "unknown", "x")), ())
    first = number(chance, region if chance.random() < 0.7 else "")
    if dice < 0.05 and not re.search(r"[a-z]", first.text):
        return Written(f"{first.text} x{chance.randrange(10, 99)}"[:40], first.meaning)
    if dice < 0.07:
        second = number(chance)
        both = f"{first.text} / {second.text}"
        if len(both) <= 40:
            return Written(both, first.meaning + second.meaning)
    return first


def companies(count: int, seed: int = 1) -> Iterator[tuple[str, Written]]:
    """Make names and main numbers."""
    chance = random.Random(seed)
    for place in range(count):
        name = f"{chance.choice(LAST_NAMES)} {chance.choice(TRADES)} {chance.choice(FORMS)} {place + 1}"
        yield name, phone_field(chance, "DE")


def persons(count: int, company_count: int, owner_count: int, seed: int = 1) -> Iterator[Person]:
    """Make people: most of a company, each with up to three numbers."""
    chance = random.Random(seed + 1)
    for place in range(count):
        first, last = chance.choice(FIRST_NAMES), chance.choice(LAST_NAMES)
        company = chance.randrange(company_count) if company_count and chance.random() < 0.9 else -1
        person = Person(first, last, f"p{place + 1}@example.com", company, chance.randrange(owner_count))
        person.phones["Phone"] = phone_field(chance, "DE")
        if chance.random() < 0.6:
            person.phones["MobilePhone"] = phone_field(chance, "DE")
        if chance.random() < 0.1:
            person.phones["HomePhone"] = phone_field(chance, "DE")
        yield person


def populate(
    org: Org, count: int, *, companies_of: float = 0.3, leads: float = 0.1, owners: int = 8, seed: int = 1
) -> None:
    """Fill an org with `count` contacts, companies and leads as shares of that, users who own them, and a queue."""
    user_ids = [org.create("User", _user(place)) for place in range(owners)]
    queue = org.create("Group", {"Name": "Inbound leads", "Type": "Queue"})
    company_list = list(companies(int(count * companies_of), seed))
    account_ids = org.load(
        "Account",
        (
            {"Name": name, "Phone": main.text, "OwnerId": user_ids[place % owners]}
            for place, (name, main) in enumerate(company_list)
        ),
    )
    org.load(
        "Contact",
        (
            _contact(person, account_ids, user_ids)
            for person in persons(count, len(account_ids), owners, seed)
        ),
    )
    lead_count = int(count * leads)
    org.load(
        "Lead",
        (
            _lead(person, queue if place % 5 == 0 else user_ids[person.owner])
            for place, person in enumerate(persons(lead_count, 0, owners, seed + 100))
        ),
    )


def _user(place: int) -> Row:
    first, last = FIRST_NAMES[place % len(FIRST_NAMES)], LAST_NAMES[place % len(LAST_NAMES)]
    email = f"agent{place + 1}@example.com"
    return {
        "FirstName": first,
        "LastName": last,
        "Email": email,
        "Username": email,
        "Alias": f"agent{place + 1}"[:8],
    }


def _contact(person: Person, account_ids: list[str], user_ids: list[str]) -> Row:
    row: Row = {
        "FirstName": person.first,
        "LastName": person.last,
        "Email": person.email,
        "OwnerId": user_ids[person.owner],
    }
    if person.company >= 0:
        row["AccountId"] = account_ids[person.company]
    return row | {name: written.text for name, written in person.phones.items()}


def _lead(person: Person, owner: str) -> Row:
    row = {
        "FirstName": person.first,
        "LastName": person.last,
        "Company": f"{person.last} {TRADES[len(person.email) % len(TRADES)]}",
        "OwnerId": owner,
    }
    return row | {
        name: person.phones[name].text for name in ("Phone", "MobilePhone") if name in person.phones
    }
