"""From an AGI request to a Call."""

from __future__ import annotations

from dataclasses import replace

from agi_server.calls.call import Call, Direction
from agi_server.fastagi.protocol import AgiRequest


def trunk_of(channel: str) -> str:
    """Return the endpoint of a channel name: `PJSIP/trunk-00000012` → `PJSIP/trunk`."""
    return channel.rpartition("-")[0] or channel


def inbound_call(request: AgiRequest, call_id: str) -> Call:
    """Return the call that `incoming` asks about; the environment block is the normal source."""
    did = request.get("did", "extension", "dnid", position=2)
    if did == "s":  # Asterisk's start extension: the dialled number is elsewhere
        did = request.get("did", "dnid", position=2)
    return Call(
        id=call_id,
        number=request.get("number", "callerid", position=1),
        name=request.get("name", "calleridname", position=3),
        did=did,
        trunk=trunk_of(request.env.get("channel", "")),
        presentation=_integer(request.env.get("callingpres", "")),
        uniqueid=request.env.get("uniqueid", ""),
    )


def lookup_call(request: AgiRequest) -> Call:
    """Return the call that `contacto_insert_salesforce` asks about: its positions are data, ani, iddatabase."""
    return replace(
        inbound_call(request, ""),
        number=request.get("ani", "callerid", position=2),
        name=request.get("name", "calleridname"),
        did=request.get("did", "extension", "dnid"),
    )


def outbound_call(request: AgiRequest, call_id: str) -> Call:
    """Return the call that `outgoing` asks about: `number` is the one dialled, `extension` the one that dials."""
    return Call(
        id=call_id,
        direction=Direction.OUTBOUND,
        number=request.get("number", "extension", "dnid", position=1),
        extension=request.get("extension", "callerid", position=2),
        trunk=trunk_of(request.env.get("channel", "")),
        uniqueid=request.env.get("uniqueid", ""),
    )


def _integer(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
