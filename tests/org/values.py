"""Values on their way: JSON of a write to what is stored, what is stored to JSON or CSV of an answer.

Stored: text, whole seconds since 1970 (UTC) for dateTime, `2026-05-07` for date, 0 and 1, numbers; None is
null. Salesforce trims text, and an empty text is null (Object Reference, "Primitive Data Types").
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.fields import ID, TEXT, Field
from tests.org.ids import PREFIXES, long_id

_EMAIL: Final = re.compile(r"[^\s@,;()<>\[\]\"]+@[^\s@,;()<>\[\]\"]+\.[^\s@,;()<>\[\]\"]+")
_DATETIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,3})?(Z|[+-]\d\d:?\d\d)")


def stored(field: Field, value: Any) -> Any:
    """Check a value for a field and give it as stored; None stays None. Raises OrgError."""
    if field.type in TEXT:
        return _text(field, value)
    if field.type in ID:
        return _reference(field, value)
    if field.type == "boolean":
        if not isinstance(value, bool):
            raise _unfit(field, value)
        return int(value)
    if value is None:
        return None
    if field.type == "date":
        return _date(field, value)
    if field.type == "datetime":
        return _seconds(field, value)
    return _number(field, value)


def _unfit(field: Field, value: Any) -> OrgError:
    kind = {bool: "VALUE_TRUE" if value is True else "VALUE_FALSE", int: "VALUE_NUMBER_INT"}
    names = kind | {
        float: "VALUE_NUMBER_FLOAT",
        str: "VALUE_STRING",
        dict: "START_OBJECT",
        list: "START_ARRAY",
    }
    token = names.get(type(value), "VALUE_NULL")
    return OrgError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {field.type} from {token} value {value} or request may be missing a"
        " required field at [line:1, column:2]",
        fields=(),
    )


def _text(field: Field, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _unfit(field, value)
    text = value.strip()
    if not text:
        return None
    if len(text) > field.length:
        raise OrgError(
            "STRING_TOO_LONG",
            f"{field.title}: data value too large: {text} (max length={field.length})",
            fields=(field.name,),
        )
    if field.type == "email" and not _EMAIL.fullmatch(text):
        raise OrgError(
            "INVALID_EMAIL_ADDRESS", f"{field.title}: invalid email address: {text}", fields=(field.name,)
        )
    if field.restricted and text not in field.values:
        raise OrgError(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{field.title}: bad value for restricted picklist field: {text}",
            fields=(field.name,),
        )
    return text


def _reference(field: Field, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _unfit(field, value)
    try:
        text = long_id(value)
    except OrgError:
        raise OrgError(
            "MALFORMED_ID", f"{field.title}: id value of incorrect type: {value}", fields=(field.name,)
        ) from None
    if field.reference_to and text[:3] not in {PREFIXES.get(each) for each in field.reference_to}:
        raise OrgError(
            "FIELD_INTEGRITY_EXCEPTION",
            f"{field.title}: id value of incorrect type: {text}",
            fields=(field.name,),
        )
    return text


def _date(field: Field, value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()[:10]
    try:
        return date.fromisoformat(value[:10] if _DATETIME.fullmatch(value) else value).isoformat()
    except (TypeError, ValueError):
        raise _unfit(field, value) from None


def _seconds(field: Field, value: Any) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp())
    found = _DATETIME.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is None:
            raise _unfit(field, value)
        return int(datetime.fromisoformat(found[1] + found[2]).timestamp())
    except ValueError:
        raise _unfit(field, value) from None


def _number(field: Field, value: Any) -> float | int:
    whole = field.scale == 0 and field.type == "int"
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
        raise _unfit(field, value)
    if abs(value) >= 10 ** (field.precision - field.scale):
        raise OrgError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{field.title}: value outside of valid range on numeric field: {value}",
            fields=(field.name,),
        )
    return int(value) if whole else float(round(value, field.scale))


@lru_cache(maxsize=10_000)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000")


def rest_time(seconds: int) -> str:
    """Write a moment as REST does: 2026-05-07T22:07:19.000+0000."""
    return f"{_moment(seconds)}+0000"


def stamp(moment: datetime) -> str:
    """Write a moment (aware) as REST does, whole seconds."""
    return rest_time(int(moment.timestamp()))


def csv_time(seconds: int) -> str:
    """Write a moment as Bulk 2.0 does: 2026-05-07T22:07:19.000Z."""
    return f"{_moment(seconds)}Z"


def _address(stored: str) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(stored)
    return parts | {"geocodeAccuracy": None, "latitude": None, "longitude": None}


def _as_it_is(value: Any) -> Any:
    return value


def to_rest(field: Field) -> Callable[[Any], Any]:
    """Give what turns a field's stored value (not null) into that of a JSON answer."""
    special: dict[str, Callable[[Any], Any]] = {"boolean": bool, "datetime": rest_time, "address": _address}
    return special.get(field.type, _as_it_is)


def _csv_boolean(value: int) -> str:
    return "true" if value else "false"


def to_csv(field: Field) -> Callable[[Any], str]:
    """Give what turns a field's stored value (not null) into text of a CSV answer."""
    return {"boolean": _csv_boolean, "datetime": csv_time}.get(field.type, str)
