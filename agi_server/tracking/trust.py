"""Which events are believed.

A caller can write lines into the events of his own call: Asterisk (22.10 and older) puts a caller's number into them
as it came, cut at 79 bytes. So he can add headers to an event, and cut one event in two. Invariant: what passes here is
a whole event, with every header that Asterisk writes for its type; 79 bytes do not hold that many, and a cut event has
lost some. What an event says is compared with what is known besides (tracker.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

LONGEST_EVENT: Final = 16_384  # characters of all values; Asterisk's own stay below 4,000
LONGEST_ID: Final = 150  # characters, as in Asterisk
LONGEST_TEXT: Final = 200
NOTHING: Final = frozenset({"<unknown>", "<none>"})  # what Asterisk writes for an empty number or name

# manager_channels.c, ast_manager_build_channel_state_string_prefix: all of these, in every version since 13
_SNAPSHOT: Final = (
    "Channel",
    "ChannelState",
    "ChannelStateDesc",
    "CallerIDNum",
    "CallerIDName",
    "ConnectedLineNum",
    "ConnectedLineName",
    "Language",
    "AccountCode",
    "Context",
    "Exten",
    "Priority",
    "Uniqueid",
    "Linkedid",
)
_BRIDGE: Final = ("BridgeUniqueid", "BridgeType", "BridgeTechnology", "BridgeNumChannels")


def _headers(*others: str, snapshots: Iterable[str] = ("",)) -> frozenset[str]:
    return frozenset(
        {"Event", "Privilege", *others, *(prefix + name for prefix in snapshots for name in _SNAPSHOT)}
    )


# What each type of event must have; a type that is not here is of no interest.
_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "Newchannel": _headers(),
    "Newstate": _headers(),
    "NewCallerid": _headers("CID-CallingPres"),
    "NewConnectedLine": _headers(),
    "HangupRequest": _headers(),
    "Hangup": _headers("Cause", "Cause-txt"),
    "Hold": _headers(),
    "Unhold": _headers(),
    "VarSet": _headers("Variable", "Value"),
    "DialBegin": _headers("DialString", snapshots=("Dest",)),
    "DialState": _headers("DialStatus", snapshots=("Dest",)),
    "DialEnd": _headers("DialStatus", snapshots=("Dest",)),
    "BridgeEnter": _headers(*_BRIDGE),
    "BridgeLeave": _headers(*_BRIDGE),
    "BridgeDestroy": _headers(*_BRIDGE, snapshots=()),
    "QueueCallerJoin": _headers("Queue", "Position", "Count"),
    "QueueCallerLeave": _headers("Queue", "Position", "Count"),
    "AgentCalled": _headers("Queue", "Interface", "MemberName", snapshots=("", "Dest")),
    "LocalBridge": _headers("LocalOptimization", snapshots=("LocalOne", "LocalTwo")),
    "BlindTransfer": _headers("Result", "IsExternal", "Context", "Extension", snapshots=("Transferer",)),
    "AttendedTransfer": _headers("Result", "DestType", snapshots=("OrigTransferer", "SecondTransferer")),
    "Pickup": _headers(snapshots=("", "Target")),
    "ParkedCall": _headers("ParkingSpace", "Parkinglot", snapshots=("Parkee",)),
    "ParkedCallTimeOut": _headers("ParkingSpace", "Parkinglot", snapshots=("Parkee",)),
    "UnParkedCall": _headers("ParkingSpace", "Parkinglot", snapshots=("Parkee", "Retriever")),
    "Rename": _headers("Channel", "Newname", "Uniqueid", snapshots=()),
    "OriginateResponse": _headers(
        "Response", "Channel", "Context", "Exten", "Reason", "Uniqueid", "CallerIDNum", snapshots=()
    ),
    "CoreShowChannel": _headers("Application", "ApplicationData", "Duration", "BridgeId") - {"Privilege"},
}
_OF_ONE_CHANNEL: Final = frozenset(
    name for name, headers in _REQUIRED.items() if "Channel" in headers and "DestChannel" not in headers
) - {"Pickup", "CoreShowChannel"}

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def followed(name: object) -> bool:
    """Return whether events of this type say something about conversations."""
    return isinstance(name, str) and name in _REQUIRED


def doubt(event: Mapping[str, str]) -> str:
    """Return why an event (of a type that is followed) cannot be what Asterisk wrote, '' where it can."""
    name = event["Event"]
    if not event.keys() >= _REQUIRED[name]:
        return "headers missing"
    if name in _OF_ONE_CHANNEL and "DestChannel" in event:
        return "headers of another event"
    try:
        values = "".join(event.values())
    except TypeError:  # a header that came twice
        return "headers twice"
    if "\n" in values or "\r" in values or "\0" in values:
        return "lines in a value"
    return "too long" if len(values) > LONGEST_EVENT else ""


def has_snapshot(event: Mapping[str, str], prefix: str) -> bool:
    """Return whether an event describes a channel, wholly, under headers that begin so."""
    return prefix + "Channel" in event and all(prefix + name in event for name in _SNAPSHOT)


def text(value: str) -> str:
    """Return what somebody chose, as one line of bounded length."""
    if value in NOTHING:
        return ""
    if not value.isprintable() or len(value) > LONGEST_TEXT:
        value = _CONTROL.sub(" ", value[:LONGEST_TEXT])
    return value.strip()


def identifier(value: str) -> str:
    """Return a channel's or bridge's id, '' where it cannot be one."""
    return value if value.isprintable() and len(value) <= LONGEST_ID else ""
