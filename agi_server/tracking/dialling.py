"""What events say of phones that are rung, by a dialplan, a queue or a click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agi_server.calls.record import Way
from agi_server.tracking.conversation import Conversation
from agi_server.tracking.house import House, line_of
from agi_server.tracking.opening import DIALLED, dialled
from agi_server.tracking.parts import Channel
from agi_server.tracking.sight import known
from agi_server.tracking.trust import has_snapshot, text

_ORIGINATE_FAILED: Final = {
    "1": "NOANSWER",
    "3": "NOANSWER",
    "5": "BUSY",
    "8": "CONGESTION",
    "0": "CHANUNAVAIL",
}


def begins(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that a phone is rung."""
    dest = known(house, event, "Dest")
    if dest is None or not dest.person:
        return
    source = known(house, event) if has_snapshot(event, "") else None
    talk = dest.conversation
    if source is not None and source.conversation is not talk:
        if talk.channels != [dest]:
            house.odd("dialled from another thread")
            return
        talk = house.merge(source.conversation, talk, "dial", at)
    if dest.uniqueid == talk.origin:
        return
    number = dialled(event["DialString"], event["DestCallerIDNum"], event.get("Exten", ""))
    if dest.part is None:
        house.ring(dest, _via(talk, dest), at, number=number, queue=talk.waiting)
    elif talk.unseen and not dest.extension:  # a list was quicker, which does not say what was dialled
        dest.part.number = number
        if talk.way is Way.OUTBOUND:
            talk.number, talk.trunk = number, line_of(dest.name)
        house.changed(talk)


def goes_on(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that it rings."""
    dest = known(house, event, "Dest")
    if dest is not None and event["DialStatus"] == "RINGING":
        house.rings(dest)


def ends(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note what came of it."""
    dest = known(house, event, "Dest", alive=False)
    if dest is not None and dest.part is not None and dest.part.answered_at is None:
        dest.part.status = event["DialStatus"][:20]
        house.changed(dest.conversation)


def originated(house: House, event: Mapping[str, str], _at: float) -> None:
    """Learn whom a click wanted to reach, and what became of the agent's own phone."""
    channel, name = house.channels.get(event["Uniqueid"]), event["Channel"]
    if channel is None or not channel.conversation.originated:
        return
    if not f"{channel.name}-".startswith(f"{name}-"):  # where it failed it is named as it was ordered
        house.odd("another channel's id")
        return
    talk = channel.conversation
    if talk.way is Way.OUTBOUND and not talk.number and DIALLED.fullmatch(event["Exten"]):
        talk.number = event["Exten"]
    if channel.part is not None and event["Response"] != "Success":
        channel.part.status = channel.part.status or _ORIGINATE_FAILED.get(event["Reason"], "CONGESTION")
    house.changed(talk)


def queues(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that a caller waits in a queue."""
    channel = known(house, event)
    if channel is not None:
        talk = channel.conversation
        talk.waiting = text(event["Queue"])
        if talk.answered_at is None or not talk.queue:
            talk.queue = talk.waiting
        house.changed(talk)


def leaves_queue(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that a caller waits no more."""
    channel = known(house, event)
    if channel is not None and channel.conversation.waiting:
        if not channel.wants_out:  # who hung up in the queue gave up there
            channel.conversation.waiting = ""
        house.changed(channel.conversation)


def agent_called(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that a queue rings an agent."""
    dest = known(house, event, "Dest")
    if dest is None or not dest.person or dest.conversation.waiting != text(event["Queue"]):
        return
    if dest.part is None:
        house.ring(dest, "queue", at, queue=dest.conversation.waiting)


def _via(talk: Conversation, channel: Channel) -> str:
    if talk.waiting:
        return "queue"
    if talk.handing:
        return talk.handing
    rung_first = talk.originated and not talk.origin and not any(not part.extension for part in talk.parts)
    return "click" if rung_first and channel.extension else "dial"
