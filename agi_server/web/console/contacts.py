"""Pages of contacts: find, see, make, change, block and erase them.

Invariant: what comes from Salesforce is changed there; what is erased is erased everywhere, after a page that said so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

from agi_server.blocking import pattern_of, rule_against
from agi_server.calls.directory import RuleKind
from agi_server.calls.numbers import read_field
from agi_server.errors import InputError, NotFoundError
from agi_server.settings import Settings
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id
from agi_server.web.console import erasing
from agi_server.web.console.entry import Entry, entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.versions import version_of
from agi_server.web.services import Services, Use
from storage.blacklist import add_rule, remove_rule
from storage.contact_rows import KINDS
from storage.history import CallFilter, CallRow, calls
from storage.people import (
    MOST_PHONES,
    ContactCard,
    NewContact,
    change_contact,
    create_contact,
    get_contact,
)
from storage.search import Found, search

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()
router.include_router(erasing.router)
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS, page=True))]
Blocker = Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))]

PAGE = 50  # contacts
CALLS = 20  # of one contact
LONGEST = 200  # characters of what is looked for
LABELS = ("Phone", "MobilePhone", "HomePhone", "OtherPhone")
_TEXTS = ("name", "first_name", "last_name", "email", "account")
_SPARE = 2  # empty lines for more numbers


class Line(NamedTuple):
    """A number of a contact: what it is, as typed, as calls have it ('': none), and whether a rule blocks it."""

    label: str
    text: str
    number: str
    blocked: bool


@router.get("/contacts")
async def show_contacts(request: Request, use: Use, actor: Reader) -> Response:
    """Show who fits what was typed: words in any order, a number or its end, an e-mail."""
    asked = Entry(dict(request.query_params))
    text = asked["text"][:LONGEST]
    region = use.directory.policy().default.region

    async def job(connection: AsyncConnection) -> tuple[list[Found], str]:
        return await search(connection, text, limit=PAGE, after=asked["cursor"], region=region)

    try:
        found, after = await use.database.read(job) if text else ([], "")
    except InputError:  # a cursor that is none of ours
        return redirect(request, "/contacts")
    return page(
        request,
        actor,
        "contacts.html",
        text=text,
        found=[(each, _lines(each.phones, (), use)) for each in found],
        after=after,
        number=_as_number(text, region),
    )


@router.get("/contacts/new")
async def new_contact(request: Request, use: Use, actor: Keeper) -> Response:
    """Show an empty form, or one that a call has begun to fill in."""
    asked = Entry(dict(request.query_params))
    started = {"kind": "Contact", "name": asked["name"], "label0": LABELS[0], "phone0": asked["number"]}
    return _form(request, use, actor, Entry(started))


@router.post("/contacts/new")
async def make(request: Request, use: Use, actor: Keeper) -> Response:
    """Make a contact."""
    entry = await entry_of(request)
    new = _read(entry)
    region = use.directory.policy().default.region

    async def job(connection: AsyncConnection) -> int:
        return await create_contact(
            connection,
            new,
            region=region,
            who=actor.who,
            now=int(use.clock()),
            to_salesforce=entry["to_salesforce"] == "on" and use.settings.salesforce.enabled,
        )

    if not entry.mistakes:
        try:
            contact_id = await use.database.write(job)
        except InputError as error:
            _note(entry, error)
        else:
            _ = gettext_of(request)
            return redirect(request, f"/contacts/{contact_id}", notice=_("The contact was made."))
    return _form(request, use, actor, entry)


@router.get("/contacts/{contact_id:int}")
async def show_contact(request: Request, use: Use, actor: Reader, contact_id: Id) -> Response:
    """Show all that is known of a contact, and the calls."""

    async def job(connection: AsyncConnection) -> tuple[ContactCard, list[CallRow], str]:
        card = await _known(connection, contact_id)
        last, more = await calls(connection, CallFilter(contact_id=card.id), limit=CALLS)
        return card, last, more

    card, last, more = await use.database.read(job)
    return page(
        request,
        actor,
        "contact.html",
        card=card,
        lines=_lines(card.phones, card.numbers, use),
        calls=last,
        more=more,
        link=salesforce_link(use.settings, card.salesforce_id),
        now=use.clock(),
    )


@router.get("/contacts/{contact_id:int}/edit")
async def edit(request: Request, use: Use, actor: Keeper, contact_id: Id) -> Response:
    """Show the form of a contact that is ours."""
    card = await use.database.read(lambda connection: _known(connection, contact_id))
    if not card.editable:
        return redirect(request, f"/contacts/{card.id}")
    return _form(request, use, actor, _entry(card), card, version=_version(card))


@router.post("/contacts/{contact_id:int}/edit")
async def change(request: Request, use: Use, actor: Keeper, contact_id: Id) -> Response:
    """Change a contact, unless somebody else did in the meantime."""
    entry = await entry_of(request)
    new = _read(entry)
    version = entry["version"]
    region = use.directory.policy().default.region

    async def job(connection: AsyncConnection) -> tuple[ContactCard, bool]:
        there = await _known(connection, contact_id)
        if _version(there) != version:
            return there, False
        changes = _fields(new)
        return await change_contact(
            connection, there.id, changes, region=region, who=actor.who, now=int(use.clock())
        ), True

    if not entry.mistakes:
        try:
            card, done = await use.database.write(job)
        except InputError as error:
            _note(entry, error)
        else:
            if not done:
                return _form(request, use, actor, entry, card, version=_version(card), theirs=_entry(card))
            _ = gettext_of(request)
            return redirect(request, f"/contacts/{card.id}", notice=_("The contact was saved."))
    card = await use.database.read(lambda connection: _known(connection, contact_id))
    return _form(request, use, actor, entry, card, version=version)


@router.post("/contacts/{contact_id:int}/block")
async def block(request: Request, use: Use, actor: Blocker, contact_id: Id) -> Response:
    """Block the numbers that were chosen, or let them in again."""
    form = await request.form()
    chosen = [number for number in form.getlist("number") if isinstance(number, str)]
    policy, now = use.directory.policy(), int(use.clock())

    async def job(connection: AsyncConnection) -> int:
        card = await _known(connection, contact_id)
        numbers = [number for number in card.numbers if number in chosen]
        for number in numbers:
            if form.get("do") == "unblock":
                await remove_rule(
                    connection,
                    kind=RuleKind.EXACT,
                    pattern=number,
                    did="",
                    allow=False,
                    who=actor.who,
                    now=now,
                )
            else:
                await add_rule(connection, rule_against(number, policy, reason=""), who=actor.who, now=now)
        return len(numbers)

    count = await use.database.write(job)
    _ = gettext_of(request)
    text = (
        _("Numbers let in again: %(count)s")
        if form.get("do") == "unblock"
        else _("Numbers blocked: %(count)s")
    )
    return redirect(request, f"/contacts/{contact_id}", notice=text % {"count": count})


def _form(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    card: ContactCard | None = None,
    *,
    version: str = "",
    theirs: Entry | None = None,
) -> Response:
    """Return the form; `theirs` is what somebody else has saved in the meantime."""
    used = [place for place in range(MOST_PHONES) if entry[f"phone{place}"]]
    return page(
        request,
        actor,
        "contact_edit.html",
        status=409 if theirs is not None else 422 if entry.mistakes else 200,
        entry=entry,
        card=card,
        seen=version,
        theirs=theirs,
        places=range(min(MOST_PHONES, max(used, default=-1) + 1 + _SPARE)),
        most=MOST_PHONES,
        labels_of=lambda label: LABELS if label in {*LABELS, ""} else (*LABELS, label),
        kinds=KINDS,
        salesforce=use.settings.salesforce.enabled,
    )


def _read(entry: Entry) -> NewContact:
    """Return the contact of a form."""
    texts = {
        name: entry.read(name, str, "") for name in ("name", "first_name", "last_name", "email", "account")
    }
    phones = [(entry[f"label{place}"] or LABELS[0], entry[f"phone{place}"]) for place in range(MOST_PHONES)]
    return NewContact(
        **texts,
        kind=entry.read("kind", _kind, "Contact"),
        phones=tuple((label, text) for label, text in phones if text),
        vip=entry["vip"] == "on",
    )


def _entry(card: ContactCard) -> Entry:
    """Return the form that shows a contact."""
    values = {
        name: str(getattr(card, name))
        for name in ("name", "first_name", "last_name", "email", "account", "kind")
    }
    values["vip"] = "on" if card.vip else ""
    for place, (label, text) in enumerate(card.phones[:MOST_PHONES]):
        values |= {f"label{place}": label, f"phone{place}": text}
    return Entry(values)


def _kind(text: str) -> str:
    if text not in KINDS:
        raise InputError(f"there is no kind {text!r}; choose one of {', '.join(KINDS)}")
    return text


def _note(entry: Entry, error: InputError) -> None:
    """Put a refusal of the storage at the field that it names."""
    field, colon, text = str(error).partition(": ")
    known = colon and field in {*_TEXTS, "phones"}
    entry.mistakes[field if known else ""] = text if known else str(error)


def _fields(contact: NewContact) -> dict[str, Any]:
    """Return what people may say of a contact."""
    return {field.name: getattr(contact, field.name) for field in fields(NewContact)}


def _version(card: ContactCard) -> str:
    """Return the version of what people may change; calls change the rest of a card."""
    return version_of(NewContact(**_fields(card)))


async def _known(connection: AsyncConnection, contact_id: int) -> ContactCard:
    card = await get_contact(connection, contact_id)
    if card is None:
        raise NotFoundError("this contact is not there, or no longer")
    return card


def _lines(phones: Iterable[tuple[str, str]], numbers: Iterable[str], use: Services) -> list[Line]:
    """Return the numbers of a contact one by one; `numbers` may hold some that its texts do not tell any more."""
    region = use.directory.policy().default.region
    found: dict[str, Line] = {}
    for label, text in phones:
        for read in read_field(text, region):
            number = f"+{read.e164}" if read.e164 else read.digits
            found.setdefault(number, Line(label, text, number, _is_blocked(number, use)))
    for number in numbers:
        found.setdefault(number, Line("", number, number, _is_blocked(number, use)))
    return list(found.values())


def _is_blocked(number: str, use: Services) -> bool:
    """Return whether a rule for just this number, on any DID, blocks it now."""
    return any(
        not rule.allow and not rule.did and not 0 < rule.expires_at <= use.clock()
        for rule in use.directory.exact_rules(number)
    )


def _as_number(text: str, region: str) -> str:
    """Return the text as a number, '' where it is none."""
    try:
        return pattern_of(text, region) if text else ""
    except InputError:
        return ""


def salesforce_link(settings: Settings, record: str) -> str:
    """Return where a record is to be seen, '' where that is not known: only a My Domain says which org it is."""
    parts = urlsplit(settings.salesforce.login_url)
    ours = (parts.hostname or "").endswith(".my.salesforce.com")
    return f"https://{parts.hostname}/{record}" if ours and record.isalnum() else ""
