"""Templates with variables in square brackets, as in 3CX: `Call from [Name] to [DID]`.

Invariant: a template that is accepted when the settings are read says what its author meant, and rendering never
fails, whatever it is given. What a variable holds is never read as a template again. This module is imported with the
settings, so it imports nothing of weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from agi_server.errors import InputError

VARIABLES = ("Number", "Name", "DID", "Key", "Database", "ContactId", "Date", "DateTime")

# 3CX's ("CRM template XML description", ReportCall and ReportChat), and ours at the end.
TASK_VARIABLES = (
    "Number", "CallType", "CallDirection", "Name", "EntityId", "EntityType", "Agent", "AgentFirstName",
    "AgentLastName", "AgentEmail", "Duration", "DurationTimespan", "DateTime", "CallStartTimeLocal",
    "CallStartTimeUTC", "CallEstablishedTimeLocal", "CallEstablishedTimeUTC", "CallEndTimeLocal", "CallEndTimeUTC",
    "QueueExtension", "RecordingUrl", "RecordingHyperLink", "Transcription", "Summary", "Sentiment", "LineBreak",
    "FoundRecordCount", "Contact::ContactID", "Contact::ContactUrl", "Contact::FirstName", "Contact::LastName",
    "Contact::FullName", "Contact::CompanyName", "Contact::Email", "Contact::EntityId", "Contact::EntityType",
    "ChatMessages", "ChatStartTimeLocal", "ChatStartTimeUTC", "ChatEndTimeLocal", "ChatEndTimeUTC", "Email",
    "AgentName", "CallId", "Company", "Details", "DID", "Outcome", "Trunk",
)  # fmt: skip
RECORD_VARIABLES = tuple(dict.fromkeys((*VARIABLES, *TASK_VARIABLES)))  # of a record made at a call's end
DEFAULT_FIELDS: Mapping[str, str] = {"LastName": "[Name]", "Phone": "[Number]"}

_REQUIRED = {
    "Contact": ("LastName",),
    "Lead": ("LastName", "Company"),
    "Opportunity": ("Name", "StageName", "CloseDate"),
}
_EXAMPLES = {
    "LastName": "[Name]",
    "Company": "Call to [DID]",
    "Name": "Call from [Name]",
    "StageName": "Prospecting",
    "CloseDate": "[Date]",
}
_TOKEN = re.compile(r"\[\[|\[([^\[\]]*)\]|\[")
_METHOD = re.compile(r"\]\s*\.\s*(?:ToString|get_\w+)\s*\(", re.IGNORECASE)
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check(template: str, variables: Iterable[str] = VARIABLES) -> None:
    """Raise InputError when a variable is unknown (the text names the nearest) or a bracket is not closed."""
    known = {name.lower(): name for name in variables}
    for match in _TOKEN.finditer(template):
        variable = match.group(1)
        if match.group() == "[[":
            continue
        if variable is None:
            raise InputError(
                f"template {template!r}: the [ at {match.start() + 1} is not closed; write [[ for a bracket"
            )
        if variable.strip().lower() not in known:
            raise InputError(f"template {template!r}: there is no [{variable}]; {_advice(variable, known)}")


def check_task(template: str) -> None:
    """Raise InputError as `check` does, for what is written of a call or a chat."""
    if _METHOD.search(template):
        raise InputError(
            f"template {template!r}: 3CX's methods such as .ToString(…) are not known here; times and durations "
            "are written as they should be, so leave the method and its outer brackets out"
        )
    check(template, TASK_VARIABLES)


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its variables replaced; `values` by their names, a missing one is empty.

    What is none of RECORD_VARIABLES stays as it is written.
    """

    def replacement(match: re.Match[str]) -> str:
        if match.group() == "[[":
            return "["
        name = _BY_LOWER.get((match.group(1) or "").strip().lower())
        return match.group() if name is None else values.get(name, "")

    return _TOKEN.sub(replacement, template)


_BY_LOWER = {name.lower(): name for name in RECORD_VARIABLES}


def check_fields(sobject: str, fields: Mapping[str, str], variables: Iterable[str] = VARIABLES) -> None:
    """Raise InputError when `fields` (templates by field) do not make a record of `sobject`; none makes none.

    Required are, as by Salesforce (Object Reference: Contact, Lead, Opportunity), LastName, a Lead's Company, and an
    Opportunity's Name, StageName and CloseDate.
    """
    if sobject == "none":
        if fields:
            raise InputError('object "none" writes nothing and takes no fields')
        return
    given = check_names(fields, variables)
    for field in _REQUIRED[sobject]:
        if not given.get(field.lower(), "").strip():
            raise InputError(
                f'a {sobject} needs the field {field}; add e.g. {field} = "{_EXAMPLES[field]}" to fields'
            )


def check_names(fields: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Return templates by field in lower case. Raises InputError for a name or a template that cannot be used."""
    given: dict[str, str] = {}
    for field, template in fields.items():
        if not _FIELD_NAME.fullmatch(field):
            raise InputError(f"{field!r} is not the API name of a field, such as LastName or Source__c")
        if field.lower() == "id":
            raise InputError("the field Id is Salesforce's to fill; leave it out")
        if field.lower() in given:
            raise InputError(f"field {field} is there twice; Salesforce takes no notice of capitals")
        try:
            check(template, variables)
        except InputError as error:
            raise InputError(f"field {field}: {error}") from error
        given[field.lower()] = template
    return given


def _advice(variable: str, known: Mapping[str, str]) -> str:
    near = get_close_matches(variable.strip().lower(), known, n=1)
    names = " ".join(f"[{name}]" for name in known.values())
    return f"did you mean [{known[near[0]]}]?" if near else f"there are {names}; write [[ for a bracket"
