"""What is told of a call: who is calling, what was decided, how it went.

Invariant: announcing never waits and never fails for a call nobody knows (it began before this process did): what is
told of it is then no more than its record says. A reminder is given once a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from agi_server.events.memory import Known

ANSWERED: Final = frozenset(
    {"answer", "answered"}
)  # dispositions; Asterisk writes DIALSTATUS and CDR differently
_OF_CALL: Final = (  # of a decision's document: what every event of a call has
    "direction",
    "number",
    "number_sent",
    "number_state",
    "display_name",
    "did",
    "trunk",
    "contact",
    "company",
)
_NOBODY: Final[dict[str, Any]] = dict.fromkeys(_OF_CALL, "") | {"contact": None}


def announce_decision(hub: Hub, document: dict[str, Any]) -> None:
    """Tell of a decision (its document: calls/document.py); an inbound call that is let in rings."""
    hub.calls.keep(document)
    hub.publish(EventType.DECISION, document)
    if document["direction"] != "inbound" or document["verdict"] != "allow":
        return
    call = _call(document)
    hub.publish(
        EventType.RINGING,
        {
            **call,
            "at": document["at"],
            "reason": document["reason"],
            "route": document["route"],
            "route_type": document["route_type"],
            "ring_seconds": document["ring_seconds"],
        },
    )
    if call["extension"]:
        hub.publish(
            EventType.SCREEN_POP,
            {
                **call,
                "at": document["at"],
                "reason": document["reason"],
                "ambiguous": document["ambiguous"],
                "why": [_summary(step) for step in document["trace"]],
            },
            extension=call["extension"],
        )


def announce_answered(hub: Hub, record: Mapping[str, Any]) -> None:
    """Tell that a call was answered: `call_id`, `uniqueid`, `at` (seconds), `extension` that speaks."""
    known = _known(hub, record)
    if known is not None:
        known.answered = True
    hub.publish(
        EventType.ANSWERED,
        {**_told(known, record), "at": record["at"], "answered_by": record["extension"]},
    )


def announce_ended(hub: Hub, record: Mapping[str, Any]) -> None:
    """Tell how a call went (a record of journal.py's `ended`), and the agent whose caller nobody answered."""
    known = _known(hub, record)
    call = _told(known, record)
    answered = _was_answered(known, record)
    hub.publish(
        EventType.ENDED,
        {
            **call,
            "started_at": known.document["at"] if known is not None else None,
            "ended_at": record["ended_at"],
            "verdict": known.document["verdict"] if known is not None else "",
            "disposition": record["disposition"],
            "answered": answered,
            "seconds": record["seconds"],
            "answered_by": record["answered_by"],
        },
    )
    if known is None:
        return
    first, known.ended = not known.ended, True
    let_in = known.document["direction"] == "inbound" and known.document["verdict"] == "allow"
    if hub.remind and first and let_in and not answered and call["extension"]:
        hub.publish(
            EventType.MISSED,
            {**call, "started_at": known.document["at"], "ended_at": record["ended_at"]},
            extension=call["extension"],
        )


def _known(hub: Hub, record: Mapping[str, Any]) -> Known | None:
    return hub.calls.find(call_id=record["call_id"], uniqueid=record["uniqueid"])


def _was_answered(known: Known | None, record: Mapping[str, Any]) -> bool:
    """Return whether somebody spoke: by any sign of it, for PBXs tell more or less of a call."""
    said = record["disposition"].lower() in ANSWERED or bool(record["answered_by"])
    return said or (known is not None and known.answered)


def _told(known: Known | None, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a record's call."""
    if known is not None:
        return _call(known.document)
    return {"id": record["call_id"], "uniqueid": record["uniqueid"], **_NOBODY, "extension": ""}


def _call(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every event of a call has; `extension` is the agent's: of whom the call was routed to, or dials."""
    agent = document["agent"]
    return {
        "id": document["id"],
        "uniqueid": document["uniqueid"],
        **{name: document[name] for name in _OF_CALL},
        "extension": agent["extension"] if agent else "",
    }


def _summary(step: Mapping[str, str]) -> str:
    """Return a step of the trace as a line without personal data."""
    line = f"{step['stage']}: {step['outcome']}"
    return f"{line} ({step['detail']})" if step["detail"] else line
