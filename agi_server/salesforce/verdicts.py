"""What a refused record means: try again, or wait for an admin.

The codes are those of "Status Codes" (StatusCode) in the SOAP API Developer Guide, which the results of sObject
Collections carry, too.
"""

from __future__ import annotations

from enum import Enum

FIRST_PAUSE = 30  # seconds; doubled with each try
LONGEST_PAUSE = 6 * 3600
TRIES = 5  # of what we do not know to be lasting

_PASSING = {
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "FUNCTIONALITY_TEMPORARILY_UNAVAILABLE",
    "LIMIT_EXCEEDED",
    "PROCESSING_HALTED",
    "QUERY_TIMEOUT",
    "REQUEST_LIMIT_EXCEEDED",
    "REQUEST_RUNNING_TOO_LONG",
    "SERVER_UNAVAILABLE",
    "STORAGE_LIMIT_EXCEEDED",
    "TXN_SECURITY_METERING_ERROR",
    "UNABLE_TO_LOCK_ROW",
}
_LASTING = {
    "DUPLICATES_DETECTED",
    "DUPLICATE_EXTERNAL_ID",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_FILTER_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "INSUFFICIENT_ACCESS_OR_READONLY",
    "INVALID_CROSS_REFERENCE_KEY",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_FIELD",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "JSON_PARSER_ERROR",
    "MALFORMED_ID",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
}
_GONE = {"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"}  # of an update by id
_ADVICE = {
    "DUPLICATES_DETECTED": "a duplicate rule blocks it: drop it here, or relax the rule for the integration user",
    "REQUIRED_FIELD_MISSING": "add the field to {setting}",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "a validation rule refuses it: change {setting} or the rule",
    "INSUFFICIENT_ACCESS_OR_READONLY": "give the integration user the right to create and edit these records",
}


class Verdict(Enum):
    """What becomes of a row whose record was refused."""

    LATER = "later"
    PARK = "park"
    GONE = "gone"  # there is nothing to write to any more


def judge(code: str, message: str, *, tries: int, update: bool = False) -> Verdict:
    """Return what becomes of a row after `tries` tries before this one; `update`: it was a change by id."""
    if update and code in _GONE:
        return Verdict.GONE
    if code in _PASSING or "UNABLE_TO_LOCK_ROW" in message:  # also where a trigger met it
        return Verdict.LATER
    # DUPLICATE_VALUE may be our own record, while Salesforce still works on the request that we gave up.
    if code in _LASTING or tries + 1 >= TRIES:
        return Verdict.PARK
    return Verdict.LATER


def is_about_record(code: str) -> bool:
    """Return whether a code is one that single records get, rather than whole requests."""
    return code in _LASTING or code in _PASSING


def reason(code: str, message: str, fields: tuple[str, ...] = (), setting: str = "salesforce.create") -> str:
    """Return what an admin reads: Salesforce's reason, and what to do where that is known; `setting` says what goes."""
    named = f" ({', '.join(fields)})" if fields else ""
    advice = f"; {_ADVICE[code].format(setting=setting)}" if code in _ADVICE else ""
    return f"{code}: {message}{named}{advice}"


def pause(tries: int) -> int:
    """Return seconds until the next try, after `tries` tries before the one that failed."""
    return int(min(FIRST_PAUSE * 2 ** min(tries, 20), LONGEST_PAUSE))
