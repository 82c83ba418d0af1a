"""The page of health: every part with its state, and the numbers people ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.parser import text_string_to_metric_families

from agi_server.errors import DirectoryError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.languages import mark
from agi_server.web.console.render import page
from agi_server.web.health import is_ready
from agi_server.web.services import Services, Use

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]

# Samples shown, without their labels added up: name, what it is called, its unit ('' for a count).
SHOWN = (
    ("ostiary_calls_total", mark("Calls decided"), ""),
    ("ostiary_errors_total", mark("Requests that failed"), ""),
    ("ostiary_connections_open", mark("Connections of PBXs open now"), ""),
    ("ostiary_journal_pending", mark("Calls not yet on disk"), ""),
    ("ostiary_salesforce_sync_lag_seconds", mark("Behind Salesforce by"), "s"),
    ("ostiary_outbox_waiting", mark("Records on their way to Salesforce"), ""),
    ("ostiary_outbox_parked", mark("Records that wait for an admin"), ""),
    ("ostiary_event_listeners", mark("Live pages open"), ""),
    ("ostiary_events_dropped_total", mark("Events nobody got"), ""),
    ("process_resident_memory_bytes", mark("Memory of the process that answers calls"), "MB"),
)


@router.get("/health")
async def show_health(request: Request, use: Use, actor: Reader) -> Response:
    """Show how it stands."""
    parts, numbers = await _parts(use), await _numbers(use)
    return page(
        request,
        actor,
        "health.html",
        parts_shown=[(name, *_state(state)) for name, state in parts.items()],
        ready=all(is_ready(state) for state in parts.values()),
        numbers=numbers,
    )


async def _parts(use: Services) -> Mapping[str, str]:
    try:
        parts = dict((await use.server.state())["parts"])
    except DirectoryError as error:
        parts = {"calls": f"failed: {error}"}
    if use.settings.mqtt.url.get_secret_value():
        parts["mqtt"] = "ok" if use.counts.mqtt_is_up() else "degraded: not signed in to the broker"
    return parts


def _state(state: str) -> tuple[str, str]:
    """Return the kind of a badge and the text behind the first word."""
    word, _, rest = state.partition(":")
    kinds = {"ok": "ok", "off": "", "degraded": "warn"}
    first = word.split(" ", maxsplit=1)[0]
    return kinds.get(first, "bad"), rest.strip() if first in kinds else state


async def _numbers(use: Services) -> list[tuple[str, float, str]]:
    try:
        sums = dict(_sums(await use.server.metrics()))
    except DirectoryError:
        sums = {}
    sums |= dict(_sums(use.counts.text()))
    return [(label, sums[name], unit) for name, label, unit in SHOWN if name in sums]


def _sums(text: str) -> Iterator[tuple[str, float]]:
    """Yield the sum of each sample over its labels, the sample's own name first."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    yield from sums.items()
