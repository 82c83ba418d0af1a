"""The refusals of an org: status of the answer, Salesforce's own errorCode, its text and the fields meant.

Codes are those of the SOAP API Developer Guide's page "Core Data Types Used in API Calls" (StatusCode,
ExceptionCode); they are the same in REST.
"""

from __future__ import annotations

from collections.abc import Iterable


class OrgError(Exception):
    """One entry of a REST error list, with the HTTP status of the answer that holds it.

    Status 300 (an external id met several records) has the 18-character ids of the matches in `fields`.
    """

    def __init__(self, code: str, message: str, *, status: int = 400, fields: Iterable[str] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields = tuple(fields)


def missing() -> OrgError:
    """Nothing is at that address."""
    return OrgError("NOT_FOUND", "The requested resource does not exist", status=404)


def unknown_object(name: str) -> OrgError:
    """SOQL names an object that is not there for this user."""
    return OrgError(
        "INVALID_TYPE",
        f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append"
        " the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate"
        " names.",
    )


def unknown_column(name: str, sobject: str) -> OrgError:
    """SOQL names a field that is not there for this user."""
    return OrgError(
        "INVALID_FIELD",
        f"No such column '{name}' on entity '{sobject}'. If you are attempting to use a custom field, be sure to"
        " append the '__c' after the custom field name. Please reference your WSDL or the describe call for the"
        " appropriate names.",
    )


def unknown_relationship(name: str) -> OrgError:
    """SOQL goes through a parent that is not there for this user."""
    return OrgError(
        "INVALID_FIELD",
        f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom"
        " relationship, be sure to append the '__r' after the custom relationship name. Please reference your"
        " WSDL or the describe call for the appropriate names.",
    )
