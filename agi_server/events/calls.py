"""What is told of a call: who is calling, what was decided, how it went.

Several tell of one call (the dialplan, AMI, a switch over HTTP), in any order. Invariant: announcing never waits and
never fails for a call nobody knows; the answer and the end of a conversation are each told once, by whoever is first,
and so are the reminder of a missed one and each agent's screen-pop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agi_server.calls.numbers import normalise
from agi_server.calls.record import Disposition, disposition_of
from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from agi_server.events.memory import Known

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
_UNDECIDED: Final[dict[str, Any]] = dict.fromkeys(_OF_CALL, "") | {
    "contact": None,
    "agent": None,
    "at": None,
    "verdict": "",
    "reason": "",
    "ambiguous": False,
    "trace": [],
}


def announce_decision(hub: Hub, document: dict[str, Any]) -> None:
    """Tell of a decision (its document: calls/document.py); an inbound call that is let in rings."""
    known = hub.calls.keep(document)
    hub.publish(EventType.DECISION, document)
    if not _let_in(document):
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
    if call["extension"] and hub.desk.rings(call["extension"]):
        _pop(hub, known, call["extension"], "ringing", document["at"])


def announce_answered(hub: Hub, record: Mapping[str, Any]) -> None:
    """Tell that a call was answered, and show the caller to who did.

    `record`: `call_id`, `uniqueid`, `at` (seconds), `extension` that speaks; AMI's has `uniqueids`, too. A second
    answer of one call (it was handed on) is not told, but shown to who speaks now.
    """
    known = _known(hub, record)
    progress, extension = known.progress, record["extension"]
    hub.calls.spoke(known.document["number"], record["at"])
    if progress.ended:
        return
    if not progress.answered:
        progress.answered = True
        told = {**_call(known.document), "at": record["at"], "answered_by": extension}
        hub.publish(EventType.ANSWERED, told)
    if extension and _let_in(known.document) and hub.desk.answers(extension):
        _pop(hub, known, extension, "answer", record["at"])


def announce_ended(hub: Hub, record: Mapping[str, Any]) -> None:
    """Tell how a call went, and the agent whose caller nobody answered.

    `record` is one of journal.py's `ended`; AMI's has `uniqueids`, `direction`, `number`, `name`, `did` and `trunk`,
    too, which count where nothing was decided.
    """
    known = _known(hub, record)
    document, progress = known.document, known.progress
    answered = _was_answered(known, record)
    if answered:
        hub.calls.spoke(document["number"], record["ended_at"])
    if progress.ended:
        return
    progress.ended = True
    call = _call(document)
    hub.publish(
        EventType.ENDED,
        {
            **call,
            "started_at": document["at"],
            "ended_at": record["ended_at"],
            "verdict": document["verdict"],
            "disposition": record["disposition"],
            "answered": answered,
            "seconds": record["seconds"],
            "answered_by": record["answered_by"],
        },
    )
    missed = not answered and _let_in(document)
    if missed and hub.remind and call["extension"] and not _got_through(hub, document):
        told = {**call, "started_at": document["at"], "ended_at": record["ended_at"]}
        hub.publish(EventType.MISSED, told, extension=call["extension"])


def announce_progress(hub: Hub, content: Mapping[str, Any]) -> None:
    """Tell the agent how a call goes that was ordered by a click: `id`, `agent`, `number`, `state`, `reason`, `at`."""
    hub.publish(EventType.PROGRESS, dict(content), extension=content["agent"])


def _pop(hub: Hub, known: Known, extension: str, on: str, at: int) -> None:
    """Put a caller on the screen of an extension, once."""
    if extension in known.progress.shown:
        return
    known.progress.shown.add(extension)
    document = known.document
    hub.publish(
        EventType.SCREEN_POP,
        {
            **_call(document),
            **hub.desk.links(document["id"], document["contact"]),
            "at": at,
            "on": on,
            "reason": document["reason"],
            "ambiguous": document["ambiguous"],
            "why": [_summary(step) for step in document["trace"]],
        },
        extension=extension,
    )


def _known(hub: Hub, record: Mapping[str, Any]) -> Known:
    """Return the call of a record; where nothing was decided of it, what the record says is kept in its place."""
    call_id, uniqueid = record["call_id"], record["uniqueid"]
    uniqueids = record.get("uniqueids", ())
    known = hub.calls.find(call_id=call_id, uniqueid=uniqueid, uniqueids=uniqueids)
    if known is None:
        document = _document(hub, record) | {"id": call_id, "uniqueid": uniqueid}
        if not call_id and not uniqueid:
            return Known("", document)
        known = hub.calls.keep(document)
        hub.calls.named(known, uniqueids)
    if known.document["at"] is None and record.get("direction"):  # it says more than the one before
        known.document |= _document(hub, record) | {"id": call_id or known.document["id"]}
    return known


def _document(hub: Hub, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return as much of a decision's document as a record of a call says that nobody decided."""
    if not record.get("direction"):
        return dict(_UNDECIDED)
    number = normalise(record["number"], hub.desk.region())
    agent = record["answered_by"] if record["direction"] != "inbound" else ""
    return _UNDECIDED | {
        "direction": record["direction"],
        "number": number.text,
        "number_sent": record["number"],
        "number_state": number.state.value,
        "display_name": record["name"],
        "did": record["did"],
        "trunk": record["trunk"],
        "agent": {"extension": agent} if agent else None,
    }


def _let_in(document: Mapping[str, Any]) -> bool:
    return bool(document["direction"] == "inbound" and document["verdict"] == "allow")


def _got_through(hub: Hub, document: Mapping[str, Any]) -> bool:
    """Return whether somebody has spoken with the caller since this call began: on another one, in either direction."""
    return hub.calls.spoken_since(document["number"], document["at"])


def _was_answered(known: Known, record: Mapping[str, Any]) -> bool:
    """Return whether somebody spoke: by any sign of it, for PBXs tell more or less of a call."""
    said = disposition_of(record["disposition"]) is Disposition.ANSWERED or bool(record["answered_by"])
    return said or known.progress.answered


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
