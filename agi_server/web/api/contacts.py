"""Contacts: find, see, make, change, and erase on request of the person."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server import recordings
from agi_server.errors import NotFoundError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, Id, Line, Yes, json_answer, problems, show_time
from agi_server.web.api.calls import CallOut, list_of
from agi_server.web.etags import IfMatch, require
from agi_server.web.idempotency import IdempotencyKey, once, reply
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.erasure import erase
from storage.history import CallFilter
from storage.people import (
    MOST_PHONES,
    ContactCard,
    NewContact,
    change_contact,
    create_contact,
    get_contact,
    version,
)
from storage.replies import Reply
from storage.search import Found, search

router = APIRouter(prefix="/contacts", tags=["contacts"])

Reader = Annotated[Actor, Depends(Needs(Scope.READ))]
Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS))]
Kind = Literal["Contact", "Account", "Lead", "Opportunity"]
_Filled = Annotated[Line, StringConstraints(min_length=1)]


class Phone(Document):
    """A number as it is typed; `label` says which: Phone, MobilePhone, …"""

    label: Line = "Phone"
    text: _Filled


class ContactChanges(Document):
    """What is to be changed; what is left out stays. `phones` are replaced as a whole."""

    name: Line = Field("", description="Empty: first and last name.")
    first_name: Line = ""
    last_name: Line = ""
    kind: Kind = "Contact"
    email: Line = ""
    account: Line = Field("", description="The company.")
    phones: list[Phone] = Field(default_factory=list, max_length=MOST_PHONES)
    vip: Yes = False


class ContactIn(ContactChanges):
    """A contact to be made."""

    to_salesforce: Yes = Field(False, description="Make it in Salesforce, too.")


class PhoneOut(BaseModel):
    """A number as it was typed."""

    label: str
    text: str


class FoundOut(BaseModel):
    """A contact as lists have it."""

    id: int
    kind: str
    name: str
    account: str
    email: str
    owner: str
    vip: bool
    salesforce_id: str
    source: str
    phones: list[PhoneOut]


class CardOut(FoundOut):
    """All that is known of a contact."""

    first_name: str
    last_name: str
    owner_email: str
    owner_salesforce_id: str
    account_salesforce_id: str
    numbers: list[str]
    database: str
    key: str
    blacklisted: bool
    editable: bool
    waiting: bool
    active_at: str | None
    created_at: str | None


class ErasedOut(BaseModel):
    """How many rows went, or lost what they said about the person."""

    contacts: int
    calls: int
    audit: int
    outbox: int
    rules: int
    chats: int
    dials: int
    recordings: int


@router.get("", response_model=Listed[FoundOut], responses=problems())
async def find(
    services: Use,
    _: Reader,
    page: Paging,
    q: Annotated[
        str, Query(max_length=200, description="Words in any order, a number or its end, an e-mail, an id.")
    ] = "",
) -> Response:
    """Find contacts; without a text, everybody."""
    region = services.directory.policy().default.region
    rows, after = await services.database.read(
        lambda conn: search(conn, q, limit=page.limit, after=page.after, region=region)
    )
    return json_answer({"items": [_shown(row) for row in rows], "next": after or None})


@router.post("", status_code=201, response_model=CardOut, responses=problems())
async def create(
    request: Request, services: Use, actor: Keeper, given: ContactIn, key: IdempotencyKey = None
) -> Response:
    """Make a contact."""
    new = NewContact(**_fields(given))
    region = services.directory.policy().default.region

    async def job(conn: AsyncConnection) -> Reply:
        contact_id = await create_contact(
            conn,
            new,
            region=region,
            who=actor.who,
            now=int(services.clock()),
            to_salesforce=given.to_salesforce,
        )
        card = await _card(conn, contact_id)
        return reply(_card_shown(card), location=f"/api/v1/contacts/{card.id}", etag=_tag(card))

    return await once(request, services, actor, key, job)


@router.get("/{contact_id:int}", response_model=CardOut, responses=problems(404))
async def show(services: Use, _: Reader, contact_id: Id) -> Response:
    """Return a contact; the id of one that became another's names that one."""
    card = await services.database.read(lambda conn: _card(conn, contact_id))
    return json_answer(_card_shown(card), headers={"ETag": _tag(card)})


