"""`ended`: how a call went, told by the dialplan's hang-up handler where AMI is not used."""

from __future__ import annotations

import re

from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts.services import Services

_EXTENSION = re.compile(r"(?:[A-Za-z]+/)?([A-Za-z0-9_.+-]+?)(?:-[0-9a-f]{8}(?:;\d)?)?(?:@.*)?\Z")


def extension_of(peer: str) -> str:
    """Return the extension in a dialled peer or channel: `PJSIP/100-0000001a`, `PJSIP/100`, `100` → `100`."""
    match = _EXTENSION.match(peer)
    return match.group(1) if match else ""


def ended(request: AgiRequest, services: Services) -> Answer:
    """Hand disposition, seconds spoken and the extension that spoke to the journal; set nothing."""
    disposition = request.get("disposition", position=2).lower()
    seconds = request.get("seconds", position=3)
    answered = disposition in {"answer", "answered"}
    services.journal.ended(
        call_id=request.get("call"),
        uniqueid=request.get("uniqueid", "uniqueid", position=1),
        ended_at=int(services.clock()),
        disposition=disposition,
        seconds=int(seconds) if seconds.isascii() and seconds.isdigit() else 0,
        answered_by=extension_of(request.get("answered_by", position=4)) if answered else "",
    )
    return Answer({})
