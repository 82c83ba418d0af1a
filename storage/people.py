"""Contacts one by one: what a page shows of one, and what people make or change by hand.

Invariant: what Salesforce has is changed there and nowhere else; here the next synchronisation would undo it. A
contact that Salesforce does not have is ours to change. Ids of contacts that became another go on to work.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.aliases import by_id
from storage.audit import note
from storage.contact_rows import ContactRow, Phones, prepare
from storage.parents import NOBODY, Parent, put_parents
from storage.schema import contacts, local_phones, outbox, phones, switchboards

LONGEST: Final = 255  # characters of a name, an e-mail, a label or a number
MOST_PHONES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContact:
    """What people may say of a contact; `phones` are pairs of label and text as typed, `account` is its company.

    Without `name` it is `first_name` and `last_name`.
    """

    name: str = ""
    first_name: str = ""
    last_name: str = ""
    kind: str = "Contact"  # Contact | Account | Lead | Opportunity
    email: str = ""
    account: str = ""
    phones: tuple[tuple[str, str], ...] = ()
    vip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactCard(NewContact):
    """All that is known of a contact. Times are seconds since 1970, 0: never.

    `numbers` are those of `phones` as calls and rules have them: `+49…`, or bare digits whose country is not known.
    `key` and `database` are `data` and `iddatabase` of the insert look-up. `waiting` says that Salesforce is still to
    be told of it.
    """

    id: int
    account_salesforce_id: str
    owner: str
    owner_email: str
    owner_salesforce_id: str
    salesforce_id: str
    source: str  # import | insert | salesforce
    database: str
    key: str
    numbers: tuple[str, ...]
    blacklisted: bool  # as Salesforce has it
    active_at: int
    created_at: int
    waiting: bool

    @property
    def editable(self) -> bool:
        """Whether it may be changed here: Salesforce does not have it."""
        return not self.salesforce_id and self.source != "salesforce"


_CARD = (
    "SELECT c.id, c.kind, c.name, c.first_name, c.last_name, c.email, ifnull(a.name, '') AS account, "
    "ifnull(a.salesforce_id, '') AS account_salesforce_id, ifnull(o.name, '') AS owner, "
    "ifnull(o.email, '') AS owner_email, ifnull(o.salesforce_id, '') AS owner_salesforce_id, c.vip, c.blacklisted, "
    "ifnull(c.salesforce_id, '') AS salesforce_id, c.source, c.database, ifnull(c.key, '') AS key, c.active_at, "
    "c.created_at, EXISTS (SELECT 1 FROM outbox w WHERE w.contact_id = c.id) AS waiting FROM contacts c "
    "LEFT JOIN accounts a ON a.id = c.account_id LEFT JOIN owners o ON o.id = c.owner_id WHERE c.id = ?"
)
_PHONES = (
    "SELECT label, ifnull(typed, '+' || number), '+' || number FROM phones WHERE contact_id = ?1 "
    "UNION ALL SELECT label, ifnull(typed, digits), digits FROM local_phones WHERE contact_id = ?1 ORDER BY 1, 2, 3"
)
_FIELDS: Final = tuple(field.name for field in fields(NewContact))


async def get_contact(conn: AsyncConnection, contact_id: int) -> ContactCard | None:
    """Return a contact by an id that it has or once had, None for one that is not there."""
    named = await by_id(conn, contact_id)
    if named is None:
        return None
    row = dict((await conn.exec_driver_sql(_CARD, (named.id,))).mappings().one())
    numbers = [*await conn.exec_driver_sql(_PHONES, (named.id,))]
    for name in ("vip", "blacklisted", "waiting"):
        row[name] = row[name] != 0
    return ContactCard(
        **row,
        # A field with two numbers is one text.
        phones=tuple(dict.fromkeys((label, text) for label, text, _ in numbers)),
        numbers=tuple(dict.fromkeys(number for _, _, number in numbers)),
    )


def version(card: ContactCard) -> str:
    """Return a text that differs when anything of a contact does, for ETags."""
    return hashlib.sha256(repr(card).encode("utf-8", "surrogatepass")).hexdigest()[:32]


async def create_contact(
    conn: AsyncConnection, new: NewContact, *, region: str, who: str, now: int, to_salesforce: bool
) -> int:
    """Make a contact and return its id; `region` is the ISO country of numbers written without one.

    `to_salesforce`: it is made there, too, by a row of the outbox. Raises InputError for what cannot be taken.
    """
    new = _checked(new)
    numbers = _read(new, region)
    result = await conn.execute(
        contacts.insert().values(**await _columns(conn, new), source="import", created_at=now, active_at=now)
    )
    assert result.inserted_primary_key is not None
    contact = int(result.inserted_primary_key[0])
    await _put_phones(conn, contact, numbers)
    if to_salesforce:
        payload = {
            "id": contact,
            "database": "",
            "key": str(contact),
            "name": new.name,
            "phone": next(iter([*map("+{}".format, numbers.numbers), *numbers.local]), ""),
            "did": "",
        }
        await conn.execute(
            outbox.insert().values(
                kind="contact",
                contact_id=contact,
                payload=payload,
                created_at=now,
                next_attempt_at=now,
                ref=secrets.token_hex(16),
            )
        )
    await note(conn, who=who, what="contact.add", before=None, after={"id": contact} | asdict(new), now=now)
    return contact


async def change_contact(
    conn: AsyncConnection, contact_id: int, changes: Mapping[str, Any], *, region: str, who: str, now: int
) -> ContactCard:
    """Change some of NewContact's fields and return the contact as it is then.

    `phones` are replaced as a whole. Raises NotFoundError; ConflictError for one that Salesforce has; InputError
    for a field that is none, or a value that cannot be taken.
    """
    card = await get_contact(conn, contact_id)
    if card is None:
        raise NotFoundError(f"there is no contact {contact_id}")
    if not card.editable:
        raise ConflictError(
            f"contact {card.id} comes from Salesforce ({card.salesforce_id or 'no id'}): change it there; the "
            "synchronisation brings the change here"
        )
    if unknown := sorted(set(changes) - {*_FIELDS}):
        raise InputError(f"a contact has no field {', '.join(unknown)}; there are {', '.join(_FIELDS)}")
    old = NewContact(**{name: getattr(card, name) for name in _FIELDS})
    new = _checked(_renamed(old, changes))
    before, after = asdict(old), asdict(new)
    different = [name for name in _FIELDS if before[name] != after[name]]
    if not different:
        return card
    if new.phones != old.phones or new.kind != old.kind:  # the kind decides what is a switchboard
        await _put_phones(conn, card.id, _read(new, region))
    await conn.execute(contacts.update().where(contacts.c.id == card.id).values(**await _columns(conn, new)))
    await note(
        conn,
        who=who,
        what="contact.change",
        before={"id": card.id} | {name: before[name] for name in different},
        after={"id": card.id} | {name: after[name] for name in different},
        now=now,
    )
    changed = await get_contact(conn, card.id)
    assert changed is not None
    return changed


def _renamed(old: NewContact, changes: Mapping[str, Any]) -> NewContact:
    """Return a contact after changes; a name that was first and last name goes on to be."""
    parts = {"first_name", "last_name"} & {*changes}
    if parts and "name" not in changes and old.name == _full(old):
        changes = {**changes, "name": ""}
    return replace(old, **changes)


def _full(contact: NewContact) -> str:
    return f"{contact.first_name} {contact.last_name}".strip()


def _checked(new: NewContact) -> NewContact:
    """Return what is to be stored: names without space around them, a name at all. Raises InputError."""
    if len(new.phones) > MOST_PHONES:
        raise InputError(f"phones: at most {MOST_PHONES} numbers")
    numbers = tuple((_text("phones", label), _text("phones", text)) for label, text in new.phones)
    checked = replace(
        new,
        name=_text("name", new.name),
        first_name=_text("first_name", new.first_name),
        last_name=_text("last_name", new.last_name),
        email=_text("email", new.email),
        account=_text("account", new.account),
        phones=tuple(dict.fromkeys(pair for pair in numbers if pair[1])),
    )
    checked = replace(checked, name=checked.name or _full(checked))
    if not checked.name:
        raise InputError("name: a contact needs one, or a first or last name")
    if checked.email and ("@" not in checked.email[1:-1] or any(map(str.isspace, checked.email))):
        raise InputError(f"email: {checked.email!r} is no e-mail address")
    return checked


def _text(name: str, text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST:
        raise InputError(f"{name}: at most {LONGEST} characters")
    if any("\ud800" <= char <= "\udfff" or char == "\0" for char in text):
        raise InputError(f"{name}: holds a character that no text has (half of a pair, or NUL)")
    return text


def _read(new: NewContact, region: str) -> Phones:
    """Return the numbers; raises InputError for a text that holds none, or a kind that is none."""
    prepared = prepare([ContactRow(kind=new.kind, phones=new.phones)], region)
    if prepared.unread:
        raise InputError(
            f"phones: {prepared.unread[0][2]!r} holds no number that can be dialled; write it as +49 30 1234567"
        )
    return prepared.phones[0]


async def _columns(conn: AsyncConnection, new: NewContact) -> dict[str, Any]:
    company = new.account or (new.name if new.kind == "Account" else "")  # a company belongs to itself
    parent = Parent("", "", company) if company else NOBODY
    account = (await put_parents(conn, "accounts", [parent])).ids.get(parent)
    texts = {name: getattr(new, name) for name in ("name", "first_name", "last_name", "kind", "email", "vip")}
    return texts | {"account_id": account}


async def _put_phones(conn: AsyncConnection, contact: int, numbers: Phones) -> None:
    for table in (phones, local_phones, switchboards):
        await conn.execute(table.delete().where(table.c.contact_id == contact))
    rows: dict[Any, list[dict[str, Any]]] = {
        phones: [
            {"contact_id": contact, "number": number, "label": label, "typed": typed}
            for number, (label, typed) in numbers.numbers.items()
        ],
        local_phones: [
            {
                "contact_id": contact,
                "digits": digits,
                "label": label,
                "typed": typed,
                "tail": int(digits[-6:]),
            }
            for digits, (label, typed) in numbers.local.items()
        ],
        switchboards: [
            {"contact_id": contact, "prefix": prefix, "main": main, "explicit": bool(explicit)}
            for prefix, (main, explicit) in numbers.switchboards.items()
        ],
    }
    for table, values in rows.items():
        if values:
            await conn.execute(table.insert(), values)
