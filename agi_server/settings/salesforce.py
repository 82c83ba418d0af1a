"""The section on Salesforce."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from agi_server.errors import InputError
from agi_server.settings.values import SECONDS, Kind, OptionalPath, Section, is_loopback


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("should be a web address: https://…")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            "should begin with https://: plain http is accepted for this machine (127.0.0.1) only"
        )
    return value


class CreateEntry(Section):
    """What an unknown caller becomes in Salesforce; the first entry whose DID matches wins."""

    did: str = ""
    object: Literal["Contact", "Lead", "none"] = "Contact"
    fields: Mapping[str, str] = Field(default_factory=dict)


class CallEntry(Section):
    """What is made of a call when it has ended; of those that fit it the first counts.

    `object` none: nothing is made. `owner` is who answered, else the responsible, else tasks.responsible; empty: the
    integration user.
    """

    did: str = ""
    direction: Literal["inbound", "outbound", "any"] = "any"
    outcome: Literal["answered", "missed", "any"] = "any"
    caller: Literal["unknown", "known", "any"] = "unknown"
    object: Literal["Contact", "Lead", "Opportunity", "none"] = "Contact"
    owner: Literal["answered", "responsible", "default", ""] = "answered"
    fields: Mapping[str, str] = Field(default_factory=dict)


def _on_call(entry: CallEntry) -> CallEntry:
    from agi_server.salesforce.templates import RECORD_VARIABLES, check_fields  # noqa: PLC0415  # as below

    if entry.caller == "known" and entry.object in {"Contact", "Lead"}:
        raise ValueError(
            f"cannot be used: a known caller becomes no {entry.object}; write Opportunity, or none"
        )
    try:
        check_fields(entry.object, entry.fields, RECORD_VARIABLES)
    except InputError as error:
        raise ValueError(f"cannot be used: {error}") from error
    return entry


def _create(entry: CreateEntry) -> CreateEntry:
    from agi_server.salesforce.templates import check_fields  # noqa: PLC0415  # not needed by most commands

    try:
        check_fields(entry.object, entry.fields)
    except InputError as error:
        raise ValueError(f"cannot be used: {error}") from error
    return entry


def _filters(filters: Mapping[str, str]) -> Mapping[str, str]:
    for condition in filters.values():
        if not condition.strip() or re.match(r"\s*where\b", condition, re.IGNORECASE):
            raise ValueError("should be what follows WHERE in SOQL, e.g. Status <> 'Junk'")
    return filters


def _field_map(fields: Mapping[str, str]) -> Mapping[str, str]:
    for ours, theirs in fields.items():
        if not re.fullmatch(rf"({_OBJECTS})\.(name|first_name|last_name|email|active_at)", ours):
            raise ValueError(
                f"{ours!r} should be e.g. Contact.name: an object and one of name, first_name, last_name, "
                "email, active_at"
            )
        if not re.fullmatch(_FIELD, theirs):
            raise ValueError(f"{theirs!r} should be the API name of a field, e.g. Nickname__c")
    return fields


def _object_field(value: str) -> str:
    if not re.fullmatch(rf"({_OBJECTS})\.{_FIELD}", value):
        raise ValueError("should be an object and the API name of its field, e.g. Contact.WhatsApp__c")
    return value


_OBJECTS = "Contact|Account|Lead|Opportunity"
_FIELD = r"[A-Za-z]\w*"
ObjectField = Annotated[str, AfterValidator(_object_field)]
FieldName = Annotated[str, Field(pattern=rf"^({_FIELD})?$")]


class Salesforce(Section):
    """Salesforce: how to log in, what to keep in step, what to write back (docs/salesforce.md)."""

    enabled: bool = Field(default=False, description="Keep in step with Salesforce.")
    login_url: Annotated[str, AfterValidator(_https)] = Field(
        default="https://login.salesforce.com",
        description=(
            "Where to log in: https://<my-domain>.my.salesforce.com is right for every flow, client-credentials "
            "needs it; plain http for loopback only."
        ),
    )
    flow: Literal["client-credentials", "jwt-bearer", "web-server", "password"] = Field(
        default="client-credentials", description="How to log in."
    )
    client_id: str = Field(default="", description="Consumer key of the External Client App.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Consumer secret.")
    client_secret_file: OptionalPath = Field(default=None, description="File that holds the consumer secret.")
    username: str = Field(default="", description="Integration user.")
    password: SecretStr = Field(default=SecretStr(""), description="Its password (password flow only).")
    password_file: OptionalPath = Field(default=None, description="File that holds the password.")
    security_token: SecretStr = Field(
        default=SecretStr(""), description="Its security token (password flow only)."
    )
    security_token_file: OptionalPath = Field(default=None, description="File that holds the security token.")
    private_key_file: OptionalPath = Field(default=None, description="PEM file of the JWT flow.")
    redirect_url: str = Field(
        default="http://localhost:1717/callback",
        pattern=r"^https?://",
        description="Callback URL of the External Client App (web-server flow).",
    )
    ca_file: OptionalPath = Field(
        default=None, description="Certificate authorities to trust instead of the system's."
    )
    api_version: str = Field(
        default="64.0", pattern=r"^\d{2,3}\.0$", description="Version of the REST API to speak."
    )
    timeout: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="How long to wait for an answer of Salesforce.",
        json_schema_extra=SECONDS,
    )
    sync_interval: int = Field(
        default=60,
        ge=5,
        description="Time between two incremental synchronisations.",
        json_schema_extra=SECONDS,
    )
    overlap: int = Field(
        default=600,
        ge=0,
        le=86400,
        description="Changes so much older than the last synchronisation are read again: long transactions show late.",
        json_schema_extra=SECONDS,
    )
    page_size: int = Field(
        default=2000,
        ge=200,
        le=2000,
        description="Records in a page of a query.",
        json_schema_extra={"unit": "records"},
    )
    objects: tuple[Kind, ...] = Field(
        default=("Contact", "Account", "Lead", "Opportunity"),
        description="What to read; matching.order says which wins.",
    )
    filters: Annotated[Mapping[Kind, str], AfterValidator(_filters)] = Field(
        default={},
        description="SOQL condition by object: only records that fulfil it are read.",
        examples=[{"Lead": "Status <> 'Junk'"}],
    )
    field_map: Annotated[Mapping[str, str], AfterValidator(_field_map)] = Field(
        default={},
        description="Fields to read instead of the usual ones, for name, first_name, last_name, email and active_at.",
        examples=[{"Contact.name": "Nickname__c"}],
    )
    number_fields: tuple[ObjectField, ...] = Field(
        default=(),
        description="Fields that hold numbers besides those of type phone, which are all read.",
        examples=[["Contact.WhatsApp__c"]],
    )
    ignored_fields: tuple[ObjectField, ...] = Field(
        default=(),
        description="Fields of type phone that are not read.",
        examples=[["Contact.AssistantPhone"]],
    )
    vip_field: FieldName = Field(
        default="", description="Checkbox that marks a VIP, on whichever object has it."
    )
    blacklist_field: FieldName = Field(
        default="",
        description=(
            "Checkbox that marks a record as blacklisted, on whichever object has it: its numbers become rules, "
            "and a rule for its number sets it."
        ),
    )
    create: tuple[Annotated[CreateEntry, AfterValidator(_create)], ...] = Field(
        default=(),
        description=(
            "What a contact made by a call becomes in Salesforce, first match wins: did (empty: any; * and ? allowed), "
            "object (Contact, Lead or none), fields (templates by field; [Number] [Name] [DID] [Key] [Database] "
            "[ContactId] [Date] [DateTime]). Empty: a Contact with LastName [Name] and Phone [Number]."
        ),
        examples=[
            [{"did": "4930*", "object": "Lead", "fields": {"LastName": "[Name]", "Company": "Call to [DID]"}}]
        ],
    )
    on_call: tuple[Annotated[CallEntry, AfterValidator(_on_call)], ...] = Field(
        default=(),
        description=(
            "What is made of a call when it has ended, first match wins: did (empty: any; * and ? allowed), direction "
            "(inbound, outbound, any), outcome (answered, missed, any), caller (unknown, known, any), object (Contact, "
            "Lead, Opportunity, none), owner (answered, responsible, default; empty: the integration user), fields "
            "(templates by field). Empty: nothing."
        ),
        examples=[
            [
                {
                    "direction": "inbound",
                    "outcome": "missed",
                    "object": "Lead",
                    "fields": {"LastName": "[Name]", "Company": "Call to [DID]", "Phone": "[Number]"},
                }
            ]
        ],
    )
    external_id_field: FieldName = Field(
        default="Ostiary_Id__c",
        description=(
            "Text field, External ID and unique, on Contact, and on Lead and Opportunity where calls make them: "
            "nothing is written twice."
        ),
    )
    allow_duplicates: bool = Field(
        default=True, description="Write a contact although a duplicate rule of the kind alert warns."
    )
    lookup: bool = Field(
        default=False, description="Ask Salesforce about a caller whom the local directory does not know."
    )
    lookup_deadline: float = Field(
        default=0.4,
        gt=0,
        le=10,
        description="The call goes on without the answer after this time.",
        json_schema_extra=SECONDS,
    )
    lookup_forget: int = Field(
        default=900,
        ge=1,
        description="A caller whom Salesforce does not know either is not looked up again for so long.",
        json_schema_extra=SECONDS,
    )
    lookup_share: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="No look-ups once this share of the org's API calls of the day is used.",
    )
