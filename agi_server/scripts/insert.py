"""`contacto_insert_salesforce`: an id for whoever is calling, found or made, before the call goes to a queue.

The stored procedure of that name in Neotel's Salesforce connector sets the contract: CLAVESF is
`<contact id>-<data>`; the part behind the dash is empty for a private number. The contact id there is Ostiary's own,
the same for one key for ever; CONTACT is the Salesforce id as soon as there is one.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from agi_server.calls.call import Call
from agi_server.calls.decide import caller_number
from agi_server.calls.naming import LONGEST_BYTES, finish, is_real, unquote
from agi_server.calls.numbers import Number
from agi_server.errors import DirectoryError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.request import lookup_call
from agi_server.scripts.services import Services
from storage import contacts

if TYPE_CHECKING:
    from storage.database import Database

log = structlog.get_logger()

PATIENCE = 0.7  # of the deadline; what is left is for the answer, which is worth more than the contact


async def contacto_insert_salesforce(request: AgiRequest, services: Services) -> Answer:
    """Set CLAVESF and CONTACT; both empty when the database cannot take the contact (the call goes on)."""
    data = request.get("data", position=1)
    call = lookup_call(request)
    ani = caller_number(call, services.directory)
    database = request.get("iddatabase", position=3)
    found = await find_or_insert(services, call, data=data, ani=ani, database=database, since=request.since)
    return Answer(
        {
            services.settings.fastagi.prefix + variables.CONTACT: variables.contact_id(found),
            variables.CLAVESF: variables.clavesf_of(found, data),
        }
    )


async def find_or_insert(
    services: Services, call: Call, *, data: str, ani: Number, database: str, since: float
) -> contacts.FoundContact | None:
    """Return the contact, durable before this returns; None when it could not be stored, or not in time.

    `since` is when the PBX connected (`AgiRequest.since`).
    """
    seconds = since + services.settings.fastagi.deadline * PATIENCE - monotonic()
    try:
        async with asyncio.timeout(seconds):
            writer = await services.database()
            return await insert_contact(
                writer, call, data=data, ani=ani, database=database, now=int(services.clock())
            )
    except DirectoryError as error:
        log.error("contact not stored, the call goes on", error=str(error))
        return None
    except TimeoutError:
        log.error("contact not stored in time, the call goes on", seconds=seconds)
        return None


async def insert_contact(
    writer: Database, call: Call, *, data: str, ani: Number, database: str, now: int
) -> contacts.FoundContact:
    """Return the contact of a call, durable before this returns. Raises DirectoryError."""
    return await writer.write(
        lambda connection: contacts.find_or_insert(
            connection, data=data, ani=ani, database=database, now=now, did=call.did, name=_name(call, ani)
        )
    )


def _name(call: Call, ani: Number) -> str:
    """Return the name that the trunk sent if it is one; behind a withheld number it is withheld, too."""
    name = finish(unquote(call.name), charset="utf-8", length=LONGEST_BYTES) if ani.digits else ""
    return name if is_real(name) else ""
