"""What events say of single channels."""

from __future__ import annotations

from collections.abc import Mapping

from agi_server.calls.record import Way
from agi_server.tracking.conversation import CLICK
from agi_server.tracking.house import House
from agi_server.tracking.opening import begin, describe, state_of
from agi_server.tracking.parts import RING, RINGING, UP, Channel, is_person
from agi_server.tracking.sight import known
from agi_server.tracking.trust import identifier, text


def appears(house: House, event: Mapping[str, str], at: float) -> None:
    """Take in a channel that is new."""
    uniqueid, name = identifier(event["Uniqueid"]), event["Channel"]
    linkedid = uniqueid if event["Linkedid"] == uniqueid else identifier(event["Linkedid"])
    if not uniqueid or not linkedid or "/" not in name or not name.isprintable() or len(name) > 200:
        return house.odd("not a channel")
    there = house.channels.get(uniqueid)
    if there is not None:
        return _was_listed(house, there, event) if there.name == name else house.odd("another channel's id")
    if house.undo(uniqueid, name) is not None:  # a list that was ahead of this had not got it any more
        return None
    state = state_of(event["ChannelState"])
    if linkedid != uniqueid and state == RING and is_person(name):  # who calls begins a thread
        return house.odd("a caller in another's thread")
    begin(house, event, at, uniqueid=uniqueid, linkedid=linkedid, state=state)
    return None


def _was_listed(house: House, channel: Channel, event: Mapping[str, str]) -> None:
    """Learn from its birth how a call began of which a list was quicker to say that it is there."""
    talk = channel.conversation
    if talk.unseen and channel.uniqueid == talk.origin and not (channel.extension and talk.number):
        describe(house, talk, event)
        house.changed(talk)


def goes_on(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note that a channel rings, or was taken up."""
    channel = known(house, event)
    if channel is None:
        return
    state = state_of(event["ChannelState"])
    if state <= channel.state:
        return
    channel.state = state
    if state == RINGING:
        house.rings(channel)
    if state == UP and channel.part is not None and channel.part.via == "click":
        channel.part.status = "ANSWER"
    house.changed(channel.conversation)


def caller(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note what a caller is called by now."""
    channel = known(house, event)
    if channel is None:
        return
    talk = channel.conversation
    number, name = text(event["CallerIDNum"]), text(event["CallerIDName"])
    # a click shows the agent whom they are about to call
    shown = channel.uniqueid == talk.linkedid and talk.linkedid.startswith(CLICK) and not talk.number
    called = channel.uniqueid == talk.origin and talk.way is Way.INBOUND and talk.answered_at is None
    if (shown or called) and (number, name) != (talk.number, talk.name):
        talk.number, talk.name = number or talk.number, name or talk.name
        house.changed(talk)


def connected(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note by what name they go who are called."""
    channel = known(house, event)
    if channel is None:
        return
    talk = channel.conversation
    if channel.uniqueid == talk.origin and talk.way is not Way.INBOUND and talk.answered_at is None:
        name = text(event["ConnectedLineName"])
        if name and name != talk.name:
            talk.name = name
            house.changed(talk)


def wants_out(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that the far end has hung up."""
    channel = known(house, event)
    if channel is None or channel.wants_out:
        return
    channel.wants_out = True
    talk = channel.conversation
    rings_first = channel.part is not None and channel.part.via == "click"
    if (channel.uniqueid == talk.origin or rings_first) and talk.left_at is None:
        talk.left_at = at
    house.changed(talk)


def ends(house: House, event: Mapping[str, str], at: float) -> None:
    """End a channel."""
    channel = known(house, event, alive=False)
    if channel is None:
        return None
    if channel.bridge is not None:  # Asterisk takes a channel out of its bridge first
        return house.odd("hang-up of a channel that goes on")
    if channel.part is not None and state_of(event["ChannelState"]) > channel.state:  # taken up, unheard
        channel.conversation.unseen = True
    cause = event["Cause"]
    house.close(channel, at, int(cause) if cause.isdecimal() and len(cause) < 4 else 0)
    return None


def hold(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that somebody put the others on hold."""
    channel = known(house, event)
    if channel is not None and channel.part is not None and channel.bridge is not None:
        channel.part.hold(at)
        house.changed(channel.conversation)


def unhold(house: House, event: Mapping[str, str], at: float) -> None:
    """Note that somebody is back."""
    channel = known(house, event)
    if channel is not None and channel.part is not None:
        channel.part.unhold(at)
        house.hear(channel.conversation, at)
        house.changed(channel.conversation)


def variable(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note the file of a recording, or the name of a queue."""
    variable, value = event["Variable"], text(event["Value"])
    if variable not in ("MIXMONITOR_FILENAME", "RECORDED_FILE", "QUEUENAME") or not value:
        return
    channel = known(house, event)
    if channel is None:
        return
    talk = channel.conversation
    if variable == "QUEUENAME":
        talk.queue = talk.queue or value
    elif variable == "MIXMONITOR_FILENAME" or not talk.recording:
        talk.recording = talk.recording or value
    house.changed(talk)


def renamed(house: House, event: Mapping[str, str], _at: float) -> None:
    """Note a new name; it is believed when an event that is whole goes by it."""
    channel = house.channels.get(event["Uniqueid"])
    name = event["Newname"]
    if channel is None or channel.name != event["Channel"] or "/" not in name or len(name) > 200:
        return house.odd("another channel's id")
    channel.renamed = name
    house.changed(channel.conversation)
    return None


def paired(house: House, event: Mapping[str, str], at: float) -> None:
    """Note which two channels are the halves of a Local channel."""
    one, two = known(house, event, "LocalOne"), known(house, event, "LocalTwo")
    if one is not None and two is not None and one.name[:-1] == two.name[:-1] and not one.person:
        house.pair(one, two, at)
