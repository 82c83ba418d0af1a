"""The JSON Schema (2020-12) of each type of event, whichever way it comes: by MQTT or as a Server-Sent Event.

Members may be added in later versions; those listed here stay. Names, numbers and reasons are as callers and people
wrote them: text, to be shown as text.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, create_model

from agi_server.calls.call import Direction, RouteType, Rung, Verdict
from agi_server.calls.directory import RuleKind
from agi_server.calls.numbers import NumberState
from agi_server.events.event import EventType

Seconds = Annotated[int, Field(description="Seconds since 1970 (UTC).")]
Extension = Annotated[
    str, Field(description="Of the agent the call was routed to, or who dials; empty: nobody's.")
]


class Contact(BaseModel):
    """The person or company who calls, or is called."""

    id: int = Field(description="Ostiary's own id.")
    kind: str = Field(description="Contact, Account, Lead or Opportunity.")
    name: str
    account: str
    owner: str
    owner_email: str
    vip: bool
    salesforce_id: str


class Agent(BaseModel):
    """A person with an extension."""

    name: str
    extension: str
    email: str


class Rule(BaseModel):
    """The rule that decided."""

    id: int
    kind: RuleKind
    pattern: str
    allow: bool
    did: str
    reason: str


class Step(BaseModel):
    """One step of how a decision came about."""

    stage: str
    outcome: str
    detail: str
    personal: str


class Call(BaseModel):
    """What every event of a call has; empty where the call began before Ostiary did."""

    id: str = Field(description="The call's id, OSTIARY_CALL.")
    uniqueid: str = Field(description="The PBX's own id of the channel.")
    direction: Direction | Literal["internal", ""] = Field(
        description="internal: told by a PBX, never decided."
    )
    number: str = Field(description="The other side's number, as +E164 where its country is known.")
    number_sent: str
    number_state: NumberState | Literal[""]
    display_name: str
    did: str
    trunk: str
    contact: Contact | None
    company: str = Field(description="Where no more than the company is known.")
    extension: Extension


class Decision(BaseModel):
    """`decision`: any call was decided, blocked and outbound ones, too."""

    id: str = Field(description="The call's id, OSTIARY_CALL.")
    uniqueid: str
    at: Seconds
    direction: Direction
    number: str
    number_sent: str
    number_state: NumberState
    name_sent: str
    did: str
    trunk: str
    display_name: str
    verdict: Verdict
    reason: str
    rule: Rule | None
    treatment: str
    rung: Rung
    ambiguous: bool
    contact: Contact | None
    company: str
    agent: Agent | None
    route: str
    route_type: RouteType
    ring_seconds: int
    fallback: str
    create_contact: bool
    trace: list[Step]


class Ringing(Call):
    """`call.ringing`: an inbound call was let in."""

    at: Seconds
    reason: str
    route: str
    route_type: RouteType
    ring_seconds: int


class Answered(Call):
    """`call.answered`: somebody speaks."""

    at: Seconds
    answered_by: str = Field(description="The extension that speaks; empty: not known.")


class Ended(Call):
    """`call.ended`: how a call went."""

    started_at: Seconds | None
    ended_at: Seconds
    verdict: Verdict | Literal[""]
    disposition: str = Field(description="As the PBX says it: answered, noanswer, busy, cancel, …")
    answered: bool
    seconds: int = Field(description="Spoken.")
    answered_by: str


class ScreenPop(Call):
    """`screen.pop`: who is calling, for an extension that rings or has answered."""

    at: Seconds
    on: Literal["ringing", "answer"] = Field(
        description="Why now: the phone rings, or its agent has answered."
    )
    record_url: str = Field(
        description="The contact's page in Salesforce; empty: it has none, or none is known."
    )
    call_url: str = Field(description="The call's page in Ostiary's console.")
    reason: str
    ambiguous: bool
    why: list[str] = Field(description="The steps of the decision, one line each.")


class Missed(Call):
    """`reminder.missed_call`: nobody answered, for the responsible agent's extension."""

    started_at: Seconds
    ended_at: Seconds


class Progress(BaseModel):
    """`call.progress`: how a call goes that was ordered by a click, for the extension it was ordered for."""

    id: str = Field(description="Of the order, as POST /api/v1/calls answered.")
    agent: str
    number: str
    state: str = Field(description="asked, ringing-agent, dialling, ringing, answered, ended, failed")
    reason: str = Field(description="Why it failed; empty: it did not.")
    at: Seconds


class Chat(BaseModel):
    """`chat.changed`: a chat or a message began, or went on."""

    id: str
    channel: str = Field(description="chat, sms, sip-message, …")
    direction: str
    number: str = Field(description="The other side's, as +E164 where its country is known.")
    email: str
    name: str
    did: str = Field(description="What was written to.")
    agent: str = Field(description="Extension; empty: nobody's.")
    contact_id: int | None
    messages: int = Field(description="How many there are so far.")
    started_at: Seconds
    ended_at: Seconds = Field(description="Of the last message so far.")


class Change(BaseModel):
    """`….changed`: somebody changed something; a row of the audit log, or many of one kind at once."""

    change: int = Field(description="Id in the audit log; of many: the last one's.")
    at: Seconds
    who: str = Field(description="user:ana, token:crm, mqtt:desk, or whose command line it was.")
    what: str = Field(description="e.g. blacklist.add")
    count: int = Field(description="How many; of more than one, before and after are not told.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Outbox(BaseModel):
    """What must still reach Salesforce."""

    waiting: int
    parked: int
    oldest_at: int


class Sync(BaseModel):
    """`sync.state`: how the exchange with Salesforce stands; counts are since the worker's start."""

    up: int = Field(description="1: the last round was done.")
    ok_at: Seconds
    error: str
    usage: tuple[int, int] | None = Field(description="API calls of the org in 24 hours: used, limit.")
    errors: dict[str, int]
    records: dict[str, dict[str, int]]
    unread: int
    outbox: Outbox
    lookups: str = Field(description="Why no unknown caller is looked up; empty: they are.")


DATA: Final[dict[EventType, type[BaseModel]]] = {
    EventType.RINGING: Ringing,
    EventType.ANSWERED: Answered,
    EventType.ENDED: Ended,
    EventType.PROGRESS: Progress,
    EventType.DECISION: Decision,
    EventType.SCREEN_POP: ScreenPop,
    EventType.MISSED: Missed,
    EventType.CHAT: Chat,
    EventType.BLACKLIST: Change,
    EventType.CONTACT: Change,
    EventType.CONFIGURATION: Change,
    EventType.SYNC: Sync,
}


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each type of event by the type's name, e.g. call.ringing."""
    return {type_.value: _schema(type_) for type_ in EventType}


def _schema(type_: EventType) -> dict[str, Any]:
    data = DATA[type_]
    envelope = create_model(
        type_.value,
        __doc__=data.__doc__,
        id=(int, Field(description="Grows; the same event keeps its id when it is sent again.")),
        type=(str, Field(json_schema_extra={"const": type_.value})),
        at=(float, Field(description="Seconds since 1970 (UTC) when it was told.")),
        extension=(str, Field(description="Whose it is; empty: everyone's.")),
        data=(data, ...),
    )
    schema = envelope.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
