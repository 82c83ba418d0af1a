"""The Tasks of calls and chats: whose they are, whom they are about, and what they say.

Nothing here talks to Salesforce or the database. Invariant: a Task names the call or chat it is of in CallObject, and
no template or setting changes that, for by this it is found again. Source: "Task" in Salesforce's Object Reference;
CallObject is "the unique identifier of the call" of up to 255 characters, and can be filtered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from agi_server.calls.record import Disposition
from agi_server.salesforce.creation import is_answered
from agi_server.salesforce.records import Shape, fitting, plain, rendered
from agi_server.salesforce.templates import render
from agi_server.salesforce.variables import (
    NOBODY,
    OBJECTS,
    Surroundings,
    call_values,
    chat_values,
    outcome_of,
)
from agi_server.settings import Tasks
from storage.call_facts import AgentFacts, CallFacts, ChatFacts, Person

Fields = dict[str, Any]

REFERENCES: Final = ("OwnerId", "WhoId", "WhatId")
_MADE_ONLY: Final = {
    "tasksubtype",
    "status",
    "priority",
}  # what people change afterwards stays as they want it
_WORDS: Final = {
    Disposition.ANSWERED: "Answered",
    Disposition.BUSY: "Busy",
    Disposition.CANCELLED: "Cancelled",
    Disposition.FAILED: "Failed",
}
_ABOUT_REFERENCES: Final = {
    "ENTITY_IS_DELETED",
    "FIELD_INTEGRITY_EXCEPTION",
    "INACTIVE_OWNER_OR_USER",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "INVALID_CROSS_REFERENCE_KEY",
    "MALFORMED_ID",
    "OP_WITH_INVALID_USER_TYPE_EXCEPTION",
    "TRANSFER_REQUIRES_READ",
}
_ABOUT_OWNERS: Final = {
    "INACTIVE_OWNER_OR_USER",
    "OP_WITH_INVALID_USER_TYPE_EXCEPTION",
    "TRANSFER_REQUIRES_READ",
}


# --- whose it is


def keepers(call: CallFacts, tasks: Tasks) -> list[str]:
    """Return extensions to whom a call's Task goes, the first that has a User: who spoke, or who should have."""
    if call.direction != "inbound":
        first = [call.routed_to or _caller(call) or call.answered_by]
    elif is_answered(call):
        first = [call.answered_by]
    else:
        first = [call.routed_to, tasks.queues.get(call.queue, "")]
    return [extension for extension in (*first, tasks.responsible) if extension]


def chat_keepers(chat: ChatFacts, tasks: Tasks) -> list[str]:
    """Return extensions to whom a chat's Task goes, likewise."""
    return [each for each in (chat.agent, tasks.queues.get(chat.queue, ""), tasks.responsible) if each]


def extensions_of(call: CallFacts) -> set[str]:
    """Return the extensions of a call's legs and transfers."""
    legs = {str(leg.get("extension") or "") for leg in call.legs}
    return (legs | {str(each.get(side) or "") for each in call.transfers for side in ("by", "to")}) - {""}


def first_of(extensions: Iterable[str], agents: Mapping[str, AgentFacts]) -> AgentFacts:
    """Return the first of these extensions, as an agent where it is one's."""
    for extension in extensions:
        return agents.get(extension, AgentFacts(extension, "", "", ""))
    return NOBODY


def user_of(extensions: Iterable[str], agents: Mapping[str, AgentFacts]) -> str:
    """Return the Salesforce User of the first of these extensions that has one, '' where none has."""
    found = (agents[extension].user_id for extension in extensions if extension in agents)
    return next(filter(None, found), "")


def _caller(call: CallFacts) -> str:
    """Return the phone of ours that a call came from."""
    legs = (leg for leg in call.legs if leg.get("via") in {"caller", "click"} and leg.get("extension"))
    return next((str(leg["extension"]) for leg in legs), "")


# --- what it says


