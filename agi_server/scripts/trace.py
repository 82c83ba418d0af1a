"""The trace of a decision, sent along when a request asks for it with `trace=1` (as `ostiary ask` does)."""

from __future__ import annotations

import orjson

from agi_server.calls.call import Decision
from agi_server.fastagi.protocol import AgiRequest

MARK = "trace "  # what a VERBOSE line with a step begins with
LONGEST_PERSONAL = 200  # characters; a line that had to be cut would be no JSON any more


def trace_lines(request: AgiRequest, decision: Decision) -> tuple[str, ...]:
    """Return one line of text a step, or nothing when nobody asked."""
    if "trace" not in request.query:
        return ()
    steps = (step._replace(personal=step.personal[:LONGEST_PERSONAL]) for step in decision.trace)
    return tuple(MARK + orjson.dumps(step).decode() for step in map(list, steps))
