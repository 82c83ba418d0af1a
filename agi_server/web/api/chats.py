"""Chats and messages of other programs: kept, told of, and written to Salesforce as calls are (docs/chats.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import normalise
from agi_server.chatting import event_of, take
from agi_server.errors import InputError, NotFoundError
from agi_server.events.event import EventType
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import (
    LARGEST,
    Document,
    Line,
    Moment,
    Whole,
    json_answer,
    problems,
    read_time,
    show_time,
)
from agi_server.web.idempotency import IdempotencyKey, once, reply
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Services, Use
from storage.chats import MOST_BYTES, MOST_MESSAGES, Chat, ChatFilter, Message, get_chat, list_chats
from storage.replies import Reply

router = APIRouter(prefix="/chats", tags=["chats"])

Reader = Annotated[Actor, Depends(Needs(Scope.READ))]
Writer = Annotated[Actor, Depends(Needs(Scope.DECIDE))]

LONGEST: Final = 8000  # characters of a message
_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]*$"
_EMAIL: Final = (
    r"^([^@\s\u0000-\u001f\u007f-\u009f\u2028\u2029]+@[^@\s\u0000-\u001f\u007f-\u009f\u2028\u2029]+)?$"
)

ChatId = Annotated[str, Path(min_length=1, max_length=100)]
Extension = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_/@.+&-]*$")]
Channel = Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class MessageIn(Document):
    """A message; without `at` it is said now, without `who` by the other side."""

    at: Moment | None = None
    who: Line = Field("", description="A name, a number or an extension.")
    text: str = Field(max_length=LONGEST)


class ChatIn(Document):
    """A chat, or what is new of it. A number or an e-mail address says with whom."""

    id: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=_ID,
        description="Your own; the same id goes on with the same chat, and what is sent again is there once.",
    )
    channel: Channel = Field("chat", description="chat, sms, sip-message, whatsapp, …")
    direction: Literal["inbound", "outbound"] = Field("inbound", description="Outbound: we wrote first.")
    started_at: Moment | None = Field(None, description="Default: when the first message was said.")
    number: Line = Field("", description="The other side's, in any spelling.")
    email: str = Field("", max_length=255, pattern=_EMAIL, description="The other side's.")
    name: Line = Field("", description="What the other side calls itself.")
    did: Line = Field("", description="What was written to: a number, an address, the name of a page.")
    queue: Line = ""
    agent: Extension = Field("", description="Extension of who writes for us.")
    contact_id: Annotated[Whole, Field(ge=1, le=LARGEST)] | None = Field(
        None, description="Ostiary's own id of the contact; default: whose number it is, else whose e-mail."
    )
    messages: list[MessageIn] = Field(min_length=1, max_length=MOST_MESSAGES)


class MessageOut(BaseModel):
    """A message."""

    at: str
    who: str
    text: str


class _Chat(BaseModel):
    id: str
    channel: str
    direction: str
    started_at: str
    ended_at: str
    number: str
    number_sent: str
    email: str
    name: str
    did: str
    queue: str
    agent: str
    contact_id: int | None


class ChatSummary(_Chat):
    """A chat without what was said; `ended_at` is the last message's, `messages` how many there are."""

    messages: int


class ChatOut(_Chat):
    """A chat, whole."""

    messages: list[MessageOut]


@router.post("", status_code=201, response_model=ChatOut, responses=problems(413))
async def add(
    request: Request, services: Use, actor: Writer, given: ChatIn, key: IdempotencyKey = None
) -> Response:
    """Keep a chat, or what is new of one, and answer with all of it.

    Without an id it goes on with the last chat of the same two sides over the same channel, unless that was over
    chats.gap_minutes before.
    """
    now = int(services.clock())
    asked = _chat(given, given.id or services.new_call_id(), now)
    told: list[Chat] = []

    async def job(conn: AsyncConnection) -> Reply:
        kept, news = await take(
            conn, asked, services.directory, services.settings, named=given.id is not None, now=now
        )
        told[:] = [kept] if news else []  # a job may run twice
        return reply(_whole(kept), location=f"/api/v1/chats/{kept.id}")

    answer = await once(request, services, actor, key, job)
    for chat in told:
        services.events.publish(EventType.CHAT, event_of(chat), extension=chat.agent)
    return answer


