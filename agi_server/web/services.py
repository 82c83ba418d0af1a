"""What a request may use. Built once by `agi_server.front`, found at `request.app.state.services`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, Request

from agi_server.calls.call import Decision
from agi_server.calls.directory import Directory
from agi_server.events.hub import Hub
from agi_server.scripts.services import new_call_ids
from agi_server.settings import Settings
from agi_server.web.counts import Counts
from agi_server.web.known import Known
from agi_server.web.throttle import Throttle

if TYPE_CHECKING:
    from storage.database import Database


class Server(Protocol):
    """The serving process, as the front sees it over the socket between them (see agi_server/feed.py)."""

    def decided(self, decision: Decision, seconds: float) -> None:
        """Hand over a decision that took so long, for the journal and the counts."""
        ...

    def answered(self, *, call_id: str, uniqueid: str, at: int, extension: str) -> None:
        """Hand over that a call was answered, for the journal; the event comes back."""
        ...

    def ended(
        self, *, call_id: str, uniqueid: str, ended_at: int, disposition: str, seconds: int, answered_by: str
    ) -> None:
        """Hand over how a call went, for the journal; the event comes back."""
        ...

    def synchronise(self, *, full: bool, accept_removals: bool) -> None:
        """Have the worker synchronise with Salesforce at once; how it goes comes as an event."""
        ...

    def dial(self, order: Mapping[str, Any]) -> None:
        """Have a PBX call somebody for an agent (see agi_server/ami/originate.py); how it goes comes as events."""
        ...

    def hang_up(self, dial_id: str) -> None:
        """Have a PBX end a call that was ordered."""
        ...

    async def metrics(self) -> str:
        """Return its numbers in Prometheus's text format. Raises DirectoryError when it does not answer."""
        ...

    async def state(self) -> dict[str, Any]:
        """Return `parts` and `salesforce`. Raises DirectoryError when it does not answer.

        `parts`: name to `ok…`, `off`, `degraded: …` or what is wrong; `salesforce`: what the worker last told, or None.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a request needs besides itself.

    `settings` are those of the file; what the table `settings` changes of them is in `storage.overrides`.
    `directory` is for `decide`, on the event loop's thread.
    """

    settings: Settings
    database: Database
    directory: Directory
    server: Server
    events: Hub
    counts: Counts
    clock: Callable[[], float] = time.time
    new_call_id: Callable[[], str] = field(default_factory=new_call_ids)
    known: Known = field(default_factory=Known)
    log_ins: Throttle = field(default_factory=Throttle)


def services_of(request: Request) -> Services:
    """Return what this request may use."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def _services(request: Request) -> Services:  # a dependency that is no coroutine is called in a thread
    return services_of(request)


Use = Annotated[Services, Depends(_services)]
