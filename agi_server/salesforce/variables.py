"""What the variables of a Task's templates hold; their names are those of 3CX (templates.TASK_VARIABLES).

Nothing here talks to Salesforce or the database. Local times are those of one zone, moments are ISO 8601 with seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from agi_server.calls.record import Disposition, disposition_of
from agi_server.salesforce.creation import is_answered, real_name
from agi_server.salesforce.links import record_url
from agi_server.salesforce.records import UNKNOWN
from storage.call_facts import AgentFacts, CallFacts, ChatFacts, Person

OBJECTS = {
    "001": "Account",
    "003": "Contact",
    "006": "Opportunity",
    "00Q": "Lead",
}  # by the beginning of an id

NOBODY = AgentFacts("", "", "", "")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all Tasks: the zone of local times, the console's address, the org's ('': not known)."""

    zone: ZoneInfo
    console: str
    instance: str


def call_values(
    call: CallFacts, agent: AgentFacts, agents: Mapping[str, AgentFacts], around: Surroundings
) -> dict[str, str]:
    """Return the variables of a call; `agent` is who spoke or should have, `agents` are those of its legs."""
    answered = is_answered(call)
    number = number_of(call)
    recording = f"{around.console}/recordings/{quote(call.id, safe='')}" if call.recording else ""
    return {
        **_person_values(call.person, around),
        **_agent_values(agent),
        "Number": number,
        "Name": name_of(call.person, real_name(call), number),
        "CallType": _call_type(call, answered=answered),
        "CallDirection": call.direction.capitalize(),
        "Duration": clock(call.seconds),
        "DurationTimespan": _timespan(call.seconds),
        "DateTime": _local(call.started_at, around.zone),
        **_moments("CallStartTime", call.started_at, around.zone),
        **_moments("CallEstablishedTime", call.answered_at, around.zone),
        **_moments("CallEndTime", call.ended_at, around.zone),
        "QueueExtension": call.queue,
        "RecordingUrl": recording,
        "RecordingHyperLink": recording,
        "LineBreak": "\n",
        "DID": call.did,
        "Trunk": call.trunk,
        "CallId": call.id,
        "Outcome": outcome_of(call),
        "Details": _details(call, agents, around.zone) + (f"\nRecording: {recording}" if recording else ""),
    }


def chat_values(chat: ChatFacts, agent: AgentFacts, around: Surroundings) -> dict[str, str]:
    """Return the variables of a chat."""
    number = number_of(chat)
    seconds = max(0, chat.ended_at - chat.started_at)
    return {
        **_person_values(chat.person, around),
        **_agent_values(agent),
        "Number": number,
        "Email": chat.email or (chat.person.email if chat.person is not None else ""),
        "Name": name_of(chat.person, chat.name, number or chat.email),
        "CallDirection": chat.direction.capitalize(),
        "Duration": clock(seconds),
        "DurationTimespan": _timespan(seconds),
        "DateTime": _local(chat.started_at, around.zone),
        **_moments("ChatStartTime", chat.started_at, around.zone),
        **_moments("ChatEndTime", chat.ended_at, around.zone),
        "QueueExtension": chat.queue,
        "LineBreak": "\n",
        "DID": chat.did,
        "CallId": chat.id,
        "ChatMessages": "\n".join(_said(chat, around.zone)),
    }


def number_of(call: CallFacts | ChatFacts) -> str:
    """Return the number of the party outside: +4930…, else as it came."""
    return f"+{call.number}" if call.number else call.number_text


def name_of(person: Person | None, sent: str, number: str) -> str:
    """Return what the other party is called, '' where there is nothing but a number."""
    names = (person.name if person is not None else "", sent)
    return next((name for name in names if name not in {"", number}), "" if number else UNKNOWN)


def outcome_of(call: CallFacts) -> str:
    """Return how a call ended, in a word of `Disposition`, or blocked."""
    if call.verdict == "block":
        return "blocked"
    return str(Disposition.ANSWERED if is_answered(call) else disposition_of(call.disposition))


