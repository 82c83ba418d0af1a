"""From the rows of one linkedid to the record of a conversation.

Asterisk writes a row for each phone that was dialled, at that attempt's end. A menu, a queue's music and a voicemail
answer, too, so a row counts as answered only where somebody's phone did. Local channels lead back into the dialplan and
are nobody: what is behind one takes its place. What rows do not show stays unsaid: a caller who gave up is NO ANSWER to
them, what a caller dialled is gone where the dialplan went on, and a call that a menu took is spoken from there on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from agi_server.calls.extensions import endpoint_of
from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer, Way
from agi_server.cdr.rows import SAME, Row

Ours = Callable[[str], str]  # an endpoint's extension, '' for a trunk

CLICK: Final = "ostiary-dial-"  # what the linkedid of a call ordered by a click begins with

_CLID: Final = re.compile(r'\s*"(?P<name>.*)"\s*<(?P<number>[^<>]*)>\s*', re.DOTALL)
_DIALLED: Final = re.compile(r"\+?[0-9*#]{1,40}", re.ASCII)
_NUMBER: Final = re.compile(r"\+?[0-9]{7,}", re.ASCII)
_LOCAL: Final = re.compile(r"(?P<pair>Local/.+);[12]", re.DOTALL)
_ROOMS: Final = frozenset({"confbridge", "meetme"})

_OUTCOMES: Final = {  # of a row's disposition
    "ANSWERED": LegOutcome.ANSWERED,
    "BUSY": LegOutcome.BUSY,
    "FAILED": LegOutcome.FAILED,
    "CONGESTION": LegOutcome.FAILED,
}
_UNANSWERED: Final = (  # the first that any phone came to is how a call that nobody answered went
    (LegOutcome.ELSEWHERE, Disposition.NO_ANSWER),
    (LegOutcome.NO_ANSWER, Disposition.NO_ANSWER),
    (LegOutcome.BUSY, Disposition.BUSY),
    (LegOutcome.FAILED, Disposition.FAILED),
)


def conversation(rows: Sequence[Row], ours: Ours, *, pbx: str = "") -> Record:
    """Return the record that the rows of one linkedid make."""
    ordered = sorted(rows, key=_place)
    attempts = sorted(_attempts(ordered), key=lambda row: (row.started_at, *_place(row)))
    first = next((row for row in ordered if endpoint_of(row.channel)), (attempts or ordered)[0])
    agent = ours(endpoint_of(first.channel))
    way = _way(first, attempts, agent, ours)
    fetched = {row.channel for row in ordered if row.lastapp.lower() == "parkedcall"}
    handed = _transfers(attempts, fetched, ours)
    legs = tuple(_legs(attempts, {row.dstchannel for row, _ in handed}, fetched, ours))
    spoke = [row for row in attempts if _answered(row) and (way is Way.INTERNAL or not _inside(row, ours))]
    began = min((row.answered_at or row.ended_at for row in spoke), default=None)
    disposition = Disposition.ANSWERED if spoke else _disposition(ordered, legs)
    if agent:
        legs = (_of_caller(first, ordered, agent, began, disposition), *legs)
    number, name = _party(way, first, attempts)
    return Record(
        pbx=pbx,
        linkedid=first.linkedid,
        uniqueids=tuple(dict.fromkeys(row.uniqueid for row in ordered)),
        way=way,
        number=number,
        name=name,
        did=_dialled_in(first, ours) if way is Way.INBOUND else "",
        trunk=_trunk(way, first, attempts, ours),
        agent=agent,
        started_at=min(row.started_at for row in ordered),
        answered_at=began,
        ended_at=max(row.ended_at for row in ordered),
        disposition=disposition,
        seconds=_spoken(spoke),
        answered_by=_first_of_ours(way, spoke, agent, ours),
        queue=next((_queue(row) for row in ordered if _queue(row)), ""),
        recording=next((row.recording for row in ordered if row.recording), ""),
        legs=legs,
        transfers=tuple(transfer for _, transfer in handed),
        told_by="cdr",
    )


def _place(row: Row) -> tuple[bool, float, float, str, str]:
    """Return what rows are sorted by: those of the channel that began it first, each channel's in their order."""
    return row.uniqueid != row.linkedid, row.started_at, row.ended_at, row.uniqueid, row.dstchannel


