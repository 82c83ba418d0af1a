"""Contacts on their way in and out: rows as files and Salesforce have them, and their numbers parsed.

Nothing here touches the database: parsing takes longer than storing, and nobody's write may wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from agi_server.calls.numbers import read_field
from agi_server.errors import InputError
from storage.salesforce_ids import SHORT, long_id

KINDS: Final = ("Contact", "Account", "Lead", "Opportunity")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact as files and Salesforce have it; `phones` are pairs of label and text as typed.

    `key` is the `data` of the insert look-up and `database` its `iddatabase`; `active_at` is seconds since
    1970.
    """

    salesforce_id: str = ""
    kind: str = "Contact"
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    account_salesforce_id: str = ""
    account: str = ""
    owner_salesforce_id: str = ""
    owner_email: str = ""
    owner: str = ""
    vip: bool | None = None  # None: as stored
    do_not_call: bool | None = None  # likewise
    active_at: int = 0
    database: str = ""
    key: str | None = None
    phones: tuple[tuple[str, str], ...] = ()


class Phones(NamedTuple):
    """A contact's numbers, each once.

    `numbers`: E.164 digits -> label, text as typed (None: the plain E.164); `local`: digits of unknown
    country -> label, text as typed (None: the digits); `switchboards`: prefix -> main number, 1 when
    written as one.
    """

    numbers: dict[int, tuple[str, str | None]]
    local: dict[str, tuple[str, str | None]]
    switchboards: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows with their numbers parsed. `unread`: (row index, label, text) of fields that hold no number."""

    rows: Sequence[ContactRow]
    phones: Sequence[Phones]
    unread: list[tuple[int, str, str]]


def prepare(rows: Sequence[ContactRow], region: str) -> Prepared:
    """Parse all numbers; `region` is the ISO country of those written without one. Salesforce ids become long.

    Raises InputError when a row is of a kind that is none.
    """
    unread: list[tuple[int, str, str]] = []
    phones = []
    for index, row in enumerate(rows):
        if row.kind not in KINDS:
            raise InputError(f"row {index}: there is no kind {row.kind!r}; write one of {', '.join(KINDS)}")
        phones.append(_read_phones(row, region, index, unread))
    return Prepared([*map(_with_long_ids, rows)], phones, unread)


def _with_long_ids(row: ContactRow) -> ContactRow:
    """Return the row with Salesforce ids of 18 characters; what is none is left as it is."""
    ids = row.salesforce_id, row.account_salesforce_id, row.owner_salesforce_id
    if SHORT not in map(len, ids):
        return row
    own, account, owner = map(_long_id, ids)
    return replace(row, salesforce_id=own, account_salesforce_id=account, owner_salesforce_id=owner)


def _long_id(text: str) -> str:
    return long_id(text) if len(text) == SHORT and text.isascii() and text.isalnum() else text


def _read_phones(row: ContactRow, region: str, index: int, unread: list[tuple[int, str, str]]) -> Phones:
    read = Phones({}, {}, {})
    for label, text in row.phones:
        found = read_field(text, region)
        if not found and text.strip():
            unread.append((index, label, text))
        for number in found:
            if not number.e164:
                read.local.setdefault(number.digits, (label, None if text == number.digits else text))
                continue
            read.numbers.setdefault(number.e164, (label, None if text == f"+{number.e164}" else text))
            board = number.switchboard
            # A zero at the end makes a main number of a company's, not of a person's.
            if board is not None and (board.explicit or row.kind == "Account"):
                read.switchboards.setdefault(board.prefix, (board.main, int(board.explicit)))
    return read
