"""A conversation in progress as JSON, so that a restarted process goes on where it was.

Invariant: `restore` of what `of` returned gives a conversation that goes on exactly as the first would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from agi_server.calls.record import Transfer, Way
from agi_server.tracking.conversation import Conversation
from agi_server.tracking.house import House
from agi_server.tracking.parts import Bridge, Channel, Part

FORMAT: Final = 1
_PLAIN: Final = (
    "linkedid",
    "started_at",
    "number",
    "name",
    "did",
    "trunk",
    "agent",
    "answered_at",
    "answered_by",
    "seconds",
    "talking_since",
    "queue",
    "waiting",
    "recording",
    "parked",
    "unseen",
    "handing",
    "origin",
    "originated",
    "began",
    "left_at",
    "cause",
)
_OF_PART: Final = tuple(Part.__slots__)


def of(talk: Conversation) -> dict[str, Any]:
    """Return a conversation as JSON's types."""
    return {
        "format": FORMAT,
        **{name: getattr(talk, name) for name in _PLAIN},
        "way": talk.way.value,
        "uniqueids": list(talk.uniqueids),
        "threads": list(talk.threads),
        "transfers": [asdict(transfer) for transfer in talk.transfers],
        "parts": [[getattr(part, name) for name in _OF_PART] for part in talk.parts],
        "channels": [_channel(channel, talk) for channel in talk.channels],
    }


def _channel(channel: Channel, talk: Conversation) -> dict[str, Any]:
    bridge = channel.bridge
    return {
        "uniqueid": channel.uniqueid,
        "name": channel.name,
        "extension": channel.extension,
        "state": channel.state,
        "wants_out": channel.wants_out,
        "renamed": channel.renamed,
        "part": next((index for index, part in enumerate(talk.parts) if part is channel.part), None),
        "peer": channel.peer.uniqueid if channel.peer is not None else None,
        "bridge": [bridge.id, bridge.holding, bridge.conference] if bridge is not None else None,
    }


def restore(house: House, snapshots: Iterable[Mapping[str, Any]]) -> None:
    """Take up conversations; one that cannot be read, or is there already, is counted and left out."""
    for snapshot in snapshots:
        try:
            talk = _conversation(snapshot)
            channels = [_restored(talk, told) for told in snapshot["channels"]]
        except (KeyError, TypeError, ValueError, IndexError):
            house.oddities["unreadable snapshot"] += 1
            continue
        if house.thread(talk.linkedid) is not None or any(one.uniqueid in house.channels for one in channels):
            house.oddities["snapshot of a call that is there"] += 1
            continue
        house.keep(talk)
        talk.channels = channels
        for channel, told in zip(channels, snapshot["channels"], strict=True):
            house.channels[channel.uniqueid] = channel
            if told["bridge"] is not None:
                _bridge(house, channel, *told["bridge"])
        for channel, told in zip(channels, snapshot["channels"], strict=True):
            channel.peer = house.channels.get(told["peer"] or "")


def _conversation(snapshot: Mapping[str, Any]) -> Conversation:
    if snapshot["format"] != FORMAT:
        raise ValueError("another format")
    talk = Conversation(snapshot["linkedid"], snapshot["started_at"])
    for name in _PLAIN:
        setattr(talk, name, snapshot[name])
    talk.way = Way(snapshot["way"])
    talk.uniqueids = tuple(snapshot["uniqueids"])
    talk.threads = tuple(snapshot["threads"])
    talk.transfers = tuple(Transfer(**transfer) for transfer in snapshot["transfers"])
    talk.parts = tuple(_part(values) for values in snapshot["parts"])
    return talk


def _part(values: list[Any]) -> Part:
    told = dict(zip(_OF_PART, values, strict=True))
    part = Part(told["extension"], told["number"], told["via"], told["queue"], told["began_at"])
    for name, value in told.items():
        setattr(part, name, value)
    return part


def _restored(talk: Conversation, told: Mapping[str, Any]) -> Channel:
    channel = Channel(told["uniqueid"], told["name"], told["state"], talk, extension=told["extension"])
    channel.wants_out, channel.renamed = told["wants_out"], told["renamed"]
    channel.part = talk.parts[told["part"]] if told["part"] is not None else None
    return channel


def _bridge(house: House, channel: Channel, bridge_id: str, holding: bool, conference: bool) -> None:  # a row
    bridge = house.bridges.get(bridge_id)
    if bridge is None:
        bridge = house.bridges[bridge_id] = Bridge(bridge_id, holding=holding, conference=conference)
    bridge.channels.append(channel)
    channel.bridge = bridge
