"""No request is larger than what any of ours holds: who sends more is refused before it fills memory or disk.

Invariant: this comes before log-ins, forms and everything else that reads a body.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agi_server.web.problems import problem

MOST = 1_000_000  # bytes of a body
FILES = 12_000_000  # of those that carry a file
FILE_PATHS = frozenset({"/blacklist/import", "/api/v1/blacklist/bulk"})


def limit_bodies(app: FastAPI) -> None:
    """Refuse larger bodies from now on."""
    app.add_middleware(_Limited)


class _Limited:
    """Plain ASGI: what says its length is refused at once, what does not when it has come to be too much."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = FILES if scope["path"] in FILE_PATHS else MOST
        if _length(scope) > most:
            refusal = problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(most), headers={"Connection": "close"}
            )
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(most))
            return message

        await self._app(scope, counted, send)


def _length(scope: Scope) -> int:
    """Return the Content-Length, 0 where there is none (uvicorn refuses one that is no number)."""
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _too_large(most: int) -> str:
    return f"a request here has {most:,} bytes at most; send it in parts"
