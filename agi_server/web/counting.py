"""Count every request, by the part of the HTTP side that answered it."""

from __future__ import annotations

from time import perf_counter

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agi_server.web.counts import Counts

PARTS = {
    "api": "api",
    "phonebooks": "phonebook",
    "healthz": "health",
    "readyz": "health",
    "metrics": "health",
}


def count_requests(app: FastAPI, counts: Counts) -> None:
    """Count what `app` answers from now on."""
    app.add_middleware(_Counting, counts=counts)


class _Counting:
    """Plain ASGI: Starlette's own base for middleware costs a task for each request."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        part = PARTS.get(scope["path"].split("/", 2)[1], "console")
        started = perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts.answered(part, message["status"], perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)
