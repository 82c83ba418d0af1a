"""The blacklist as a file: CSV in, CSV out, as on the command line.

Invariant: a file is read only if its size was told and is bounded; whoever uploads it sees every line that was not
taken.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from agi_server.calls.directory import Rule
from agi_server.calls.policy import Policy
from agi_server.errors import InputError
from agi_server.exchange.blacklist import read_rules, write_rules
from agi_server.exchange.report import Report
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page
from agi_server.web.services import Services, Use
from storage.blacklist import Added, RuleRow, add_rules, page_rules

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()

LARGEST = 10_000_000  # bytes of a file
_ENVELOPE = 10_000  # bytes of a form around its file, at most
_BATCH = 500  # rules written in one transaction
_PAGE = 1000  # rules of an export read at once


def bounded(request: Request) -> None:
    """Refuse a form that is too large, before any of it is read."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise HTTPException(411, "say how long the file is (Content-Length)")
    if int(length) > LARGEST + _ENVELOPE:
        raise HTTPException(413, f"this file is too large: at most {LARGEST // 1_000_000} MB at once")


@router.get("/blacklist/import")
async def ask(
    request: Request, actor: Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))]
) -> Response:
    """Ask for a file."""
    return page(request, actor, "rules_import.html", report=None, added=None, mistake="")


@router.post("/blacklist/import", dependencies=[Depends(bounded)])
async def take(
    request: Request, use: Use, actor: Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))]
) -> Response:
    """Take the rules of a file and say what became of each line."""
    _ = gettext_of(request)
    report, mistake = Report(), ""
    added: Added | None = None
    async with request.form() as form:
        file = form.get("file")
        content = await file.read() if isinstance(file, UploadFile) and file.filename else None
    if content is None:
        mistake = _("Choose a file first.")
    else:
        try:
            rules = await asyncio.to_thread(_read, io.BytesIO(content), report, use.directory.policy())
            added = await _store(use, rules, actor.who)
        except InputError as error:
            mistake = str(error)
    return page(
        request,
        actor,
        "rules_import.html",
        status=422 if mistake else 200,
        report=report,
        added=added,
        mistake=mistake,
    )


@router.get("/blacklist/export")
async def give(use: Use, _actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))]) -> Response:
    """Give all rules as a file that the import takes."""
    return StreamingResponse(
        _export(use),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="blacklist.csv"', "Cache-Control": "no-store"},
    )


def _read(content: io.BytesIO, report: Report, policy: Policy) -> list[Rule]:
    """Return the rules of a file; on a thread of its own, for reading 10 MB takes seconds."""
    found = read_rules(
        content,
        report,
        region=policy.default.region,
        timezone=policy.timezone,
        treatment=policy.default_treatment,
    )
    return [rule for _, rule in found]


async def _store(use: Services, rules: list[Rule], who: str) -> Added:
    total = Added(0, 0, 0)
    for at in range(0, len(rules), _BATCH):
        batch = rules[at : at + _BATCH]

        async def job(connection: AsyncConnection, batch: list[Rule] = batch) -> Added:
            return await add_rules(connection, batch, who=who, now=int(use.clock()))

        total = Added(*map(sum, zip(total, await use.database.write(job), strict=True)))
    return total


async def _export(use: Services) -> AsyncIterator[bytes]:
    """Yield the file page by page: no read transaction stays open while a slow reader takes it."""
    after, first = "", True
    while after or first:
        rules, after = await _rules(use, after)
        out = io.StringIO(newline="")
        write_rules(rules, out, headings=first)
        first = False
        yield out.getvalue().encode()


async def _rules(use: Services, after: str) -> tuple[list[RuleRow], str]:
    return await use.database.read(lambda connection: page_rules(connection, limit=_PAGE, after=after))
