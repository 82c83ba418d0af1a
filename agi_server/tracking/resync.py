"""What a list of all channels says after events were missed.

Invariants: the same list twice changes nothing; nothing is invented: what began unseen is dated to the list, since it
had happened then, and what ended unseen to when the PBX was last heard of, since it had not yet: nobody is said to have
spoken for longer than is known; nothing is lost: a channel that is there is in a conversation, one that is not has
ended. Where nothing was missed, events that came with the list may be younger than it: they count, and so does that
it differs, so that whoever asked for the list asks again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from agi_server.tracking.house import House
from agi_server.tracking.opening import begin, state_of
from agi_server.tracking.parts import RINGING, UP, Channel, is_person
from agi_server.tracking.trust import doubt, identifier, text

_TOGETHER: Final = 2.0  # seconds in which a list and the events beside it come
_DURATION: Final = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2})", re.ASCII)
_HOLDING: Final = frozenset({"Park", "Parked Call", "BridgeWait"})
_DIALLED: Final = frozenset({"AppDial", "AppDial2", "AppQueue"})  # applications of channels that were dialled


def take(house: House, listed: Sequence[Mapping[str, str]], at: float, heard_at: float | None = None) -> None:
    """Make the house what the list says. `heard_at`: when the PBX was last heard of before, None: all the time."""
    since = at - _TOGETHER if heard_at is None else float("inf")
    there: dict[str, Mapping[str, str]] = {}
    for one in listed:
        if one.get("Event") == "CoreShowChannel":
            why = _doubt(house, one)
            if why:
                house.odd(why)
            elif house.just_ended(one["Uniqueid"], since):
                house.odd("older than an end")
            else:
                there[one["Uniqueid"]] = one
    # what is listed in words nobody believes is there all the same
    named = {one.get("Channel") for one in listed}
    for channel in list(house.channels.values()):
        if channel.uniqueid in there or channel.name in named:
            continue
        if channel.opened_at >= since:
            house.odd("younger than a list")  # the next list will show
        else:
            house.close(channel, at if heard_at is None else _end_of(channel, heard_at, at), 0, by_list=True)
    new = [one for one in there.values() if one["Uniqueid"] not in house.channels]
    for one in sorted(new, key=_order):
        _take_in(house, one, at)
    _pair(house, at)
    for uniqueid, one in there.items():
        _bring_up(house, house.channels[uniqueid], one)
    _move(house, there, at)


def _end_of(channel: Channel, heard_at: float, at: float) -> float:
    """Return when a channel that is gone was last known to be there."""
    talk, part = channel.conversation, channel.part
    known = [talk.started_at, talk.answered_at, talk.talking_since]
    if part is not None:
        known += [part.began_at, part.answered_at, part.held_since]
    return min(at, max(heard_at, *(each for each in known if each is not None)))


def _doubt(house: House, one: Mapping[str, str]) -> str:
    why = doubt(one)
    if why:
        return why
    if "/" not in one["Channel"] or not identifier(one["Uniqueid"]) or not identifier(one["Linkedid"]):
        return "not a channel"
    known = house.channels.get(one["Uniqueid"])
    if known is not None and one["Channel"] not in (known.name, known.renamed):
        return "another channel's id"
    return ""


def _order(one: Mapping[str, str]) -> tuple[bool, bool, int]:
    """Who began a thread comes first, then who was not dialled in it, then the oldest."""
    return (
        one["Uniqueid"] != one["Linkedid"],
        one["Application"] in _DIALLED or not is_person(one["Channel"]),
        -_seconds(one["Duration"]),
    )


def _seconds(duration: str) -> int:
    match = _DURATION.fullmatch(duration)
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3]) if match else 0


def _take_in(house: House, one: Mapping[str, str], at: float) -> None:
    uniqueid = one["Uniqueid"]
    if house.undo(uniqueid, one["Channel"]) is not None:
        return
    since = at - _seconds(one["Duration"])
    linkedid = one["Linkedid"]
    was_dialled = one["Application"] in _DIALLED
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


def _bring_up(house: House, channel: Channel, one: Mapping[str, str]) -> None:
    state = state_of(one["ChannelState"])
    if state > channel.state:
        channel.state = state
        if state == RINGING:
            house.rings(channel)
        if state == UP and channel.part is not None and channel.part.via == "click":
            channel.part.status = "ANSWER"
        house.changed(channel.conversation)


def _move(house: House, there: Mapping[str, Mapping[str, str]], at: float) -> None:
    """Put each channel where the list has it: first all out of where they are no more, then in."""
    for uniqueid, one in there.items():
        channel = house.channels[uniqueid]
        if channel.bridge is not None and channel.bridge.id != one["BridgeId"]:
            house.leave(channel, at)
    for uniqueid, one in there.items():
        channel = house.channels[uniqueid]
        bridge = identifier(one["BridgeId"])
        if bridge and channel.bridge is None:
            application = one["Application"]
            house.enter(
                channel,
                bridge,
                at,
                holding=application in _HOLDING,
                conference=application == "ConfBridge",
            )
