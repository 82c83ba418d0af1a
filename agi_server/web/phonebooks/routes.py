"""The phone books of all makers, below /phonebooks."""

from __future__ import annotations

from fastapi import APIRouter

from agi_server.web.phonebooks import cisco, fanvil, grandstream, polycom, snom, yealink

MAKERS = (yealink, snom, grandstream, cisco, polycom, fanvil)

# docs/phonebooks.md describes these; the description of the API is for programs.
router = APIRouter(prefix="/phonebooks", include_in_schema=False)
for maker in MAKERS:
    router.include_router(maker.router)
