"""`incoming`: who is calling, and what should the PBX do?"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from time import monotonic, perf_counter

from agi_server.calls.call import Decision, TraceStep, Verdict
from agi_server.calls.decide import decide
from agi_server.calls.directory import RuleKind
from agi_server.calls.identify import NOBODY
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.lookups import Lookups
from agi_server.scripts import variables
from agi_server.scripts.insert import find_or_insert
from agi_server.scripts.request import inbound_call
from agi_server.scripts.services import Services
from agi_server.scripts.trace import trace_lines

LOOKUP_PATIENCE = 0.5  # of the deadline, from when the PBX connected; a contact may be to be made afterwards


def incoming(request: AgiRequest, services: Services) -> Answer | Awaitable[Answer]:
    """Decide; wait for nothing, unless an unknown caller is to be looked up or to become a contact."""
    started = perf_counter()
    call = inbound_call(request, services.new_call_id())
    decision = decide(call, services.directory, services.clock())
    if services.lookups is not None and _may_be_known(decision, services):
        return _with_lookup(request, decision, services, services.lookups, started)
    services.report(decision, perf_counter() - started)
    if decision.create_contact:
        return _with_new_contact(request, decision, services)
    return _answer(request, decision, services)


def _may_be_known(decision: Decision, services: Services) -> bool:
    """Return whether it would matter to know this caller, whom the directory does not know."""
    if not decision.number.e164 or NOBODY.step not in decision.trace:
        return False
    if decision.verdict is Verdict.ALLOW or decision.rule is None:
        return True
    return decision.rule.kind is not RuleKind.EXACT and services.directory.policy().known_bypass


async def _with_lookup(
    request: AgiRequest, decision: Decision, services: Services, lookups: Lookups, started: float
) -> Answer:
    settings = services.settings
    left = request.since + settings.fastagi.deadline * LOOKUP_PATIENCE - monotonic()
    step = await lookups.find(decision.number.text, min(settings.salesforce.lookup_deadline, left))
    if step.outcome == "found":
        decision = _decide_again(decision, step, services)
    else:
        decision = replace(decision, trace=(*decision.trace, step))
    services.report(decision, perf_counter() - started)
    if decision.create_contact:
        return await _with_new_contact(request, decision, services)
    return _answer(request, decision, services)


def _decide_again(decision: Decision, step: TraceStep, services: Services) -> Decision:
    """Decide from the directory as it is now; the trace tells of both times, of the number once."""
    again = decide(decision.call, services.directory, services.clock())
    before = decision.trace[: decision.trace.index(NOBODY.step) + 1]
    after = (each for each in again.trace if each.stage != "number")
    return replace(again, trace=(*before, step, *after))


async def _with_new_contact(request: AgiRequest, decision: Decision, services: Services) -> Answer:
    data = decision.number.text
    found = await find_or_insert(
        services, decision.call, data=data, ani=decision.number, database="", since=request.since
    )
    values = _values(decision, services)
    if found is not None:
        values[variables.CLAVESF] = variables.clavesf_of(found, data)
        values[services.settings.fastagi.prefix + variables.CONTACT] = variables.contact_id(found)
    return Answer(values, verbose=trace_lines(request, decision))


def _answer(request: AgiRequest, decision: Decision, services: Services) -> Answer:
    return Answer(_values(decision, services), verbose=trace_lines(request, decision))


def _values(decision: Decision, services: Services) -> dict[str, str]:
    return variables.of_decision(
        decision, services.settings.fastagi.prefix, name_variable=variables.CALLER_NAME
    )
