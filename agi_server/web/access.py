"""Who asks, and may they?

Invariant: every route names who may use it, by one `Needs` among its dependencies, or by `ANYONE`
(tests/web/test_authorisation.py fails for a route without); a change that a browser sends with its session's cookie
needs the session's CSRF token, too.

Programs send a token: `Authorization: Bearer ost_…`, or HTTP Basic with the token as the password, which is all that
the look-ups of FreePBX and FreeSWITCH can do. Browsers send the session's cookie. Pages are for browsers: no token
opens them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import AccessError, DirectoryError, OstiaryError
from agi_server.web.services import Services, services_of
from storage.sessions import Session, find_session, seen
from storage.tokens import HOUR, Token, find_token, hash_of, used

T = TypeVar("T")

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SEEN_SECONDS = 60  # between two notes that a session is in use
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Scope(StrEnum):
    """What a token may be good for, and what roles are made of."""

    READ = "read"  # see everything but secrets, users, tokens and the audit log
    DECIDE = "decide"  # ask for decisions, tell how calls went
    BLACKLIST = "blacklist"  # change rules
    CONTACTS = "contacts"  # change and erase contacts, say whose a call was
    DIAL = "dial"  # have agents' phones call somebody
    PHONEBOOK = "phonebook"  # fetch directories
    ADMIN = "admin"  # everything else


ROLES: Mapping[str, frozenset[Scope]] = {
    "viewer": frozenset({Scope.READ}),
    "operator": frozenset({Scope.READ, Scope.DECIDE, Scope.BLACKLIST, Scope.CONTACTS, Scope.DIAL}),
    "admin": frozenset(Scope),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: `who` as in the audit log (user:ana, token:crm). Users have a role and a CSRF token, tokens neither."""

    who: str
    scopes: frozenset[Scope]
    user: str = ""
    role: str = ""
    csrf: str = ""


@dataclass(frozen=True)
class Needs(SecurityBase):
    """A dependency: returns the actor if they may. Raises AccessError. `scope` None: whoever is known.

    Pages (`page`) raise as well; the console turns "not logged in" into a way to the log-in page.
    """

    scope: Scope | None
    page: bool = False

    # For the API's description (FastAPI puts it there for every dependency that is a SecurityBase).
    model = HTTPBearer(description="A token of `ostiary`: `Authorization: Bearer ost_…`.")
    scheme_name = "token"

    async def __call__(self, request: Request) -> Actor:
        """Find out who asks."""
        actor = await identify(request, page=self.page)
        if actor is None:
            raise AccessError("nobody is logged in: send a token (Authorization: Bearer ost_…)", known=False)
        await _check_origin(request, actor)
        if self.scope is not None and self.scope not in actor.scopes:
            raise AccessError(f"{actor.who} may not: this needs the scope {self.scope}", known=True)
        return actor


class Anyone:
    """A dependency: returns who asks, None where nobody is known. Raises AccessError for forms of other sites."""

    async def __call__(self, request: Request) -> Actor | None:
        """Find out who asks, if that can be told."""
        await _check_origin(request, None)
        try:
            return await identify(request, page=True)
        except OstiaryError:  # with the database gone, a page for everyone is one still
            return None


ANYONE = Anyone()


async def identify(request: Request, *, page: bool = False) -> Actor | None:
    """Return who asks, None when the request does not say; a token is not looked at for a page.

    Raises AccessError for a token that is not good (unknown, expired, removed), and for any secret that came over
    plain HTTP from another machine, unless http.plain_log_in.
    """
    authorization = request.headers.get("authorization")
    if authorization is not None and not page:
        return await token_actor(request, _secret_in(authorization))
    secret = session_secret(request)
    if not secret:
        return None
    check_transport(request)
    session = await _session(services_of(request), secret)
    if session is None:
        return None
    return Actor(
        who=f"user:{session.name}",
        scopes=ROLES.get(session.role, frozenset()),
        user=session.name,
        role=session.role,
        csrf=session.csrf,
    )


async def token_actor(request: Request, secret: str) -> Actor:
    """Return the actor of a token. Raises AccessError as `identify` does."""
    check_transport(request)
    services = services_of(request)
    token = await _token(services, secret)
    if token is None or 0 < token.expires_at <= services.clock():
        raise AccessError("this token is not known, has expired or was removed", known=False)
    return Actor(who=f"token:{token.name}", scopes=frozenset(Scope) & set(token.scopes))


