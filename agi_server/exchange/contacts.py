"""Contacts from files and back.

Invariants: a row is taken when it has a name (of a person or a company), whatever its other cells hold; a
value that says nothing to us is reported, never guessed. What `write_table` writes comes back unchanged.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import BinaryIO, TextIO

from agi_server.exchange import vcard
from agi_server.exchange.cells import KINDS, clean, identity, kind_of, salesforce_id
from agi_server.exchange.headings import (
    CONTACT_HEADINGS,
    PHONE_FIELDS,
    contact_fields,
    label_columns,
    nothing_known,
    phone_field,
)
from agi_server.exchange.report import ImportResult, Progress, Report
from agi_server.exchange.tables import Table, describe, open_table
from storage.contacts import ContactRow, Prepared, prepare, store
from storage.database import Database

BATCH = 500  # rows a transaction: about 20 ms, so that nobody's write waits longer
SEVERAL = ":::"  # Google's separator of several values in one cell

Entry = tuple[int, ContactRow]  # line of the file, row

_SINGLE = (
    "Id", "Type", "Name", "FirstName", "LastName", "Account.Name", "AccountId", "Email", "OwnerId",
    "Owner.Email", "Owner.Name", "Vip", "LastActivityDate", "Database", "Key",
)  # fmt: skip
COLUMNS = (*_SINGLE[:7], *PHONE_FIELDS, *_SINGLE[7:])  # of an export
_YES = frozenset({"1", "true", "yes", "y", "x", "vip", "ja", "si", "sí", "sim"})
_NO = frozenset({"0", "false", "no", "n", "nein", "não", "nao"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFile:
    """A file of contacts and how to read it; the empty settings mean: find out.

    `database` is the id of the database (`iddatabase`) that rows without one belong to. `vcards` says that
    the file holds vCards; None: look at it. `mapping`: see `headings.find_fields`.
    """

    file: BinaryIO
    encoding: str = ""
    mapping: Mapping[str, str] | None = None
    database: str = ""
    vcards: bool | None = None


async def import_contacts(
    source: ContactFile,
    *,
    database: Database | None,
    region: str,
    report: Report | None = None,
    all_or_nothing: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Read contacts and store them; without a database only read and report.

    `region` is the ISO country of numbers written without one. `all_or_nothing` reads the whole file first
    and stores nothing when any row cannot be taken. Raises InputError when the file as a whole cannot be
    read, and DirectoryError when the database cannot be written; the batches before that are stored.
    """
    started = time.monotonic()
    report = report or Report()
    result = ImportResult(report=report)
    if all_or_nothing and database is not None and not _sound(source):
        result.refused = True
        database = None  # only read once more, to report what is wrong
    size = _size(source.file)
    batch: list[Entry] = []
    for entry in chain(read_contacts(source, report), [None]):
        if entry is not None:
            batch.append(entry)
        if len(batch) >= BATCH or (entry is None and batch):
            prepared = prepare([row for _, row in batch], region)
            for index, label, text in prepared.unread:
                report.remark(batch[index][0], label, "not understood as a number", text)
            if database is not None:
                await _store(database, prepared, result)
            result.rows += len(batch)
            batch.clear()
            if progress is not None:
                progress(result.rows, source.file.tell() / size if size else 1.0)
    result.rows += report.not_taken
    result.written = database is not None
    result.seconds = time.monotonic() - started
    return result


def read_contacts(source: ContactFile, report: Report) -> Iterator[Entry]:
    """Yield line and contact of every row that can be taken; report the others. Raises InputError."""
    vcards = vcard.holds_cards(source.file) if source.vcards is None else source.vcards
    if vcards:
        yield from vcard.read_cards(source.file, report, encoding=source.encoding, database=source.database)
    else:
        table = open_table(source.file, _count_known, encoding=source.encoding)
        yield from read_table(table, report, mapping=source.mapping, database=source.database)


def read_table(
    table: Table, report: Report, *, mapping: Mapping[str, str] | None = None, database: str = ""
) -> Iterator[Entry]:
    """Yield line and contact of every row of a table; see `read_contacts`."""
    fields = contact_fields(table.headings, mapping)
    if not any(fields):
        raise nothing_known(table.headings, CONTACT_HEADINGS)
    report.notes.append(describe(table))
    if ignored := [
        heading for heading, name in zip(table.headings, fields, strict=True) if heading and not name
    ]:
        report.notes.append("columns not read: " + ", ".join(ignored))
    make = _row_reader(table.headings, fields, database)
    for line, cells in table.rows(report):
        row = make(line, cells, report)
        if row is None:
            report.refuse(line, "Name", "neither a name nor a company", table.delimiter.join(cells[:-1]))
        else:
            yield line, row


