"""A request that creates something may be sent again with its Idempotency-Key: it is done once, answered alike.

Invariant: what is created and the answer to it are written in one transaction. Refusals are not kept: they changed
nothing. Not for answers that hold a secret, for it would lie in the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import Header, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from agi_server.web.access import Actor
from agi_server.web.services import Services
from storage.replies import Reply, find_reply, keep_reply

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A text of your own for this request: sent again within a day, it is done once.",
    ),
]


def reply(document: object, status: int = 201, **headers: str) -> Reply:
    """Return an answer that `once` takes; `headers` by name with underscores: location="/…", etag="…"."""
    return Reply(
        status, orjson.dumps(document).decode(), {_named(name): text for name, text in headers.items()}
    )


async def once(
    request: Request,
    services: Services,
    actor: Actor,
    key: str | None,
    job: Callable[[AsyncConnection], Awaitable[Reply]],
) -> Response:
    """Run `job` in a transaction and send what it returns; with a key known already, what it returned the first time.

    Raises InputError (422) when the key was sent with another request, and whatever `job` raises.
    """
    if key is None:
        return _response(await services.database.write(job))
    digest = await _digest(request)
    now = int(services.clock())

    async def kept(conn: AsyncConnection) -> tuple[Reply, bool]:
        if known := await find_reply(conn, actor.who, key, now=now):
            before, first = known
            if before != digest:
                raise InputError(
                    "this Idempotency-Key was sent with another request already: take a new one for a new request"
                )
            return first, True
        made = await job(conn)
        await keep_reply(conn, actor.who, key, request=digest, reply=made, now=now)
        return made, False

    made, replayed = await services.database.write(kept)
    response = _response(made)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def _digest(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    return digest.hexdigest()


def _response(made: Reply) -> Response:
    return Response(
        made.body.encode(),
        made.status,
        {"Cache-Control": "no-store", **made.headers},
        media_type="application/json" if made.body else None,
    )


def _named(name: str) -> str:
    return name.replace("_", "-").title() if name != "etag" else "ETag"
