"""Compile the policy: the settings file, what the table `settings` changes of it, agents, DIDs, rules.

Invariant: nothing an admin wrote wrong takes the rest with it. A row that cannot be used is logged and left
out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

import structlog
from pydantic import ValidationError

from agi_server.calls.directory import Agent, Rule, RuleKind, Treatment
from agi_server.calls.hours import find_zone, parse_hours
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.calls.reformatting import ReformatRule, compile_reformat
from agi_server.calls.screening import RuleBook, scope_of
from agi_server.errors import InputError
from agi_server.settings import ReformatEntry, Section, Settings

log = structlog.get_logger()

# Sections that a policy is made of; rows for others are somebody else's.
SECTIONS = ("numbers", "matching", "naming", "screening", "routing", "contacts")

_NO_JSON = object()  # no setting takes it

_AGENTS = (
    "SELECT id, name, extension, ifnull(email, ''), ifnull(salesforce_user_id, ''), hours, timezone, absent_until, "
    "ifnull(delegate_id, 0), ring_seconds, fallback, pop FROM agents ORDER BY id"
)
_DIDS = (
    "SELECT did, region, identify, naming, screening, routing, create_contacts, template, default_agent, "
    "ring_seconds, fallback, last_agent_minutes FROM dids ORDER BY id"
)
_RULES = (
    "SELECT id, kind, pattern, allow, did, treatment, target, reason, expires_at FROM blacklist "
    "WHERE kind <> 'exact' ORDER BY id"
)


def compile_policy(settings: Settings, connection: sqlite3.Connection | None) -> Policy:
    """Return the policy; of the settings alone where there is no database. Raises sqlite3.Error only."""
    if connection is not None:
        rows = connection.execute("SELECT key, value FROM settings ORDER BY key").fetchall()
        settings = apply(settings, ((str(key), _decoded(value)) for key, value in rows))
    return compile_with(settings, connection)


def compile_with(settings: Settings, connection: sqlite3.Connection | None) -> Policy:
    """Return the policy of exactly these settings, whatever the table `settings` says. Raises sqlite3.Error only."""
    default = _default(settings)
    agents = _agents(connection) if connection is not None else ()
    return Policy(
        default=default,
        dids=_dids(connection, default) if connection is not None else {},
        agents=agents,
        by_extension={agent.extension: agent for agent in agents},
        by_id={agent.id: agent for agent in agents},
        by_email={agent.email: agent for agent in agents if agent.email},
        by_salesforce_user={agent.salesforce_user_id: agent for agent in agents if agent.salesforce_user_id},
        rules=_rules(connection) if connection is not None else RuleBook(),
        reformat=_reformat(settings.numbers.reformat),
        own_extensions=settings.numbers.own_extensions,
        kind_order=settings.matching.order,
        tail_digits=settings.matching.tail_digits,
        switchboard_digits=settings.matching.switchboard_digits,
        trunk_name=settings.naming.precedence,
        charset=settings.naming.charset,
        name_length=settings.naming.max_length,
        anonymous_name=settings.naming.anonymous_name,
        unknown_template=settings.naming.unknown_template,
        ambiguous_name=settings.naming.ambiguous_template,
        known_bypass=settings.screening.known_contacts_bypass,
        default_treatment=Treatment(settings.screening.default_treatment),
        last_caller=settings.screening.last_caller,
        use_restricted=settings.numbers.use_restricted,
        timezone=settings.routing.timezone,
        holidays=frozenset(settings.routing.holidays),
        vip_ring_seconds=settings.routing.vip_ring_seconds,
        skip_busy=settings.routing.skip_busy,
        state_seconds=settings.routing.state_seconds,
        vip_agent=settings.routing.vip_agent,
    )


def _default(settings: Settings) -> DidPolicy:
    return DidPolicy(
        region=settings.numbers.region,
        identify=True,
        naming=settings.naming.enabled,
        screening=settings.screening.enabled,
        routing=settings.routing.enabled,
        create_contacts=settings.contacts.create,
        template=settings.naming.template,
        default_agent=settings.routing.default_agent,
        ring_seconds=settings.routing.ring_seconds,
        fallback=settings.routing.fallback,
        last_agent_minutes=settings.routing.last_agent_minutes,
    )


def apply(
    settings: Settings, rows: Iterable[tuple[str, object]], sections: Collection[str] = SECTIONS
) -> Settings:
    """Return the settings with each good row (key, value) of these sections applied; the others are logged."""
    changed = {name: getattr(settings, name) for name in sections}
    for key, value in rows:
        section, _, name = key.partition(".")
        if section not in Settings.model_fields:
            log.warning("setting in the database not used: no such section", key=key)
        elif section in changed:
            try:
                changed[section] = change(changed[section], name, value)
            except ValidationError as error:
                log.warning("setting in the database not used", key=key, error=_short(error))
    return settings.model_copy(update=changed)


def change(section: Section, name: str, value: object) -> Section:
    """Return a section with one value changed. Raises ValidationError."""
    return type(section).model_validate(section.model_dump() | {name: value})


def _decoded(value: object) -> object:
    # A column of type JSON has numeric affinity: SQLite keeps the text 20 as the number.
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return _NO_JSON


def _agents(connection: sqlite3.Connection) -> tuple[Agent, ...]:
    agents = []
    for row in connection.execute(_AGENTS).fetchall():
        agent = Agent(
            id=row[0],
            name=row[1],
            extension=row[2],
            email=str(row[3]).lower(),
            salesforce_user_id=row[4],
            hours=row[5],
            timezone=row[6],
            absent_until=row[7],
            delegate=row[8],
            ring_seconds=row[9],
            fallback=row[10],
            pop=row[11],
        )
        if not agent.extension:
            log.warning("agent left out: no extension", agent=agent.id)
            continue
        try:
            parse_hours(agent.hours)
            if agent.timezone:
                find_zone(agent.timezone)
        except InputError as error:  # the domain takes such an agent to be reachable rather than gone
            log.warning("agent's working hours not used", agent=agent.id, error=str(error))
        agents.append(agent)
    return tuple(agents)


def _dids(connection: sqlite3.Connection, default: DidPolicy) -> dict[str, DidPolicy]:
    """Return what each DID says, the defaults where it says nothing."""
    return {
        scope_of(row[0]): DidPolicy(
            region=_or(row[1], default.region),
            identify=bool(_or(row[2], default.identify)),
            naming=bool(_or(row[3], default.naming)),
            screening=bool(_or(row[4], default.screening)),
            routing=bool(_or(row[5], default.routing)),
            create_contacts=bool(_or(row[6], default.create_contacts)),
            template=_or(row[7], default.template),
            default_agent=_or(row[8], default.default_agent),
            ring_seconds=_or(row[9], default.ring_seconds),
            fallback=_or(row[10], default.fallback),
            last_agent_minutes=_or(row[11], default.last_agent_minutes),
        )
        for row in connection.execute(_DIDS).fetchall()
    }


def _rules(connection: sqlite3.Connection) -> RuleBook:
    rules = []
    for row in connection.execute(_RULES).fetchall():
        try:
            rule = Rule(
                id=row[0],
                kind=RuleKind(row[1]),
                pattern=row[2],
                allow=row[3] != 0,
                did=row[4],
                treatment=Treatment(row[5]),
                target=row[6],
                reason=row[7],
                expires_at=row[8],
            )
        except ValueError as error:
            log.warning("rule left out", rule=row[0], error=str(error))
        else:
            rules.append(rule)
    book = RuleBook(rules)
    for rule, why in book.broken:
        log.warning("rule left out", rule=rule.id, error=why)
    return book


def _reformat(entries: tuple[ReformatEntry, ...]) -> tuple[ReformatRule, ...]:
    rules = []
    for place, entry in enumerate(entries):
        try:
            rules.append(compile_reformat(**entry.model_dump()))
        except InputError as error:
            log.warning("reformatting rule left out", place=place, error=str(error))
    return tuple(rules)


def _or(value: Any, default: Any) -> Any:  # noqa: ANN401  # a column's value and its default are of one type
    return default if value is None else value


def _short(error: Exception) -> str:
    """Return one line without the value: it may be a secret."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    return str(error)
