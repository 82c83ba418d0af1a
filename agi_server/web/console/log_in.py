"""Logging in and out; choosing a password by a one-time link; changing one's own.

Invariants: every log-in gets a session of its own making, and the one the browser had before is closed; what is said
of a failed one, and how long that takes, does not depend on whether there is such a user; passwords and links are in
no log.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Depends, Request, Response

from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.web.access import (
    ANYONE,
    Actor,
    Needs,
    change,
    check_transport,
    drop_session,
    keep_session,
    session_secret,
)
from agi_server.web.console.entry import texts
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import local_path, page, redirect
from agi_server.web.services import Services, Use
from storage.invitations import Invitation, accept, find_invitation
from storage.names import MOST
from storage.sessions import close_session, open_session
from storage.users import (
    LEAST_LENGTH,
    MOST_LENGTH,
    Hashed,
    find_log_in,
    hash_password,
    is_password,
    set_password,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

log = structlog.get_logger()

router = APIRouter()
Visitor = Annotated[Actor | None, Depends(ANYONE)]
User = Annotated[Actor, Depends(Needs(None, page=True))]


@router.get("/log-in")
async def show_log_in(request: Request, actor: Visitor) -> Response:
    """Ask for name and password; who is logged in already goes on."""
    after = local_path(request.query_params.get("next", "/"))
    if actor is not None:
        return redirect(request, after)
    check_transport(request)
    return page(request, None, "log_in.html", name="", next=after, mistake="")


@router.post("/log-in")
async def log_in(request: Request, use: Use, _actor: Visitor) -> Response:
    """Open a session, or show the form again."""
    check_transport(request)
    form = await _form(request)
    name, after = form.get("name", "").strip(), local_path(form.get("next", "/"))
    pause, user_id = await _try(request, use, name, form.get("password", ""))
    if user_id is not None:
        response = redirect(request, after)
        keep_session(request, response, await _open(request, use, user_id))
        return response
    status, mistake = _refusal(gettext_of(request), pause)
    response = page(request, None, "log_in.html", status=status, name=name, next=after, mistake=mistake)
    if pause:
        response.headers["Retry-After"] = str(ceil(pause))
    return response


@router.post("/log-out")
async def log_out(request: Request, use: Use, actor: User) -> Response:
    """Close the session, here and in the browser."""
    secret = session_secret(request)
    await change(use, lambda conn: close_session(conn, secret))
    log.info("logged out", user=actor.user)
    response = redirect(request, "/log-in")
    drop_session(request, response)
    return response


@router.get("/welcome/{secret}")
async def show_welcome(request: Request, use: Use, _actor: Visitor, secret: str) -> Response:
    """Ask who follows an invitation for a password, and for a name where that is open."""
    check_transport(request)
    return _choice(request, await _invitation(request, use, secret))


@router.post("/welcome/{secret}")
async def welcome(request: Request, use: Use, _actor: Visitor, secret: str) -> Response:
    """Use an invitation up, and log in."""
    check_transport(request)
    invitation = await _invitation(request, use, secret)
    form = await _form(request)
    name, mistakes = form.get("name", ""), {}
    try:
        hashed = await _chosen(request, form)
        user_id = await change(use, lambda conn: accept(conn, secret, name, hashed, int(use.clock())))
    except _Mistake as mistake:
        mistakes = mistake.fields
    except (InputError, ConflictError) as error:
        mistakes = {"name": str(error)}
    else:
        log.info(
            "a password was chosen by invitation", user=invitation.name or name, address=_address(request)
        )
        response = redirect(request, "/")
        keep_session(request, response, await _open(request, use, user_id))
        return response
    return _choice(request, invitation, name, mistakes)


@router.get("/password")
async def show_password(request: Request, actor: User) -> Response:
    """Ask for the old password and a new one."""
    return _change(request, actor, {})


@router.post("/password")
async def change_password(request: Request, use: Use, actor: User) -> Response:
    """Change one's own password; other browsers are logged out."""
    form = await _form(request)
    _ = gettext_of(request)
    try:
        hashed = await _chosen(request, form)
    except _Mistake as mistake:
        return _change(request, actor, mistake.fields)
    pause, user_id = await _try(request, use, actor.user, form.get("current", ""))
    if user_id is None:
        status, text = _refusal(_, pause)
        return _change(
            request, actor, {"current": text if pause else _("This is not your password.")}, status
        )
    now = int(use.clock())
    await change(use, lambda conn: set_password(conn, actor.user, hashed, who=actor.who, now=now))
    response = redirect(request, "/", notice=_("Your password was changed."))
    keep_session(request, response, await _open(request, use, user_id))
    return response


