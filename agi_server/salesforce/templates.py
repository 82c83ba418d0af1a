"""Templates with variables in square brackets, as in 3CX: `Call from [Name] to [DID]`.

Invariant: a template that `check` accepts says what its author meant, and `render` never fails, whatever it is
given. What a variable holds is never read as a template again. This module is imported with the settings, so it
imports nothing of weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from agi_server.errors import InputError

VARIABLES = ("Number", "Name", "DID", "Key", "Database", "ContactId", "Date", "DateTime")
DEFAULT_FIELDS: Mapping[str, str] = {"LastName": "[Name]", "Phone": "[Number]"}

_REQUIRED = {"Contact": ("LastName",), "Lead": ("LastName", "Company")}
_EXAMPLES = {"LastName": "[Name]", "Company": "Call to [DID]"}
_BY_LOWER = {name.lower(): name for name in VARIABLES}
_TOKEN = re.compile(r"\[\[|\[([^\[\]]*)\]|\[")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check(template: str) -> None:
    """Raise InputError when a variable is unknown (the text names the nearest) or a bracket is not closed."""
    for match in _TOKEN.finditer(template):
        variable = match.group(1)
        if match.group() == "[[":
            continue
        if variable is None:
            raise InputError(
                f"template {template!r}: the [ at {match.start() + 1} is not closed; write [[ for a bracket"
            )
        if _known(variable) is None:
            raise InputError(f"template {template!r}: there is no [{variable}]; {_advice(variable)}")


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its variables replaced; `values` by their names in VARIABLES, a missing one is empty.

    What is no variable stays as it is written.
    """

    def replacement(match: re.Match[str]) -> str:
        if match.group() == "[[":
            return "["
        name = _known(match.group(1) or "")
        return match.group() if name is None else values.get(name, "")

    return _TOKEN.sub(replacement, template)


def check_fields(sobject: str, fields: Mapping[str, str]) -> None:
    """Raise InputError when `fields` (templates by field) do not make a record of `sobject`: Contact, Lead or none.

    Required are, as by Salesforce (Object Reference: Contact, Lead), LastName and a Lead's Company.
    """
    if sobject == "none":
        if fields:
            raise InputError('object "none" writes nothing and takes no fields')
        return
    given: dict[str, str] = {}
    for field, template in fields.items():
        if not _FIELD_NAME.fullmatch(field):
            raise InputError(f"{field!r} is not the API name of a field, such as LastName or Source__c")
        if field.lower() == "id":
            raise InputError("the field Id is Salesforce's to fill; leave it out")
        if field.lower() in given:
            raise InputError(f"field {field} is there twice; Salesforce takes no notice of capitals")
        try:
            check(template)
        except InputError as error:
            raise InputError(f"field {field}: {error}") from error
        given[field.lower()] = template
    for field in _REQUIRED[sobject]:
        if not given.get(field.lower(), "").strip():
            raise InputError(
                f'a {sobject} needs the field {field}; add e.g. {field} = "{_EXAMPLES[field]}" to fields'
            )


def _known(variable: str) -> str | None:
    return _BY_LOWER.get(variable.strip().lower())


def _advice(variable: str) -> str:
    near = get_close_matches(variable.strip().lower(), _BY_LOWER, n=1)
    known = " ".join(f"[{name}]" for name in VARIABLES)
    return f"did you mean [{_BY_LOWER[near[0]]}]?" if near else f"there are {known}; write [[ for a bracket"