def call_task(
    key: str,
    call: CallFacts,
    tasks: Tasks,
    agents: Mapping[str, AgentFacts],
    around: Surroundings,
    *,
    opportunity: str,
) -> tuple[Fields, dict[str, str]]:
    """Return the fields of a call's Task, and the variables of its templates; `opportunity` is what was made of it."""
    to = keepers(call, tasks)
    values = call_values(call, first_of(to, agents), agents, around)
    subject, text = _templates(call, tasks)
    return {
        "Subject": _line(render(subject, values)),
        "Description": render(text, values),
        "Status": tasks.status,
        "Priority": tasks.priority,
        "ActivityDate": day(call.started_at, around.zone),
        "TaskSubtype": "Call",
        "Type": "Call",
        "CallType": call.direction.capitalize(),
        "CallDurationInSeconds": call.seconds,
        "CallDisposition": disposition(call),
        "CallObject": key,
        "OwnerId": user_of(to, agents),
        **about(call.person, opportunity),
    }, values


def follow_up(
    key: str, call: CallFacts, tasks: Tasks, agents: Mapping[str, AgentFacts], around: Surroundings
) -> Fields:
    """Return the fields of a Task to call back."""
    to = keepers(call, tasks)
    values = call_values(call, first_of(to, agents), agents, around)
    return {
        "Subject": _line(render(tasks.follow_up_subject, values)),
        "Description": render(tasks.follow_up_text, values),
        "Status": tasks.open_status,
        "Priority": tasks.priority,
        "ActivityDate": day(call.started_at + tasks.follow_up_hours * 3600, around.zone),
        "Type": "Call",
        "CallObject": key,
        "OwnerId": user_of(to, agents),
        **about(call.person),
    }


def chat_task(
    key: str, chat: ChatFacts, tasks: Tasks, agents: Mapping[str, AgentFacts], around: Surroundings
) -> Fields:
    """Return the fields of a chat's Task."""
    to = chat_keepers(chat, tasks)
    values = chat_values(chat, first_of(to, agents), around)
    return {
        "Subject": _line(render(tasks.chat_subject, values)),
        "Description": render(tasks.chat_text, values),
        "Status": tasks.status,
        "Priority": tasks.priority,
        "ActivityDate": day(chat.started_at, around.zone),
        "CallObject": key,
        "OwnerId": user_of(to, agents),
        **about(chat.person),
    }


def disposition(call: CallFacts) -> str:
    """Return a call's result as people read it in Salesforce."""
    outcome = outcome_of(call)
    if outcome == "blocked":
        return "Blocked"
    without = "Missed" if call.direction == "inbound" else "Not answered"
    return _WORDS.get(Disposition(outcome), without)


def about(person: Person | None, opportunity: str = "") -> Fields:
    """Return WhoId and WhatId, None where there is none: people are Who, accounts and opportunities What.

    A Task of a Lead takes no What ("Task", WhatId).
    """
    record = person.salesforce_id if person is not None else ""
    sobject = OBJECTS.get(record[:3], "")
    who = record if sobject in {"Contact", "Lead"} else ""
    what = record if sobject in {"Account", "Opportunity"} else ""
    return {"WhoId": who or None, "WhatId": (opportunity or what) or None if sobject != "Lead" else None}


def day(at: int, zone: ZoneInfo) -> str:
    """Return the day of a moment, as a field of type date takes it."""
    return datetime.fromtimestamp(at, zone).date().isoformat()


def _templates(call: CallFacts, tasks: Tasks) -> tuple[str, str]:
    if call.direction == "inbound":
        if is_answered(call):
            return tasks.inbound_subject, tasks.inbound_text
        return tasks.missed_subject, tasks.missed_text
    if is_answered(call):
        return tasks.outbound_subject, tasks.outbound_text
    return tasks.unanswered_subject, tasks.unanswered_text


