"""Does the directory say what the org says? Every record there, as it is there, and nothing else of Salesforce's.

It asks the org and the database's file, and none of the code under test but what a number means.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agi_server.calls.numbers import read_field
from agi_server.settings import Settings

OBJECTS = ("Account", "Contact", "Lead", "Opportunity")


class Source(Protocol):
    """What is asked of an org: `tests.org.records.Org`, or something that asks one over HTTP."""

    def query(self, soql: str, /) -> Iterable[Mapping[str, Any]]: ...

    def describe(self, sobject: str, /) -> Mapping[str, Any]: ...


class Known(NamedTuple):
    """A record as both sides tell it; `numbers` are digits, with a plus where their country is known."""

    kind: str
    name: str
    first_name: str
    last_name: str
    email: str
    account_id: str
    account: str
    owner_id: str
    owner: str
    owner_email: str
    numbers: frozenset[str]


def assert_same(path: Path, org: Source, settings: Settings) -> None:
    """Fail with the first differences between the database at `path` and the org."""
    found = differences(path, org, settings)
    assert not found, "\n".join(found[:20])


def differences(path: Path, org: Source, settings: Settings) -> list[str]:
    """Return what differs, one line a record."""
    here, there = in_directory(path), in_org(org, settings)
    lines = [f"{each}: missing here; there {there[each]}" for each in sorted(there.keys() - here.keys())]
    lines += [f"{each}: not there; here {here[each]}" for each in sorted(here.keys() - there.keys())]
    for each in sorted(here.keys() & there.keys()):
        mine, theirs = here[each], there[each]
        if mine.kind == "Lead" and mine.account_id:  # an account of the name of the lead's company
            mine = mine._replace(account_id="", account=theirs.account)
        lines += [
            f"{each} {mine.name}: {name} is {one!r}, there {other!r}"
            for name, one, other in zip(Known._fields, mine, theirs, strict=True)
            if one != other
        ]
    return lines


def in_org(org: Source, settings: Settings) -> dict[str, Known]:
    """Return what should be known, by Salesforce id."""
    owners = {user["Id"]: user for user in org.query("SELECT Id, Name, Email FROM User")}
    owners |= {queue["Id"]: queue for queue in org.query("SELECT Id, Name FROM Group WHERE Type = 'Queue'")}
    accounts = {each["Id"]: each["Name"] for each in org.query("SELECT Id, Name FROM Account")}
    known = {}
    for sobject in settings.salesforce.objects:
        fields = {field["name"]: field["type"] for field in org.describe(sobject)["fields"]}
        phones = [name for name, kind in fields.items() if kind == "phone"]
        phones += [
            each.partition(".")[2]
            for each in settings.salesforce.number_fields
            if each.startswith(f"{sobject}.")
        ]
        if not phones:
            continue
        asked = [name for name in _ASKED if name in fields]
        condition = settings.salesforce.filters.get(sobject, "")
        where = f" WHERE {condition}" if condition else ""
        for record in org.query(f"SELECT {', '.join([*asked, *phones])} FROM {sobject}{where}"):
            if record.get("IsConverted") or (sobject == "Contact" and record.get("IsPersonAccount")):
                continue
            owner = owners.get(record["OwnerId"], {})
            person = sobject == "Account" and record.get("IsPersonAccount")
            company = record["Company"] if sobject == "Lead" else accounts.get(record.get("AccountId"), "")
            if sobject == "Account" and not person:
                company = record["Name"]
            known[record["PersonContactId"] if person else record["Id"]] = Known(
                kind="Contact" if person else sobject,
                name=record["Name"],
                first_name=record.get("FirstName") or "",
                last_name=record.get("LastName") or "",
                email=record.get("PersonEmail" if person else "Email") or "",
                account_id=(record["Id"] if sobject == "Account" and not person else record.get("AccountId"))
                or "",
                account=company,
                owner_id=record["OwnerId"],
                owner=owner.get("Name", ""),
                owner_email=(owner.get("Email") or "").lower(),
                numbers=frozenset(_numbers([record[name] for name in phones], settings.numbers.region)),
            )
    return known


_ASKED = (
    "Id", "Name", "FirstName", "LastName", "Email", "PersonEmail", "AccountId", "Company", "OwnerId", "IsConverted",
    "IsPersonAccount", "PersonContactId",
)  # fmt: skip


def _numbers(texts: Iterable[str | None], region: str) -> Iterable[str]:
    for text in texts:
        for number in read_field(text or "", region):
            yield f"+{number.e164}" if number.e164 else number.digits


def in_directory(path: Path) -> dict[str, Known]:
    """Return what is known, by Salesforce id."""
    with closing(sqlite3.connect(path)) as connection:
        numbers: dict[int, set[str]] = {}
        for contact, number in connection.execute(
            "SELECT contact_id, '+' || number FROM phones UNION ALL SELECT contact_id, digits FROM local_phones"
        ):
            numbers.setdefault(contact, set()).add(number)
        rows = connection.execute(
            "SELECT c.id, c.salesforce_id, c.kind, c.name, c.first_name, c.last_name, c.email, "
            "ifnull(a.salesforce_id, ''), ifnull(a.name, ''), ifnull(o.salesforce_id, ''), ifnull(o.name, ''), "
            "ifnull(o.email, '') FROM contacts c LEFT JOIN accounts a ON a.id = c.account_id "
            "LEFT JOIN owners o ON o.id = c.owner_id WHERE c.salesforce_id IS NOT NULL"
        )
        return {row[1]: Known._make((*row[2:12], frozenset(numbers.get(row[0], ())))) for row in rows}
