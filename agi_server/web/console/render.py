"""Pages: templates filled in, in the language, time zone and scope of who looks.

Invariant: everything that is put into a template is escaped; a page offers nothing its reader may not do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agi_server import __version__
from agi_server.web.access import Actor, Scope
from agi_server.web.console import notices
from agi_server.web.console.formats import formats
from agi_server.web.console.languages import LANGUAGES, language_of, mark, translations
from agi_server.web.console.terms import explain, term
from agi_server.web.services import services_of

TEMPLATES = Path(__file__).with_name("templates")
STATIC = Path(__file__).with_name("static")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the navigation."""

    path: str
    label: str
    scope: Scope
    group: str


_CALLS, _PEOPLE, _HOUSE = mark("Calls"), mark("Rules and people"), mark("Administration")
NAVIGATION = (
    Entry("/", mark("Live calls"), Scope.READ, _CALLS),
    Entry("/my-calls", mark("My calls"), Scope.READ, _CALLS),
    Entry("/calls", mark("Call history"), Scope.READ, _CALLS),
    Entry("/call-back", mark("To call back"), Scope.READ, _CALLS),
    Entry("/statistics", mark("Statistics"), Scope.READ, _CALLS),
    Entry("/trial", mark("Try it out"), Scope.READ, _CALLS),
    Entry("/blacklist", mark("Blacklist"), Scope.READ, _PEOPLE),
    Entry("/contacts", mark("Contacts"), Scope.READ, _PEOPLE),
    Entry("/agents", mark("Agents"), Scope.READ, _PEOPLE),
    Entry("/dids", mark("Numbers (DIDs)"), Scope.READ, _PEOPLE),
    Entry("/settings", mark("Settings"), Scope.ADMIN, _HOUSE),
    Entry("/salesforce", mark("Salesforce"), Scope.READ, _HOUSE),
    Entry("/outbox", mark("Outbox"), Scope.READ, _HOUSE),
    Entry("/health", mark("Health"), Scope.READ, _HOUSE),
    Entry("/users", mark("Users and tokens"), Scope.ADMIN, _HOUSE),
    Entry("/audit", mark("Audit log"), Scope.ADMIN, _HOUSE),
)


def page(
    request: Request, actor: Actor | None, template: str, *, status: int = 200, **values: object
) -> HTMLResponse:
    """Return a page. Templates know, besides `values`: actor, csrf, may(scope), nav, notice, query(…), static(…).

    `dials` says whether the reader may have phones call somebody.
    """
    language = language_of(request)
    environment = _environment(language, services_of(request).settings.routing.timezone)
    notice = notices.take(request)
    response = HTMLResponse(
        environment.get_template(template).render(_context(request, actor, language, notice) | values),
        status_code=status,
        headers={
            "Cache-Control": "no-store",
            "Content-Language": language,
            "Vary": "Accept-Language, Cookie",
        },
    )
    if notice:
        notices.remove(response)
    return response


def redirect(_request: Request, path: str, *, notice: str = "") -> Response:
    """Answer a form: go to `path` (of our own), which then shows the notice."""
    response = RedirectResponse(local_path(path), status_code=303, headers={"Cache-Control": "no-store"})
    if notice:
        notices.leave(response, notice)
    return response


def local_path(path: str) -> str:
    """Return a path of our own (with its query), '/' for what may lead elsewhere."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if plain and all(char.isprintable() and char != "\\" for char in path) else "/"


def _context(request: Request, actor: Actor | None, language: str, notice: str) -> dict[str, Any]:
    scopes = actor.scopes if actor is not None else frozenset()
    settings = services_of(request).settings
    return {
        "actor": actor,
        "csrf": actor.csrf if actor is not None else "",
        "may": lambda scope: Scope(scope) in scopes,
        "dials": Scope.DIAL in scopes and bool(settings.ami.host) and settings.dialling.enabled,
        "nav": _navigation(request, actor),
        "notice": notice,
        "language": language,
        "languages": LANGUAGES if settings.http.language == "auto" else {},
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "path": request.url.path,
        "query": _query(request),
        "static": static_url,
        "version": __version__,
    }


def _navigation(request: Request, actor: Actor | None) -> list[tuple[str, list[tuple[Entry, bool]]]]:
    """Return groups of entries, each with whether it is the page's own."""
    if actor is None:
        return []
    groups: dict[str, list[tuple[Entry, bool]]] = {}
    for entry in NAVIGATION:
        if entry.scope not in actor.scopes:
            continue
        path = request.url.path
        groups.setdefault(entry.group, []).append(
            (entry, path == entry.path or (entry.path != "/" and path.startswith(entry.path + "/")))
        )
    return list(groups.items())


def _query(request: Request) -> Callable[..., str]:
    """Return the function that gives the page's own address with parts of its query changed ('' or None: left out)."""

    def changed(**parts: object) -> str:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name not in parts]
        new = [(name, str(value)) for name, value in parts.items() if value not in {None, ""}]
        return quote(request.url.path) + "?" + urlencode([*kept, *new])

    return changed


@cache
def static_url(name: str) -> str:
    """Return the address of a static file; it changes with the file, so that it may be kept for ever."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def visible(text: str) -> str:
    """Return the text with control characters and line separators as signs: a browser would show them as nothing."""
    return "".join(_sign(char) if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)


def _sign(char: str) -> str:
    return (
        chr(0x2400 + ord(char))
        if ord(char) < 0x20
        else "\N{SYMBOL FOR DELETE}"
        if char == "\x7f"
        else "\ufffd"
    )


@lru_cache(maxsize=16)
def _environment(language: str, timezone: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.loopcontrols"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.policies["ext.i18n.trimmed"] = True
    words = translations(language)
    environment.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # of the extension
    filters: Mapping[str, Callable[..., object]] = {
        **formats(language, timezone),
        "term": lambda token, kind="": term(words.gettext, token, kind),
        "explain": lambda detail: explain(words.gettext, detail),
        "visible": visible,
    }
    environment.filters.update(filters)
    return environment