def _attempts(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield a row for each two who were, or would have been, put through to each other, Local channels left out.

    Behind `Local/…;1` is whom `Local/…;2` dialled, and whether that was answered only its row tells.
    """
    before: dict[str, list[Row]] = {}
    for row in rows:
        if pair := _pair(row.dstchannel):
            before.setdefault(pair, []).append(row)
    for row in rows:
        if not endpoint_of(row.dstchannel):
            continue
        callers = before.get(_pair(row.channel), []) if _pair(row.channel) else []
        yield from (_through(caller, row) for caller in callers) if callers else (row,)


def _pair(channel: str) -> str:
    match = _LOCAL.fullmatch(channel)
    return match["pair"] if match else ""


def _through(caller: Row, dialled: Row) -> Row:
    """Return the row of a caller who reached somebody through a Local channel."""
    answered = None
    if _answered(dialled) and caller.answered_at is not None:
        answered = max(caller.answered_at, dialled.answered_at or 0.0)
    queued = bool(_queue(caller))
    return replace(
        caller,
        dstchannel=dialled.dstchannel,
        disposition=caller.disposition if _answered(dialled) else dialled.disposition,
        lastapp=caller.lastapp if queued else dialled.lastapp,
        lastdata=caller.lastdata if queued else dialled.lastdata,
        answered_at=answered,
        ended_at=caller.ended_at,
    )


def _answered(row: Row) -> bool:
    return row.disposition == "ANSWERED"


def _inside(row: Row, ours: Ours) -> bool:
    """Return whether both are ours: within a call from outside, one who asks another."""
    return bool(ours(endpoint_of(row.channel)) and ours(endpoint_of(row.dstchannel)))


def _way(first: Row, attempts: Sequence[Row], agent: str, ours: Ours) -> Way:
    if not agent:
        return Way.INBOUND
    if attempts:
        inside = all(ours(endpoint_of(row.dstchannel)) for row in attempts)
    else:
        outside = _is_click(first) or first.lastapp.lower() == "dial" or _NUMBER.fullmatch(first.dst)
        inside = bool(ours(first.dst)) or not outside
    return Way.INTERNAL if inside else Way.OUTBOUND


def _is_click(first: Row) -> bool:
    """Return whether a phone of ours was rung first: its channel is one the PBX made."""
    return first.linkedid.startswith(CLICK) or first.lastapp.lower() == "appdial2"


def _first_of_ours(way: Way, spoke: Sequence[Row], agent: str, ours: Ours) -> str:
    """Return the extension that spoke first, '' for none of ours."""
    if way is Way.OUTBOUND and spoke:
        return agent
    for row in sorted(spoke, key=lambda row: row.answered_at or row.ended_at):
        if extension := ours(endpoint_of(row.dstchannel)):
            return extension
    return ""


def _party(way: Way, first: Row, attempts: Sequence[Row]) -> tuple[str, str]:
    """Return number and name of the party outside, of an internal call of who is called."""
    if way is Way.INBOUND:
        match = _CLID.fullmatch(first.clid)
        number, named = (match["number"], match["name"]) if match else ("", "")
        return first.number or first.src or number, first.name or named
    if way is Way.OUTBOUND:
        for row in attempts:
            if number := _dialled_out(row):
                return number, ""
    if _DIALLED.fullmatch(first.dst):
        return first.dst, ""
    return (first.src if _is_click(first) else ""), ""


def _dialled_out(row: Row) -> str:
    """Return the number that Dial was told: `PJSIP/+4930…@trunk,30`, `PJSIP/trunk/sip:030…@host`, `DAHDI/g1/030…`."""
    if row.lastapp.lower() != "dial":
        return ""
    _, *pieces = row.lastdata.split(",")[0].split("&")[0].split("/")
    numbers = (piece.removeprefix("sip:").partition("@")[0] for piece in reversed(pieces))
    return next((number for number in numbers if _DIALLED.fullmatch(number)), "")


def _dialled_in(first: Row, ours: Ours) -> str:
    """Return the number that the caller dialled, unless all that is left is where the dialplan went."""
    if first.did:
        return first.did
    return first.dst if _DIALLED.fullmatch(first.dst) and not ours(first.dst) else ""


def _trunk(way: Way, first: Row, attempts: Sequence[Row], ours: Ours) -> str:
    """Return the trunk as `technology/endpoint`."""
    channels = [first.channel] if way is Way.INBOUND else [row.dstchannel for row in attempts]
    for channel in channels if way is not Way.INTERNAL else ():
        endpoint = endpoint_of(channel)
        if endpoint and not ours(endpoint):
            return f"{channel.partition('/')[0]}/{endpoint}"
    return ""


def _queue(row: Row) -> str:
    return row.lastdata.split(",")[0].strip() if row.lastapp.lower() == "queue" else ""


def _legs(attempts: Sequence[Row], handed: set[str], fetched: set[str], ours: Ours) -> Iterator[Leg]:
    """Yield the part of each phone that was reached, or would have been; a phone that asked is not one of them."""
    callers = {row.channel for row in attempts}
    for channel in dict.fromkeys(row.dstchannel for row in attempts):
        own = [row for row in attempts if row.dstchannel == channel]
        taken = [row.answered_at or row.ended_at for row in own if _answered(row)]
        outcome = LegOutcome.ANSWERED if taken else _OUTCOMES.get(own[0].disposition, LegOutcome.NO_ANSWER)
        if outcome is LegOutcome.NO_ANSWER and any(_was_quicker(other, own[0]) for other in attempts):
            outcome = LegOutcome.ELSEWHERE
        extension = ours(endpoint_of(channel))
        via = "transfer" if channel in handed else "park" if channel in fetched else _via(own[0])
        last = max(row.ended_at for row in attempts if channel in {row.channel, row.dstchannel})
        yield Leg(
            extension=extension,
            number="" if extension else _dialled_out(own[0]),
            via=via,
            queue=_queue(own[0]) if via == "queue" else "",
            began_at=own[0].started_at,
            answered_at=min(taken, default=None),
            ended_at=last if channel in callers else max(row.ended_at for row in own),
            outcome=outcome,
        )


def _via(row: Row) -> str:
    """Return how a phone came in. One that answers without having been dialled took the call over by itself."""
    if row.lastapp.lower() in _ROOMS:
        return "conference"
    if _queue(row):
        return "queue"
    return "dial" if row.lastapp.lower() != "dial" or _was_dialled(row) else "pickup"


def _was_dialled(row: Row) -> bool:
    """Return whether Dial was told of this phone."""
    endpoint = endpoint_of(row.dstchannel)
    pieces = re.split(r"[/&@,]", row.lastdata)
    return endpoint in pieces or _dialled_out(row) == endpoint


def _of_caller(
    first: Row, ordered: Sequence[Row], agent: str, answered_at: float | None, disposition: Disposition
) -> Leg:
    """Return the part of the phone of ours that began the call."""
    return Leg(
        extension=agent,
        via="click" if _is_click(first) else "caller",
        began_at=first.started_at,
        answered_at=answered_at,
        ended_at=max(row.ended_at for row in ordered if first.channel in {row.channel, row.dstchannel}),
        outcome=LegOutcome(disposition.value),
    )


def _was_quicker(other: Row, row: Row) -> bool:
    """Return whether another phone took the call while this one rang."""
    if not _answered(other) or other.dstchannel == row.dstchannel or other.ended_at < row.ended_at:
        return False
    together = abs(other.started_at - row.started_at) < SAME and other.channel == row.channel
    taken = other.answered_at is not None and row.started_at <= other.answered_at <= row.ended_at + SAME
    return together or taken


def _transfers(attempts: Sequence[Row], fetched: set[str], ours: Ours) -> list[tuple[Row, Transfer]]:
    """Return what was handed on to whom.

    A row that begins when one that was answered ends, and shares one of its two channels: who is left was handed on by
    who is gone to who is new. Where nobody dialled anew, or the new one was there before, they had been asked.
    """
    found: dict[str, tuple[Row, Transfer]] = {}  # by the new one's channel
    for row in attempts:
        gone_on = [other for other in attempts if _goes_on(other, row)]
        if not gone_on or row.lastapp.lower() in _ROOMS:
            continue
        before = max(gone_on, key=lambda other: other.started_at)
        old, parties = {before.channel, before.dstchannel}, {row.channel, row.dstchannel}
        (gone,), (new,) = old - parties, parties - old
        if new in fetched or (new in found and found[new][0].ended_at >= row.ended_at):
            continue  # who was asked first speaks with the one who asks, and then longer with who was handed on
        asked = any(new in {other.channel, other.dstchannel} for other in attempts if other is not row)
        kind = "attended" if asked or row.lastdata == before.lastdata else "blind"
        found[new] = (
            row,
            Transfer(kind=kind, at=row.started_at, by=_who(gone, before, ours), to=_who(new, row, ours)),
        )
    return [*found.values()]


def _goes_on(before: Row, row: Row) -> bool:
    """Return whether a row is where one of two who had spoken went."""
    common = {before.channel, before.dstchannel} & {row.channel, row.dstchannel}
    later = before.started_at < row.started_at and before.ended_at <= row.started_at + SAME
    return _answered(before) and later and len(common) == 1


def _who(channel: str, row: Row, ours: Ours) -> str:
    """Return the extension of a channel, or the number of a party outside."""
    return ours(endpoint_of(channel)) or (_dialled_out(row) if channel == row.dstchannel else row.src)


def _disposition(ordered: Sequence[Row], legs: Sequence[Leg]) -> Disposition:
    came_to = {leg.outcome for leg in legs}
    if not came_to:
        came_to = {_OUTCOMES.get(ordered[-1].disposition, LegOutcome.NO_ANSWER)}
    return next((word for outcome, word in _UNANSWERED if outcome in came_to), Disposition.NO_ANSWER)


def _spoken(rows: Sequence[Row]) -> int:
    """Return for how many seconds anybody spoke; rows of one time count once."""
    total, until = 0.0, 0.0
    for begun, ended in sorted((row.answered_at or row.ended_at, row.ended_at) for row in rows):
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return round(total)
