"""Whom they came to see: the responsible agent, or nobody, which leaves the call to the PBX's own plan.

Whoever spoke with the caller a moment ago goes first, then the owner, then (for a VIP) the VIP agent, then
the owner's delegates, then the default agent; only people at work count. An agent whose phone is known to be busy,
not reachable or paused is not rung: the call goes straight to the fallback, else to whoever is next, and he stays
responsible for it. Nothing is named that could not be
dialled safely: `[A-Za-z0-9_/@.+&-]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from agi_server.calls.call import RouteType, Rung, TraceStep
from agi_server.calls.directory import Agent, Contact, Directory, Rule, Treatment
from agi_server.calls.hours import at_work
from agi_server.calls.identify import Match
from agi_server.calls.numbers import Number
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.errors import DirectoryError

_DIALLABLE = re.compile(r"[A-Za-z0-9_/@.+&-]*", re.ASCII)
_NOT_RUNG = {"busy": "is busy", "unreachable": "cannot be reached", "paused": "takes no calls now"}  # states
_TARGETED = frozenset({Treatment.VOICEMAIL, Treatment.ANNOUNCE, Treatment.REDIRECT})


class Route(NamedTuple):
    """Where the call goes; `route` empty: the PBX's own plan. `agent` is who is responsible, rung or not."""

    agent: Agent | None = None
    route: str = ""
    route_type: RouteType = RouteType.NONE
    ring_seconds: int = 0
    fallback: str = ""


_OWN_PLAN = Route()


class _Candidate(NamedTuple):
    """Somebody who may take the call; `agent` None: an extension that is nobody's, such as a group."""

    extension: str
    agent: Agent | None
    why: str


def diallable(text: str) -> bool:
    """Return whether a dialplan may dial this text."""
    return _DIALLABLE.fullmatch(text) is not None


def route_type(target: str, policy: Policy) -> RouteType:
    """Return what kind of thing a dialplan finds under this target."""
    if not target:
        return RouteType.NONE
    if target in policy.by_extension:
        return RouteType.EXTENSION
    return (
        RouteType.EXTERNAL
        if target.startswith("+") or "/" in target or "@" in target
        else RouteType.EXTENSION
    )


def find_route(
    number: Number,
    match: Match,
    policy: Policy,
    *,
    did: DidPolicy,
    directory: Directory,
    now: float,
    steps: list[TraceStep],
) -> Route:
    """Return where the call goes and append the steps that led there. Raises DirectoryError."""
    busy: Agent | None = None
    not_rung: set[str] = set()  # extensions of agents who are not to be rung now
    if match.rung is Rung.EXTENSION:
        steps.append(TraceStep("route", "none", "the caller is one of our own extensions"))
        return _OWN_PLAN
    vip = match.contact is not None and match.contact.vip
    for extension, agent, why in _candidates(
        number, match, policy, did=did, directory=directory, now=now, vip=vip
    ):
        if agent is not None and not at_work(agent, policy, now):
            steps.append(TraceStep("route", "away", f"{why} is not at work", agent.name))
        elif extension == number.digits:
            steps.append(TraceStep("route", "self", f"{why} is the caller himself", extension))
        elif not diallable(extension):
            steps.append(
                TraceStep("route", "dropped", f"the extension of {why} may not be dialled", extension)
            )
        elif agent is not None and (state := _state(agent, policy, directory, now)):
            steps.append(TraceStep("route", state, f"{why} {_NOT_RUNG[state]}", agent.name))
            busy = busy or agent
            not_rung.add(extension)
            instead = _instead_of(agent, policy, did, steps)
            if instead.route and instead.route not in not_rung:
                return instead._replace(agent=busy)
        else:
            steps.append(TraceStep("route", "agent", why, extension))
            return _to(extension, agent, policy, did, steps, vip=vip)
    nobody = "at work and free" if busy is not None else "at work"
    steps.append(TraceStep("route", "none", f"nobody responsible is {nobody}: the PBX's own plan"))
    return Route(busy)


def _state(agent: Agent, policy: Policy, directory: Directory, now: float) -> str:
    """Return what the agent's phone does where it is not to be rung for that, else ''."""
    if not policy.skip_busy:
        return ""
    try:
        state = directory.agent_state(agent.extension, int(now) - policy.state_seconds)
    except DirectoryError:
        return ""
    return state if state in _NOT_RUNG else ""


