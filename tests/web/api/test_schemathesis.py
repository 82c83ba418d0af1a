"""The API keeps what its description promises: schemathesis asks every operation, with every check it has."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from agi_server.events.event import EventType
from agi_server.web.access import Scope
from agi_server.web.server import serve_http
from tests.web.front import Front, open_front

pytestmark = pytest.mark.slow

EXAMPLES = 4  # of valid and of invalid requests, for each operation
SEED = 1


@dataclass
class Served:
    """A front on a loopback port, run by a thread of its own."""

    url: str
    token: str
    token_id: int


@contextmanager
def served(directory: Path) -> Iterator[Served]:
    """Serve a front; its event loop has a thread, for schemathesis waits for each answer."""
    found: list[Served] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with open_front(directory) as front:
            # By its descriptor, as the front gets it: asyncio then sees that it is TCP, and gathers nothing.
            descriptor = socket.create_server(("127.0.0.1", 0), backlog=64).detach()
            with socket.socket(fileno=descriptor) as listening:
                async with serve_http(front.app, front.settings.http, [listening]):
                    found.append(await _known(front, listening.getsockname()[1]))
                    ready.set()
                    talking = asyncio.create_task(_talk(front))
                    await stop.wait()
                    talking.cancel()
                    front.services.events.close()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _talk(front: Front) -> None:
    """Have something happen all the time, for who listens waits for an event."""
    while True:
        front.services.events.publish(EventType.CONFIGURATION, {})
        await asyncio.sleep(0.05)


async def _known(front: Front, port: int) -> Served:
    token = await front.token(*Scope)
    (row,) = await front.rows("SELECT id FROM tokens")
    return Served(f"http://127.0.0.1:{port}", token, row.id)


def config(token: str) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "headers": {"Authorization": f"Bearer {token}"},
            "continue-on-failure": True,
            "max-stream-events": 1,
            "generation": {
                "max-examples": EXAMPLES,
                "deterministic": True,
                "no-shrink": True,
                "database": "none",
            },
            "checks": {
                # What a schema cannot say (what is an RE2 expression, or there already) is refused with 409, 412, 413
                # or 422 although the schema has nothing against it.
                "positive_data_acceptance": {
                    "expected-statuses": ["2xx", "401", "403", "404", "409", "412", "413", "422"]
                },
            },
            "phases": {"stateful": {"enabled": False}},
        }
    )


def test_every_operation_keeps_its_promises(tmp_path: Path) -> None:
    with served(tmp_path) as front:
        schema = schemathesis.openapi.from_url(f"{front.url}/api/v1/openapi.json", config=config(front.token))

        @schema.hook
        def filter_case(_context: Any, case: Any) -> bool:
            """Leave the token that all of this is asked with."""
            own = str((case.path_parameters or {}).get("id")) == str(front.token_id)
            return not (case.method == "DELETE" and case.path.startswith("/api/v1/tokens/") and own)

        tested: set[str] = set()
        failures: list[str] = []
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                tested.add(event.recorder.label)
                failures += _failures(event.recorder)
            elif isinstance(event, events.NonFatalError):
                failures.append(f"{event.label}: {event.value}")
            elif isinstance(event, events.FatalError):
                raise event.exception
        assert not failures, "\n\n".join(failures)
        assert tested == {each.ok().label for each in schema.get_all_operations() if isinstance(each, Ok)}


def _failures(recorder: ScenarioRecorder) -> Iterator[str]:
    for checks in recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                yield f"{recorder.label}: {failure.title}\n{failure.message}\n{check.failure_info.code_sample}"
