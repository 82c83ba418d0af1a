"""The feature codes: *30 blocks a number, *31 unblocks it, *32 blocks the last caller.

RESULT is `added`, `removed`, `not-found`, `invalid`, or `failed`.
"""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.numbers import NumberState, normalise
from agi_server.calls.screening import check_rule
from agi_server.errors import DirectoryError, InputError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.services import Services
from storage.blacklist import add_rule, remove_rule
from storage.calls import last_caller

log = structlog.get_logger()

LAST_CALLER_WITHIN = 24 * 3600  # seconds: *32 never blocks somebody who called the day before yesterday


async def blacklist_add(request: AgiRequest, services: Services) -> Answer:
    """Block `number`; `extension` says who wants it so."""
    return await _add(request, services, request.get("number", position=1))


async def blacklist_last(request: AgiRequest, services: Services) -> Answer:
    """Block whoever called `extension` last."""
    extension = request.get("extension", "callerid", position=1)
    whose = extension if services.settings.screening.last_caller == "own" else None
    since = int(services.clock()) - LAST_CALLER_WITHIN
    try:
        database = await services.database()
        caller = await database.read(lambda connection: last_caller(connection, whose, since))
    except DirectoryError as error:
        return _failed(services, error)
    if caller is None:
        return _result(services, "not-found")
    number_text, e164 = caller
    return await _add(request, services, f"+{e164}" if e164 else number_text)


async def blacklist_remove(request: AgiRequest, services: Services) -> Answer:
    """Unblock `number`."""
    try:
        pattern = _pattern(services, request.get("number", position=1))
    except InputError:
        return _result(services, "invalid")

    async def job(connection: AsyncConnection) -> int:
        return await remove_rule(
            connection,
            kind=RuleKind.EXACT,
            pattern=pattern,
            did=None,
            allow=False,
            who=_who(request),
            now=int(services.clock()),
        )

    try:
        removed = await (await services.database()).write(job)
    except DirectoryError as error:
        return _failed(services, error)
    return _result(services, "removed" if removed else "not-found")


async def _add(request: AgiRequest, services: Services, number: str) -> Answer:
    try:
        pattern = _pattern(services, number)
    except InputError:
        return _result(services, "invalid")
    rule = Rule(
        id=0,
        kind=RuleKind.EXACT,
        pattern=pattern,
        treatment=Treatment(services.settings.screening.default_treatment),
        reason=request.get("reason", position=3) or "feature-code",
    )
    try:
        database = await services.database()
        await database.write(
            lambda connection: add_rule(connection, rule, who=_who(request), now=int(services.clock()))
        )
    except DirectoryError as error:
        return _failed(services, error)
    return _result(services, "added")


def _pattern(services: Services, number: str) -> str:
    normalised = normalise(number, services.settings.numbers.region)
    if normalised.state is NumberState.ANONYMOUS:
        raise InputError(
            f"{number!r} is not a number that can be blocked; block anonymous calls with a rule of that kind"
        )
    return check_rule(RuleKind.EXACT, normalised.text)


def _who(request: AgiRequest) -> str:
    return "extension:" + request.get("extension", "callerid", position=2)


def _result(services: Services, result: str) -> Answer:
    return Answer({services.settings.fastagi.prefix + variables.RESULT: result})


def _failed(services: Services, error: DirectoryError) -> Answer:
    log.error("blacklist not changed", error=str(error))
    return _result(services, "failed")
