"""What a list of all channels says after events were missed.

Invariants: the same list twice changes nothing; nothing is invented: what began unseen is dated to the list, since it
had happened then, and what ended unseen to when the PBX was last heard of, since it had not yet: nobody is said to have
spoken for longer than is known; nothing is lost: a channel that is there is in a conversation, one that is not has
ended. A list is ahead of the events: a busy Asterisk answers while events from before wait to be sent, for seconds. So
where nothing was missed, a difference counts when two lists in a row show it; after a break, what events that are here
already are about to say of a channel's birth or end is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from agi_server.tracking.house import House
from agi_server.tracking.opening import DIALLED_BY, begin, state_of
from agi_server.tracking.parts import RINGING, UP, Channel, is_person
from agi_server.tracking.trust import doubt, identifier, text

_DURATION: Final = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2})", re.ASCII)
_HOLDING: Final = frozenset({"Park", "Parked Call", "BridgeWait"})

Item = Mapping[str, str]


def take(
    house: House,
    listed: Sequence[Item],
    at: float,
    heard_at: float | None = None,
    coming: Iterable[Item] = (),
) -> None:
    """Make the house what the list says.

    `heard_at`: when the PBX was last heard of before, None: all the time. `coming`: events that follow.
    """
    told = {(event["Event"], event["Uniqueid"]) for event in coming if _tells(event)}
    there = _believed(house, listed)
    named = {one.get("Channel") for one in listed}  # in words nobody believes it is there all the same
    differs: set[tuple[str, ...]] = set()

    def counts(*difference: str) -> bool:
        differs.add(difference)
        return heard_at is not None or difference in house.differed

    for channel in list(house.channels.values()):
        gone = channel.uniqueid not in there and channel.name not in named
        if gone and ("Hangup", channel.uniqueid) not in told and counts("gone", channel.uniqueid):
            house.close(channel, at if heard_at is None else _end_of(channel, heard_at, at), 0, by_list=True)
    new = [
        one
        for uniqueid, one in there.items()
        if uniqueid not in house.channels and ("Newchannel", uniqueid) not in told and counts("new", uniqueid)
    ]
    for one in sorted(new, key=_order):
        _take_in(house, one, at)
    _pair(house, at)
    known = [(house.channels[uniqueid], one) for uniqueid, one in there.items() if uniqueid in house.channels]
    for channel, one in known:
        state = state_of(one["ChannelState"])
        if state > channel.state and counts("state", channel.uniqueid, str(state)):
            _bring_up(house, channel, state)
    _move(
        house,
        [
            (channel, one)
            for channel, one in known
            if one["BridgeId"] != (channel.bridge.id if channel.bridge is not None else "")
            and counts("bridge", channel.uniqueid, one["BridgeId"])
        ],
        at,
    )
    house.differed = differs if heard_at is None else set()


def _tells(event: Item) -> bool:
    """Return whether an event tells of a channel's birth or end, and is believed."""
    return event.get("Event") in ("Newchannel", "Hangup") and not doubt(event)


def _believed(house: House, listed: Sequence[Item]) -> dict[str, Item]:
    """Return the channels of a list by their ids."""
    there: dict[str, Item] = {}
    for one in listed:
        if one.get("Event") == "CoreShowChannel":
            why = _doubt(house, one)
            if why:
                house.odd(why)
            else:
                there[one["Uniqueid"]] = one
    return there


def _end_of(channel: Channel, heard_at: float, at: float) -> float:
    """Return when a channel that is gone was last known to be there."""
    talk, part = channel.conversation, channel.part
    known = [talk.started_at, talk.answered_at, talk.talking_since]
    if part is not None:
        known += [part.began_at, part.answered_at, part.held_since]
    return min(at, max(heard_at, *(each for each in known if each is not None)))


def _doubt(house: House, one: Item) -> str:
    why = doubt(one)
    if why:
        return why
    if "/" not in one["Channel"] or not identifier(one["Uniqueid"]) or not identifier(one["Linkedid"]):
        return "not a channel"
    known = house.channels.get(one["Uniqueid"])
    if known is not None and one["Channel"] not in (known.name, known.renamed):
        return "another channel's id"
    return ""


def _order(one: Item) -> tuple[bool, bool, int]:
    """Who began a thread comes first, then who was not dialled in it, then the oldest."""
    return (
        one["Uniqueid"] != one["Linkedid"],
        one["Application"] in DIALLED_BY or not is_person(one["Channel"]),
        -_seconds(one["Duration"]),
    )


def _seconds(duration: str) -> int:
    match = _DURATION.fullmatch(duration)
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3]) if match else 0


def _take_in(house: House, one: Item, at: float) -> None:
    uniqueid = one["Uniqueid"]
    if house.undo(uniqueid, one["Channel"]) is not None:
        return
    since = at - _seconds(one["Duration"])
    linkedid = one["Linkedid"]
    was_dialled = one["Application"] in DIALLED_BY
    channel = begin(
        house, one, since, uniqueid=uniqueid, linkedid=linkedid, state=state_of(one["ChannelState"])
    )
    talk = channel.conversation
    talk.unseen = True
    if one["Application"] == "Queue" and not talk.queue:
        talk.queue = talk.waiting = text(one["ApplicationData"].partition(",")[0])
    if channel.person and channel.part is None and talk.origin != uniqueid and (was_dialled or talk.origin):
        house.ring(
            channel,
            "queue" if talk.waiting else "dial",
            since,
            number=text(one["CallerIDNum"]),
            queue=talk.waiting,
        )


def _pair(house: House, at: float) -> None:
    """Find the halves of Local channels by their names."""
    halves: dict[str, Channel] = {}
    for channel in list(house.channels.values()):
        if channel.peer is None and not is_person(channel.name) and channel.name[-2:] in (";1", ";2"):
            other = halves.pop(channel.name[:-2], None)
            if other is None:
                halves[channel.name[:-2]] = channel
            else:
                house.pair(other, channel, at)


def _bring_up(house: House, channel: Channel, state: int) -> None:
    channel.state = state
    if state == RINGING:
        house.rings(channel)
    if state == UP and channel.part is not None and channel.part.via == "click":
        channel.part.status = "ANSWER"
    house.changed(channel.conversation)


def _move(house: House, moved: Sequence[tuple[Channel, Item]], at: float) -> None:
    """Put channels where the list has them: first all out of where they are no more, then in."""
    for channel, _ in moved:
        house.leave(channel, at)
    for channel, one in moved:
        if bridge := identifier(one["BridgeId"]):
            application = one["Application"]
            house.enter(
                channel,
                bridge,
                at,
                holding=application in _HOLDING,
                conference=application == "ConfBridge",
            )
