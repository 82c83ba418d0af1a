"""Every setting, once: name, default, unit and help.

`settings_pages` makes `ostiary.example.toml` and `docs/settings.md` from this table, and a test fails when
they differ. `settings_file` reads the values. What is checked here is what can be checked without a file, a
network or a database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, SecretStr
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from agi_server.errors import InputError, SettingsError
from agi_server.fastagi.sockets import split_address

PREFIX = "OSTIARY_"  # what environment variables begin with
SECONDS: JsonDict = {"unit": "s"}


def _network(value: object) -> IPv4Network | IPv6Network:
    text = str(value) if isinstance(value, (str, IPv4Network, IPv6Network)) else ""
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            hint = f"write {ip_network(text, strict=False)}"
        except ValueError:
            hint = "write e.g. 192.168.7.0/24 or 192.168.7.9"
        raise ValueError(f"should be a network: {hint}") from error


def _region(value: str) -> str:
    if value != "US":  # the default; others are worth the import
        from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415  # 30 ms

        if value not in SUPPORTED_REGIONS:
            raise ValueError("should be an ISO 3166 country code in capitals, e.g. DE")
    return value


def _extension(value: str) -> str:
    from agi_server.calls.routing import diallable  # noqa: PLC0415  # not needed by most commands

    if not diallable(value):
        raise ValueError("should hold nothing but letters, digits and _ / @ . + & -")
    return value


def _extensions(value: str) -> str:
    from agi_server.calls.identify import check_extensions  # noqa: PLC0415  # not needed by most commands

    try:
        check_extensions(value)
    except InputError as error:
        raise ValueError(f"should be an RE2 pattern: {error}") from error
    return value


def _beginning(value: str) -> str:
    text = re.sub(r"[\s()./-]", "", value)
    text = "+" + text[2:] if text.startswith("00") else text
    if not re.fullmatch(r"\+([1-9][0-9]{0,14})?", text, re.ASCII):
        raise ValueError("should be the beginning of a number with its country: +49, or + for all")
    return text


def _zone(value: str) -> str:
    if value != "UTC":
        from agi_server.calls.hours import find_zone  # noqa: PLC0415  # not needed by most commands

        try:
            find_zone(value)
        except InputError as error:
            raise ValueError("should be a time zone, e.g. Europe/Berlin") from error
    return value


def _any_zone(value: str) -> str:
    return _zone(value) if value else value


def _template(value: str) -> str:
    from agi_server.calls.naming import check_template  # noqa: PLC0415  # not needed by most commands

    try:
        check_template(value)
    except InputError as error:
        raise ValueError(f"should be a template: {error}") from error
    return value


def _holiday(value: str) -> str:
    try:
        if re.fullmatch(r"(\d{4}-)?\d{2}-\d{2}", value, re.ASCII):
            date.fromisoformat(
                value if len(value) == 10 else f"2000-{value}"
            )  # a leap year: 02-29 may be one
            return value
    except ValueError:
        pass
    raise ValueError("should be a day: YYYY-MM-DD, or MM-DD for every year")


def _address(value: str) -> str:
    try:
        split_address(value)
    except SettingsError as error:
        raise ValueError(
            "should be an address: 127.0.0.1:4573, [::1]:4573, or :4573 for all there are"
        ) from error
    return value


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("should be a web address: https://…")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            "should begin with https://: plain http is accepted for this machine (127.0.0.1) only"
        )
    return value


def _public(value: str) -> str:
    parts = urlsplit(value)
    if value and (
        parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment
    ):
        raise ValueError("should be a web address without ? and #: https://ostiary.example")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host of a web address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mqtt(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"mqtt", "mqtts"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        sound = False
    if url and not sound:
        raise ValueError("should be an address such as mqtt://user:password@host:1883 or mqtts://host:8883")
    return value


def _path(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("should be a path; no path holds a NUL character")
    return value


def _tail(value: int) -> int:
    if 0 < value < 6:
        raise ValueError("should be 0 (off) or 6 and more: fewer digits fit too many people")
    return value


Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Region = Annotated[str, AfterValidator(_region)]
Extension = Annotated[str, AfterValidator(_extension)]
Address = Annotated[str, AfterValidator(_address)]
AnyPath = Annotated[Path, AfterValidator(_path)]
OptionalPath = Annotated[AnyPath | None, BeforeValidator(lambda value: None if value == "" else value)]
Kind = Literal["Contact", "Account", "Lead", "Opportunity"]

Template = Annotated[str, AfterValidator(_template)]


class Section(BaseModel):
    """A section of the settings file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Storage(Section):
    """The local database."""

    state_directory: AnyPath = Field(
        default=Path("/var/lib/ostiary"), description="Where the database and its backups live."
    )
    url: str = Field(
        default="",
        description="SQLAlchemy URL; empty: sqlite+aiosqlite:/// + the state directory's ostiary.db.",
    )
    integrity_check: bool = Field(
        default=True, description="Run SQLite's quick check in the background after start."
    )


