"""The feature codes: *30 blocks a number, *31 unblocks it, *32 blocks the last caller.

RESULT is `added`, `removed`, `not-found`, `invalid`, or `failed`.
"""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.blocking import last_number, pattern_of, rule_against
from agi_server.calls.directory import RuleKind
from agi_server.errors import DirectoryError, InputError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.services import Services
from storage.blacklist import add_rule, remove_rule

log = structlog.get_logger()


async def blacklist_add(request: AgiRequest, services: Services) -> Answer:
    """Block `number`; `extension` says who wants it so."""
    return await _add(request, services, request.get("number", position=1))


async def blacklist_last(request: AgiRequest, services: Services) -> Answer:
    """Block whoever called `extension` last."""
    extension = request.get("extension", "callerid", position=1)
    whose = extension if services.directory.policy().last_caller == "own" else None
    try:
        number = await last_number(await services.database(), whose, now=int(services.clock()))
    except DirectoryError as error:
        return _failed(services, error)
    if number is None:
        return _result(services, "not-found")
    return await _add(request, services, number)


async def blacklist_remove(request: AgiRequest, services: Services) -> Answer:
    """Unblock `number`."""
    try:
        region = services.directory.policy().default.region
        pattern = pattern_of(request.get("number", position=1), region)
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
        reason = request.get("reason", position=3) or "feature-code"
        rule = rule_against(number, services.directory.policy(), reason=reason)
    except InputError:
        return _result(services, "invalid")
    try:
        database = await services.database()
        await database.write(
            lambda connection: add_rule(connection, rule, who=_who(request), now=int(services.clock()))
        )
    except DirectoryError as error:
        return _failed(services, error)
    return _result(services, "added")


def _who(request: AgiRequest) -> str:
    return "extension:" + request.get("extension", "callerid", position=2)


def _result(services: Services, result: str) -> Answer:
    return Answer({services.settings.fastagi.prefix + variables.RESULT: result})


def _failed(services: Services, error: DirectoryError) -> Answer:
    log.error("blacklist not changed", error=str(error))
    return _result(services, "failed")