def _candidates(
    number: Number,
    match: Match,
    policy: Policy,
    *,
    did: DidPolicy,
    directory: Directory,
    now: float,
    vip: bool,
) -> Iterator[_Candidate]:
    """Yield who may take the call, the best first; whether they are at work is not asked here."""
    if did.last_agent_minutes > 0 and number.e164:
        extension = directory.last_agent(number.e164, int(now) - did.last_agent_minutes * 60)
        agent = policy.by_extension.get(extension) if extension else None
        if agent is not None:
            yield _Candidate(extension, agent, "who spoke with the caller last")
    owner = _owner(match.owned, policy)
    if owner is not None:
        yield _Candidate(owner.extension, owner, "the owner")
    if vip and policy.vip_agent:
        yield _extension(policy.vip_agent, policy, "the VIP agent")
    if owner is not None:
        yield from _delegates(owner, policy)
    for extension in dict.fromkeys((did.default_agent, policy.default.default_agent)):
        if extension:
            yield _extension(extension, policy, "the default agent")


def _owner(contact: Contact | None, policy: Policy) -> Agent | None:
    """Return the agent who owns this record: by explicit mapping, else by e-mail."""
    if contact is None:
        return None
    agent = None
    if contact.owner_salesforce_id:
        agent = policy.by_salesforce_user.get(contact.owner_salesforce_id)
    if agent is None and contact.owner_email:
        agent = policy.by_email.get(contact.owner_email)
    return agent


def _delegates(owner: Agent, policy: Policy) -> Iterator[_Candidate]:
    """Yield who stands in, and who for them, each once: people do name each other."""
    seen = {owner.id}
    agent = policy.by_id.get(owner.delegate)
    while agent is not None and agent.id not in seen:
        seen.add(agent.id)
        yield _Candidate(agent.extension, agent, "the owner's delegate")
        agent = policy.by_id.get(agent.delegate)


def _extension(extension: str, policy: Policy, why: str) -> _Candidate:
    return _Candidate(extension, policy.by_extension.get(extension), why)


def _to(
    extension: str,
    agent: Agent | None,
    policy: Policy,
    did: DidPolicy,
    steps: list[TraceStep],
    *,
    vip: bool,
) -> Route:
    """Return the route, with ring time and fallback of the agent, else of the DID."""
    ring_seconds = (agent.ring_seconds if agent is not None else 0) or did.ring_seconds
    if vip and policy.vip_ring_seconds:
        ring_seconds = policy.vip_ring_seconds
    fallback = _fallback(extension, agent, did, steps)
    return Route(agent, extension, route_type(extension, policy), ring_seconds, fallback)


def _instead_of(agent: Agent, policy: Policy, did: DidPolicy, steps: list[TraceStep]) -> Route:
    """Return the fallback of an agent who is not rung, as a route.

    One that is no agent's extension, say a queue, is dialled as outside numbers are: within the PBX's own plan.
    """
    target = _fallback(agent.extension, agent, did, steps)
    if not target:
        return _OWN_PLAN
    steps.append(TraceStep("route", "fallback", "straight to the fallback", target))
    kind = RouteType.EXTENSION if target in policy.by_extension else RouteType.EXTERNAL
    return Route(route=target, route_type=kind, ring_seconds=did.ring_seconds)


def _fallback(extension: str, agent: Agent | None, did: DidPolicy, steps: list[TraceStep]) -> str:
    """Return what is dialled when nobody answers there: the agent's fallback, else the DID's."""
    fallback = (agent.fallback if agent is not None else "") or did.fallback
    if fallback == extension:
        return ""
    if not diallable(fallback):
        steps.append(TraceStep("route", "dropped", "the fallback may not be dialled", fallback))
        return ""
    return fallback


def treat(rule: Rule, policy: Policy, steps: list[TraceStep]) -> tuple[str, Route]:
    """Return the treatment of a blocked call and its target as a route.

    A target that may not be dialled is dropped; a redirection to nowhere ends as a hang-up.
    """
    target = rule.target if rule.treatment in _TARGETED else ""
    if not diallable(target):
        steps.append(
            TraceStep("route", "dropped", f"the target of rule {rule.id} may not be dialled", target)
        )
        target = ""
    if rule.treatment is Treatment.REDIRECT and not target:
        return Treatment.HANGUP.value, _OWN_PLAN
    if rule.treatment is Treatment.VOICEMAIL:
        return rule.treatment.value, Route(route=target, route_type=RouteType.VOICEMAIL)
    if rule.treatment is Treatment.ANNOUNCE:
        return rule.treatment.value, Route(route=target)
    return rule.treatment.value, Route(route=target, route_type=route_type(target, policy))
