"""`contacto_insert_salesforce`: an id for whoever is calling, found or made, before the call goes to a queue.

The stored procedure of that name in Neotel's Salesforce connector sets the contract: CLAVESF is
`<contact id>-<data>`; the part behind the dash is empty for a private number.
"""

from __future__ import annotations

import asyncio

import structlog

from agi_server.calls.decide import caller_number
from agi_server.calls.numbers import Number
from agi_server.errors import DirectoryError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.request import lookup_call
from agi_server.scripts.services import Services
from storage import contacts

log = structlog.get_logger()

PATIENCE = 0.7  # of the deadline; what is left is for the answer, which is worth more than the contact


async def contacto_insert_salesforce(request: AgiRequest, services: Services) -> Answer:
    """Set CLAVESF and CONTACT; both empty when the database cannot take the contact (the call goes on)."""
    data = request.get("data", position=1)
    ani = caller_number(lookup_call(request), services.directory)
    database = request.get("iddatabase", position=3)
    found = await find_or_insert(services, data=data, ani=ani, database=database)
    return Answer(
        {
            services.settings.fastagi.prefix + variables.CONTACT: str(found) if found else "",
            variables.CLAVESF: f"{found}-{data}" if found else "",
        }
    )


async def find_or_insert(services: Services, *, data: str, ani: Number, database: str) -> int:
    """Return the contact's id, durable before this returns; 0 when it could not be stored, or not in time."""
    seconds = services.settings.fastagi.deadline * PATIENCE
    try:
        async with asyncio.timeout(seconds):
            writer = await services.database()
            found = await writer.write(
                lambda connection: contacts.find_or_insert(
                    connection, data=data, ani=ani, database=database, now=int(services.clock())
                )
            )
    except DirectoryError as error:
        log.error("contact not stored, the call goes on", error=str(error))
        return 0
    except TimeoutError:
        log.error("contact not stored in time, the call goes on", seconds=seconds)
        return 0
    return found.id