class _Mistake(Exception):  # noqa: N818  # of the person's
    """What is wrong with a password that was chosen, by field."""

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self.fields = fields


async def _try(request: Request, use: Services, name: str, password: str) -> tuple[float, int | None]:
    """Return how many seconds there is no try for (0: it was tried), and whose name and password these are."""
    address, shown = _address(request), name[:MOST]
    pause = use.log_ins.take(name, address, use.clock())
    if pause:
        use.counts.log_ins.labels("throttled").inc()
        log.warning("log-in refused for a while", user=shown, address=address, seconds=ceil(pause))
        return pause, None
    found = await use.database.read(lambda conn: find_log_in(conn, name))
    if not await is_password(found, password[: MOST_LENGTH + 1]) or found is None:
        use.counts.log_ins.labels("refused").inc()
        log.warning("log-in refused", user=shown, address=address)
        return 0.0, None
    use.log_ins.succeeded(name, address)
    use.counts.log_ins.labels("ok").inc()
    log.info("logged in", user=shown, address=address)
    return 0.0, found.user.id


def _refusal(_: Callable[[str], str], pause: float) -> tuple[HTTPStatus, str]:
    """Return the status and the text of a log-in that failed."""
    if pause:
        text = _("Too many tries. Wait %(seconds)s seconds, then try again.") % {"seconds": ceil(pause)}
        return HTTPStatus.TOO_MANY_REQUESTS, text
    return HTTPStatus.UNPROCESSABLE_ENTITY, _("Name and password do not fit together.")


async def _open(request: Request, use: Services, user_id: int) -> str:
    """Open a session in place of the one the browser has; return its secret."""
    old, agent = session_secret(request), request.headers.get("user-agent", "")

    async def job(conn: AsyncConnection) -> str:
        await close_session(conn, old)
        secret, _csrf = await open_session(conn, user_id, agent=agent, now=int(use.clock()))
        return secret

    return await change(use, job)


async def _invitation(request: Request, use: Services, secret: str) -> Invitation:
    found = await use.database.read(lambda conn: find_invitation(conn, secret, int(use.clock())))
    if found is None:
        _ = gettext_of(request)
        raise NotFoundError(_("This link was used, has expired or was never given. Ask for a new one."))
    return found


async def _chosen(request: Request, form: dict[str, str]) -> Hashed:
    """Return what to keep of a password that was chosen. Raises _Mistake."""
    password, _ = form.get("password", ""), gettext_of(request)
    if len(password) < LEAST_LENGTH:
        raise _Mistake(password=_("A password needs %(least)s characters or more.") % {"least": LEAST_LENGTH})
    if len(password) > MOST_LENGTH:
        raise _Mistake(password=_("A password has %(most)s characters at most.") % {"most": MOST_LENGTH})
    if password != form.get("again", ""):
        raise _Mistake(again=_("This is not the same password."))
    return await hash_password(password)


def _choice(
    request: Request, invitation: Invitation, name: str = "", mistakes: dict[str, str] | None = None
) -> Response:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if mistakes else HTTPStatus.OK
    values = {"invitation": invitation, "name": name, "least": LEAST_LENGTH, "mistakes": mistakes or {}}
    return page(request, None, "choose_password.html", status=status, **values)


def _change(
    request: Request,
    actor: Actor,
    mistakes: dict[str, str],
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> Response:
    status = status if mistakes else HTTPStatus.OK
    return page(request, actor, "password.html", status=status, least=LEAST_LENGTH, mistakes=mistakes)


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return texts(form)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
