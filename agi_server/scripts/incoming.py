"""`incoming`: who is calling, and what should the PBX do?"""

from __future__ import annotations

from collections.abc import Awaitable
from time import perf_counter

from agi_server.calls.call import Decision
from agi_server.calls.decide import decide
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.insert import find_or_insert
from agi_server.scripts.request import inbound_call
from agi_server.scripts.services import Services
from agi_server.scripts.trace import trace_lines


def incoming(request: AgiRequest, services: Services) -> Answer | Awaitable[Answer]:
    """Decide; wait for nothing, unless an unknown caller is to become a contact."""
    started = perf_counter()
    call = inbound_call(request, services.new_call_id())
    decision = decide(call, services.directory, services.clock())
    services.report(decision, perf_counter() - started)
    if decision.create_contact:
        return _with_new_contact(request, decision, services)
    return Answer(_values(decision, services), verbose=trace_lines(request, decision))


async def _with_new_contact(request: AgiRequest, decision: Decision, services: Services) -> Answer:
    data = decision.number.text
    found = await find_or_insert(services, data=data, ani=decision.number, database="")
    values = _values(decision, services)
    if found:
        values[variables.CLAVESF] = f"{found}-{data}"
        values[services.settings.fastagi.prefix + variables.CONTACT] = str(found)
    return Answer(values, verbose=trace_lines(request, decision))


def _values(decision: Decision, services: Services) -> dict[str, str]:
    return variables.of_decision(
        decision, services.settings.fastagi.prefix, name_variable=variables.CALLER_NAME
    )
