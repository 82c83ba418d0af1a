"""Errors as problem+json (RFC 9457): one shape for everything the API refuses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from agi_server.errors import (
    AccessError,
    ConflictError,
    DirectoryError,
    InputError,
    NotFoundError,
    OstiaryError,
    SettingsError,
)
from agi_server.web.console import errors

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

log = structlog.get_logger()

_STATUS: tuple[tuple[type[OstiaryError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SettingsError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (DirectoryError, HTTPStatus.SERVICE_UNAVAILABLE),
)


def status_of(error: OstiaryError) -> HTTPStatus:
    """Return the status that an error is answered with."""
    if isinstance(error, AccessError):
        return HTTPStatus.FORBIDDEN if error.known else HTTPStatus.UNAUTHORIZED
    return next((status for type_, status in _STATUS if isinstance(error, type_)), HTTPStatus.BAD_GATEWAY)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    """Return a problem document; `more` are members of its own."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    return Response(
        orjson.dumps(body | more, default=str),
        status_code=status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def answer_with_problems(app: FastAPI) -> None:
    """Have every error answered as a problem, and as a page where a person asked for one."""

    @app.exception_handler(OstiaryError)
    async def refused(request: Request, error: OstiaryError) -> Response:
        status = status_of(error)
        if errors.is_for_people(request):
            if status is HTTPStatus.UNAUTHORIZED:
                return errors.log_in_first(request)
            return await errors.error_page(request, status, str(error))
        headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
        return problem(status, str(error), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        mistakes = [_mistake(each) for each in error.errors()]
        detail = "; ".join(f"{each['where']}: {each['what']}" for each in mistakes)
        if errors.is_for_people(request):
            return await errors.error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=mistakes)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(allowed_methods(request))}
        if errors.is_for_people(request):
            return await errors.error_page(request, error.status_code, str(error.detail), headers)
        return problem(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        # Not the path itself: it may hold a number or a secret.
        route = getattr(request.scope.get("route"), "path", "")
        log.error("a request failed", method=request.method, route=route, exc_info=error)
        detail = "this is a fault of Ostiary's; its log says more"
        if errors.is_for_people(request):
            return await errors.error_page(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes for this path; Starlette itself knows those of the first one only."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _mistake(error: Mapping[str, Any]) -> dict[str, str]:
    """Return where and what, without the value: it may be a secret."""
    return {"where": ".".join(map(str, error["loc"])), "what": str(error["msg"])}
