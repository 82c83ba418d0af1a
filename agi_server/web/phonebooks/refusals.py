"""Errors as a phone can take them: a document of its maker's instead of problem+json.

Invariant: a phone that asks for its whole book gets an error as an error, for it would put an answer of 200 in the
place of the book it has; a phone with somebody in front of it gets a text to show.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from agi_server.errors import AccessError, OstiaryError
from agi_server.web.phonebooks.document import NOT_KEPT, Xml, answer
from agi_server.web.problems import status_of

# Phones with a user name and a password send them when asked for only.
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Ostiary phone book", charset="UTF-8"'}


def refusing(
    show: Callable[[str], Xml] | None, *, media_type: str = "text/xml", book: bool = False
) -> type[APIRoute]:
    """Return a class of routes that answer errors with what `show` makes of their text; None: plain text.

    `book`: phones fetch a whole book here.
    """

    class Refusing(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    return await handle(request)
                except OstiaryError as error:
                    return _refusal(error, show, media_type, book)

            return handled

    return Refusing


def _refusal(error: OstiaryError, show: Callable[[str], Xml] | None, media_type: str, book: bool) -> Response:
    status = status_of(error)
    headers = CHALLENGE if status is HTTPStatus.UNAUTHORIZED else {}
    if show is None:
        return Response(f"{error}\n", status, media_type="text/plain", headers={**NOT_KEPT, **headers})
    shown = not book and not isinstance(error, AccessError)
    return answer(
        show(str(error)), "utf-8", status=200 if shown else status, media_type=media_type, headers=headers
    )
