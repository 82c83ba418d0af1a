"""What happens, as it happens: Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Invariant: a stream that is read too slowly costs no memory beyond its queue, and is told how much it missed (`gap`);
no stream outlives the log-in or token it was opened with by more than CHECK seconds, nor the hub.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from agi_server.errors import AccessError, DirectoryError
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub, Subscription
from agi_server.events.schemas import schemas
from agi_server.web.access import Actor, Needs, Scope, identify
from agi_server.web.api.answers import problems
from agi_server.web.counts import Counts
from agi_server.web.problems import problem
from agi_server.web.services import Services, Use

router = APIRouter(prefix="/events", tags=["events"])

Read = Annotated[Actor, Depends(Needs(Scope.READ))]

MOST: Final = 100  # streams at once
QUEUE: Final = 1000  # events that wait for a slow reader
BEAT: Final = 15.0  # seconds without a word at most: proxies close what is silent
CHECK: Final = 60.0  # seconds between two looks whether the reader may still listen
RETRY: Final = 3000  # milliseconds until a browser comes back
TRY_AGAIN: Final = 30  # seconds, where too many listen

_ALL: Final = frozenset(EventType)
_NAMES: Final = {str(type_): frozenset({type_}) for type_ in EventType} | {
    f"{family}.*": frozenset(type_ for type_ in EventType if type_.startswith(f"{family}."))
    for family in sorted({type_.partition(".")[0] for type_ in EventType if "." in type_})
}
_NAME: Final = "(" + "|".join(name.replace(".", r"\.").replace("*", r"\*") for name in _NAMES) + ")"

Types = Annotated[
    str | None,
    Query(
        pattern=f"^{_NAME}(,{_NAME})*$",
        max_length=500,
        description=f"Only these: {', '.join(_NAMES)}, with commas between them.",
    ),
]
Extension = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_/@.+&-]+$",
        max_length=80,
        description="Only what is for this extension: who calls it, and reminders.",
    ),
]
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,18}$",
        description="Go on behind this one, where it is still known.",
    ),
]
Since = Annotated[
    int | None,
    Query(ge=0, lt=10**18, description="The same, for who cannot send the header; the header wins."),
]

_EVENT: Final = {  # `data` is the JSON of Event.document
    "type": "object",
    "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


@router.get(
    "",
    response_class=StreamingResponse,
    responses=problems()
    | {
        200: {
            "description": "A stream that does not end by itself; docs/events.md has each type of event.",
            "content": {"text/event-stream": {"itemSchema": _EVENT}},
        }
    },
)
async def stream(
    request: Request,
    use: Use,
    _actor: Read,
    *,
    types: Types = None,
    extension: Extension = None,
    last_event_id: LastId = None,
    since: Since = None,
) -> Response:
    """Tell what happens from now on. `gap` with `{"dropped": n}` means that n events (null: some) are missing here."""
    if listening(use.counts) >= MOST:
        return problem(
            503, f"{MOST} programs and pages listen already", headers={"Retry-After": str(TRY_AGAIN)}
        )
    wanted = frozenset[EventType]().union(*(_NAMES[name] for name in types.split(","))) if types else _ALL
    since = int(last_event_id) if last_event_id is not None else since
    return StreamingResponse(
        _stream(request, use, wanted, extension, since),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx would gather it
    )


@router.get("/schemas", responses=problems())
async def event_schemas(_actor: Read) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of each type of event, by the type's name."""
    return schemas()


def listening(counts: Counts) -> float:
    """Return how many streams are open."""
    (gauge,) = counts.listeners.collect()
    return gauge.samples[0].value


def frame(event: Event) -> bytes:
    """Return an event as a stream has it: ASCII, so that nothing in it ends a line for anybody."""
    data = json.dumps(event.document(), separators=(",", ":"))
    return f"event: {event.type}\nid: {event.id}\ndata: {data}\n\n".encode("ascii")


def gap(dropped: int | None) -> bytes:
    """Return what tells a reader that events are missing."""
    return f"event: gap\ndata: {json.dumps({'dropped': dropped})}\n\n".encode("ascii")


async def _stream(
    request: Request, use: Services, wanted: frozenset[EventType], extension: str | None, since: int | None
) -> AsyncIterator[bytes]:
    hub, loop = use.events, asyncio.get_running_loop()
    on_drop = use.counts.dropped.labels(to="stream").inc
    with use.counts.listeners.track_inprogress(), hub.listen(QUEUE, since=since, on_drop=on_drop) as listener:
        # The id is for who comes back before anything has happened.
        begin = f"id: {hub.last if since is None else since}\nretry: {RETRY}\n\n"
        yield begin.encode("ascii") + _missed(hub, since)
        dropped, sent, check_at = 0, loop.time(), loop.time() + CHECK
        while not hub.closed.is_set():
            events = await _next(listener, hub, sent + BEAT - loop.time())
            chunk = b"".join(
                frame(event)
                for event in events
                if event.type in wanted and (extension is None or event.extension == extension)
            )
            if listener.dropped > dropped:
                chunk = gap(listener.dropped - dropped) + chunk
                dropped = listener.dropped
            if not chunk and loop.time() >= sent + BEAT:
                chunk = b":\n\n"
            if chunk:
                yield chunk
                sent = loop.time()
            if loop.time() >= check_at:
                if not await _may_listen(request):
                    return
                check_at = loop.time() + CHECK


async def _next(listener: Subscription, hub: Hub, seconds: float) -> list[Event]:
    """Return all events that wait, once there is one; none when the time is over, or the hub closes."""
    first = asyncio.ensure_future(listener.next())
    closed = asyncio.ensure_future(hub.closed.wait())
    try:
        await asyncio.wait((first, closed), timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            return []
        return [first.result(), *[await listener.next() for _ in range(len(listener))]]
    finally:
        first.cancel()
        closed.cancel()


def _missed(hub: Hub, since: int | None) -> bytes:
    """Return what tells who comes back that events are forgotten by now, or went with an earlier run."""
    if since is None:
        return b""
    kept = hub.since(0)
    first = kept[0].id if kept else hub.last + 1
    return b"" if first <= since + 1 else gap(None)


async def _may_listen(request: Request) -> bool:
    try:
        actor = await identify(request)
    except AccessError:
        return False
    except DirectoryError:  # nobody can tell now; whoever listens goes on
        return True
    return actor is not None and Scope.READ in actor.scopes