class FastAgi(Section):
    """The way in for Asterisk and FreePBX."""

    listen: Address = Field(
        default="127.0.0.1:4573", description="Address the PBX connects to; [::1]:4573 for IPv6."
    )
    deadline: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="An answer or a close within this time.",
        json_schema_extra=SECONDS,
    )
    environment_deadline: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="The environment block must be in within this time.",
        json_schema_extra=SECONDS,
    )
    reply_deadline: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="The PBX must reply to a command within this time.",
        json_schema_extra=SECONDS,
    )
    drain: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="On SIGTERM, calls in hand may take this long to finish.",
        json_schema_extra=SECONDS,
    )
    peers: tuple[Network, ...] = Field(
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Networks (CIDR) that may ask.",
        examples=[["127.0.0.0/8", "::1/128", "192.168.7.9"]],
    )
    connections: int = Field(
        default=1000, ge=1, description="Open connections at most; more are closed at once."
    )
    connections_per_peer: int = Field(
        default=500, ge=1, description="Open connections at most from one address."
    )
    backlog: int = Field(
        default=4096, ge=1, description="Connections the kernel may queue (net.core.somaxconn bounds it)."
    )
    line_bytes: int = Field(
        default=4096,
        ge=256,
        description="Longest line of an environment block.",
        json_schema_extra={"unit": "bytes"},
    )
    block_lines: int = Field(
        default=200, ge=30, description="Longest environment block.", json_schema_extra={"unit": "lines"}
    )
    prefix: str = Field(
        default="OSTIARY_", pattern=r"^[A-Z_][A-Z0-9_]*$", description="What channel variables begin with."
    )


class Http(Section):
    """The console, the API, phone books, health and metrics."""

    enabled: bool = Field(default=True, description="Serve HTTP at all.")
    listen: Address = Field(default="127.0.0.1:8080", description="Address of the HTTP side.")
    certificate_file: OptionalPath = Field(
        default=None, description="PEM file of the certificate and its chain: HTTPS instead of plain HTTP."
    )
    private_key_file: OptionalPath = Field(default=None, description="PEM file of the certificate's key.")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        examples=[["127.0.0.1", "192.168.7.9"]],
    )
    plain_log_in: bool = Field(
        default=False,
        description="Take passwords and tokens over plain HTTP from other machines, too: anyone between can read them.",
    )
    public_url: Annotated[str, AfterValidator(_public)] = Field(
        default="",
        description="Where people reach the console, for links in Salesforce and in events; empty: from http.listen.",
        examples=["https://ostiary.example"],
    )
    session_hours: int = Field(
        default=12,
        ge=1,
        le=720,
        description="A log-in to the console ends when it was not used for so long.",
        json_schema_extra={"unit": "h"},
    )
    language: Literal["auto", "en", "es", "pt", "de"] = Field(
        default="auto", description="Language of the console; auto: as the browser asks."
    )


class Phonebook(Section):
    """Directories for IP phones (docs/phonebooks.md)."""

    peers: tuple[Network, ...] = Field(
        default=(),
        description="Networks (CIDR) whose phones need no token.",
        examples=[["192.168.20.0/24"]],
    )
    agents: bool = Field(default=True, description="Show agents and their extensions, too.")
    whole: int = Field(
        default=1000,
        ge=1,
        le=20000,
        description="Entries at most in a directory that a phone fetches as a whole.",
        json_schema_extra={"unit": "entries"},
    )


class ReformatEntry(Section):
    """One caller-ID reformatting rule; the first that matches wins."""

    direction: Literal["inbound", "outbound"] = "inbound"
    trunk: str = ""
    did: str = ""
    match: str
    replace: str


def _reformat(entry: ReformatEntry) -> ReformatEntry:
    from agi_server.calls.reformatting import compile_reformat  # noqa: PLC0415  # not needed by most commands

    try:
        compile_reformat(**entry.model_dump())
    except InputError as error:
        raise ValueError(f"cannot be used: {error}") from error
    return entry


