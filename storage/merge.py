"""Store a batch of contacts: find what each row means, and write only what differs.

A row means the contact with its Salesforce id; else the one with its (database, key); else one of the same
kind and name with a number in common; else, for a row with nothing but a name, one with that name and
nothing more. Two contacts with different Salesforce ids, or different keys, are never one. A contact that
the insert look-up made of a number, and nobody named since, becomes the first row that has the number, and
keeps its id. Rows of one batch see each other, so that the order and the number of batches do not matter to
ids and keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.contact_rows import ContactRow, Phones, Prepared
from storage.lists import LIST, fetch, insert_together, run_each
from storage.parents import NOBODY, Parent, put_parents
from storage.schema import NUMBER_IS


class Stored(NamedTuple):
    """How many contacts were new, and how many others changed."""

    inserted: int
    updated: int


class _Values(NamedTuple):
    """A contact's columns, in the order of _COLUMNS."""

    salesforce_id: str | None
    database: str
    key: str | None
    kind: str
    name: str
    first_name: str
    last_name: str
    email: str
    account_id: int | None
    owner_id: int | None
    vip: int
    do_not_call: int
    active_at: int


_COLUMNS = ", ".join(_Values._fields)
_SELECT = f"SELECT c.id, c.source, {', '.join(f'c.{name}' for name in _Values._fields)} FROM "  # noqa: S608  # constants
# CROSS JOIN fixes the order of the tables: from the few values asked for to the many stored.
_FROM_IDS = f"{_SELECT} contacts c WHERE c.salesforce_id IN {LIST}"
_FROM_KEYS = (
    f"{_SELECT} json_each(?) j CROSS JOIN contacts c "
    "ON c.database = json_extract(j.value, '$[0]') AND c.key = json_extract(j.value, '$[1]')"
)
FROM_NUMBERS = (
    f"{_SELECT} json_each(?) j CROSS JOIN phones p ON {NUMBER_IS.format('j.value')} "
    f"CROSS JOIN contacts c ON c.id = p.contact_id WHERE c.name IN {LIST}"
)
FROM_LOCAL = (
    f"{_SELECT} json_each(?) j CROSS JOIN local_phones p ON p.digits = j.value "
    f"CROSS JOIN contacts c ON c.id = p.contact_id WHERE c.name IN {LIST}"
)
_FROM_NAMES = f"{_SELECT} contacts c WHERE c.name IN {LIST} AND c.salesforce_id IS NULL AND c.key IS NULL"
_NUMBERS_OF = f"SELECT contact_id, number, label, typed FROM phones WHERE contact_id IN {LIST}"  # noqa: S608
_LOCAL_OF = f"SELECT contact_id, digits, label, typed FROM local_phones WHERE contact_id IN {LIST}"  # noqa: S608
_BOARDS_OF = f"SELECT contact_id, prefix, main, explicit FROM switchboards WHERE contact_id IN {LIST}"  # noqa: S608

_INSERT = f"INSERT INTO contacts (id, source, created_at, {_COLUMNS})"
_UPDATE = f"UPDATE contacts SET {', '.join(f'{name} = ?' for name in _Values._fields)} WHERE id = ?"  # noqa: S608


class _Entry:
    """A contact as it is stored, if it is, and as it will be."""

    __slots__ = ("id", "made_of_number", "phones", "stored", "stored_phones", "touched", "values")

    def __init__(
        self, number: int, values: _Values, phones: Phones, *, new: bool, made_of_number: bool = False
    ) -> None:
        self.id = number  # 0: not known yet
        self.values = values
        self.phones = phones
        self.stored = None if new else values
        self.stored_phones = Phones({}, {}, {}) if new else phones
        self.touched = new
        self.made_of_number = made_of_number


