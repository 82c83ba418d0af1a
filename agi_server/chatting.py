"""A chat or a message has come in: whose it is, what it goes on with, and its Task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Call, Direction
from agi_server.calls.decide import caller_number
from agi_server.calls.directory import Directory
from agi_server.calls.identify import identify
from agi_server.conclusion import wanted_tasks
from agi_server.errors import DirectoryError, InputError
from agi_server.settings import Settings
from storage.aliases import by_id
from storage.chats import Chat, keep_chat
from storage.search import search
from storage.tasks import want

TASK_AFTER: Final = 60  # seconds: what was written within them is in the Task from the start
_SAME_EMAIL: Final = 20  # contacts looked at for one address


async def take(
    conn: AsyncConnection, chat: Chat, directory: Directory, settings: Settings, *, named: bool, now: int
) -> tuple[Chat, bool]:
    """Keep a chat whose `number_text`, `email` or `contact_id` says whose it is; return it, and whether it is news.

    `named`: its id is its maker's own. Raises InputError for a contact that is not there, or a chat that grows too
    long.
    """
    number, contact = _known(chat, directory)
    given = await _given(conn, chat.contact_id)
    email = chat.email.lower()
    guess = contact or (await _by_email(conn, email) if email and not given else None)
    kept, news = await keep_chat(
        conn,
        replace(chat, number=number or None, email=email, contact_id=given),
        named=named,
        gap=settings.chats.gap_minutes * 60,
        guess=guess,
    )
    if news and wanted_tasks(settings).enabled:
        await want(conn, f"chat:{kept.id}", due=now + TASK_AFTER, now=now)
    return kept, news


def event_of(chat: Chat) -> dict[str, Any]:
    """Return what is told of a chat (events/schemas.py: Chat)."""
    return {
        "id": chat.id,
        "channel": chat.channel,
        "direction": chat.direction,
        "number": f"+{chat.number}" if chat.number else chat.number_text,
        "email": chat.email,
        "name": chat.name,
        "did": chat.did,
        "agent": chat.agent,
        "contact_id": chat.contact_id,
        "messages": len(chat.messages),
        "started_at": chat.started_at,
        "ended_at": chat.ended_at,
    }


def _known(chat: Chat, directory: Directory) -> tuple[int, int | None]:
    """Return the number's E.164 digits (0: none) and the contact that a caller with it would be; never raises."""
    if not chat.number_text:
        return 0, None
    direction = Direction.OUTBOUND if chat.direction == "outbound" else Direction.INBOUND
    call = Call(id="", number=chat.number_text, did=chat.did, direction=direction)
    number = caller_number(call, directory)
    try:
        match = identify(number, call.presentation, directory.policy(), directory)
    except DirectoryError:
        return number.e164, None
    return number.e164, match.contact.id if match.contact is not None else None


async def _given(conn: AsyncConnection, contact_id: int | None) -> int | None:
    if contact_id is None:
        return None
    named = await by_id(conn, contact_id)
    if named is None:
        raise InputError(f"contact_id: there is no contact {contact_id}")
    return named.id


async def _by_email(conn: AsyncConnection, email: str) -> int | None:
    """Return the only contact with an e-mail address, None where there are several: a guess is no knowledge."""
    found, _ = await search(conn, email, limit=_SAME_EMAIL)
    same = [each.id for each in found if each.email.lower() == email]
    return same[0] if len(same) == 1 else None
