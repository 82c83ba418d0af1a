"""`outgoing`: whom is one of our own about to call? Their phone shows the name."""

from __future__ import annotations

from time import perf_counter

from agi_server.calls.decide import decide_outgoing
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.request import outbound_call
from agi_server.scripts.services import Services
from agi_server.scripts.trace import trace_lines


def outgoing(request: AgiRequest, services: Services) -> Answer:
    """Answer with the name of the party dialled."""
    started = perf_counter()
    call = outbound_call(request, services.new_call_id())
    decision = decide_outgoing(call, services.directory, services.clock())
    services.report(decision, perf_counter() - started)
    prefix = services.settings.fastagi.prefix
    values = {
        prefix + variables.REASON: decision.reason,
        prefix + variables.CONTACT: variables.contact_id(decision.contact),
        prefix + variables.CALL: call.id,
        prefix + variables.ACTION: str(decision.verdict),
    }
    if decision.display_name:
        values = {variables.CONNECTED_NAME: decision.display_name, **values}
    return Answer(values, verbose=trace_lines(request, decision))