async def store(conn: AsyncConnection, prepared: Prepared, *, source: str, now: int) -> Stored:
    """Insert or update the rows in one transaction; phones are replaced as a set, an empty name or id changes nothing.

    `source` is where new contacts come from: import, insert or salesforce; `now` is seconds since 1970.
    """
    accounts = [*map(_account, prepared.rows)]
    owners = [*map(_owner, prepared.rows)]
    account_ids = (await put_parents(conn, "accounts", accounts)).ids
    owner_ids = (await put_parents(conn, "owners", owners)).ids
    batch = _Batch(ids_tell=await _ids_tell(conn, prepared.rows))
    await _load(conn, batch, prepared)
    for row, phones, account, owner in zip(prepared.rows, prepared.phones, accounts, owners, strict=True):
        batch.take(row, phones, account_ids.get(account), owner_ids.get(owner))
    return await _write(conn, batch, source, now)


async def _ids_tell(conn: AsyncConnection, rows: Sequence[ContactRow]) -> bool:
    """Return whether Salesforce ids alone tell which row means whom: everybody has one, stored or to be stored.

    Two contacts with different ids are never one, so that there is nobody to be found by number or name.
    """
    if not all(row.salesforce_id for row in rows):
        return False
    return not await fetch(conn, "SELECT 1 FROM contacts WHERE salesforce_id IS NULL LIMIT 1")


