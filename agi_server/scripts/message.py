"""`message`: a SIP MESSAGE, told by the dialplan (MESSAGE(from), MESSAGE(to), MESSAGE(body)).

All of it comes in base64: a body may hold line breaks, and so may who sent it. The dialplan writes SEPARATOR for a
colon, which Asterisk would take for the beginning of an offset. RESULT is `kept`, `ignored` (among our own extensions,
or nothing was said), `invalid`, or `failed`.
"""

from __future__ import annotations

import asyncio
import base64
import re
from time import monotonic
from typing import Final

import structlog

from agi_server.calls.extensions import matches
from agi_server.calls.policy import Policy
from agi_server.chatting import event_of, take
from agi_server.errors import DirectoryError, InputError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.services import Services
from storage.chats import Chat, Message

log = structlog.get_logger()

CHANNEL: Final = "sip-message"
SEPARATOR: Final = "\x01"
LONGEST: Final = 8000  # characters of a body
PATIENCE: Final = 0.7  # of the deadline, as for an insert look-up

_PARTY: Final = re.compile(r'\s*(?:"(?P<name>.*)"\s*|(?P<bare>[^<"]*))<(?P<address>[^>]*)>.*', re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


async def message(request: AgiRequest, services: Services) -> Answer:
    """Keep a message; set RESULT."""
    result = await _keep(request, services)
    return Answer({services.settings.fastagi.prefix + variables.RESULT: result})


async def _keep(request: AgiRequest, services: Services) -> str:
    now = int(services.clock())
    try:
        chat = _chat(request, services, now)
    except ValueError:  # no base64
        return "invalid"
    if chat is None:
        return "ignored"
    try:
        async with asyncio.timeout(
            request.since + services.settings.fastagi.deadline * PATIENCE - monotonic()
        ):
            database = await services.database()
            kept, _ = await database.write(
                lambda conn: take(conn, chat, services.directory, services.settings, named=False, now=now)
            )
    except (DirectoryError, InputError) as error:
        log.error("message not stored", error=str(error))
        return "failed"
    except TimeoutError:
        log.error("message not stored in time")
        return "failed"
    services.journal.chatted(event_of(kept))
    return "kept"


def _chat(request: AgiRequest, services: Services, now: int) -> Chat | None:
    """Return the message as a chat of one; None where there is nothing to keep. Raises ValueError for no base64."""
    name, sender = party(_decoded(request.get("from", position=1)))
    _, addressee = party(_decoded(request.get("to", position=2)))
    body = _decoded(request.get("body", position=3))[:LONGEST].strip()
    policy = services.directory.policy()
    from_us, to_us = _own(sender, policy), _own(addressee, policy)
    if not body or not (sender and addressee) or (from_us and to_us):
        return None
    return Chat(
        id=services.new_call_id(),
        channel=CHANNEL,
        direction="outbound" if from_us else "inbound",
        started_at=now,
        ended_at=now,
        number_text=addressee if from_us else sender,
        name="" if from_us else name,
        did="" if from_us or to_us else addressee,
        agent=from_us or to_us,
        messages=(Message(now, sender if from_us else name or sender, body),),
    )


def party(text: str) -> tuple[str, str]:
    """Return name and number of a party: `"Name" <sip:number@host>`, `sip:number@host`; '' for what is not there.

    Of an address, the number is its user part; `pjsip:endpoint/sip:number@host` is Asterisk's own spelling.
    """
    match = _PARTY.fullmatch(text)
    name = ((match["name"] or match["bare"] or "") if match else "").replace('\\"', '"').replace("\\\\", "\\")
    address = match["address"] if match else text
    user = re.split(r"sips?:|pjsip:|tel:", address.strip())[-1].partition("@")[0].partition(";")[0]
    return _line(name), _line(user)


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()[:200]


def _own(number: str, policy: Policy) -> str:
    """Return the number if it is one of our own extensions, else ''."""
    return number if number in policy.by_extension or matches(policy.own_extensions, number) else ""


def _decoded(text: str) -> str:
    """Return what base64 text says. Raises ValueError."""
    return base64.b64decode(text, validate=True).decode("utf-8", "replace").replace(SEPARATOR, ":")
