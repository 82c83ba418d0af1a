"""The history of calls: what was decided and why, who it was, and what to do about the caller."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Contact, Rule, RuleKind
from agi_server.calls.screening import check_rule
from agi_server.errors import ConflictError, DirectoryError, InputError, NotFoundError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.entry import LARGEST_ID, Entry, entry_of, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.terms import TERMS, term
from agi_server.web.services import Services, Use
from storage.agents import list_agents
from storage.blacklist import add_rule
from storage.history import CallFilter, CallRow, assign, calls, get_call
from storage.people import NewContact, create_contact, get_contact
from storage.search import Found, search

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]

PAGE = 50  # calls
EARLIER = 10  # calls of the same number
PEOPLE = 20  # contacts found
LONGEST = 200  # characters of what is looked for


@router.get("/calls")
async def show_calls(request: Request, actor: Reader, use: Use) -> Response:
    """Show the calls that are as asked, the newest first."""
    asked = Entry(dict(request.query_params))
    wanted = read_filter(asked, use.settings.routing.timezone)

    async def job(conn: AsyncConnection) -> tuple[list[CallRow], str, dict[str, str]]:
        found, after = await calls(conn, wanted, limit=PAGE, after=asked["cursor"])
        return found, after, await agent_names(conn)

    try:
        found, after, names = await use.database.read(job)
    except InputError:  # a cursor that is none of ours
        return redirect(request, "/calls")
    _ = gettext_of(request)
    return page(
        request,
        actor,
        "calls.html",
        status=422 if asked.mistakes else 200,
        calls=found,
        next=after,
        asked=asked,
        names=names,
        agents=[("", _("all")), *names.items()],
        reasons=[("", _("all")), *((reason, term(_, reason, "reason")) for reason in TERMS["reason"])],
    )


def read_filter(asked: Entry, timezone: str) -> CallFilter:
    """Return what is wanted; mistakes are then in `asked`. Days begin and end in the time zone."""
    zone = ZoneInfo(timezone)

    def day(text: str) -> date | None:
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            raise InputError(f"{text!r} is no date: write e.g. 2026-11-21") from None

    def moment(day: date | None, at: time) -> int:
        return 0 if day is None else int(datetime.combine(day, at, zone).timestamp())

    return CallFilter(
        text=asked["text"][:LONGEST],
        verdict=asked["verdict"] if asked["verdict"] in TERMS["verdict"] else "",
        direction=asked["direction"] if asked["direction"] in TERMS["direction"] else "",
        did=asked["did"][:LONGEST],
        agent=asked["agent"][:LONGEST],
        reason=asked["reason"][:LONGEST],
        since=moment(asked.read("from", day, None), time.min),
        until=moment(asked.read("to", day, None), time.max),
    )


@router.get("/calls/{call_id}")
async def show_call(request: Request, actor: Reader, use: Use, call_id: str) -> Response:
    """Show everything that is known of one call; `?person=` looks for who it was."""
    return await _call_page(request, actor, use, call_id)


@router.post("/calls/{call_id}/block")
async def block_caller(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))],
    use: Use,
    call_id: str,
) -> Response:
    """Put the caller's number on the blacklist."""
    _ = gettext_of(request)
    entry = await entry_of(request)
    now = int(use.clock())

    async def job(conn: AsyncConnection) -> CallRow:
        call = await _known(conn, call_id)
        pattern = pattern_of(call)
        if not pattern:
            raise ConflictError(
                "this caller sent no number that can be blocked; a rule for withheld numbers can"
            )
        rule = Rule(
            id=0,
            kind=RuleKind.EXACT,
            pattern=pattern,
            treatment=use.directory.policy().default_treatment,
            reason=entry["reason"][:LONGEST],
        )
        await add_rule(conn, rule, who=actor.who, now=now)
        return call

    call = await use.database.write(job)
    back = "/" if entry["back"] == "/" else f"/calls/{quote(call_id)}"
    return redirect(
        request, back, notice=_("%(number)s is blocked from now on.") % {"number": pattern_of(call)}
    )


