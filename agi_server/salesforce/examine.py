"""What `ostiary check` tells of the org: as whom we are signed in, and what this user may not see or do.

Nothing is written. What an org or a user's rights do not let us find out is left out, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simple_salesforce.format import format_soql

from agi_server.errors import SalesforceRefusal
from agi_server.salesforce.journal import fit, obstacle, shape_notes
from agi_server.salesforce.records import Shape

if TYPE_CHECKING:
    from agi_server.salesforce.client import Client
    from agi_server.settings import Salesforce, Tasks

FLOW_ENDS = (
    "salesforce.flow is password: SOAP login() stops working in Summer '27 and new orgs have it switched off; "
    "change to client-credentials or jwt-bearer"
)
MUCH_USED = 0.9  # of the API calls of a day
_WRITTEN = (
    "Subject", "Description", "Status", "Priority", "ActivityDate", "CallDurationInSeconds", "CallDisposition", "WhoId",
    "WhatId", "OwnerId",
)  # fmt: skip
SEEN_BY_ALL = {"Read", "Edit", "ReadEditTransfer", "All"}  # organization-wide defaults that hide nothing

RIGHTS = "SELECT PermissionSet.PermissionsViewAllData FROM PermissionSetAssignment WHERE AssigneeId = {}"
WHOLE_OBJECTS = (
    "SELECT SobjectType FROM ObjectPermissions WHERE PermissionsViewAllRecords = true AND ParentId IN "
    "(SELECT PermissionSetId FROM PermissionSetAssignment WHERE AssigneeId = {})"
)
DEFAULTS = (
    "SELECT DefaultAccountAccess, DefaultContactAccess, DefaultLeadAccess, DefaultOpportunityAccess "
    "FROM Organization"
)

Description = Mapping[str, Any]


def examine(client: Client, settings: Salesforce, tasks: Tasks) -> tuple[str, list[str]]:
    """Return what is so, in one line, and what an admin should look at.

    Raises SalesforceLoginError, SalesforceDown, SalesforceLimitError, SalesforceRefusal.
    """
    try:
        client.server_time()
    except SalesforceRefusal as error:
        if error.code == "NOT_FOUND":
            text = (
                f"{client.instance()} has no API version {settings.api_version}: lower salesforce.api_version"
            )
            raise SalesforceRefusal(text, error.code) from None
        raise
    user, org = _user(client), _first(client, "SELECT Name, OrganizationType, IsSandbox FROM Organization")
    described = {name: client.describe(name) for name in sorted({*settings.objects, *_created(settings)})}
    warnings = [
        *_unseen(settings, described),
        *_unwritable(settings, described),
        *_marks(settings, described),
        *_unwritten(client.describe("Task"), tasks),
        *_partly_seen(client, settings),
    ]
    if settings.flow == "password":
        warnings.append(FLOW_ENDS)
    usage = client.usage
    calls = f"{usage.used} of {usage.total} API calls used in 24 hours" if usage else "API calls not told"
    if usage and usage.used >= usage.total * MUCH_USED:
        warnings.append("few API calls are left for today")
    where = f"{org.get('Name') or client.instance()}{_edition(org)}"
    return f"signed in to {where} as {user} ({settings.flow}), API {settings.api_version}; {calls}", warnings


def _user(client: Client) -> str:
    user_id = client.user_id()
    found = _first(client, format_soql("SELECT Username FROM User WHERE Id = {}", user_id)) if user_id else {}
    return str(found.get("Username") or user_id or "an unknown user")


def _edition(org: Mapping[str, Any]) -> str:
    words = [str(org["OrganizationType"])] if org.get("OrganizationType") else []
    words += ["sandbox"] if org.get("IsSandbox") else []
    return f" ({', '.join(words)})" if words else ""


def _unseen(settings: Salesforce, described: Mapping[str, Description | None]) -> list[str]:
    """Say which objects and number fields this user cannot see."""
    warnings = []
    for name in settings.objects:
        description = described[name]
        if description is None:
            warnings.append(
                f"{name} cannot be seen: give the user Read on it, or take it out of salesforce.objects"
            )
            continue
        fields = _fields(description)
        named = [each.partition(".")[2] for each in settings.number_fields if each.startswith(f"{name}.")]
        hidden = [field for field in named if field not in fields]
        if hidden:
            warnings.append(f"{name} has no {', '.join(hidden)} for this user (salesforce.number_fields)")
        phones = [each for each in fields.values() if each.get("type") == "phone"]
        if not phones and not named and name != "Opportunity":  # which has none unless somebody added one
            warnings.append(f"no phone field of {name} can be seen: check the field-level security")
    return warnings


def _created(settings: Salesforce) -> set[str]:
    """Return the objects that calls make."""
    objects: set[str] = {each.object for each in settings.create} if settings.create else {"Contact"}
    objects |= {each.object for each in settings.on_call}
    return objects - {"none"}


def _unwritable(settings: Salesforce, described: Mapping[str, Description | None]) -> list[str]:
    """Say where contacts made by calls cannot be written, or could be written twice."""
    warnings = []
    name = settings.external_id_field
    for sobject in sorted(_created(settings)):
        description = described[sobject]
        if description is None:
            if sobject not in settings.objects:
                warnings.append(f"{sobject} cannot be seen, so callers cannot be written to it")
            continue
        if not description.get("createable", True):
            warnings.append(f"{sobject} may not be created by this user, so callers cannot be written to it")
        field = _fields(description).get(name)
        if not name or field is None:
            what = f"{sobject} has no field {name}" if name else "salesforce.external_id_field is empty"
            warnings.append(f"{what}: make it (Text, External ID, Unique) and let the user edit it")
        elif not (field.get("externalId") and field.get("unique")):
            warnings.append(
                f"{sobject}.{name} is not both External ID and Unique: a contact could be written twice"
            )
        elif not (field.get("createable", True) and field.get("updateable", True)):
            warnings.append(
                f"{sobject}.{name} may not be edited by this user: check the field-level security"
            )
    return warnings


def _unwritten(description: Description | None, tasks: Tasks) -> list[str]:
    """Say why no Task can be written of a call, or which of its fields stay empty."""
    if not tasks.enabled:
        return []
    shape = Shape(description) if description is not None else None
    if shape is None or obstacle(shape):
        return [obstacle(shape)]
    notes = shape_notes(shape, tasks)
    fit(
        dict.fromkeys(_WRITTEN, "x") | {"CallType": "Inbound", "TaskSubtype": "Call"},
        shape,
        notes,
        update=False,
    )
    missing = [name for name in tasks.fields if shape.get(name) is None]
    return sorted(notes) + [f"Task has no field {name} for this user (tasks.fields)" for name in missing]


def _marks(settings: Salesforce, described: Mapping[str, Description | None]) -> list[str]:
    """Say which of the two check boxes is on no object."""
    fields = [
        _fields(each) for name, each in described.items() if each is not None and name in settings.objects
    ]
    warnings = []
    for setting in ("blacklist_field", "vip_field"):
        name = getattr(settings, setting)
        found = [each[name] for each in fields if name in each]
        if name and not found:
            warnings.append(f"no object has {name} for this user (salesforce.{setting})")
        elif any(each.get("type") != "boolean" for each in found):
            warnings.append(f"{name} is no checkbox (salesforce.{setting})")
    return warnings


def _partly_seen(client: Client, settings: Salesforce) -> list[str]:
    """Say for which objects the user sees only the records that are shared with it, where that can be told."""
    user = client.user_id()
    if not user:
        return []
    try:
        rights = _all(client, format_soql(RIGHTS, user))
        if not rights or any(
            (each.get("PermissionSet") or {}).get("PermissionsViewAllData") for each in rights
        ):
            return []
        objects = _all(client, format_soql(WHOLE_OBJECTS, user))
        (defaults, *_) = _all(client, DEFAULTS)
    except (SalesforceRefusal, ValueError):
        return []
    if defaults.get("DefaultContactAccess") == "ControlledByParent":
        defaults = defaults | {"DefaultContactAccess": defaults.get("DefaultAccountAccess")}
    whole = {each.get("SobjectType") for each in objects}
    partly = [
        each
        for each in settings.objects
        if each not in whole and defaults.get(f"Default{each}Access") not in SEEN_BY_ALL
    ]
    if not partly:
        return []
    return [f"of {', '.join(partly)} the user sees only records shared with it: give it View All on them"]


def _fields(description: Description) -> dict[str, Description]:
    return {str(each.get("name")): each for each in description.get("fields") or ()}


def _first(client: Client, soql: str) -> dict[str, Any]:
    """Return the first record of a query, nothing where there is none or it is refused."""
    try:
        return next(iter(_all(client, soql)), {})
    except SalesforceRefusal:
        return {}


def _all(client: Client, soql: str) -> list[dict[str, Any]]:
    return [record for page in client.query(soql) for record in page]
