"""What the API gives and takes, in our own shapes. What is not in the documented shape raises SalesforceDown.

Sources: REST API Developer Guide ("Get Deleted", "sObject Collections"); Bulk API 2.0 and Bulk API Developer Guide
("Get Information About a Query Job").
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agi_server.errors import SalesforceDown


class Deleted(NamedTuple):
    """Ids deleted in a window, and for which times the answer is complete (UTC)."""

    ids: list[str]
    earliest: datetime
    latest: datetime


class Job(NamedTuple):
    """A Bulk 2.0 query job: UploadComplete, InProgress, JobComplete, Failed or Aborted; records processed so far."""

    state: str
    records: int
    error: str


class RowResult(NamedTuple):
    """What became of one record of a collection; `code` and `message` are empty on success."""

    id: str
    success: bool
    created: bool
    code: str
    message: str
    fields: tuple[str, ...]


def mapping(said: object) -> Mapping[str, Any]:
    """Return a JSON object as it is."""
    if isinstance(said, Mapping):
        return said
    raise SalesforceDown("the answer is no JSON object; does a proxy change it?")


def stamp(moment: datetime) -> str:
    """Return a time as the API takes it; ValueError when it has no zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def deleted(said: object) -> Deleted:
    """Return what "Get Deleted" answers."""
    try:
        found = mapping(said)
        ids = [str(each["id"]) for each in found["deletedRecords"]]
        return Deleted(ids, _time(found["earliestDateAvailable"]), _time(found["latestDateCovered"]))
    except (KeyError, TypeError, ValueError):
        raise SalesforceDown("what was deleted: the answer is not what it should be") from None


def job(said: object) -> Job:
    """Return how far a query job is."""
    found = mapping(said)
    if not isinstance(found.get("state"), str):
        raise SalesforceDown("the Bulk query: the answer has no state")
    return Job(
        found["state"], int(found.get("numberRecordsProcessed") or 0), str(found.get("errorMessage") or "")
    )


def row_results(said: object, count: int) -> list[RowResult]:
    """Return the results of a collection of `count` records, in their order."""
    if not isinstance(said, list) or len(said) != count:
        raise SalesforceDown("the writing: the answer has not one result for each record")
    return [_row_result(mapping(each)) for each in said]


def _row_result(said: Mapping[str, Any]) -> RowResult:
    errors = said.get("errors") or []
    first = mapping(errors[0]) if errors else {}
    return RowResult(
        id=str(said.get("id") or ""),
        success=said.get("success") is True,
        created=said.get("created") is True,
        code=str(first.get("statusCode") or first.get("errorCode") or ""),
        message=str(first.get("message") or ""),
        fields=tuple(map(str, first.get("fields") or ())),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