class _Batch:
    """The contacts that a batch may mean, and those it makes, found as its rows find them."""

    def __init__(self, *, ids_tell: bool) -> None:
        self.ids_tell = ids_tell  # nobody is to be found by number or name
        self.entries: list[_Entry] = []
        self._ids: dict[int, _Entry] = {}
        self._salesforce: dict[str, _Entry] = {}
        self._keys: dict[tuple[str, str], _Entry] = {}
        self._numbers: dict[int | str, list[_Entry]] = {}
        self._names: dict[tuple[str, str], _Entry] = {}  # of those that have nothing but a name

    def has_id(self, salesforce_id: str) -> bool:
        return salesforce_id in self._salesforce

    def has_key(self, database: str, key: str | None) -> bool:
        return key is not None and (database, key) in self._keys

    def load(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take contacts from the database; their phones come later."""
        for number, source, *columns in rows:
            if number not in self._ids:
                values = _Values(*columns)
                unnamed = source == "insert" and not values.salesforce_id
                entry = _Entry(number, values, Phones({}, {}, {}), new=False, made_of_number=unnamed)
                self._ids[number] = entry
                self._register(entry)

    def _register(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self._identify(entry)

    def _identify(self, entry: _Entry) -> None:
        values = entry.values
        if values.salesforce_id:
            self._salesforce[values.salesforce_id] = entry
        if values.key is not None:
            self._keys.setdefault((values.database, values.key), entry)

    def index(self) -> None:
        """Make the loaded contacts findable by number and name, the oldest first."""
        for entry in sorted(self.entries, key=lambda entry: entry.id):
            self._index(entry)

    def _index(self, entry: _Entry) -> None:
        if self.ids_tell:
            return
        for number in _all_numbers(entry.phones):
            self._numbers.setdefault(number, []).append(entry)
        if _only_name(entry.values, entry.phones):
            self._names.setdefault((entry.values.kind, entry.values.name), entry)

    @property
    def loaded(self) -> dict[int, _Entry]:
        """Contacts of the database by id."""
        return self._ids

    def take(self, row: ContactRow, phones: Phones, account_id: int | None, owner_id: int | None) -> None:
        """Find or make the contact that a row means, and give it the row's values."""
        entry = self._salesforce.get(row.salesforce_id) if row.salesforce_id else None
        owner_of_key = self._keys.get((row.database, row.key)) if row.key is not None else None
        if entry is None and owner_of_key is not None and _same_id(owner_of_key, row):
            entry = owner_of_key
        if entry is None and not self.ids_tell:
            entry = self._by_number(row, phones) or self._by_name(row, phones)
        old = entry.values if entry is not None else None
        key_is_free = row.key is not None and (owner_of_key is None or owner_of_key is entry)
        values = _merged(old, row, account_id, owner_id, takes_key=key_is_free)
        if entry is None:
            entry = _Entry(0, values, phones, new=True)
            self._register(entry)
            self._index(entry)
            return
        # Rows of one batch that are one contact add their numbers: replacing would hide it from the next that has
        # nothing but a number, and there are files with a row for each number of a person.
        entry.phones = _joined(entry.phones, phones) if entry.touched else phones
        entry.values = values
        entry.touched = True
        entry.made_of_number = False
        self._identify(entry)
        self._index(entry)

    def _by_number(self, row: ContactRow, phones: Phones) -> _Entry | None:
        for number in _all_numbers(phones):
            for entry in self._numbers.get(number, ()):
                if not _same_id(entry, row) or not _same_key(entry, row):
                    continue
                values = entry.values
                if values.name == row.name and values.kind == row.kind:
                    return entry
                if entry.made_of_number and values.name in {"", f"+{number}", number}:
                    return entry
        return None

    def _by_name(self, row: ContactRow, phones: Phones) -> _Entry | None:
        if not _is_bare(row, phones):
            return None
        return self._names.get((row.kind, row.name))


def _all_numbers(phones: Phones) -> tuple[int | str, ...]:
    return *phones.numbers, *phones.local


def _same_id(entry: _Entry, row: ContactRow) -> bool:
    stored = entry.values.salesforce_id
    return not stored or not row.salesforce_id or stored == row.salesforce_id


def _same_key(entry: _Entry, row: ContactRow) -> bool:
    values = entry.values
    return values.key is None or row.key is None or (values.database, values.key) == (row.database, row.key)


def _is_bare(row: ContactRow, phones: Phones) -> bool:
    return not (row.salesforce_id or row.key is not None or phones.numbers or phones.local)


def _only_name(values: _Values, phones: Phones) -> bool:
    return not values.salesforce_id and values.key is None and not phones.numbers and not phones.local


def _merged(
    old: _Values | None, row: ContactRow, account_id: int | None, owner_id: int | None, *, takes_key: bool
) -> _Values:
    """Return a contact's columns after a row; an empty cell takes neither what identifies it nor its owner."""
    if takes_key:
        database, key = row.database, row.key
    elif old is not None:
        database, key = (
            (old.database, old.key) if old.key is not None else (row.database or old.database, None)
        )
    else:
        database, key = row.database, None
    return _Values(
        row.salesforce_id or (old.salesforce_id if old is not None else None),
        database,
        key,
        row.kind,
        row.name or (old.name if old is not None else ""),
        row.first_name,
        row.last_name,
        row.email,
        account_id,
        owner_id if owner_id is not None or old is None else old.owner_id,
        _mark(row.vip, old.vip if old is not None else 0),
        _mark(row.do_not_call, old.do_not_call if old is not None else 0),
        row.active_at if old is None else max(row.active_at, old.active_at),
    )


def _mark(new: bool | None, stored: int) -> int:
    """Return a mark after a row; None: the row does not say."""
    return stored if new is None else int(new)


def _joined(one: Phones, other: Phones) -> Phones:
    return Phones(other.numbers | one.numbers, other.local | one.local, other.switchboards | one.switchboards)


async def _load(conn: AsyncConnection, batch: _Batch, prepared: Prepared) -> None:
    """Load every contact that the rows may mean."""
    rows = prepared.rows
    if ids := [row.salesforce_id for row in rows if row.salesforce_id]:
        batch.load(await fetch(conn, _FROM_IDS, ids))
    if keys := [(row.database, row.key) for row in rows if row.key is not None]:
        batch.load(await fetch(conn, _FROM_KEYS, keys))
    if not batch.ids_tell:
        await _load_by_number(conn, batch, prepared)
    if loaded := batch.loaded:
        for number, e164, label, typed in await fetch(conn, _NUMBERS_OF, loaded):
            loaded[number].phones.numbers[e164] = (label, typed)
        for number, digits, label, typed in await fetch(conn, _LOCAL_OF, loaded):
            loaded[number].phones.local[digits] = (label, typed)
        for number, prefix, main, explicit in await fetch(conn, _BOARDS_OF, loaded):
            loaded[number].phones.switchboards[prefix] = (main, explicit)
        batch.index()


async def _load_by_number(conn: AsyncConnection, batch: _Batch, prepared: Prepared) -> None:
    """Load whom those rows may mean that neither id nor key have found."""
    numbers: set[int] = set()
    local: set[str] = set()
    names = {""}
    bare: set[str] = set()  # of rows that have nothing else
    for row, phones in zip(prepared.rows, prepared.phones, strict=True):
        if batch.has_id(row.salesforce_id) or batch.has_key(row.database, row.key):
            continue
        names.add(row.name)
        names.update(map("+{}".format, phones.numbers), phones.local)
        numbers.update(phones.numbers)
        local.update(phones.local)
        if _is_bare(row, phones):
            bare.add(row.name)
    if numbers:
        batch.load(await fetch(conn, FROM_NUMBERS, numbers, names))
    if local:
        batch.load(await fetch(conn, FROM_LOCAL, local, names))
    if bare:
        batch.load(await fetch(conn, _FROM_NAMES, bare))


async def _write(conn: AsyncConnection, batch: _Batch, source: str, now: int) -> Stored:
    new = [entry for entry in batch.entries if entry.stored is None]
    changed = [
        entry
        for entry in batch.entries
        if entry.stored is not None and (entry.values != entry.stored or entry.phones != entry.stored_phones)
    ]
    if new:
        # Explicit ids above AUTOINCREMENT's mark, which SQLite then moves: phones need them, and one
        # statement stores all. Nobody else inserts meanwhile: this transaction holds the write lock.
        mark = await fetch(conn, "SELECT seq FROM sqlite_sequence WHERE name = 'contacts'")
        for number, entry in enumerate(new, mark[0][0] + 1 if mark else 1):
            entry.id = number
        await insert_together(conn, _INSERT, [(entry.id, source, now, *entry.values) for entry in new])
    altered = [entry for entry in changed if entry.values != entry.stored]
    await run_each(conn, _UPDATE, [(*entry.values, entry.id) for entry in altered])
    for part, table, columns in (
        (0, "phones", ("number", "label", "typed")),
        (1, "local_phones", ("digits", "label", "typed")),
        (2, "switchboards", ("prefix", "main", "explicit")),
    ):
        await _write_phones(conn, (*new, *changed), part, table, columns)
    return Stored(len(new), len(changed))


async def _write_phones(
    conn: AsyncConnection, entries: Iterable[_Entry], part: int, table: str, columns: tuple[str, str, str]
) -> None:
    gone: list[tuple[Any, ...]] = []
    come: list[tuple[Any, ...]] = []
    for entry in entries:
        before: dict[Any, tuple[Any, Any]] = entry.stored_phones[part]
        after: dict[Any, tuple[Any, Any]] = entry.phones[part]
        if before == after:
            continue
        gone += [(number, entry.id) for number, rest in before.items() if after.get(number) != rest]
        come += [(number, entry.id, *rest) for number, rest in after.items() if before.get(number) != rest]
    await run_each(conn, f"DELETE FROM {table} WHERE {columns[0]} = ? AND contact_id = ?", gone)  # noqa: S608
    if come:
        names = [columns[0], "contact_id", *columns[1:]]
        if table == "local_phones":
            names.append("tail")
            come = [(*row, int(row[0][-6:])) for row in come]
        marks = ", ".join("?" * len(names))
        query = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  # our own constants
        await run_each(conn, query, come)


def _account(row: ContactRow) -> Parent:
    """Return the company a contact belongs to; a company belongs to itself."""
    if row.account or row.account_salesforce_id:
        return Parent(row.account_salesforce_id, "", row.account)
    if row.kind == "Account":
        return Parent(row.salesforce_id, "", row.name)
    return NOBODY


def _owner(row: ContactRow) -> Parent:
    return Parent(row.owner_salesforce_id, row.owner_email.lower(), row.owner)