def _line(text: str) -> str:
    """Return a text on one line, with single spaces."""
    return " ".join(plain(text).split())


# --- as the org takes it


def fit(fields: Fields, shape: Shape, notes: set[str], *, update: bool) -> Fields:
    """Return those fields that the org shows and lets us write, in the form it takes; what is left out is noted.

    Of a Task that is there, Status, Priority and TaskSubtype stay. An empty reference is left out of a new one.
    """
    record: Fields = {}
    for name, value in fields.items():
        if update and name.lower() in _MADE_ONLY:
            continue
        field = shape.get(name)
        if field is None or not field.get("updateable" if update else "createable"):
            notes.add(
                f"Task.{name} is hidden from the integration user, or may not be written: it stays empty"
            )
        elif _is_choice(name) and value not in choices(field):
            if name != "Type":  # an org's own list
                notes.add(f"Task.{name} has no value {value!r}: it stays empty")
        elif isinstance(value, str):
            text = plain(value)
            if text:
                record[str(field["name"])] = fitting(text, field)
        elif value is not None or update:
            record[str(field["name"])] = value
    return record


def further(tasks: Tasks, shape: Shape, values: Mapping[str, str], *, update: bool) -> Fields:
    """Return the values of tasks.fields. Raises InputError with the setting to mend."""
    templates = {
        name: text for name, text in tasks.fields.items() if name.lower() not in {"callobject", "id"}
    }
    record = rendered(templates, shape, values, sobject="Task", setting="tasks.fields")
    if not update:
        return record
    return {name: value for name, value in record.items() if (shape.get(name) or {}).get("updateable")}


def choices(field: Mapping[str, Any]) -> set[str]:
    """Return the values that a picklist offers."""
    return {str(each.get("value")) for each in field.get("picklistValues") or () if each.get("active", True)}


def _is_choice(name: str) -> bool:
    return name in {"Type", "CallType", "TaskSubtype"}


def shape_notes(shape: Shape, tasks: Tasks) -> set[str]:
    """Return what an admin should know of statuses: one that the org does not have closes no Task."""
    field = shape.get("Status")
    offered = choices(field) if field is not None else set()
    wanted = {"tasks.status": tasks.status, "tasks.open_status": tasks.open_status}
    return {
        f"Task.Status has no value {value!r} ({setting}); there are {', '.join(sorted(offered))}"
        for setting, value in wanted.items()
        if offered and value not in offered
    }


def obstacle(shape: Shape | None) -> str:
    """Return why no Task can be written, and what to do; '' where nothing is in the way."""
    if shape is None:
        return (
            "tasks: the integration user cannot see the object Task; give it the permissions Access Activities and "
            "Edit Tasks (docs/journal.md); calls wait in the outbox, or set tasks.enabled = false"
        )
    field = shape.get("CallObject")
    if field is None or not field.get("createable") or field.get("filterable") is False:
        return (
            "tasks: the integration user may not see and edit Task.CallObject, by which a call's Task is found again; "
            "give it Edit access to the field (docs/journal.md); calls wait in the outbox"
        )
    return ""


def without_culprit(
    record: Mapping[str, Any], code: str, message: str, fields: Iterable[str]
) -> Fields | None:
    """Return a refused record without the reference it was refused for; None where it was not for one.

    A Task is worth more than its owner or whom it is about: without an owner it is the integration user's. Where
    Salesforce does not say which reference it means, it is whom the Task is about first, then its owner.
    """
    given = [name for name in REFERENCES if record.get(name)]
    if not given or code not in _ABOUT_REFERENCES:
        return None
    named = {name.lower() for name in fields}
    guilty = [name for name in given if name.lower() in named or str(record[name])[:15] in message]
    if not guilty and code in _ABOUT_OWNERS:
        guilty = ["OwnerId"]
    if not guilty:
        guilty = [name for name in given if name != "OwnerId"] or ["OwnerId"]
    return {name: value for name, value in record.items() if name not in guilty}
