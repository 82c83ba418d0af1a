"""`answered`: who picked up, told by the dialplan where AMI is not used (Dial's option U, on the called channel)."""

from __future__ import annotations

from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts.ended import extension_of
from agi_server.scripts.services import Services


def answered(request: AgiRequest, services: Services) -> Answer:
    """Hand the extension that spoke first to the journal; set nothing."""
    services.journal.answered(
        call_id=request.get("call"),
        uniqueid=request.get("uniqueid", position=1),
        at=int(services.clock()),
        extension=extension_of(request.get("answered_by", position=2)),
    )
    return Answer({})
