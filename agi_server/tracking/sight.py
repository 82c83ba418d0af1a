"""Which channel an event is about."""

from __future__ import annotations

from collections.abc import Mapping

from agi_server.tracking.house import House
from agi_server.tracking.parts import Channel


def known(house: House, event: Mapping[str, str], prefix: str = "", *, alive: bool = True) -> Channel | None:
    """Return the channel an event is about; None, and counted, where it does not fit what is known."""
    uniqueid, name = event[prefix + "Uniqueid"], event[prefix + "Channel"]
    channel = house.channels.get(uniqueid)
    if channel is None:
        channel = house.undo(uniqueid, name) if alive else None
        if channel is None:
            house.odd("unknown channel")
            return None
    if channel.name != name:
        if channel.renamed != name:
            house.odd("another channel's id")
            return None
        channel.name, channel.renamed = name, ""
    return channel
