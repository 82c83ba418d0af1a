"""Health and metrics, for whoever watches over the machine: open to all, and without a word about any person."""

from __future__ import annotations

import re
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST

from agi_server.errors import DirectoryError
from agi_server.web.access import ANYONE, Actor
from agi_server.web.services import Use

READY = frozenset({"ok", "off", "degraded"})  # degraded: calls do not need it
NOT_CACHED = {"Cache-Control": "no-store"}

Open = Annotated[Actor | None, Depends(ANYONE)]

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz(_actor: Open, services: Use) -> Response:
    """Say that the processes are alive."""
    try:
        await services.server.state()
    except DirectoryError as error:
        return Response(f"{error}\n", status_code=503, media_type="text/plain", headers=NOT_CACHED)
    return Response("ok\n", media_type="text/plain", headers=NOT_CACHED)


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(_actor: Open, services: Use) -> Response:
    """Say whether every part does its work: 200 or 503.

    A part is ready when the first word of its state is `ok`, `off` or `degraded`; what follows
    (`ok: 12 contacts`, `failed: disk full`) is for people.
    """
    try:
        parts = dict((await services.server.state())["parts"])
    except DirectoryError as error:
        parts = {"calls": f"failed: {error}"}
    ready = all(is_ready(state) for state in parts.values())
    return Response(
        orjson.dumps({"ready": ready, "parts": parts}),
        status_code=200 if ready else 503,
        media_type="application/json",
        headers=NOT_CACHED,
    )


@router.get("/metrics")
async def show_metrics(_actor: Open, services: Use) -> Response:
    """Show the numbers of the serving process, then those of the front, in Prometheus's text format."""
    try:
        text = await services.server.metrics()
    except DirectoryError as error:
        return Response(f"{error}\n", status_code=503, media_type="text/plain", headers=NOT_CACHED)
    return Response(
        text + services.counts.text(), headers={"Content-Type": CONTENT_TYPE_LATEST, **NOT_CACHED}
    )


def is_ready(state: str) -> bool:
    """Return whether a part in this state does its work, or is not needed."""
    return re.split("[: ]", state, maxsplit=1)[0] in READY
