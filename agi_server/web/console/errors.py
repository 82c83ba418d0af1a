"""Errors as pages, for people; programs get the same as problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import Request, Response

from agi_server.errors import OstiaryError
from agi_server.web.access import identify
from agi_server.web.console.languages import mark
from agi_server.web.console.render import page, redirect
from agi_server.web.headers import HEADERS

PROGRAMS = ("/api/", "/phonebooks/", "/healthz", "/readyz", "/metrics")
_TITLES = {
    HTTPStatus.BAD_REQUEST: mark("This request cannot be understood"),
    HTTPStatus.FORBIDDEN: mark("You may not do that"),
    HTTPStatus.NOT_FOUND: mark("There is no such page"),
    HTTPStatus.METHOD_NOT_ALLOWED: mark("This page takes no such request"),
    HTTPStatus.CONFLICT: mark("Somebody else was quicker"),
    HTTPStatus.UNPROCESSABLE_ENTITY: mark("Something in the request is not right"),
    HTTPStatus.TOO_MANY_REQUESTS: mark("Too many tries"),
    HTTPStatus.SERVICE_UNAVAILABLE: mark("Not available just now"),
}
_FAULT = mark("Something went wrong")


def is_for_people(request: Request) -> bool:
    """Return whether a page is wanted: outside the API, by something that reads HTML."""
    return not request.url.path.startswith(PROGRAMS) and "text/html" in request.headers.get("accept", "")


def log_in_first(request: Request) -> Response:
    """Lead to the log-in page, and from there back."""
    after = request.url.path if request.method in {"GET", "HEAD"} else "/"
    if request.url.query and after != "/":
        after += f"?{request.url.query}"
    return redirect(request, "/log-in" + (f"?{urlencode({'next': after})}" if after != "/" else ""))


async def error_page(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Say what went wrong; `detail` is in English, as in logs and the API."""
    try:
        actor = await identify(request, page=True)
    except OstiaryError:
        actor = None
    title = _TITLES.get(HTTPStatus(status), _FAULT)
    values = {"error": title, "code": int(status), "detail": detail}
    response = page(request, actor, "error.html", status=status, **values)
    response.headers.update({**HEADERS, **(headers or {})})  # a fault is answered outside of `send_headers`
    return response
