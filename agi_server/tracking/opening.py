"""How a conversation begins: what its first channel says of who called, which way, whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agi_server.calls.extensions import endpoint_of
from agi_server.calls.record import Way
from agi_server.tracking.conversation import Conversation
from agi_server.tracking.house import House, line_of
from agi_server.tracking.parts import DOWN, RING, UP, Channel, is_person
from agi_server.tracking.trust import text

DIALLED: Final = re.compile(r"\+?[0-9*#]{1,40}", re.ASCII)
_NUMBER: Final = re.compile(r"\+?[0-9]{7,}", re.ASCII)


def begin(
    house: House, event: Mapping[str, str], at: float, *, uniqueid: str, linkedid: str, state: int
) -> Channel:
    """Take in a channel nobody knows, and begin the conversation where it is the first of its thread."""
    talk = house.thread(linkedid)
    first = talk is None
    if talk is None:
        talk = house.begin(linkedid, at)
    name = event["Channel"]
    person = is_person(name)
    if first and person and linkedid != uniqueid and state != UP:
        # dialled for somebody who was not seen: whatever is said of the call elsewhere is found by their id
        talk.origin = linkedid
        talk.uniqueids = (linkedid,)
        talk.way = Way.OUTBOUND if talk.originated else Way.INBOUND
    elif first and person:
        talk.originated |= uniqueid == linkedid and state not in (RING, UP)
        _describe(house, talk, event, uniqueid)
    elif first:
        # the PBX's own doing, until somebody is rung
        talk.way = Way.OUTBOUND if talk.originated else Way.INTERNAL
        talk.originated = True
    channel = house.open(uniqueid, name, state, talk, at)
    if channel.extension and talk.origin == uniqueid:
        part = talk.join(channel, "click" if talk.originated else "caller", at)
        if part is not None and state == UP and talk.originated:
            part.status = "ANSWER"
    return channel


def _describe(house: House, talk: Conversation, event: Mapping[str, str], uniqueid: str) -> None:
    """Say of a conversation what its first channel does: who called, which way, whom."""
    name, exten = event["Channel"], text(event["Exten"])
    extension = house.ours(endpoint_of(name))
    talk.origin = uniqueid
    if extension:
        talk.agent = extension
        talk.number = exten if DIALLED.fullmatch(exten) else ""
        outside = talk.originated or (_NUMBER.fullmatch(exten) and not house.ours(exten))
        talk.way = Way.OUTBOUND if outside else Way.INTERNAL
        return
    talk.number = text(event["CallerIDNum"])
    talk.name = text(event["CallerIDName"])
    talk.trunk = line_of(name)
    if talk.originated:
        talk.way = Way.OUTBOUND
    elif len(exten) > 1:
        talk.did = exten


def dialled(dial_string: str, callee: str, exten: str) -> str:
    """Return the number in what was dialled: `+4930…@trunk`, `trunk/sip:030…@host`, `g1/030…`."""
    for piece in reversed(dial_string.split("/")):
        number = piece.removeprefix("sip:").partition("@")[0]
        if DIALLED.fullmatch(number):
            return number
    return next((one for one in (callee, exten) if DIALLED.fullmatch(one)), "")


def state_of(value: str) -> int:
    """Return a ChannelState."""
    return int(value) if len(value) == 1 and value.isdecimal() else DOWN
