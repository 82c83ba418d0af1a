"""Recordings, where links in Salesforce lead and the page of a call plays them from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.recordings import send_recording
from agi_server.web.services import Use

router = APIRouter()


@router.get("/recordings/{call_id}")
async def hear(
    actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))], use: Use, call_id: str
) -> Response:
    """Play the recording of a call."""
    return await send_recording(use, actor, call_id)