@router.post("/calls/{call_id}/contact")
async def say_who(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.CONTACTS, page=True))],
    use: Use,
    call_id: str,
) -> Response:
    """Note whose call it was: a contact's that is known (`contact`), or a new one's (`name`, `company`, `email`)."""
    _ = gettext_of(request)
    entry = await entry_of(request)
    now = int(use.clock())

    async def job(conn: AsyncConnection) -> None:
        call = await _known(conn, call_id)
        contact = entry.read("contact", whole_number(0, LARGEST_ID), 0)
        if not contact:
            contact = await _create(conn, call, entry, actor, use)
        await assign(conn, call_id, contact, who=actor.who, now=now)

    try:
        await use.database.write(job)
    except (InputError, ConflictError) as error:
        return await _call_page(request, actor, use, call_id, entry=entry, mistake=str(error))
    notice = _("It is noted who it was.")
    if use.settings.salesforce.enabled and use.settings.tasks.enabled:
        notice = _("It is noted who it was; the call's Task in Salesforce follows.")
    return redirect(request, f"/calls/{quote(call_id)}", notice=notice)


def pattern_of(call: CallRow) -> str:
    """Return the pattern of a rule for this caller, as exact rules have it; '' for whom none can be made."""
    if call.direction != "inbound" or call.rung == "anonymous":
        return ""
    if call.number:
        return f"+{call.number}"
    try:
        return check_rule(RuleKind.EXACT, call.number_text)
    except InputError:
        return ""


async def _call_page(
    request: Request,
    actor: Actor,
    use: Services,
    call_id: str,
    *,
    entry: Entry | None = None,
    mistake: str = "",
) -> Response:
    """Return the page of a call; `entry` and `mistake` are what was typed for a new contact, and what is wrong."""
    person = Entry(dict(request.query_params))["person"][:LONGEST]

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        call = await _known(conn, call_id)
        number = pattern_of(call) or (f"+{call.number}" if call.number else "")
        earlier: list[CallRow] = []
        if number:
            earlier, _ = await calls(conn, CallFilter(text=number), limit=EARLIER + 1, after="")
        found: list[Found] = []
        contact = await get_contact(conn, call.contact_id) if call.contact_id else None
        if person and Scope.CONTACTS in actor.scopes:
            region = use.directory.policy().default.region
            found, _ = await search(conn, person, limit=PEOPLE, region=region)
        return {
            "call": call,
            "contact": contact,
            "candidates": _candidates(use, call, contact.id if contact is not None else 0),
            "can_block": bool(pattern_of(call)),
            "earlier": [each for each in earlier if each.id != call.id][:EARLIER],
            "found": found,
            "names": await agent_names(conn),
        }

    values = await use.database.read(job)
    return page(
        request,
        actor,
        "call.html",
        status=422 if mistake else 200,
        person=person,
        typed=entry or Entry({}),
        mistake=mistake,
        task_url=use.events.desk.task_url(values["call"].task_id),
        can_hear=use.settings.recordings.directory is not None,
        **values,
    )


def _candidates(use: Services, call: CallRow, known: int) -> list[Contact]:
    """Return who else has the number of a call."""
    if not call.number:
        return []
    try:
        found = use.directory.contacts_by_number(call.number)
    except DirectoryError:
        return []
    return [contact for contact in found if contact.id != known]


async def _known(conn: AsyncConnection, call_id: str) -> CallRow:
    call = await get_call(conn, call_id)
    if call is None:
        raise NotFoundError(
            "there is no such call; calls are forgotten after a time (journal.retention_days)"
        )
    return call


async def agent_names(conn: AsyncConnection) -> dict[str, str]:
    """Return the agents by extension, as lists show them."""
    return {agent.extension: f"{agent.name} ({agent.extension})" for agent in await list_agents(conn)}


async def _create(conn: AsyncConnection, call: CallRow, entry: Entry, actor: Actor, use: Services) -> int:
    """Make a contact of what was typed, with the number of the call."""
    number = pattern_of(call)
    new = NewContact(
        name=entry["name"],
        account=entry["company"],
        email=entry["email"],
        phones=(("Phone", number),) if number else (),
    )
    return await create_contact(
        conn,
        new,
        region=use.directory.policy().default.region,
        who=actor.who,
        now=int(use.clock()),
        to_salesforce=use.settings.salesforce.enabled,
    )
