"""What events say of who hears whom: bridges, transfers, pick-ups, parking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agi_server.calls.record import Transfer
from agi_server.tracking.conversation import room
from agi_server.tracking.house import House
from agi_server.tracking.parts import Channel
from agi_server.tracking.sight import known
from agi_server.tracking.trust import has_snapshot, identifier, text

_LONGEST_CHAIN: Final = 5  # Local channels behind each other


def enters(house: House, event: Mapping[str, str], at: float) -> None:
    """Put a channel into a bridge."""
    channel, bridge = known(house, event), identifier(event["BridgeUniqueid"])
    if channel is None or not bridge:
        return
    technology, kind = event["BridgeTechnology"], event["BridgeType"]
    holding = technology == "holding_bridge" or kind == "parking"
    conference = not holding and kind != "basic" and technology == "softmix"
    house.enter(channel, bridge, at, holding=holding, conference=conference)


def leaves(house: House, event: Mapping[str, str], at: float) -> None:
    """Take a channel out of its bridge."""
    channel = known(house, event)
    if channel is not None and channel.bridge is not None and channel.bridge.id == event["BridgeUniqueid"]:
        house.leave(channel, at)


def bridge_ends(house: House, event: Mapping[str, str], at: float) -> None:
    """Take all out of a bridge that is no more."""
    bridge = house.bridges.get(event["BridgeUniqueid"])
    for channel in list(bridge.channels) if bridge is not None else ():
        house.leave(channel, at)


def blind(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that a call was sent on."""
    by = known(house, event, "Transferer")
    if by is None or event["Result"] != "Success":
        return
    talk = by.conversation
    if talk.parked and not any(part.via == "park" for part in talk.parts):
        return  # it was to the parking place: this and ParkedCall come in any order
    to = text(event["Extension"])
    house.hand_on(talk, Transfer(kind="blind", at=at, by=_who(by), to=to))
    talk.handing = "transfer"


def attended(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that a call was handed to somebody who was asked before."""
    one, two = known(house, event, "OrigTransferer"), known(house, event, "SecondTransferer")
    if one is None or two is None or event["Result"] != "Success":
        return
    to = _reached(_target(house, event, (one, two)), one, two)
    talk = house.merge(one.conversation, two.conversation, "transfer", at)
    if to is not None and to.part is not None:
        to.part.via = "transfer"
    elif to is None:
        talk.handing = "transfer"
    house.hand_on(talk, Transfer(kind="attended", at=at, by=_who(one), to=_who(to) if to else ""))
    house.changed(talk)


def pickup(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that somebody took a call that rang elsewhere."""
    picker, target = known(house, event), known(house, event, "Target")
    if picker is None or target is None:
        return
    house.merge(target.conversation, picker.conversation, "pickup", at)
    _came_in(house, picker, "pickup", at)


def parked(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that a call was parked."""
    parkee = known(house, event, "Parkee")
    if parkee is not None:
        talk = parkee.conversation
        talk.parked = True
        if talk.handing == "transfer":  # it was to the parking place, and is none
            talk.handing = ""
            talk.transfers = talk.transfers[:-1]
        house.changed(talk)


def park_ran_out(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that nobody fetched a parked call: who parked it is rung."""
    parkee = known(house, event, "Parkee")
    if parkee is not None:
        parkee.conversation.parked = False
        parkee.conversation.handing = "park"
        house.changed(parkee.conversation)


def unparked(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that somebody fetched a parked call."""
    parkee, retriever = known(house, event, "Parkee"), known(house, event, "Retriever")
    if parkee is None or retriever is None:
        return
    talk = house.merge(parkee.conversation, retriever.conversation, "park", at)
    talk.parked = False
    _came_in(house, retriever, "park", at)


def _came_in(house: House, channel: Channel, via: str, at: float) -> None:
    """Note how somebody who was no part of a conversation came into it."""
    if channel.part is None:
        channel.conversation.join(channel, via, at)
    else:
        channel.part.via = via
    house.changed(channel.conversation)


def _who(channel: Channel) -> str:
    """Return the extension of a channel, or the number of a party outside."""
    if channel.extension:
        return channel.extension
    if channel.part is not None:
        return channel.part.number
    return channel.conversation.number if channel.uniqueid == channel.conversation.origin else ""


def _target(house: House, event: Mapping[str, str], lines: tuple[Channel, Channel]) -> Channel | None:
    """Return who takes the place of a transferer's `lines`: no longer named if with the transferee already."""
    if has_snapshot(event, "TransferTarget"):
        return known(house, event, "TransferTarget")
    bridge = house.bridges.get(event.get("DestBridgeUniqueid", ""))
    if bridge is None or not has_snapshot(event, "Transferee"):
        return None
    others = (*lines, known(house, event, "Transferee"))
    return next((channel for channel in bridge.channels if channel not in others), None)


def _reached(target: Channel | None, one: Channel, two: Channel) -> Channel | None:
    """Return who was asked before a transfer: at the end of the target, else who hears the second line, or is rung."""
    end = target
    for _ in range(_LONGEST_CHAIN):
        if end is None or end.person:
            break
        end = _beyond(end)
    if end is not None and end.person and end not in (one, two):
        return end
    heard = room(two, set())
    ringing = [
        channel
        for channel in two.conversation.channels
        if channel.part is not None and channel.part.answered_at is None and channel.part.via != "caller"
    ]
    return next((channel for channel in (*heard, *reversed(ringing)) if channel not in (one, two)), None)


def _beyond(half: Channel) -> Channel | None:
    """Return who is at the other half of a Local channel: somebody, or another Local channel."""
    bridge = half.peer.bridge if half.peer is not None else None
    there = [channel for channel in bridge.channels if channel is not half.peer] if bridge is not None else []
    return min(there, key=lambda channel: not channel.person, default=None)