@router.get("", response_model=Listed[ChatSummary], responses=problems())
async def list_them(
    services: Use,
    _: Reader,
    page: Paging,
    *,
    number: Annotated[str, Query(max_length=100, description="A number in any spelling.")] = "",
    email: Annotated[str, Query(max_length=255)] = "",
    contact_id: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    channel: Annotated[str, Query(max_length=40)] = "",
    agent: Annotated[str, Query(max_length=100, description="Extension.")] = "",
    since: Annotated[Moment | None, Query(description="The first second.")] = None,
    until: Annotated[Moment | None, Query(description="The last second.")] = None,
) -> Response:
    """List chats, the newest first."""
    wanted = ChatFilter(
        number=_number(services, number),
        email=email.lower(),
        contact_id=contact_id,
        channel=channel,
        agent=agent,
        since=read_time(since),
        until=read_time(until),
    )
    found, after = await services.database.read(
        lambda conn: list_chats(conn, wanted, limit=page.limit, after=page.after)
    )
    items = [_shown(chat) | {"messages": len(chat.messages)} for chat in found]
    return json_answer({"items": items, "next": after or None})


@router.get("/{chat_id}", response_model=ChatOut, responses=problems(404))
async def show(services: Use, _: Reader, chat_id: ChatId) -> Response:
    """Return a chat with what was said."""

    async def job(conn: AsyncConnection) -> Chat:
        chat = await get_chat(conn, chat_id)
        if chat is None:
            raise NotFoundError(f"there is no chat {chat_id!r}; chats are forgotten after a time")
        return chat

    return json_answer(_whole(await services.database.read(job)))


def _chat(given: ChatIn, chat_id: str, now: int) -> Chat:
    """Return what was sent as a chat. Raises InputError."""
    if not given.number.strip() and not given.email and given.contact_id is None:
        raise InputError("number or email: one of them, or a contact_id, must say with whom the chat is")
    begun = read_time(given.started_at)
    other = given.name or given.number or given.email
    messages = tuple(
        sorted(
            (
                Message(read_time(each.at) or begun or now, each.who or other, each.text)
                for each in given.messages
            ),
            key=lambda message: message.at,
        )
    )
    chat = Chat(
        id=chat_id,
        channel=given.channel,
        direction=given.direction,
        started_at=min(begun or messages[0].at, messages[0].at),
        ended_at=max(begun, messages[-1].at),
        number_text=given.number.strip(),
        email=given.email,
        name=given.name.strip(),
        did=given.did.strip(),
        queue=given.queue.strip(),
        agent=given.agent,
        contact_id=given.contact_id,
        messages=messages,
    )
    if not chat.fits:
        raise InputError(f"messages: at most {MOST_BYTES} bytes of text in a chat")
    return chat


def _number(services: Services, text: str) -> int:
    """Return the E.164 digits of a number; 0 for ''. Raises InputError."""
    number = normalise(text, services.directory.policy().default.region)
    if text and not number.e164:
        raise InputError(f"number: {text!r} is no telephone number; write it as +49301234567")
    return number.e164


def _shown(chat: Chat) -> dict[str, Any]:
    return {
        "id": chat.id,
        "channel": chat.channel,
        "direction": chat.direction,
        "started_at": show_time(chat.started_at) or "",
        "ended_at": show_time(chat.ended_at) or "",
        "number": f"+{chat.number}" if chat.number else "",
        "number_sent": chat.number_text,
        "email": chat.email,
        "name": chat.name,
        "did": chat.did,
        "queue": chat.queue,
        "agent": chat.agent,
        "contact_id": chat.contact_id,
    }


def _whole(chat: Chat) -> dict[str, Any]:
    """Return a chat as ChatOut has it."""
    said = [{"at": show_time(each.at) or "", "who": each.who, "text": each.text} for each in chat.messages]
    return _shown(chat) | {"messages": said}