class Numbers(Section):
    """What a telephone number means."""

    region: Region = Field(default="US", description="ISO country of numbers written without one.")
    own_extensions: Annotated[str, AfterValidator(_extensions)] = Field(
        default="",
        description="RE2 pattern of the PBX's own extensions; those of agents count anyway.",
        examples=["[1-8][0-9]{2}"],
    )
    use_restricted: bool = Field(
        default=False,
        description="Match and screen by a number whose presentation is restricted (it is never shown).",
    )
    reformat: tuple[Annotated[ReformatEntry, AfterValidator(_reformat)], ...] = Field(
        default=(),
        description=(
            "Caller-ID reformatting rules, first match wins: direction (inbound or outbound), trunk and did "
            r"(empty: any; * and ? allowed), match (RE2, whole number), replace (\1 … \9 for groups)."
        ),
        examples=[[{"trunk": "gsm-*", "match": "0([1-9].*)", "replace": r"+49\1"}]],
    )


class Matching(Section):
    """How a number finds its contact."""

    order: tuple[Kind, ...] = Field(
        default=("Contact", "Account", "Lead", "Opportunity"),
        description="Which kind wins when several match.",
    )
    tail_digits: Annotated[int, AfterValidator(_tail)] = Field(
        default=0,
        ge=0,
        le=15,
        description="Match the last so many digits where one side has no country; 0: off, 6 or more.",
    )
    switchboard_digits: int = Field(
        default=5,
        ge=0,
        le=8,
        description="A main number answers for extensions of at most so many digits; 0: off.",
    )


class Naming(Section):
    """What the phone shows."""

    enabled: bool = Field(default=True, description="Set the caller's name at all.")
    template: Template = Field(
        default="{name}",
        description=(
            "Name of a known caller: {name} {first} {last} {account} {kind} {owner} {number} {did} "
            "{trunk_name}; [ … ] is left out when a field in it is empty."
        ),
        examples=["{name}[ ({account})]"],
    )
    unknown_template: Template = Field(
        default="",
        description="Name of an unknown caller; empty: leave what the trunk sent.",
        examples=["? {number}"],
    )
    ambiguous_template: Template = Field(
        default="{name}", description="Name where several contacts of different companies match."
    )
    anonymous_name: str = Field(
        default="", description="Name of an anonymous caller; empty: leave what the trunk sent."
    )
    precedence: Literal["directory", "trunk", "fill"] = Field(
        default="directory",
        description=(
            "directory: ours wins; trunk: a real name sent by the trunk wins; fill: as trunk, but a name "
            "that is only a number or a placeholder counts as none."
        ),
    )
    charset: Literal["utf-8", "latin-1", "ascii"] = Field(
        default="utf-8", description="latin-1 and ascii transliterate what they cannot show."
    )
    max_length: int = Field(
        default=40,
        ge=1,
        le=79,
        description="Longest name (never more than 79 bytes of UTF-8).",
        json_schema_extra={"unit": "characters"},
    )


class Screening(Section):
    """Who may come in."""

    enabled: bool = Field(default=True, description="Apply blacklist and allow-list.")
    known_contacts_bypass: bool = Field(
        default=True, description="Known contacts are blocked by exact rules only."
    )
    default_treatment: Literal["hangup", "busy", "congestion", "voicemail", "announce", "redirect"] = Field(
        default="hangup", description="Treatment of rules that name none."
    )
    last_caller: Literal["own", "any"] = Field(
        default="own", description="*32 blocks the last caller of the extension that dials it, or of anyone."
    )


