"""Bodies of requests that a route reads itself; none takes more memory than it may."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

T = TypeVar("T")


async def read_body(request: Request, most: int) -> bytes:
    """Return the body, of at most so many bytes; answer 413 where there are more, 400 where it breaks off."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is too long: at most {most} bytes"
                )
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body broke off") from None
    return bytes(body)


def parse_body(shape: TypeAdapter[T], body: bytes) -> T:
    """Return what a JSON body says. Raises RequestValidationError (422) as FastAPI does for what it reads itself."""
    try:
        return shape.validate_json(body)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in mistakes]
        ) from error