async def change(services: Services, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Write a change of users, tokens or sessions; it counts in this process at once. Raises what `job` raises."""
    try:
        return await services.database.write(job)
    finally:
        services.known.forget()


def check_transport(request: Request) -> None:
    """Raise AccessError where a secret would be read by everyone between here and another machine."""
    if request.url.scheme == "https" or services_of(request).settings.http.plain_log_in:
        return
    if request.client is None or not _is_loopback(request.client.host):
        raise AccessError(
            "passwords and tokens are not taken over plain HTTP from other machines: use https "
            "(http.certificate_file, or a proxy named in http.trusted_proxies), or set http.plain_log_in",
            known=True,
        )


def check_csrf(actor: Actor, sent: str) -> None:
    """Raise AccessError unless this is the CSRF token of the actor's session."""
    if not hmac.compare_digest(sent.encode("utf-8", "replace"), actor.csrf.encode()):
        raise AccessError(
            "this change did not come from a page of this session (X-CSRF-Token or the field csrf does not match); "
            "load the page anew",
            known=True,
        )


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie; browsers take `__Host-` from this very host over https only."""
    return "__Host-ostiary" if request.url.scheme == "https" else "ostiary"


def session_secret(request: Request) -> str:
    """Return the secret of the session that the browser claims, or ''."""
    return request.cookies.get(cookie_name(request), "")


def keep_session(request: Request, response: Response, secret: str) -> None:
    """Have the browser keep a session until it is closed."""
    response.set_cookie(
        cookie_name(request),
        secret,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def drop_session(request: Request, response: Response) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )


async def _token(services: Services, secret: str) -> Token | None:
    now = services.clock()

    async def look_up() -> Token | None:
        token = await services.database.read(lambda conn: find_token(conn, secret, int(now)))
        if token is not None and token.used_at <= now - HOUR:
            await _note(services, lambda conn: used(conn, token.id, int(now)))
        return token

    return await services.known.find(hash_of(secret), Token, now, look_up)


async def _session(services: Services, secret: str) -> Session | None:
    now, idle = services.clock(), services.settings.http.session_hours * HOUR

    async def look_up() -> Session | None:
        session = await services.database.read(lambda conn: find_session(conn, secret, int(now), idle))
        if session is not None and session.seen_at <= now - SEEN_SECONDS:
            await _note(services, lambda conn: seen(conn, session.key, int(now)))
        return session

    return await services.known.find(hash_of(secret), Session, now, look_up)


async def _note(services: Services, job: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    """Note that something is in use; nobody is turned away because that cannot be written."""
    with contextlib.suppress(DirectoryError):
        await services.database.write(job)


def _secret_in(authorization: str) -> str:
    """Return the token in an Authorization header. Raises AccessError when there is none."""
    scheme, _, given = authorization.partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            _user, _, given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")
            return given
    elif scheme.lower() == "bearer" and given:
        return given
    raise AccessError(
        "send a token as `Authorization: Bearer ost_…`, or as the password of HTTP Basic", known=False
    )


async def _check_origin(request: Request, actor: Actor | None) -> None:
    """Refuse what another site has a browser send. Tokens are not sent by browsers of their own accord."""
    if request.method not in UNSAFE or (actor is not None and not actor.user):
        return
    if not _is_own(request):
        raise AccessError("this change was sent by a page of another site", known=True)
    if actor is not None:
        try:
            check_csrf(actor, await _sent_csrf(request))
        except AccessError:
            await request.close()  # the files of a form that nobody is going to read
            raise


def _is_own(request: Request) -> bool:
    """Return whether a form or script of our own sent this, as far as the browser tells.

    Sec-Fetch-Site comes over https and from loopback only (W3C Fetch Metadata), Origin may be 'null' for reasons of
    privacy (Fetch standard, "Origin header"): alone it then says nothing good.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in {None, "same-origin", "none"}:
        return False
    if origin in {None, "null"}:
        return origin is None or site is not None
    return _host(urlsplit(str(origin)).netloc) == _host(request.headers.get("host", ""))


def _host(netloc: str) -> str:
    """Return host and port without the ports that browsers leave out; a proxy may have changed the scheme."""
    return netloc.lower().removesuffix(":80").removesuffix(":443")


async def _sent_csrf(request: Request) -> str:
    """Return the CSRF token that came with a request, or ''. The form stays readable for the route."""
    header = request.headers.get("x-csrf-token")
    if header is not None or not request.headers.get("content-type", "").lower().startswith(FORMS):
        return header or ""
    field = (await request.form()).get("csrf")
    return field if isinstance(field, str) else ""


@lru_cache(maxsize=1000)
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
