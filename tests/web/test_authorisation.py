"""Every route, whoever asks: who may use it is written here once more, and each is asked by everyone.

A route that is new goes into TABLE; which line it gets is a decision, not a formality.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from agi_server.web.access import ROLES, Anyone, Needs, Scope
from tests.web.front import Front

# Method, path, and what is needed: a scope; `known`: whoever is; `anyone`. What is neither the API's nor the phones'
# is a page: it is for people who are logged in, whatever a token is good for.
TABLE = """\
GET    /api/v1/openapi.json                         anyone
POST   /api/v1/decisions                            decide
POST   /api/v1/calls/{call_id}/answered             decide
POST   /api/v1/calls/{call_id}/ended                decide
DELETE /api/v1/callers/{number}                     contacts
GET    /api/v1/callers/{number}                     decide
GET    /api/v1/callers/{number}/name                decide
GET    /api/v1/contacts                             read
POST   /api/v1/contacts                             contacts
GET    /api/v1/contacts/{contact_id}                read
PATCH  /api/v1/contacts/{contact_id}                contacts
DELETE /api/v1/contacts/{contact_id}                contacts
GET    /api/v1/contacts/{contact_id}/calls          read
GET    /api/v1/calls                                read
POST   /api/v1/calls                                dial
GET    /api/v1/dials                                read
GET    /api/v1/dials/{dial_id}                      read
DELETE /api/v1/dials/{dial_id}                      dial
GET    /api/v1/calls/statistics                     read
GET    /api/v1/calls/to-call-back                   read
POST   /api/v1/calls/{call_id}/settled              contacts
GET    /api/v1/calls/{call_id}                      read
GET    /api/v1/calls/{call_id}/recording            read
PUT    /api/v1/calls/{call_id}/contact              contacts
POST   /api/v1/chats                                decide
GET    /api/v1/chats                                read
GET    /api/v1/chats/{chat_id}                      read
GET    /api/v1/blacklist                            read
POST   /api/v1/blacklist                            blacklist
GET    /api/v1/blacklist/export                     read
POST   /api/v1/blacklist/bulk                       blacklist
POST   /api/v1/blacklist/test                       read
POST   /api/v1/blacklist/last                       blacklist
GET    /api/v1/blacklist/{rule_id}                  read
PUT    /api/v1/blacklist/{rule_id}                  blacklist
DELETE /api/v1/blacklist/{rule_id}                  blacklist
GET    /api/v1/agents                               read
GET    /api/v1/agents/{extension}                   read
PUT    /api/v1/agents/{extension}                   admin
DELETE /api/v1/agents/{extension}                   admin
POST   /api/v1/agents/{extension}/absence           admin
GET    /api/v1/dids                                 read
GET    /api/v1/dids/{did}                           read
PUT    /api/v1/dids/{did}                           admin
DELETE /api/v1/dids/{did}                           admin
GET    /api/v1/outbox                               read
POST   /api/v1/outbox/retry                         admin
GET    /api/v1/outbox/{id}                          read
POST   /api/v1/outbox/{id}/retry                    admin
DELETE /api/v1/outbox/{id}                          admin
GET    /api/v1/sync                                 read
POST   /api/v1/sync                                 admin
GET    /api/v1/sync/unread                          read
GET    /api/v1/settings                             read
GET    /api/v1/settings/{key}                       read
PUT    /api/v1/settings/{key}                       admin
DELETE /api/v1/settings/{key}                       admin
POST   /api/v1/trials                               read
POST   /api/v1/trials/replay                        read
GET    /api/v1/events                               read
GET    /api/v1/events/schemas                       read
GET    /api/v1/audit                                admin
GET    /api/v1/me                                   known
GET    /api/v1/users                                admin
POST   /api/v1/users                                admin
GET    /api/v1/users/{id}                           admin
PATCH  /api/v1/users/{id}                           admin
DELETE /api/v1/users/{id}                           admin
POST   /api/v1/users/{id}/invitation                admin
POST   /api/v1/invitations                          admin
GET    /api/v1/tokens                               admin
POST   /api/v1/tokens                               admin
DELETE /api/v1/tokens/{id}                          admin
GET    /healthz                                     anyone
GET    /readyz                                      anyone
GET    /metrics                                     anyone
GET    /phonebooks/yealink                          phonebook
GET    /phonebooks/yealink/number                   phonebook
GET    /phonebooks/snom/search                      phonebook
GET    /phonebooks/snom/list                        phonebook
GET    /phonebooks/snom/number                      phonebook
GET    /phonebooks/snom/tbook.xml                   phonebook
POST   /phonebooks/snom/tbook.xml                   phonebook
GET    /phonebooks/snom/contacts.xml                phonebook
POST   /phonebooks/snom/contacts.xml                phonebook
GET    /phonebooks/grandstream/gs_phonebook.xml     phonebook
GET    /phonebooks/grandstream/phonebook.xml        phonebook
GET    /phonebooks/cisco                            phonebook
GET    /phonebooks/cisco/search                     phonebook
GET    /phonebooks/cisco/list                       phonebook
GET    /phonebooks/cisco/number                     phonebook
GET    /phonebooks/polycom/search                   phonebook
GET    /phonebooks/polycom/list                     phonebook
GET    /phonebooks/polycom/number                   phonebook
GET    /phonebooks/polycom/000000000000-directory.xml phonebook
GET    /phonebooks/fanvil/search                    phonebook
GET    /phonebooks/fanvil/list                      phonebook
GET    /phonebooks/fanvil/number                    phonebook
GET    /phonebooks/fanvil/phonebook.xml             phonebook
GET    /                                            read
GET    /log-in                                      anyone
POST   /log-in                                      anyone
POST   /log-out                                     known
GET    /welcome/{secret}                            anyone
POST   /welcome/{secret}                            anyone
GET    /password                                    known
POST   /password                                    known
GET    /my-calls                                    read
GET    /recordings/{call_id}                        read
GET    /calls                                       read
GET    /calls/{call_id}                             read
POST   /calls/{call_id}/block                       blacklist
POST   /calls/{call_id}/contact                     contacts
GET    /call                                        dial
POST   /call                                        dial
GET    /call/handler                                dial
GET    /call/{dial_id}                              dial
POST   /call/{dial_id}/cancel                       dial
GET    /call-back                                   read
POST   /call-back                                   contacts
GET    /statistics                                  read
GET    /blacklist/import                            blacklist
POST   /blacklist/import                            blacklist
GET    /blacklist/export                            read
GET    /blacklist                                   read
GET    /blacklist/new                               blacklist
POST   /blacklist/new                               blacklist
GET    /blacklist/{rule_id}                         read
POST   /blacklist/{rule_id}                         blacklist
POST   /blacklist/remove                            blacklist
GET    /contacts/{contact_id}/erase                 contacts
POST   /contacts/{contact_id}/erase                 contacts
GET    /contacts/erase                              contacts
POST   /contacts/erase                              contacts
GET    /contacts                                    read
GET    /contacts/new                                contacts
POST   /contacts/new                                contacts
GET    /contacts/{contact_id}                       read
GET    /contacts/{contact_id}/edit                  contacts
POST   /contacts/{contact_id}/edit                  contacts
POST   /contacts/{contact_id}/block                 blacklist
GET    /agents                                      read
POST   /agents                                      admin
GET    /agents/new                                  admin
POST   /agents/new                                  admin
GET    /agents/{agent_id}                           read
POST   /agents/{agent_id}                           admin
POST   /agents/{agent_id}/remove                    admin
GET    /dids                                        read
GET    /dids/new                                    admin
POST   /dids/new                                    admin
GET    /dids/{did_id}                               read
POST   /dids/{did_id}                               admin
POST   /dids/{did_id}/remove                        admin
GET    /trial                                       read
POST   /trial                                       read
POST   /trial/save                                  blacklist
GET    /settings                                    admin
POST   /settings                                    admin
GET    /settings/{key}                              admin
POST   /settings/{key}                              admin
GET    /salesforce                                  read
POST   /salesforce                                  admin
GET    /salesforce/callback                         admin
GET    /outbox                                      read
POST   /outbox                                      admin
GET    /health                                      read
GET    /users                                       admin
POST   /users                                       admin
GET    /audit                                       admin
GET    /static/{name}                               anyone
POST   /language                                    anyone
"""
EXPECTED = {(method, path): need for method, path, need in map(str.split, TABLE.splitlines())}

PROGRAMS = ("/api/", "/phonebooks/")
WITHOUT_DEPENDENCIES = {"/api/v1/openapi.json"}  # FastAPI's own route: what the API can do is no secret
VISITORS = ("nobody", *ROLES, *(f"token:{scope}" for scope in Scope))


def routes(front: Front) -> Iterator[tuple[str, str, RouteContext]]:
    """Yield method, path (`{id}` for `{id:int}`) and route; HEAD goes with GET."""
    for route in iter_route_contexts(front.app.routes):
        assert route.methods is not None, (
            f"{route.path} is no route of HTTP: this test does not know how to ask it"
        )
        for method in sorted(route.methods - {"HEAD"}):
            yield method, re.sub(r":\w+}", "}", str(route.path)), route


def guards(dependant: Dependant) -> list[Needs | Anyone]:
    """Return what decides who may use a route."""
    found = [guard for each in dependant.dependencies for guard in guards(each)]
    return [dependant.call, *found] if isinstance(dependant.call, Needs | Anyone) else found


async def test_every_route_says_once_who_may_use_it(front: Front) -> None:
    for method, path, route in routes(front):
        if path not in WITHOUT_DEPENDENCIES:
            assert len(guards(route.dependant)) == 1, f"{method} {path}"


async def test_the_table_has_every_route_and_no_other(front: Front) -> None:
    there = {(method, path) for method, path, _ in routes(front)}
    assert there - set(EXPECTED) == set(), "who may use these?"
    assert set(EXPECTED) - there == set(), "these are gone"


def expected(path: str, need: str, visitor: str) -> str:
    """Return what happens: allowed, 401, 403, or log-in (the way to the log-in page)."""
    page = not path.startswith(PROGRAMS)
    kind, _, scope = visitor.partition(":")
    scopes = {scope} if kind == "token" else {str(each) for each in ROLES.get(kind, ())}
    if need == "anyone":
        return "allowed"
    if visitor == "nobody" or (page and kind == "token"):
        return "log-in" if page else "401"
    return "allowed" if need == "known" or need in scopes else "403"


@pytest.mark.parametrize("visitor", VISITORS)
async def test_who_may(front: Front, visitor: str) -> None:
    headers = await headers_of(front, visitor)
    wrong = []
    for (method, path), need in sorted(EXPECTED.items(), key=lambda item: item[0][1] == "/log-out"):
        happened = await outcome(front, method, re.sub(r"{[^}]*}", "999", path), headers)
        if happened != expected(path, need, visitor):
            wrong.append(f"{method} {path}: {happened}, not {expected(path, need, visitor)}")
    assert wrong == []


async def headers_of(front: Front, visitor: str) -> dict[str, str]:
    """Return what a visitor's requests carry."""
    kind, _, scope = visitor.partition(":")
    accept = {"Accept": "text/html, */*;q=0.8"}
    if kind == "token":
        return accept | {"Authorization": f"Bearer {await front.token(Scope(scope))}"}
    if kind == "nobody":
        return accept
    client = await front.client_as(kind)
    return accept | {
        "Cookie": f"ostiary={client.cookies['ostiary']}",
        "X-CSRF-Token": client.headers["X-CSRF-Token"],
    }


async def outcome(front: Front, method: str, path: str, headers: dict[str, str]) -> str:
    """Ask and return what happened: allowed, 401, 403, log-in, or the status of a fault."""
    status, answered = await ask(front, method, path, headers)
    to_log_in = answered.get("location", "").startswith("/log-in") and "set-cookie" not in answered
    if status == 303 and to_log_in:
        return "log-in"
    return str(status) if status in {401, 403} or status >= 500 else "allowed"


async def ask(front: Front, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Send a request without arguments, and leave once the answer has begun: some are streams."""
    begun = asyncio.Event()
    answers: list[dict[str, Any]] = []
    kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    body = b"{}" if path.startswith("/api/") else b""
    sent = [{"type": "http.request", "body": body}]
    headers = headers | {"Host": "127.0.0.1:8080", "Content-Type": kind, "Content-Length": str(len(body))}

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answers.append(message)
            begun.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    async with asyncio.timeout(60):
        try:
            await front.app(scope, receive, send)
        except Exception:
            if not answers:  # a fault is raised once more behind its answer of 500
                raise
    (answer,) = answers
    return answer["status"], {name.decode(): text.decode() for name, text in answer["headers"]}
