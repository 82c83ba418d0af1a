"""Follows the conversations of one PBX: events in, what happened to which conversation out.

Invariant: no event is believed against the rest. It must be whole (trust.py), a channel must go by the name it is known
by, a state only goes forward, who is said to have hung up and goes on is there again, and a thread (Linkedid) is only
left for another where people of both hear each other. What does not fit is counted and changes nothing.
Events and their headers: Asterisk's AMI documentation, and streams recorded from 22.10 and 16.28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from agi_server.tracking import dialling, lines, meeting, resync, snapshot
from agi_server.tracking.house import House, Told
from agi_server.tracking.trust import doubt

__all__ = ["Told", "Tracker"]

_HANDLERS: Final[Mapping[str, Callable[[House, Mapping[str, str], float], None]]] = {
    "Newchannel": lines.appears,
    "Newstate": lines.goes_on,
    "NewCallerid": lines.caller,
    "NewConnectedLine": lines.connected,
    "HangupRequest": lines.wants_out,
    "Hangup": lines.ends,
    "Hold": lines.hold,
    "Unhold": lines.unhold,
    "VarSet": lines.variable,
    "DialBegin": dialling.begins,
    "DialState": dialling.goes_on,
    "DialEnd": dialling.ends,
    "BridgeEnter": meeting.enters,
    "BridgeLeave": meeting.leaves,
    "BridgeDestroy": meeting.bridge_ends,
    "QueueCallerJoin": dialling.queues,
    "QueueCallerLeave": dialling.leaves_queue,
    "AgentCalled": dialling.agent_called,
    "LocalBridge": lines.paired,
    "BlindTransfer": meeting.blind,
    "AttendedTransfer": meeting.attended,
    "Pickup": meeting.pickup,
    "ParkedCall": meeting.parked,
    "ParkedCallTimeOut": meeting.park_ran_out,
    "UnParkedCall": meeting.unparked,
    "Rename": lines.renamed,
    "OriginateResponse": dialling.originated,
}


class Tracker:
    """The conversations of one PBX. Pure: no clock, no wire; `at` is when an event came, seconds since 1970."""

    def __init__(self, pbx: str, ours: Callable[[str], str]) -> None:
        self._house = House(pbx, ours)

    def __len__(self) -> int:
        """Return how many conversations are in progress."""
        return sum(talk.began for talk in self._house.conversations.values())

    @property
    def oddities(self) -> Mapping[str, int]:
        """How often what did not fit, by kind."""
        return self._house.oddities

    def odd(self, what: str) -> None:
        """Count an oddity that somebody else saw."""
        self._house.odd(what)

    def event(self, event: Mapping[str, str], at: float) -> list[Told]:
        """Take one event in, its headers as Asterisk names them; return what happened."""
        handler = _HANDLERS.get(event.get("Event", ""))
        if handler is None:
            return []
        why = doubt(event)
        if why:
            self._house.odd(why)
            return []
        handler(self._house, event, at)
        return self._house.told()

    def resync(
        self,
        channels: Sequence[Mapping[str, str]],
        at: float,
        heard_at: float | None = None,
        coming: Iterable[Mapping[str, str]] = (),
    ) -> list[Told]:
        """Take in the list of all channels (CoreShowChannel events), as it was `at`.

        `heard_at` is when the PBX was last heard of before; None: nothing of it was missed, and what the list has
        otherwise counts when the next one has it, too. `coming`: events that are here already and will follow.
        """
        resync.take(self._house, channels, at, heard_at, coming)
        return self._house.told()

    def snapshot(self, linkedid: str) -> dict[str, Any] | None:
        """Return a conversation in progress for `restore`, in JSON's types; None: there is none."""
        talk = self._house.conversations.get(linkedid)
        return snapshot.of(talk) if talk is not None else None

    def restore(self, snapshots: Iterable[Mapping[str, Any]]) -> None:
        """Take up conversations where they were; then `resync`."""
        snapshot.restore(self._house, snapshots)
        self._house.told()