class Routing(Section):
    """Whom they came to see."""

    enabled: bool = Field(default=True, description="Route to the responsible agent.")
    default_agent: Extension = Field(
        default="",
        description="Extension responsible for callers without an owner; empty: the PBX's own plan.",
    )
    ring_seconds: int = Field(
        default=20, ge=1, le=600, description="How long the agent's phone rings.", json_schema_extra=SECONDS
    )
    fallback: Extension = Field(
        default="", description="What to dial when the agent does not answer; empty: the PBX's own plan."
    )
    last_agent_minutes: int = Field(
        default=0,
        ge=0,
        description="Who last spoke with the caller within this time goes first; 0: off.",
        json_schema_extra={"unit": "min"},
    )
    vip_agent: Extension = Field(
        default="", description="Extension that VIPs reach when their owner is absent or unknown."
    )
    vip_ring_seconds: int = Field(
        default=0,
        ge=0,
        le=600,
        description="Ring time for VIPs; 0: as for everyone.",
        json_schema_extra=SECONDS,
    )
    skip_busy: bool = Field(
        default=True,
        description=(
            "An agent whose phone is busy or not reachable, as a PBX tells, is not rung: the call goes straight to "
            "the fallback."
        ),
    )
    state_seconds: int = Field(
        default=30,
        ge=5,
        le=3600,
        description="What a PBX told of phones counts for so long after it was last heard of; then they count as free.",
        json_schema_extra=SECONDS,
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="Time zone of working hours that name none.", examples=["Europe/Berlin"]
    )
    holidays: tuple[Annotated[str, AfterValidator(_holiday)], ...] = Field(
        default=(),
        description="Days nobody works: YYYY-MM-DD, or MM-DD for every year.",
        examples=[["12-25", "2026-04-06"]],
    )


class Contacts(Section):
    """Contacts made on the call path."""

    create: bool = Field(
        default=False, description="Make a contact of an unknown caller on every inbound call."
    )


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


class Audit(Section):
    """Who changed what."""

    retention_days: int = Field(
        default=1095,
        ge=0,
        description="Forget changes after so many days; 0: never.",
        json_schema_extra={"unit": "d"},
    )


class Logs(Section):
    """What is written to the log (standard error)."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: text on a terminal, JSON otherwise."
    )
    personal_data: bool = Field(
        default=False, description="Write callers' numbers and names in clear; otherwise they are masked."
    )


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


class Pbx(Section):
    """Where one Asterisk's manager interface is."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    host: str = Field(min_length=1)
    port: int = Field(default=5038, ge=1, le=65535)
    username: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: OptionalPath = None
    tls: bool = False
    ca_file: OptionalPath = None


class Ami(Section):
    """Asterisk Manager Interface: follow calls, know who is busy, dial (docs/ami.md)."""

    host: str = Field(default="", description="Asterisk's address; empty: AMI is not used.")
    port: int = Field(default=5038, ge=1, le=65535, description="AMI port.")
    username: str = Field(default="", description="AMI user.")
    secret: SecretStr = Field(default=SecretStr(""), description="AMI secret.")
    secret_file: OptionalPath = Field(default=None, description="File that holds the AMI secret.")
    tls: bool = Field(
        default=False, description="Speak TLS (manager.conf: tlsenable, by default on port 5039)."
    )
    ca_file: OptionalPath = Field(
        default=None, description="Certificate authorities to trust instead of the system's (TLS)."
    )
    name: str = Field(
        default="pbx",
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
        description="What this PBX is called in records, events and metrics.",
    )
    others: tuple[Pbx, ...] = Field(
        default=(),
        description="Further PBXs: name, host, port, username, secret or secret_file, tls, ca_file.",
        examples=[
            [{"name": "berlin", "host": "10.0.0.2", "username": "ostiary", "secret_file": "/etc/ostiary/ami"}]
        ],
    )
    trunks: tuple[str, ...] = Field(
        default=(),
        description=(
            "Names of endpoints that are trunks (* and ? allowed); empty: every endpoint that is no extension of ours."
        ),
        examples=[["trunk-*", "voip-provider"]],
    )
    technology: str = Field(
        default="PJSIP",
        pattern=r"^[A-Za-z0-9]+$",
        description="What stands before an extension in the name of its phone: PJSIP/101.",
    )


class Cdr(Section):
    """Asterisk's own call records: they fill what AMI did not see (docs/ami.md)."""

    csv_file: OptionalPath = Field(
        default=None,
        description="Master.csv of cdr_csv (loguniqueid and newcdrcolumns on); empty: not read.",
        examples=["/var/log/asterisk/cdr-csv/Master.csv"],
    )
    url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the database that has them; empty: not read.",
        examples=["mysql+pymysql://reader:password@127.0.0.1/asteriskcdrdb"],
    )
    url_file: OptionalPath = Field(default=None, description="File that holds the URL.")
    table: str = Field(default="cdr", pattern=r"^[A-Za-z0-9_.]+$", description="Table of the database.")
    timezone: Annotated[str, AfterValidator(_any_zone)] = Field(
        default="", description="Time zone of their times; empty: as this machine's."
    )
    interval: int = Field(
        default=30,
        ge=1,
        le=86400,
        description="Time between two looks.",
        json_schema_extra=SECONDS,
    )
    settle: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="A call that AMI or the dialplan may still tell of is left to them for so long after its end.",
        json_schema_extra=SECONDS,
    )
    pbx: str = Field(default="", description="Name of the PBX they belong to; empty: ami.name.")


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


