"""Blocking a caller by the number: what the feature codes, the API and the console have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.numbers import NumberState, normalise
from agi_server.calls.policy import Policy
from agi_server.calls.screening import check_rule
from agi_server.errors import InputError
from storage.calls import last_caller

if TYPE_CHECKING:
    from storage.database import Database

LAST_CALLER_WITHIN = (
    24 * 3600
)  # seconds: nobody blocks who called the day before yesterday by "the last caller"


def pattern_of(number: str, region: str) -> str:
    """Return the pattern of an exact rule for a number, written as a caller's may be. Raises InputError."""
    normalised = normalise(number, region)
    if normalised.state is NumberState.ANONYMOUS:
        raise InputError(
            f"{number!r} is not a number that can be blocked; block anonymous calls with a rule of that kind"
        )
    return check_rule(RuleKind.EXACT, normalised.text)


def rule_against(number: str, policy: Policy, *, reason: str) -> Rule:
    """Return the rule that blocks a number, treated as is the house's way. Raises InputError."""
    return Rule(
        id=0,
        kind=RuleKind.EXACT,
        pattern=pattern_of(number, policy.default.region),
        treatment=policy.default_treatment,
        reason=reason,
    )


async def last_number(database: Database, extension: str | None, *, now: int) -> str | None:
    """Return the number of the last caller of an extension (None: of anyone); '' where it was withheld.

    None: nobody called within LAST_CALLER_WITHIN. Raises DirectoryError.
    """
    since = now - LAST_CALLER_WITHIN
    caller = await database.read(lambda conn: last_caller(conn, extension, since))
    if caller is None:
        return None
    text, e164 = caller
    return f"+{e164}" if e164 else text
