"""The exchange with Salesforce: how it stands, and a round at once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError, DirectoryError, InputError
from agi_server.salesforce.mapping import moment_of
from agi_server.salesforce.report import REMEDIES, STATE
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, Yes, json_answer, problems, show_time
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Services, Use
from storage import outbox, salesforce_state
from storage import sync as directory
from storage.audit import note

router = APIRouter(prefix="/sync", tags=["sync"])

Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class Failure(BaseModel):
    """Why the last round was not done, since when, and what to do."""

    kind: str
    text: str
    since: str | None
    todo: str


class Usage(BaseModel):
    """API calls of the org in 24 hours, and those of Ostiary today (UTC)."""

    used: int | None
    limit: int | None
    ours: int


class ObjectState(BaseModel):
    """One object: Salesforce's time up to which it is stored, and what happened to its records since the start."""

    object: str
    watermark: str | None
    loading: bool = Field(description="A full load is under way.")
    missing: int = Field(
        description="Records that Salesforce no longer shows, kept until removals are accepted."
    )
    read: int | None
    inserted: int | None
    updated: int | None
    removed: int | None


class Waiting(BaseModel):
    """What must still be written to Salesforce."""

    waiting: int
    parked: int
    oldest_at: str | None


class SyncDocument(BaseModel):
    """How the exchange stands. Counts are null while the worker says nothing."""

    enabled: bool
    in_step: bool
    last_done_at: str | None
    lag_seconds: int | None
    error: Failure | None
    usage: Usage
    objects: list[ObjectState]
    notes: list[str]
    outbox: Waiting
    unread: int
    lookups: str | None = Field(description="Why no caller is looked up; empty: they are.")


class Wanted(Document):
    """What a round should do."""

    full: Yes = Field(default=False, description="Read everything, and remove what is not there any more.")
    accept_removals: Yes = Field(
        default=False, description="Remove also where Salesforce shows less than half of what is known."
    )


class UnreadDocument(BaseModel):
    """A field that holds no number anyone can dial."""

    salesforce_id: str
    kind: str
    field: str
    text: str


@router.get("", response_model=SyncDocument, responses=problems())
async def get(use: Use, _actor: Read) -> Response:
    """Return how the exchange stands."""
    return json_answer(await state(use))


@router.post("", status_code=202, response_model=Wanted, responses=problems(409))
async def start(use: Use, actor: Admin, wanted: Wanted) -> Response:
    """Start a round at once, or as soon as the one under way is done; how it goes comes as events."""
    if not use.settings.salesforce.enabled:
        raise ConflictError("salesforce.enabled is false: there is nothing to synchronise with")

    async def job(conn: AsyncConnection) -> None:
        await note(
            conn,
            who=actor.who,
            what="sync.start",
            before=None,
            after=wanted.model_dump(),
            now=int(use.clock()),
        )

    await use.database.write(job)
    use.server.synchronise(full=wanted.full, accept_removals=wanted.accept_removals)
    return json_answer(wanted.model_dump(), 202)


@router.get("/unread", response_model=Listed[UnreadDocument], responses=problems())
async def list_unread(use: Use, _actor: Read, paging: Paging) -> Response:
    """List the fields of Salesforce that hold no number anyone can dial."""
    after = _read_cursor(paging.after)
    rows = await use.database.read(lambda conn: directory.unread(conn, after=after, limit=paging.limit + 1))
    page = rows[: paging.limit]
    following = f"{page[-1].salesforce_id} {page[-1].field}" if len(rows) > len(page) else None
    return json_answer({"items": [row._asdict() for row in page], "next": following})


async def state(use: Services) -> dict[str, Any]:
    """Return how the exchange stands as a document: what the database keeps, and what the worker told."""
    kept = await use.database.read(_kept)
    told: Mapping[str, Any] = {}
    with contextlib.suppress(DirectoryError):  # what the database knows is worth showing all the same
        told = (await use.server.state())["salesforce"] or {}
    last, now = kept.states.get(STATE, {}), int(use.clock())
    ok_at = last.get("ok_at", 0)
    used, limit = last.get("usage") or (None, None)
    enabled = use.settings.salesforce.enabled
    return {
        "enabled": enabled,
        "in_step": enabled and ok_at > 0 and not last["kind"],
        "last_done_at": show_time(ok_at),
        "lag_seconds": max(now - ok_at, 0) if ok_at else None,
        "error": _failure(last) if last.get("kind") else None,
        "usage": {"used": used, "limit": limit, "ours": _ours(last, now)},
        "objects": _objects(kept.states, told.get("records", {})),
        "notes": last.get("notes", []),
        "outbox": {
            "waiting": kept.outbox.waiting,
            "parked": kept.outbox.parked,
            "oldest_at": show_time(kept.outbox.oldest_at),
        },
        "unread": kept.unread,
        "lookups": told.get("lookups"),
    }


class _Kept(NamedTuple):
    states: dict[str, dict[str, Any]]
    outbox: outbox.Counts
    unread: int


async def _kept(conn: AsyncConnection) -> _Kept:
    states = {name: value for name, (value, _) in (await salesforce_state.all_states(conn)).items()}
    return _Kept(states, await outbox.counts(conn), await directory.count_unread(conn))


def _failure(last: Mapping[str, Any]) -> dict[str, Any]:
    kind = last["kind"]
    return {
        "kind": kind,
        "text": last["error"],
        "since": show_time(last["since"]),
        "todo": REMEDIES.get(kind, ""),
    }


def _ours(last: Mapping[str, Any], now: int) -> int:
    """Return the calls of today: those of the last day that calls were made on are no longer worth telling."""
    today = (show_time(now) or "").partition("T")[0]
    return int(last.get("calls", 0)) if last.get("day") == today else 0


def _objects(
    states: Mapping[str, dict[str, Any]], records: Mapping[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    objects = []
    for name, value in states.items():
        part, _, sobject = name.partition(":")
        if part == "sync" and ("watermark" in value or "full" in value):
            counts = records.get(sobject, {})
            objects.append(
                {
                    "object": sobject,
                    "watermark": _utc(value.get("watermark")),
                    "loading": "full" in value,
                    "missing": value.get("doubt", {}).get("missing", 0),
                    **{what: counts.get(what) for what in ("read", "inserted", "updated", "removed")},
                }
            )
    return objects


def _utc(moment: str | None) -> str | None:
    return show_time(int(moment_of(moment).timestamp())) if moment else None


def _read_cursor(text: str) -> tuple[str, str]:
    salesforce_id, space, field = text.partition(" ")
    if text and not space:
        raise InputError("this cursor is none of ours: send `next` of the page before as it was")
    return salesforce_id, field
