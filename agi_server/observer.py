"""What the FastAGI server tells of itself, into metrics and log."""

from __future__ import annotations

import structlog

from agi_server.metrics import Metrics

log = structlog.get_logger()

_LOUD = frozenset({"script", "deadline", "unknown_script", "reply"})  # the admin's business, not a stranger's


class FastAgiObserver:
    """Counts everything; logs what went wrong, but for connections that came and left without a word."""

    def __init__(self, metrics: Metrics) -> None:
        self.opened = metrics.opened
        self.closed = metrics.closed
        self.answered = metrics.answered
        self._count = metrics.failed

    def failed(self, kind: str, detail: str) -> None:
        """Count and log a failure of this kind."""
        self._count(kind)
        if kind in _LOUD:
            log.error("the call goes on without an answer", kind=kind, detail=detail)
        elif kind != "probe":
            log.warning("a connection was closed", kind=kind, detail=detail)