@router.patch("/{contact_id:int}", response_model=CardOut, responses=problems(404, 409, 412))
async def change(
    services: Use, actor: Keeper, contact_id: Id, given: ContactChanges, if_match: IfMatch = None
) -> Response:
    """Change a contact; 409 for one that Salesforce has: change it there."""
    region = services.directory.policy().default.region

    async def job(conn: AsyncConnection) -> ContactCard:
        require(if_match, _tag(await _card(conn, contact_id)))
        return await change_contact(
            conn,
            contact_id,
            _fields(given, whole=False),
            region=region,
            who=actor.who,
            now=int(services.clock()),
        )

    card = await services.database.write(job)
    return json_answer(_card_shown(card), headers={"ETag": _tag(card)})


@router.delete("/{contact_id:int}", response_model=ErasedOut, responses=problems(404, 409, 412))
async def remove(services: Use, actor: Keeper, contact_id: Id, if_match: IfMatch = None) -> Response:
    """Erase a person on request, everywhere: calls and audit log, too. Says in how many rows there was something.

    409 for a contact that Salesforce has: delete it there first.
    """
    if if_match is not None:
        require(if_match, _tag(await services.database.read(lambda conn: _card(conn, contact_id))))
    erased = await erase(
        services.database,
        contact_id,
        who=actor.who,
        now=int(services.clock()),
        delete=partial(recordings.erase, settings=services.settings),
    )
    return json_answer(erased._asdict())


@router.get("/{contact_id:int}/calls", response_model=Listed[CallOut], responses=problems(404))
async def list_calls(services: Use, _: Reader, contact_id: Id, page: Paging) -> Response:
    """List a contact's calls, the newest first."""
    card = await services.database.read(lambda conn: _card(conn, contact_id))
    return json_answer(await list_of(services, CallFilter(contact_id=card.id), page))


async def _card(conn: AsyncConnection, contact_id: int) -> ContactCard:
    card = await get_contact(conn, contact_id)
    if card is None:
        raise NotFoundError(f"there is no contact {contact_id}, or no longer")
    return card


def _tag(card: ContactCard) -> str:
    return f'"{version(card)}"'


def _fields(given: ContactChanges, *, whole: bool = True) -> dict[str, Any]:
    """Return fields of NewContact: all of them, or those that were sent."""
    fields = given.model_dump(exclude_unset=not whole, exclude={"phones", "to_salesforce"})
    if whole or "phones" in given.model_fields_set:
        fields["phones"] = tuple((phone.label, phone.text) for phone in given.phones)
    return fields


def _shown(row: Found | ContactCard) -> dict[str, Any]:
    """Return a contact as FoundOut has it."""
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "account": row.account,
        "email": row.email,
        "owner": row.owner,
        "vip": row.vip,
        "salesforce_id": row.salesforce_id,
        "source": row.source,
        "phones": [{"label": label, "text": text} for label, text in row.phones],
    }


def _card_shown(card: ContactCard) -> dict[str, Any]:
    """Return a contact as CardOut has it."""
    return _shown(card) | {
        "first_name": card.first_name,
        "last_name": card.last_name,
        "owner_email": card.owner_email,
        "owner_salesforce_id": card.owner_salesforce_id,
        "account_salesforce_id": card.account_salesforce_id,
        "numbers": list(card.numbers),
        "database": card.database,
        "key": card.key,
        "blacklisted": card.blacklisted,
        "editable": card.editable,
        "waiting": card.waiting,
        "active_at": show_time(card.active_at),
        "created_at": show_time(card.created_at),
    }