def clock(seconds: int) -> str:
    """Return a duration as hh:mm:ss."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _timespan(seconds: int) -> str:
    """Return a duration as .NET writes a TimeSpan: 00:01:05, 1.02:03:04."""
    days = f"{seconds // 86400}." if seconds >= 86400 else ""
    return days + clock(seconds % 86400)


def _call_type(call: CallFacts, *, answered: bool) -> str:
    if call.direction == "inbound":
        return "Inbound" if answered else "Missed"
    return "Outbound" if answered else "Notanswered"


def _person_values(person: Person | None, around: Surroundings) -> dict[str, str]:
    if person is None:
        return {"FoundRecordCount": "0"}
    sobject = OBJECTS.get(person.salesforce_id[:3], "")
    url = record_url(around.instance, sobject, person.salesforce_id) if around.instance and sobject else ""
    return {
        "FoundRecordCount": "1",
        "EntityId": person.salesforce_id,
        "EntityType": sobject,
        "Company": person.company,
        "Email": person.email,
        "Contact::ContactID": person.salesforce_id,
        "Contact::ContactUrl": url,
        "Contact::EntityId": person.salesforce_id,
        "Contact::EntityType": sobject,
        "Contact::FirstName": person.first_name,
        "Contact::LastName": person.last_name,
        "Contact::FullName": person.name,
        "Contact::CompanyName": person.company,
        "Contact::Email": person.email,
    }


def _agent_values(agent: AgentFacts) -> dict[str, str]:
    first, _, last = agent.name.strip().rpartition(" ")
    return {
        "Agent": agent.extension,
        "AgentName": agent.name,
        "AgentFirstName": first or last,
        "AgentLastName": last if first else "",
        "AgentEmail": agent.email,
    }


def _local(at: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(int(at), zone).strftime("%Y-%m-%d %H:%M:%S")


def _moments(name: str, at: float | None, zone: ZoneInfo) -> dict[str, str]:
    """Return a moment as fields of type date-time take it, in the zone and in UTC."""
    if at is None:
        return {}
    moment = datetime.fromtimestamp(int(at), UTC)
    return {
        f"{name}Local": moment.astimezone(zone).isoformat(),
        f"{name}UTC": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _said(chat: ChatFacts, zone: ZoneInfo) -> Iterator[str]:
    for message in chat.messages:
        if len(message) == 3 and isinstance(message[0], int | float):
            at, who, text = message
            yield f"{_local(at, zone)} {who}: {text}"


# --- what happened within a call


def _details(call: CallFacts, agents: Mapping[str, AgentFacts], zone: ZoneInfo) -> str:
    """Return a line a leg and transfer in the order they came, each behind a line break; '' for a plain call."""
    legs = [leg for leg in call.legs if leg.get("via") != "caller"]
    if len(legs) + len(call.transfers) < 2 and not any(leg.get("held") for leg in legs):
        return ""
    lines = [(_seconds(leg.get("began_at")), _leg(leg, agents)) for leg in legs]
    lines += [(_seconds(each.get("at")), _transfer(each, agents)) for each in call.transfers]
    return "".join(
        f"\n{_local(at, zone)[11:]} {text}" for at, text in sorted(lines, key=lambda line: line[0])
    )


def _leg(leg: Mapping[str, Any], agents: Mapping[str, AgentFacts]) -> str:
    began, answered, ended = (leg.get(name) for name in ("began_at", "answered_at", "ended_at"))
    parts = []
    if leg.get("queue"):
        parts.append(f"queue {leg['queue']}")
    until = answered if answered is not None else ended
    if leg.get("via") in {"dial", "queue"} and until is not None:
        parts.append(f"rang {clock(max(0, _seconds(until) - _seconds(began)))}")
    if answered is not None and ended is not None:
        parts.append(f"spoke {clock(max(0, _seconds(ended) - _seconds(answered)))}")
    if leg.get("held"):
        parts.append(f"on hold {clock(_seconds(leg['held']))}")
    if answered is None or leg.get("via") not in {"dial", "queue"}:
        parts.append(str(leg.get("outcome") if answered is None else leg.get("via")))
    return f"{_who(str(leg.get('extension') or leg.get('number') or ''), agents)}: {', '.join(parts)}"


def _transfer(transfer: Mapping[str, Any], agents: Mapping[str, AgentFacts]) -> str:
    by, to = (_who(str(transfer.get(name) or ""), agents) for name in ("by", "to"))
    return f"{by} handed on to {to} ({transfer.get('kind')})"


def _who(extension: str, agents: Mapping[str, AgentFacts]) -> str:
    agent = agents.get(extension, NOBODY)
    return f"{agent.name} ({extension})" if agent.name else extension or UNKNOWN


def _seconds(value: Any) -> int:  # noqa: ANN401  # of JSON
    return int(value) if isinstance(value, int | float) else 0
