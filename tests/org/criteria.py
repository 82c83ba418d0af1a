"""What a condition may compare with what, and the values of its literals as the tables store them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.fields import ID, NUMBER, TEXT, Field
from tests.org.ids import long_id
from tests.org.soql import Comparison, Literal, text_of

_WORDS: Final = {
    "datetime": "dateTime",
    "reference": "ID",
    "id": "ID",
    "currency": "double",
    "percent": "double",
}
_FITTING: Final = {"boolean": "boolean", "date": "date", "datetime": "datetime"}


def sides(field: Field, expression: str, values: Sequence[Any]) -> tuple[str, str]:
    """Give the left side of a comparison and the mark of a value on the right."""
    if field.type not in TEXT:
        return expression, "?"
    if all(str(value).isascii() for value in values):
        return f"{expression} COLLATE NOCASE", "?"
    return f"fold({expression})", "fold(?)"


def check_operator(field: Field, part: Comparison) -> None:
    """Raise OrgError (INVALID_FIELD, INVALID_QUERY_FILTER_OPERATOR) for what such a field does not take."""
    if not field.filterable:
        raise OrgError("INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call")
    if part.operator == "LIKE":
        if field.type not in TEXT or part.values[0].kind != "string":
            kind = _WORDS.get(field.type, field.type).lower()
            raise OrgError("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field")
        return
    ordered = part.operator in {"<", "<=", ">", ">="}
    if ordered and (field.type == "boolean" or part.values[0].kind == "null"):
        raise OrgError("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {field.type} field")


def literal_value(field: Field, literal: Literal) -> Any:
    """Give a literal as the field's column stores it. Raises OrgError when it does not fit the field."""
    if literal.kind == "null":
        return None
    if field.type in TEXT:
        if literal.kind != "string":
            raise _unfit(field, quoted=True)
        return text_of(literal) or None
    if field.type in ID:
        return _id_value(field, literal)
    expected = "number" if field.type in NUMBER else _FITTING[field.type]
    if literal.kind != expected:
        raise _unfit(field, quoted=False)
    if expected == "boolean":
        return int(literal.source.lower() == "true")
    if expected == "number":
        return float(literal.source) if "." in literal.source else int(literal.source)
    try:
        if expected == "date":
            return date.fromisoformat(literal.source).isoformat()
        moment = datetime.fromisoformat(_three_digits(literal.source)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise OrgError(
            "MALFORMED_QUERY", f"Invalid {_WORDS.get(field.type, field.type)}: {literal.source}"
        ) from None
    return int(moment) if moment == int(moment) else moment


def _three_digits(source: str) -> str:
    """Write a fraction with three digits: fromisoformat of Python 3.11 takes no other number but six."""
    head, point, tail = source.partition(".")
    if not point:
        return source
    count = next(at for at, letter in enumerate(tail) if not letter.isdigit())
    return f"{head}.{tail[:count]:0<3}{tail[count:]}"


def _unfit(field: Field, *, quoted: bool) -> OrgError:
    word = _WORDS.get(field.type, "string" if quoted else field.type)
    ending = "should be enclosed in quotes" if quoted else "should not be enclosed in quotes"
    return OrgError(
        "INVALID_FIELD",
        f"value of filter criterion for field '{field.name}' must be of type {word} and {ending}",
    )


def _id_value(field: Field, literal: Literal) -> str | None:
    if literal.kind != "string":
        raise _unfit(field, quoted=True)
    value = text_of(literal)
    if not value:
        return None
    try:
        return long_id(value)
    except OrgError:
        raise OrgError("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}") from None