def write_table(rows: Iterable[ContactRow], out: TextIO) -> int:
    """Write contacts as CSV under the headings that import reads; return how many."""
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        phones: dict[str, list[str]] = {name: [] for name in PHONE_FIELDS}
        for label, text in row.phones:
            phones.get(label, phones["OtherPhone"]).append(text)
        active = (
            datetime.fromtimestamp(row.active_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if row.active_at else ""
        )
        writer.writerow(
            (
                row.salesforce_id, row.kind, row.name, row.first_name, row.last_name, row.account,
                row.account_salesforce_id, *(f" {SEVERAL} ".join(cell) for cell in phones.values()),
                row.email, row.owner_salesforce_id, row.owner_email, row.owner, "true" if row.vip else "",
                active, row.database, row.key or "",
            )
        )  # fmt: skip
        count += 1
    return count


def _row_reader(
    headings: Sequence[str], fields: Sequence[str], database: str
) -> Callable[[int, list[str], Report], ContactRow | None]:
    """Return what makes a contact of a row; indexes are looked up once, not once a row."""
    width = len(fields)
    places = {name: [i for i in range(width) if fields[i] == name] for name in _SINGLE}
    # A row gets one empty cell more at its end: what a column that the file has not is read from.
    pick = itemgetter(*(places[name][0] if places[name] else width for name in _SINGLE))
    others = [(at, places[name][1:]) for at, name in enumerate(_SINGLE) if len(places[name]) > 1]
    labels = label_columns(headings)
    phone_columns = [(fields[i], i, labels.get(i, -1)) for i in range(width) if fields[i] in PHONE_FIELDS]

    def make(line: int, cells: list[str], report: Report) -> ContactRow | None:
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        cells[width:] = [""]
        values: Sequence[str] = pick(cells)
        if others:
            values = _filled(values, others, cells)
        plain = "".join(values).isprintable()
        values = [value.strip() for value in values] if plain else [clean(value) for value in values]
        return _contact(values, _phones(phone_columns, cells), database, line, report)

    return make


def _filled(values: Sequence[str], others: Sequence[tuple[int, list[int]]], cells: list[str]) -> list[str]:
    """Return the values, an empty one replaced by the first that another column of the same meaning has."""
    filled = [*values]
    for at, more in others:
        if not filled[at].strip():
            filled[at] = next((cells[i] for i in more if cells[i].strip()), "")
    return filled


def _phones(columns: Sequence[tuple[str, int, int]], cells: list[str]) -> tuple[tuple[str, str], ...]:
    """Return label and text of each number; columns are (label, index, index of Google's label or -1)."""
    phones: list[tuple[str, str]] = []
    for column, index, label_index in columns:
        if not (text := cells[index]):
            continue
        label = column if label_index < 0 else phone_field(cells[label_index])
        if label:  # none: a fax
            parts = text.split(SEVERAL) if SEVERAL in text else (text,)
            phones += [(label, number) for part in parts if (number := clean(part))]
    return tuple(phones)


def _contact(
    values: Sequence[str], phones: tuple[tuple[str, str], ...], database: str, line: int, report: Report
) -> ContactRow | None:
    """Return the contact that the cells of `_SINGLE` make, None where they hold no name."""
    (
        own_id, kind, name, first, last, account, account_id, email, owner_id, owner_email, owner, vip,
        active, base, key,
    ) = values  # fmt: skip
    sure_kind = kind_of(kind, own_id)
    if not name and not (name := f"{first} {last}".strip()):
        if not account:
            return None
        name, sure_kind = account, sure_kind or "Account"
    if kind and not sure_kind:
        known = ", ".join(KINDS.values())
        report.remark(line, "Type", f"not one of {known}: taken as Contact", kind)
    if own_id:
        own_id, key = identity(own_id, key)
    if not owner_email and "@" in owner:
        owner, owner_email = "", owner
    return ContactRow(
        salesforce_id=own_id,
        kind=sure_kind or "Contact",
        name=name,
        first_name=first,
        last_name=last,
        email=email,
        account_salesforce_id=salesforce_id(account_id) if account_id else "",
        account=account,
        owner_salesforce_id=salesforce_id(owner_id) if owner_id else "",
        owner_email=owner_email.lower(),
        owner=owner,
        vip=_yes(vip, line, report) if vip else None,
        active_at=_seconds(active, line, report) if active else 0,
        database=base or database,
        key=key or None,
        phones=phones,
    )


def _yes(text: str, line: int, report: Report) -> bool:
    answer = text.lower()
    if answer not in _YES and answer not in _NO:
        report.remark(line, "Vip", "neither yes nor no: taken as no", text)
    return answer in _YES


def _seconds(text: str, line: int, report: Report) -> int:
    try:
        moment = datetime.fromisoformat(text)
        return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError):
        report.remark(line, "LastActivityDate", "no date like 2026-05-01 or 2026-05-01T10:00:00Z", text)
        return 0


def _count_known(headings: list[str]) -> int:
    return sum(map(bool, contact_fields(headings)))


def _sound(source: ContactFile) -> bool:
    """Return whether every row can be taken."""
    report = Report()
    return all(not report.not_taken for _ in read_contacts(source, report)) and not report.not_taken


async def _store(database: Database, prepared: Prepared, result: ImportResult) -> None:
    stored = await database.write(lambda conn: store(conn, prepared, source="import", now=int(time.time())))
    result.inserted += stored.inserted
    result.updated += stored.updated


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()
