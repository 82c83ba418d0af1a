"""What pages load, and the choice of language."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from agi_server.errors import NotFoundError
from agi_server.web.access import ANYONE, Actor
from agi_server.web.console.languages import COOKIE, LANGUAGES
from agi_server.web.console.render import STATIC, redirect

router = APIRouter()

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
YEAR = 31_536_000  # seconds


@router.get("/static/{name}")
async def static(name: str, _actor: Annotated[Actor | None, Depends(ANYONE)]) -> Response:
    """Serve a file of the console, to be kept for ever: its address changes with it."""
    files = _files()
    if name not in files:
        raise NotFoundError(f"there is no file {name!r} of the console")
    return Response(
        files[name],
        media_type=TYPES[name.rpartition(".")[2]],
        headers={"Cache-Control": f"public, max-age={YEAR}, immutable"},
    )


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix[1:] in TYPES}


@router.post("/language")
async def choose_language(
    request: Request,
    _actor: Annotated[Actor | None, Depends(ANYONE)],
    language: Annotated[str, Form(max_length=8)],
    to: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Show pages in this language from now on; back to where it was chosen."""
    response = redirect(request, to)
    if language in LANGUAGES:
        response.set_cookie(COOKIE, language, max_age=YEAR, httponly=True, samesite="lax")
    return response
