"""Chats and messages: one row a conversation in writing.

Invariants: whatever is sent again is there once; a chat only grows. What comes without an id of its own goes on with
the last chat of the same two sides over the same channel, if that is not long over. Times are seconds since 1970.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, and_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.schema import chats as table

MOST_MESSAGES: Final = 1000  # of a chat
MOST_BYTES: Final = 256_000  # of a chat's texts, UTF-8
_LONGEST: Final = 2 * 86400  # seconds from the first message of a chat to one that may still belong to it


class Message(NamedTuple):
    """One message; `who` is a name, a number or an extension."""

    at: int
    who: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat; columns as in the table. `number` are E.164 digits, None where they are not known."""

    id: str
    channel: str = "chat"
    direction: str = "inbound"  # who wrote first: inbound | outbound
    started_at: int
    ended_at: int
    number: int | None = None
    number_text: str = ""
    email: str = ""  # lower case
    name: str = ""
    did: str = ""
    queue: str = ""
    agent: str = ""
    contact_id: int | None = None
    messages: tuple[Message, ...] = ()

    @property
    def fits(self) -> bool:
        """Return whether it is not too long to be kept."""
        size = sum(len(f"{each.who}{each.text}".encode("utf-8", "replace")) for each in self.messages)
        return len(self.messages) <= MOST_MESSAGES and size <= MOST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFilter:
    """Which chats; what is empty or 0 is not asked for. `since` is the first second, `until` the last."""

    number: int = 0
    email: str = ""
    contact_id: int = 0
    channel: str = ""
    agent: str = ""
    since: int = 0
    until: int = 0


async def keep_chat(
    conn: AsyncConnection, chat: Chat, *, named: bool, gap: int, guess: int | None = None
) -> tuple[Chat, bool]:
    """Store a chat, or what is new of it; return it as it is now, and whether anything of it was new.

    `named`: its id is its maker's own, and tells which chat it goes on with; others go on with the last one that ended
    less than `gap` seconds before. `guess` is the contact where nobody said which. Raises InputError where a chat with
    that id would grow too long.
    """
    before = await get_chat(conn, chat.id) if named else await _last(conn, chat, gap)
    if before is None:
        return await _insert(conn, replace(chat, contact_id=chat.contact_id or guess)), True
    now = _merged(before, chat, guess)
    if not now.fits:
        if named:
            raise InputError(
                f"chat {chat.id!r} would have more than {MOST_MESSAGES} messages or {MOST_BYTES} bytes: begin another"
            )
        return await _insert(conn, replace(chat, contact_id=chat.contact_id or guess)), True
    if now != before:
        await conn.execute(table.update().where(table.c.id == now.id).values(_columns(now)))
    return now, now != before


async def get_chat(conn: AsyncConnection, chat_id: str) -> Chat | None:
    """Return a chat, None where there is none with that id."""
    row = (await conn.execute(select(table).where(table.c.id == chat_id))).mappings().first()
    return _chat(row) if row is not None else None


async def list_chats(
    conn: AsyncConnection, wanted: ChatFilter, *, limit: int, after: str = ""
) -> tuple[list[Chat], str]:
    """Return at most `limit` chats, the newest first, and the cursor of the next page, '' where there is none.

    Raises InputError for a cursor that is none.
    """
    query = select(table).order_by(table.c.started_at.desc(), table.c.id.desc()).limit(limit + 1)
    for name in ("number", "email", "contact_id", "channel", "agent"):
        if value := getattr(wanted, name):
            query = query.where(table.c[name] == value)
    if wanted.since:
        query = query.where(table.c.started_at >= wanted.since)
    if wanted.until:
        query = query.where(table.c.started_at <= wanted.until)
    if after:
        at, _, chat_id = after.partition(":")
        if not at.isascii() or not at.isdigit() or len(at) > 15:
            raise InputError("this is no place in the list of chats; begin again without it")
        query = query.where(tuple_(table.c.started_at, table.c.id) < (int(at), chat_id))
    found = [_chat(row) for row in (await conn.execute(query)).mappings()]
    if len(found) <= limit:
        return found, ""
    return found[:limit], f"{found[limit - 1].started_at}:{found[limit - 1].id}"


async def _last(conn: AsyncConnection, chat: Chat, gap: int) -> Chat | None:
    """Return the last chat of the same two sides over the same channel, unless it was over long before."""
    columns = table.c
    theirs = (
        columns.number == chat.number
        if chat.number is not None
        else and_(
            columns.number.is_(None),
            columns.number_text == chat.number_text,
            columns.email == chat.email,
        )
    )
    query = select(table).where(
        theirs,
        columns.channel == chat.channel,
        columns.did == chat.did,
        columns.agent.in_((chat.agent, "")) if chat.agent else true(),
        columns.ended_at >= chat.started_at - gap,
        columns.started_at <= chat.ended_at + gap,
        columns.started_at >= chat.started_at - _LONGEST,
    )
    newest = query.order_by(columns.ended_at.desc(), columns.id.desc()).limit(1)
    row = (await conn.execute(newest)).mappings().first()
    return _chat(row) if row is not None else None


async def _insert(conn: AsyncConnection, chat: Chat) -> Chat:
    await conn.execute(table.insert().values(_columns(chat)))
    return chat


def _merged(before: Chat, after: Chat, guess: int | None) -> Chat:
    """Return a chat with what is new; what is said of it now wins, unless it is nothing."""
    return Chat(
        id=before.id,
        channel=before.channel,
        direction=before.direction,
        started_at=min(before.started_at, after.started_at),
        ended_at=max(before.ended_at, after.ended_at),
        number=after.number or before.number,
        number_text=after.number_text or before.number_text,
        email=after.email or before.email,
        name=after.name or before.name,
        did=after.did or before.did,
        queue=after.queue or before.queue,
        agent=after.agent or before.agent,
        contact_id=after.contact_id or before.contact_id or guess,
        messages=_together(before.messages, after.messages),
    )


def _together(old: Sequence[Message], new: Sequence[Message]) -> tuple[Message, ...]:
    """Return messages in the order of their times; one that both have so many times is there so many times."""
    left = Counter(old)
    added = []
    for message in new:
        if left[message]:
            left[message] -= 1
        else:
            added.append(message)
    return tuple(sorted([*old, *added], key=lambda message: message.at))


def _columns(chat: Chat) -> dict[str, Any]:
    return asdict(chat) | {"messages": [list(message) for message in chat.messages]}


def _chat(row: RowMapping) -> Chat:
    return Chat(**{**row, "messages": tuple(Message(*message) for message in row["messages"])})
