"""The page of users and tokens: who may log in, other programs' ways in, and links to choose a password.

Invariant: a token's secret and a link are shown once, on the answer to the form that made them, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.web.access import Actor, Needs, Scope, change
from agi_server.web.console.days import begin_of
from agi_server.web.console.entry import LARGEST_ID, Entry, texts, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.links import welcome_link
from agi_server.web.services import Services, Use
from storage.invitations import invite, invite_again
from storage.tokens import add_token, list_tokens, remove_token
from storage.users import list_users, remove_user, set_disabled, set_extension, set_role

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]


@router.get("/users")
async def show_users(request: Request, use: Use, actor: Admin) -> Response:
    """Show users and tokens."""
    return await _show(request, use, actor, Entry({}))


@router.post("/users")
async def act(request: Request, use: Use, actor: Admin) -> Response:
    """Do what one of the page's forms says."""
    form = await request.form()
    entry = Entry(texts(form))
    scopes = [scope for scope in form.getlist("scope") if scope in set(Scope)]
    try:
        match entry["do"]:
            case "invite" | "link":
                return await _link(request, use, actor, entry)
            case "token":
                return await _token(request, use, actor, entry, [str(scope) for scope in scopes])
            case _:
                await change(use, lambda c: _change(c, entry, actor, int(use.clock())))
    except (InputError, ConflictError, NotFoundError) as error:
        entry.mistakes[entry["do"]] = str(error)
        return await _show(request, use, actor, entry)
    _ = gettext_of(request)
    return redirect(request, "/users", notice=_("Saved."))


async def _change(connection: AsyncConnection, entry: Entry, actor: Actor, now: int) -> None:
    name, who = entry["name"], actor.who
    match entry["do"]:
        case "role":
            await set_role(connection, name, entry["role"], who=who, now=now)
        case "extension":
            await set_extension(connection, name, entry["extension"], who=who, now=now)
        case "disable" | "enable":
            disabled = entry["do"] == "disable"
            await set_disabled(connection, name, disabled=disabled, who=who, now=now)
        case "remove":
            await remove_user(connection, name, who=who, now=now)
        case "remove_token":
            number = entry.read("token", whole_number(0, LARGEST_ID), 0)
            await remove_token(connection, number, who, now)


async def _link(request: Request, use: Services, actor: Actor, entry: Entry) -> Response:
    """Make a link by which somebody chooses a password, and show it."""
    now, name = int(use.clock()), entry["name"]

    async def job(connection: AsyncConnection) -> str:
        if entry["do"] == "link":
            return await invite_again(connection, name=name, who=actor.who, now=now)
        return await invite(connection, name=name, role=entry["role"], who=actor.who, now=now)

    secret = await change(use, job)
    address = welcome_link(str(request.base_url), secret)
    return await _show(request, use, actor, Entry({}), link=address, link_for=name)


async def _token(request: Request, use: Services, actor: Actor, entry: Entry, scopes: list[str]) -> Response:
    """Add a token, and show its secret."""
    _ = gettext_of(request)
    if not scopes:
        raise InputError(_("Choose what the token may do."))
    zone = ZoneInfo(use.settings.routing.timezone)
    expires_at = _end_of_day(entry["expires"], zone, _("This is no day in the future."), use.clock())

    async def job(connection: AsyncConnection) -> tuple[int, str]:
        return await add_token(
            connection,
            name=entry["name"],
            scopes=scopes,
            expires_at=expires_at,
            who=actor.who,
            now=int(use.clock()),
        )

    _id, secret = await change(use, job)
    return await _show(request, use, actor, Entry({}), secret=secret, link_for=entry["name"])


def _end_of_day(text: str, zone: ZoneInfo, mistake: str, now: float) -> int:
    """Return the end of the day (`YYYY-MM-DD`) in seconds; 0 for none given. Raises InputError."""
    if not text:
        return 0
    at = begin_of(text, zone, days=1)
    if at is None or at <= now:
        raise InputError(mistake)
    return at


async def _show(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    *,
    link: str = "",
    secret: str = "",
    link_for: str = "",
) -> Response:
    return page(
        request,
        actor,
        "users.html",
        status=422 if entry.mistakes else 200,
        entry=entry,
        users=await use.database.read(list_users),
        tokens=await use.database.read(list_tokens),
        scopes=list(Scope),
        now=int(use.clock()),
        link=link,
        secret=secret,
        link_for=link_for,
    )
