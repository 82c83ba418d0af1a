"""The recording of a call over HTTP, for console and API alike.

Invariant: nobody listens without a row in the audit log; no proxy and no browser keeps what was heard.
"""

from __future__ import annotations

import asyncio
import os

from fastapi import Response
from fastapi.responses import FileResponse

from agi_server.errors import NotFoundError
from agi_server.recordings import TYPES, find
from agi_server.web.access import Actor
from agi_server.web.services import Services
from storage.history import get_call
from storage.recordings import heard


async def send_recording(use: Services, actor: Actor, call_id: str) -> Response:
    """Return the sound, or the piece of it that a Range asks for (RFC 9110 §14). Raises NotFoundError."""
    recordings = use.settings.recordings
    call = await use.database.read(lambda conn: get_call(conn, call_id))
    if call is None:
        raise NotFoundError(f"there is no call {call_id!r}; calls are forgotten after a time")
    if recordings.directory is None:
        raise NotFoundError("recordings are not served here: set recordings.directory")
    path = await asyncio.to_thread(find, recordings.directory, call.recording, call.started_at)
    if path is None:
        days = recordings.retention_days
        kept = f"they are deleted after {days} days (recordings.retention_days)" if days else "was it moved?"
        raise NotFoundError(f"this call has no recording, or no longer: {kept}")
    if not os.access(path, os.R_OK):
        raise NotFoundError(
            "the recording is there, but Ostiary's user may not read it: let it be of the group that owns "
            f"{recordings.directory}"
        )
    await use.database.write(lambda conn: heard(conn, call.id, who=actor.who, now=int(use.clock())))
    return FileResponse(
        path,
        media_type=TYPES[path.suffix.lower()],
        filename=f"call-{call.id}{path.suffix.lower()}",
        content_disposition_type="inline",
        headers={"Cache-Control": "private, no-store"},
    )
