"""Sections on what is kept of calls and chats, and which Tasks are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from agi_server.errors import InputError
from agi_server.settings.values import SECONDS, Extension, OptionalPath, Section


class Journal(Section):
    """The record of calls."""

    enabled: bool = Field(default=True, description="Keep a record of every call.")
    retention_days: int = Field(
        default=365,
        ge=0,
        description="Forget calls after so many days; 0: never.",
        json_schema_extra={"unit": "d"},
    )


class Reminders(Section):
    """What people are reminded of."""

    missed_calls: bool = Field(
        default=True,
        description="An event for the responsible agent when nobody answered a caller who was let in.",
    )


class Recordings(Section):
    """Recordings of calls, served behind the console's log-in."""

    directory: OptionalPath = Field(
        default=None,
        description="Where the PBX puts them; empty: none are served.",
        examples=["/var/spool/asterisk/monitor"],
    )
    retention_days: int = Field(
        default=0,
        ge=0,
        description="Delete recordings of calls after so many days; 0: never.",
        json_schema_extra={"unit": "d"},
    )


class Chats(Section):
    """Chats and messages (docs/chats.md)."""

    gap_minutes: int = Field(
        default=30,
        ge=1,
        le=1440,
        description="A message so long after the last one begins another chat.",
        json_schema_extra={"unit": "min"},
    )


def _task_template(value: str) -> str:
    from agi_server.salesforce.templates import check_task  # noqa: PLC0415  # not needed by most commands

    try:
        check_task(value)
    except InputError as error:
        raise ValueError(f"cannot be used: {error}") from error
    return value


TaskTemplate = Annotated[str, AfterValidator(_task_template)]


class Tasks(Section):
    """What is written to Salesforce of each call (docs/journal.md)."""

    enabled: bool = Field(default=True, description="Write a Task for each call, where Salesforce is used.")
    internal: bool = Field(default=False, description="Also of calls among our own extensions.")
    blocked: bool = Field(default=False, description="Also of calls that a rule blocked.")
    inbound_subject: TaskTemplate = Field(
        default="Call from [Name] [Number]", description="Subject: an inbound call that was answered."
    )
    inbound_text: TaskTemplate = Field(
        default="[DateTime]: [Number] [Name] called [DID], answered by [AgentName] ([Agent]), [Duration].[Details]",
        description="Description: an inbound call that was answered.",
    )
    missed_subject: TaskTemplate = Field(
        default="Missed call from [Name] [Number]", description="Subject: an inbound call nobody answered."
    )
    missed_text: TaskTemplate = Field(
        default="[DateTime]: [Number] [Name] called [DID]; nobody answered ([Outcome]).[Details]",
        description="Description: an inbound call nobody answered.",
    )
    outbound_subject: TaskTemplate = Field(
        default="Call to [Name] [Number]", description="Subject: an outbound call that was answered."
    )
    outbound_text: TaskTemplate = Field(
        default="[DateTime]: [AgentName] ([Agent]) called [Number] [Name], [Duration].[Details]",
        description="Description: an outbound call that was answered.",
    )
    unanswered_subject: TaskTemplate = Field(
        default="Call to [Name] [Number], not answered",
        description="Subject: an outbound call nobody answered.",
    )
    unanswered_text: TaskTemplate = Field(
        default="[DateTime]: [AgentName] ([Agent]) called [Number] [Name]; not answered ([Outcome]).[Details]",
        description="Description: an outbound call nobody answered.",
    )
    chat_subject: TaskTemplate = Field(
        default="Chat with [Name] [Number][Email]", description="Subject: a chat or a message."
    )
    chat_text: TaskTemplate = Field(default="[ChatMessages]", description="Description: a chat or a message.")
    follow_up: bool = Field(
        default=True, description="A Task to call back for each missed call, closed when that has happened."
    )
    follow_up_subject: TaskTemplate = Field(
        default="Call back [Name] [Number]", description="Subject: of a Task to call back."
    )
    follow_up_text: TaskTemplate = Field(
        default="[Number] [Name] called [DID] on [DateTime]; nobody answered.",
        description="Description: of a Task to call back.",
    )
    follow_up_hours: int = Field(
        default=24,
        ge=0,
        le=8760,
        description="When calling back is due, counted from the missed call.",
        json_schema_extra={"unit": "h"},
    )
    follow_up_wait: int = Field(
        default=120,
        ge=0,
        le=86400,
        description="No Task to call back is made of a caller who gets through, or is called back, within this time.",
        json_schema_extra=SECONDS,
    )
    responsible: Extension = Field(
        default="",
        description="Extension of the agent who gets what is nobody's; empty: the integration user keeps it.",
    )
    queues: Mapping[str, Extension] = Field(
        default={},
        description="Extension of the agent who gets missed calls of a queue or group, by its name.",
        examples=[{"sales": "101", "600": "102"}],
    )
    status: str = Field(
        default="Completed", min_length=1, max_length=40, description="Status of what is done."
    )
    open_status: str = Field(
        default="Not Started", min_length=1, max_length=40, description="Status of a Task to call back."
    )
    priority: str = Field(default="Normal", min_length=1, max_length=40, description="Priority of Tasks.")
    fields: Mapping[str, TaskTemplate] = Field(
        default={},
        description="Further fields of the Task of a call, with templates.",
        examples=[{"Queue__c": "[QueueExtension]"}],
    )