Beginning = Annotated[str, AfterValidator(_beginning)]


class Dialling(Section):
    """Calls by a click (docs/click-to-call.md)."""

    enabled: bool = Field(default=True, description="Dial for people who click; AMI is needed.")
    allow: tuple[Beginning, ...] = Field(
        default=(),
        description=(
            "Beginnings of numbers that may be dialled, + for all; empty: numbers of the country of numbers.region. "
            "Own extensions may always be."
        ),
        examples=[["+49", "+351", "+44"]],
    )
    deny: tuple[Beginning, ...] = Field(
        default=(),
        description="Beginnings of numbers that may not be, whatever allow says.",
        examples=[["+49900"]],
    )
    premium: bool = Field(
        default=False, description="Dial premium-rate and shared-cost numbers, too, where allow covers them."
    )
    format: Literal["e164", "international", "national"] = Field(
        default="e164",
        description="How the PBX wants numbers: +4930…, 004930…, or 030… for those of numbers.region.",
    )
    prefix: str = Field(
        default="", pattern=r"^[0-9*#+]*$", description="What the PBX wants before an outside number, e.g. 0."
    )
    context: str = Field(
        default="ostiary-dial",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Context of the dialplan that dials (dialplan/asterisk/ostiary.conf has it).",
    )
    ring_seconds: int = Field(
        default=30,
        ge=5,
        le=120,
        description="How long the agent's own phone rings.",
        json_schema_extra=SECONDS,
    )
    per_minute: int = Field(default=10, ge=1, le=600, description="Calls of one agent in a minute at most.")
    same_seconds: int = Field(
        default=30,
        ge=0,
        le=600,
        description="A second click on the same number within this time is the same call.",
        json_schema_extra=SECONDS,
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


class Mqtt(Section):
    """Events by MQTT (docs/events.md)."""

    url: Annotated[SecretStr, AfterValidator(_mqtt)] = Field(
        default=SecretStr(""),
        description="Where the broker is, and as whom to sign in; empty: MQTT is not used.",
        examples=["mqtts://user:password@broker.example:8883"],
    )
    url_file: OptionalPath = Field(default=None, description="File that holds the URL.")
    ca_file: OptionalPath = Field(
        default=None, description="Certificate authorities to trust instead of the system's (mqtts)."
    )
    prefix: str = Field(
        default="ostiary", pattern=r"^[^#+/$\x00]+(/[^#+/\x00]+)*$", description="First level of every topic."
    )
    queue: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Events kept while the broker is away; the oldest are dropped, and counted.",
        json_schema_extra={"unit": "events"},
    )
    commands: bool = Field(
        default=False,
        description="Take commands: who may publish below <prefix>/command changes the blacklist.",
    )


class Settings(Section):
    """All sections."""

    storage: Storage = Storage()
    fastagi: FastAgi = FastAgi()
    http: Http = Http()
    numbers: Numbers = Numbers()
    matching: Matching = Matching()
    naming: Naming = Naming()
    screening: Screening = Screening()
    routing: Routing = Routing()
    contacts: Contacts = Contacts()
    journal: Journal = Journal()
    reminders: Reminders = Reminders()
    audit: Audit = Audit()
    phonebook: Phonebook = Phonebook()
    logs: Logs = Logs()
    salesforce: Salesforce = Salesforce()
    tasks: Tasks = Tasks()
    ami: Ami = Ami()
    cdr: Cdr = Cdr()
    recordings: Recordings = Recordings()
    dialling: Dialling = Dialling()
    chats: Chats = Chats()
    mqtt: Mqtt = Mqtt()


SECTIONS: Mapping[str, Mapping[str, FieldInfo]] = {
    name: info.annotation.model_fields
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def variable(section: str, key: str) -> str:
    """Return the name of the environment variable of a setting."""
    return f"{PREFIX}{section}__{key}".upper()


def is_secret(info: FieldInfo) -> bool:
    """Return whether the value of this setting must not be shown."""
    return info.annotation is SecretStr


VARIABLES = {variable(section, key): (section, key) for section, keys in SECTIONS.items() for key in keys}
