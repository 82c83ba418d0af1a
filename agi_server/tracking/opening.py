"""How a conversation begins: what its first channel says of who called, which way, whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agi_server.calls.extensions import endpoint_of
from agi_server.calls.record import Way
from agi_server.tracking.conversation import Conversation
from agi_server.tracking.house import House, line_of
from agi_server.tracking.parts import DIALING, DOWN, RINGING, UP, Channel, is_person
from agi_server.tracking.trust import text

DIALLED: Final = re.compile(r"\+?[0-9*#]{1,40}", re.ASCII)
DIALLED_BY: Final = frozenset({"AppDial", "AppDial2", "AppQueue"})  # applications of who was dialled
_NUMBER: Final = re.compile(r"\+?[0-9]{7,}", re.ASCII)


def begin(
    house: House, event: Mapping[str, str], at: float, *, uniqueid: str, linkedid: str, state: int
) -> Channel:
    """Take in a channel nobody knows, and begin the conversation where it is the first of its thread.

    `event` is a Newchannel or an item of a list.
    """
    talk = house.thread(linkedid)
    first = talk is None
    if talk is None:
        talk = house.begin(linkedid, at)
    name = event["Channel"]
    person = is_person(name)
    was_dialled = event.get("Application", "") in DIALLED_BY
    if first and person and linkedid != uniqueid and (state != UP or was_dialled):
        _describe_unseen(house, talk, event)
    elif first and person:
        talk.originated |= uniqueid == linkedid and state in (DOWN, DIALING, RINGING)
        describe(house, talk, event)
    elif first:
        # the PBX's own doing, until somebody is rung
        talk.way = Way.OUTBOUND if talk.originated else Way.INTERNAL
        talk.originated = True
    elif person and talk.origin == uniqueid:  # whom we took for one we would never see
        describe(house, talk, event)
    channel = house.open(uniqueid, name, state, talk)
    if channel.extension and talk.origin == uniqueid:
        part = talk.join(channel, "click" if talk.originated else "caller", at)
        if part is not None and state == UP and talk.originated:
            part.status = "ANSWER"
    return channel


def describe(house: House, talk: Conversation, event: Mapping[str, str]) -> None:
    """Say of a conversation what its first channel does: who called, which way, whom."""
    name, exten = event["Channel"], text(event["Exten"])
    extension = house.ours(endpoint_of(name))
    talk.origin = event["Uniqueid"]
    talk.agent = extension
    if extension:
        talk.name = text(event["ConnectedLineName"])
        talk.number = exten if DIALLED.fullmatch(exten) else ""
        outside = talk.originated or (_NUMBER.fullmatch(exten) and not house.ours(exten))
        talk.way = Way.OUTBOUND if outside else Way.INTERNAL
        return
    talk.way = Way.OUTBOUND if talk.originated else Way.INBOUND
    talk.number = text(event["CallerIDNum"])
    talk.name = text(event["CallerIDName"])
    talk.trunk = line_of(name)
    if not talk.originated and len(exten) > 1:
        talk.did = exten


def _describe_unseen(house: House, talk: Conversation, event: Mapping[str, str]) -> None:
    """Say of a conversation what a channel does that was dialled for somebody who was not seen.

    Whatever is said of the call elsewhere is found by the id of who was not seen.
    """
    talk.origin = talk.linkedid
    talk.uniqueids = (talk.linkedid,)
    talk.way = Way.OUTBOUND if talk.originated else Way.INBOUND
    number = text(event["ConnectedLineNum"])
    extension = house.ours(endpoint_of(event["Channel"]))
    if extension and not talk.originated:
        talk.agent = house.ours(number)
        talk.way = Way.INTERNAL if talk.agent else Way.INBOUND
        talk.number = extension if talk.agent else number
        talk.name = "" if talk.agent else text(event["ConnectedLineName"])


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
