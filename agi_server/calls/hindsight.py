"""What would have been decided of a call that nobody asked about."""

from __future__ import annotations

from dataclasses import replace

from agi_server.calls.call import Call, Decision, Direction, Verdict
from agi_server.calls.decide import decide, decide_outgoing
from agi_server.calls.directory import Directory
from agi_server.calls.record import Record, Way


def decide_afterwards(record: Record, directory: Directory) -> Decision:
    """Return who that was and who is responsible; never raises. It was let in, whatever rule would have kept it out."""
    inbound = record.way is Way.INBOUND
    call = Call(
        id=f"{record.pbx}-{record.linkedid}",
        direction=Direction.INBOUND if inbound else Direction.OUTBOUND,
        number=record.number,
        name=record.name if inbound else "",
        did=record.did,
        trunk=record.trunk,
        extension=record.agent,
        uniqueid=record.linkedid,
    )
    decision = (decide if inbound else decide_outgoing)(call, directory, record.started_at)
    if decision.verdict is Verdict.ALLOW:
        return decision
    return replace(decision, verdict=Verdict.ALLOW, rule=None, treatment="", route="", reason="unknown")
