"""What every route of the API may answer besides what it is for, and the types that their documents share.

Problems are described once, as the component `Problem`; `describe_problems` puts it into the description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StringConstraints,
    model_validator,
)
from starlette.responses import Response

from agi_server.errors import InputError

LARGEST = 2**53 - 1  # of integers: the largest that every reader of JSON keeps as it is (RFC 8259 §6)
NO_CACHE = {"Cache-Control": "no-store"}

_EVERYWHERE = (400, 401, 403, 422, 500, 503)
_LATEST = datetime(9998, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REF = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
# One line of text: no control characters, no lone surrogates, no separators of lines.
_ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)


def _moment(value: object) -> object:
    """Refuse the numbers that pydantic takes for moments, too."""
    if isinstance(value, datetime) or (isinstance(value, str) and _MOMENT.fullmatch(value)):
        return value
    raise ValueError("should be a moment with its offset, e.g. 2026-12-31T14:00:00Z")


def _whole(value: object) -> object:
    """Refuse the texts and truths that pydantic takes for numbers, too; 1.0 is the integer 1 (JSON Schema)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be an integer")  # noqa: TRY004  # pydantic's own way to say so
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Whole = Annotated[int, BeforeValidator(_whole)]  # of a body; a query's numbers are texts
Yes = StrictBool  # pydantic itself takes "yes" and 1, too
Id = Annotated[int, Path(ge=1, le=LARGEST)]
Line = Annotated[str, StringConstraints(max_length=200, pattern=_ONE_LINE)]
LongLine = Annotated[str, StringConstraints(max_length=1000, pattern=_ONE_LINE)]


class Document(BaseModel):
    """Base of what is sent to us: unknown members are mistakes."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, value: object) -> object:
        """Refuse what JSON may hold and nothing of ours can: half a surrogate pair, integers of more than 64 bits."""
        try:
            orjson.dumps(value, default=str)
        except TypeError as error:
            raise ValueError(f"cannot be kept: {error}") from error
        return value


class Mistake(BaseModel):
    """One thing that is wrong with a request."""

    where: str
    what: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mistake] = []


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """Return what goes into `responses=` of a route: what any may answer, and these statuses."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": _REF}
        for status in sorted({*_EVERYWHERE, *more})
    }


def describe_problems(app: FastAPI) -> None:
    """Have the description of `app` hold what `problems` refers to."""
    describe = app.openapi

    def with_problems() -> dict[str, Any]:
        description = describe()
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs"))
        schemas["Problem"] = schema
        return description

    app.openapi = with_problems  # type: ignore[method-assign]  # FastAPI's own way of extending it


def json_answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a document that is plain already (text, numbers, lists, mappings), without a look at its shape."""
    return Response(
        orjson.dumps(document), status, {**NO_CACHE, **(headers or {})}, media_type="application/json"
    )


def show_time(at: int | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC; None for 0 and None: never, not yet."""
    return (
        datetime.fromtimestamp(min(at, _seconds(_LATEST)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
    )


def read_time(at: AwareDatetime | None) -> int:
    """Return a time of a request as seconds since 1970; 0 for none. Raises InputError outside 1970 … 9998."""
    if at is None:
        return 0
    seconds = _seconds(at)
    if not 0 < seconds <= _seconds(_LATEST):
        raise InputError(f"{at.isoformat()} cannot be kept; name a time between 1970 and 9998")
    return seconds


def _seconds(at: datetime) -> int:
    return int((at - _EPOCH).total_seconds())
