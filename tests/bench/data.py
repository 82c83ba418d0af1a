"""The directories the benchmark works on, as CSV files for `ostiary import`; the same every time."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

REGION = "DE"  # where the company is
REGIONS = ("DE", "US", "GB", "FR", "ES", "PT", "BR", "MX")
OWNERS = 50
FIRST_NAMES = ("Ana", "Erika", "João", "María", "Max", "Jörg", "Emily", "Chloé", "Luís", "Søren")
LAST_NAMES = (
    "Mustermann",
    "Silva",
    "García",
    "Smith",
    "Müller",
    "Ferreira",
    "Dubois",
    "O'Neill",
    "Pérez",
    "Weiß",
)
HEADINGS = (
    "Id", "Type", "FirstName", "LastName", "AccountId", "Account.Name", "Phone", "Email",
    "OwnerId", "Owner.Email",
)  # fmt: skip
BASES = tuple(
    phonenumbers.format_number(example, PhoneNumberFormat.E164)[1:]
    for region in REGIONS
    if (example := phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE))
)


def number(index: int) -> str:
    """Return the E.164 number of contact `index`: distinct, scattered, the last six digits free."""
    base = BASES[index % len(BASES)]
    return f"+{base[:-6]}{index // len(BASES) * 7919 % 1_000_000:06d}"


def callers(contacts: int, count: int, *, unknown: float = 0.1, seed: int = 1) -> list[str]:
    """Return the numbers of `count` calls: contacts at random, and a share that nobody knows."""
    chance = random.Random(seed)
    return [
        number(chance.randrange(contacts) + (contacts if chance.random() < unknown else 0))
        for _ in range(count)
    ]


def write_contacts(path: Path, count: int) -> None:
    """Write `count` contacts, five to a company, each with one clean E.164 number."""
    _write(path, count, map(number, range(count)))


def write_messy(path: Path, count: int) -> None:
    """Write `count` contacts whose number is as people type it."""
    _write(path, count, map(messy, range(count)))


def write_agents(path: Path) -> None:
    """Write one agent for each owner of contacts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("Name", "Email", "Extension", "SalesforceUserId"))
        for owner in range(OWNERS):
            rows.writerow(
                (f"Agent {owner}", f"agent{owner}@example.com", 200 + owner, salesforce_id("005", owner))
            )


def write_blacklist(path: Path) -> None:
    """Write two hundred exact entries and one of every other kind; none of them meets a caller."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("Pattern", "Kind", "Treatment", "Reason"))
        rows.writerows((number(6_000_000 + entry), "exact", "hangup", "nuisance") for entry in range(200))
        rows.writerow(("+1900", "prefix", "hangup", "premium rate"))
        rows.writerow((r"^\+882\d+$", "regex", "hangup", "satellite"))
        rows.writerow(("KP", "country", "hangup", "nobody we know"))
        rows.writerow(("", "anonymous", "hangup", "says not who it is"))


def messy(index: int) -> str:
    """Return a number of contact `index` as people type it: eight ways in turn."""
    parsed = phonenumbers.parse(number(index))
    international = phonenumbers.format_number(parsed, PhoneNumberFormat.INTERNATIONAL)
    national = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
    country, _, rest = international.partition(" ")
    second = number(index + 1)
    ways = (
        phonenumbers.format_number(parsed, PhoneNumberFormat.E164).replace("+", "00", 1),
        international,
        f"{country} (0) {rest}" if national.startswith("0") else f"{country}-{rest}",
        international.replace(" ", ".").replace("-", "."),
        f"{international} ext. {index % 900 + 100}",
        f"{international} cell",
        f"{international} / {second}",
        national,
    )
    return ways[index // len(BASES) % len(ways)]


def salesforce_id(prefix: str, serial: int) -> str:
    """Return a Salesforce id of 18 characters: 15, and three that say which of them are capitals."""
    short = f"{prefix}Dn{serial:010d}"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    fives = (short[start : start + 5] for start in (0, 5, 10))
    return short + "".join(
        alphabet[sum(char.isupper() << bit for bit, char in enumerate(five))] for five in fives
    )


def _write(path: Path, count: int, phones: Iterator[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADINGS)
        for index, phone in zip(range(count), phones, strict=False):
            first = FIRST_NAMES[index % len(FIRST_NAMES)]
            last = f"{LAST_NAMES[index // 10 % len(LAST_NAMES)]} {index}"
            company, owner = index // 5, index // 5 % OWNERS
            rows.writerow((
                salesforce_id("003", index), "Contact", first, last,
                salesforce_id("001", company), f"Company {company} GmbH",
                phone, f"contact{index}@example.com",
                salesforce_id("005", owner), f"agent{owner}@example.com",
            ))  # fmt: skip
