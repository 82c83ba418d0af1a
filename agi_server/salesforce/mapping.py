"""Records of Salesforce as rows of the directory.

A record is a dict by name of column, as REST gives it (JSON values, parents as dicts within) or as Bulk does
(CSV: all text, parents under dotted names, nothing for null). Both make the same row. Labels of numbers are
names of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from agi_server.exchange.cells import clean
from agi_server.salesforce.fields import Reading
from storage.contact_rows import ContactRow
from storage.sync import OwnerRow

Record = Mapping[str, Any]


def mapper(reading: Reading) -> Callable[[Record], ContactRow]:
    """Return what makes a row of a record of this object; fields are looked up once, not once a record.

    An Account that is a person becomes a Contact with the id of the contact behind it, and without a company.
    """
    kind, phones, account_name = reading.sobject, reading.phones, reading.account_name
    name, name_else = reading.name, reading.name_else
    parent, _, of_parent = account_name.partition(".")

    def company(record: Record) -> str:
        if of_parent and account_name not in record:  # REST
            return _text((record.get(parent) or {}).get(of_parent))
        return _text(record.get(account_name))

    def make(record: Record) -> ContactRow:
        get = record.get
        own_id, own_kind = record["Id"], kind
        if kind == "Account" and is_true(get(reading.person)) and get(reading.person_contact):
            own_id, own_kind = get(reading.person_contact), "Contact"
        vip, do_not_call = get(reading.vip), get(reading.do_not_call)
        active = get(reading.active_at) or get(reading.active_else)
        return ContactRow(
            salesforce_id=own_id,
            kind=own_kind,
            name=_text(get(name)) or _text(get(name_else)),
            first_name=_text(get(reading.first_name)),
            last_name=_text(get(reading.last_name)),
            email=_text(get(reading.email)),
            account_salesforce_id=get(reading.account_id) or "",
            account=company(record) if account_name else "",
            owner_salesforce_id=get(reading.owner_id) or "",
            vip=is_true(vip) if vip is not None else None,
            do_not_call=is_true(do_not_call) if do_not_call is not None else None,
            active_at=seconds_of(active) if isinstance(active, str) else 0,
            phones=tuple([(field, _typed(value)) for field in phones if (value := get(field))]),
        )

    return make


def owner(record: Record) -> OwnerRow:
    """Return the owner that a User or a Group (a queue: no e-mail) is."""
    return OwnerRow(record["Id"], _text(record.get("Name")), _text(record.get("Email")).lower())


def is_true(value: object) -> bool:
    """Return whether a checkbox is ticked: true in JSON, "true" in CSV."""
    return value is True or value == "true"


@lru_cache(maxsize=4096)  # days come again and again
def seconds_of(text: str | None) -> int:
    """Return a date or a date-time of Salesforce as seconds since 1970; 0 for nothing and for what is neither.

    2026-05-01 (its first second in UTC), 2026-05-01T10:00:00.000+0000 (REST), 2026-05-01T10:00:00.000Z (Bulk).
    """
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def moment_of(text: str) -> datetime:
    """Return a date-time of ours or of Salesforce, in UTC. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def soql_time(moment: datetime) -> str:
    """Return a moment as SOQL writes it, without quotes: whole seconds of UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _typed(value: object) -> str:
    """Return what stands in a field for numbers; one of type Number is no text in JSON, and 4930.0 is 4930."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # half a character is none


def _text(value: object) -> str:
    """Return a value on one line."""
    return clean(str(value)) if value else ""
