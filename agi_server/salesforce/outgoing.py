"""What goes to Salesforce: a record of a row, where it goes, and what is noted when it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import SalesforceRefusal
from agi_server.salesforce.client import Client
from agi_server.salesforce.records import Shape
from storage.outbox import OutboxRow

Job = Callable[[AsyncConnection], Awaitable[None]]


class Target(NamedTuple):
    """Where records go in one call: POST makes, PATCH changes them by their ids, or by `external_id` does either."""

    method: Literal["POST", "PATCH"]
    sobject: str
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record on its way: `taken` makes the job that notes the id it has, `gone` the one for a record that is no more.

    `update`: it is a change by id, so there may be nothing to change any more. `setting` is where an admin says what
    is written.
    """

    row: OutboxRow
    target: Target
    record: Mapping[str, Any]
    taken: Callable[[str], Job]
    gone: Job
    update: bool = False
    setting: str = "salesforce.create"


class Shapes:
    """The objects' fields, asked for once in a run through the outbox."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, Shape | None] = {}

    async def of(self, sobject: str) -> Shape | None:
        """Return the fields of an object, None for one that we may not see."""
        if sobject not in self._known:
            try:
                describe = await asyncio.to_thread(self._client.describe, sobject)
            except SalesforceRefusal:  # whatever the code, it is not for us
                describe = None
            self._known[sobject] = Shape(describe) if describe is not None else None
        return self._known[sobject]
