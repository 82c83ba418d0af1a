"""A request as it came and an answer as it goes; every answer says what Salesforce would, in its JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from tests.org.errors import OrgError
from tests.org.values import rest_time

JSON = "application/json;charset=UTF-8"
HTML = "text/html;charset=UTF-8"


@dataclass(frozen=True)
class Request:
    """`target` is path and query as sent."""

    method: str
    target: str
    headers: Message
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def steps(self) -> list[str]:
        """The parts of the path, decoded; no empty ones."""
        return [unquote(step) for step in self.path.split("/") if step]

    @property
    def params(self) -> dict[str, str]:
        return _last_values(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a posted form."""
        return _last_values(self.body.decode())

    def header(self, name: str) -> str:
        return str(self.headers.get(name, ""))

    def json(self) -> Any:
        """Return the body's value; OrgError JSON_PARSER_ERROR when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise OrgError("JSON_PARSER_ERROR", f"Unexpected input: {error}") from error

    def json_object(self) -> dict[str, Any]:
        """Return the body's object; OrgError JSON_PARSER_ERROR when it is something else."""
        value = self.json()
        if not isinstance(value, dict):
            raise OrgError("JSON_PARSER_ERROR", "Can not deserialize: a JSON object is wanted")
        return value


@dataclass
class Answer:
    """`stream` instead of `body`: sent in chunks as it comes. `then`: called when all is sent."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    then: Callable[[], None] | None = None


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, orjson.dumps(value), headers=dict(headers or {}))


def stamp(moment: datetime) -> str:
    """Write a time as REST does."""
    return rest_time(int(moment.timestamp()))


def refusal(error: OrgError, *, writing: bool = False) -> Answer:
    """Return an error as the REST API words it: a list with one object; those of a write name the fields."""
    said: dict[str, object] = {"message": error.message, "errorCode": error.code}
    if writing or error.fields:
        said["fields"] = list(error.fields)
    return json_answer(error.status, [said])


def _last_values(text: str) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(text, keep_blank_values=True).items()}
