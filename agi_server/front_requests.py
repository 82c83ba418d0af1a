"""What the front asks of the serving process, and hands over to it (see feed.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from prometheus_client import generate_latest

from agi_server.calls.call import Direction, Rung, Verdict
from agi_server.feed import Heard
from agi_server.journal import Journal
from agi_server.metrics import Metrics
from agi_server.supervisor import Ask

log = structlog.get_logger()


def front_requests(
    metrics: Metrics, journal: Journal, readiness: Callable[[], Mapping[str, str]], worker: Ask
) -> Heard:
    """Return what answers a line of the front's; a line that cannot be taken is logged, and no call notices."""

    def decided(record: dict[str, Any], seconds: float) -> None:
        way, verdict, rung = Direction(record["direction"]), Verdict(record["verdict"]), Rung(record["rung"])
        metrics.counted(way, verdict, rung, seconds)
        journal.recorded(record, time.time())

    def ask(what: str) -> object:
        if what == "metrics":
            return generate_latest(metrics.registry).decode()
        return {"parts": readiness(), "salesforce": metrics.salesforce}

    known: Mapping[str, Callable[..., object]] = {
        "decided": decided,
        "answered": lambda record: journal.answered(**record),
        "ended": lambda record: journal.ended(**record),
        "sync": partial(worker, "sync"),
        "dial": partial(worker, "dial"),
        "hang_up": partial(worker, "hang_up"),
        "ask": ask,
    }

    def heard(kind: str, rest: list[Any]) -> object:
        try:
            return known[kind](*rest)
        except (KeyError, TypeError, ValueError) as error:
            log.error("the front said something odd", kind=kind, error=repr(error))
            return None

    return heard
