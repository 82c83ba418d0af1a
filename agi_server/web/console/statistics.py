"""Charts of the calls: for people who would rather look than read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from markupsafe import Markup
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.charts import Column, bar, columns
from agi_server.web.console.formats import duration
from agi_server.web.console.languages import gettext_of, language_of
from agi_server.web.console.render import page
from agi_server.web.services import Services, Use
from storage.history import Caller, Hour, by_hour, top_callers

router = APIRouter()

DAY = 86_400  # seconds
TOP = 10  # callers
LATE_SYNC = 3600.0  # seconds since the last exchange with Salesforce at which its bar is full
ANSWERS = "ostiary_answer_seconds"
LAG = "ostiary_salesforce_sync_lag_seconds"


@router.get("/statistics")
async def show_statistics(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))],
    use: Use,
    days: Annotated[int, Query(ge=1, le=90)] = 7,
) -> Response:
    """Show the calls of the last days (today is one) and how quickly the PBX was answered."""
    now, zone = int(use.clock()), use.settings.routing.timezone
    since = today(now, zone, days - 1)

    async def job(conn: AsyncConnection) -> tuple[Sequence[Hour], Sequence[Caller]]:
        hours = await by_hour(conn, since, now + 1, offset=offset(now, zone))
        return hours, await top_callers(conn, since, now + 1, limit=TOP)

    hours, callers = await use.database.read(job)
    day = by_hour_of_day(hours, zone)
    answers, lag = await _told(use, language_of(request))
    most = max((caller.count for caller in callers), default=0)
    return page(
        request,
        actor,
        "statistics.html",
        period=days,
        hours=day,
        hours_chart=hours_chart(request, hours, zone),
        let_in=sum(column.values[0] for column in day),
        blocked=sum(column.values[1] for column in day),
        callers=[(caller, bar(caller.count, most)) for caller in callers],
        answers=answers,
        answers_chart=_answers_chart(request, answers),
        sync_lag=lag,
        sync_bar=bar(lag or 0, LATE_SYNC, "plain-bar" if (lag or 0) < LATE_SYNC else "block"),
    )


def today(now: int, timezone: str, days_before: int = 0) -> int:
    """Return when this day began in the time zone, or one so many days before; seconds since 1970."""
    local = datetime.fromtimestamp(now, ZoneInfo(timezone)) - timedelta(days=days_before)
    return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def offset(now: int, timezone: str) -> int:
    """Return the seconds by which clocks of the time zone are ahead of UTC."""
    ahead = datetime.fromtimestamp(now, ZoneInfo(timezone)).utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())


def by_hour_of_day(hours: Sequence[Hour], timezone: str) -> list[Column]:
    """Return the 24 hours of the day with calls let in and blocked, each summed over all days."""
    zone = ZoneInfo(timezone)
    counts = [[0, 0] for _ in range(24)]
    for hour in hours:
        of_day = datetime.fromtimestamp(hour.at, UTC).astimezone(zone).hour
        counts[of_day][0] += hour.allowed
        counts[of_day][1] += hour.blocked
    return [Column(f"{hour:02}", values, tick=hour % 3 == 0) for hour, values in enumerate(counts)]


def hours_chart(request: Request, hours: Sequence[Hour], timezone: str) -> Markup:
    """Return the chart of calls by hour and verdict."""
    _ = gettext_of(request)
    data = by_hour_of_day(hours, timezone)
    busiest = max(data, key=lambda column: sum(column.values))
    let_in, blocked = (int(sum(column.values[series] for column in data)) for series in (0, 1))
    return columns(
        data,
        title=_("Calls by hour of the day"),
        description=_("%(let_in)s let in, %(blocked)s blocked; most of them from %(hour)s o'clock.")
        % {"let_in": let_in, "blocked": blocked, "hour": busiest.label},
        series=("allow", "block"),
        number=lambda value: f"{value:g}",
    )


async def _told(use: Services, language: str) -> tuple[list[Column], float | None]:
    """Return the distribution of answer times and the seconds since the last exchange with Salesforce."""
    try:
        text = await use.server.metrics()
    except DirectoryError:
        return [], None
    below: dict[float, float] = {}
    lag = None
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{ANSWERS}_bucket":
                edge = float(sample.labels["le"])
                below[edge] = below.get(edge, 0) + sample.value
            elif sample.name == LAG:
                lag = sample.value
    return distribution(below, language), lag


def distribution(below: Mapping[float, float], language: str) -> list[Column]:
    """Return how many took up to each edge (seconds) but longer than the edge before; empty ends are left out."""
    edges = sorted(below)
    counts = [below[edge] - (below[edges[index - 1]] if index else 0) for index, edge in enumerate(edges)]
    used = [index for index, count in enumerate(counts) if count > 0]
    if not used:
        return []
    longest = duration(edges[-2], language) if len(edges) > 1 else ""
    return [
        Column(duration(edge, language) if math.isfinite(edge) else f"> {longest}", [counts[index]])
        for index, edge in list(enumerate(edges))[used[0] : used[-1] + 1]
    ]


def _answers_chart(request: Request, answers: Sequence[Column]) -> Markup:
    _ = gettext_of(request)
    total = sum(column.values[0] for column in answers)
    half, most = (_share(answers, total * part) for part in (0.5, 0.99))
    return columns(
        answers,
        title=_("Time to answer the PBX, since the start"),
        description=_("Half of %(count)s answers took up to %(half)s, 99 percent up to %(most)s.")
        % {"count": int(total), "half": half, "most": most},
        series=("plain-bar",),
        number=lambda value: f"{value:g}",
    )


def _share(answers: Sequence[Column], wanted: float) -> str:
    """Return the edge below which so many answers are."""
    reached = 0.0
    for column in answers:
        reached += column.values[0]
        if reached >= wanted:
            return column.label
    return ""
