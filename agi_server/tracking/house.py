"""Every channel, bridge and conversation of one PBX, and what can happen to them.

Invariants: a channel is in exactly one conversation and in at most one bridge; a conversation without channels is over
and forgotten; two conversations whose people hear each other are one. Nothing here reads an event.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from agi_server.calls.extensions import endpoint_of
from agi_server.calls.record import Leg, Record, Transfer, Way
from agi_server.tracking.conversation import CLICK, MOST_PARTS, Conversation
from agi_server.tracking.outcome import leg_of, record_of
from agi_server.tracking.parts import RINGING, Bridge, Channel, Part, is_person

REMEMBERED: Final = 256  # channels that have just ended: a forged end is undone when they go on


class Told(NamedTuple):
    """What happened to a conversation: began, rang, answered, changed, merged or ended.

    `leg` is whose phone rang or was answered; `was` the linkedid of the conversation that this one swallowed.
    """

    what: str
    record: Record
    leg: Leg | None = None
    was: str = ""


class House:
    """The state of one PBX. `ours` returns the extension of an endpoint that is a phone of ours, '' for a trunk."""

    def __init__(self, pbx: str, ours: Callable[[str], str]) -> None:
        self.pbx = pbx
        self.ours = ours
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, Bridge] = {}
        self.conversations: dict[str, Conversation] = {}
        self._threads: dict[str, Conversation] = {}  # by the linkedids of what they swallowed
        self.oddities: Counter[str] = Counter()
        self.differed: set[tuple[str, ...]] = set()  # how the last list of channels was not what we know
        self._gone: OrderedDict[str, tuple[Channel, bool]] = OrderedDict()  # by a list?
        self._news: list[tuple[str, Conversation, Part | None, str]] = []
        self._changed: dict[int, Conversation] = {}

    def odd(self, what: str) -> None:
        """Count what does not fit."""
        self.oddities[what] += 1

    # --- what is told -------------------------------------------------------------------------------------------

    def changed(self, talk: Conversation) -> None:
        """Note that something about a conversation has changed."""
        self._changed[id(talk)] = talk

    def tell(self, what: str, talk: Conversation, part: Part | None = None, was: str = "") -> None:
        """Note what happened; told with the record as it is at the end of the event."""
        self._news.append((what, talk, part, was))

    def told(self) -> list[Told]:
        """Return what has happened since this was last asked."""
        news, changed = self._news, self._changed
        if not news and not changed:
            return []
        self._news, self._changed = [], {}
        for _, talk, _, _ in news:  # says more than that something has changed
            changed.pop(id(talk), None)
        made: dict[int, Record] = {}
        told: list[Told] = []
        for what, talk, part, was in (*news, *(("changed", talk, None, "") for talk in changed.values())):
            if not talk.began:
                continue
            record = made.get(id(talk)) or made.setdefault(id(talk), record_of(talk, self.pbx))
            told.append(Told(what, record, leg_of(talk, part) if part is not None else None, was))
        return told

    # --- channels -----------------------------------------------------------------------------------------------

    def open(self, uniqueid: str, name: str, state: int, talk: Conversation) -> Channel:
        """Take in a channel that was not there."""
        extension = sys.intern(self.ours(endpoint_of(name))) if is_person(name) else ""
        channel = Channel(uniqueid, name, state, talk, extension=extension)
        self.channels[uniqueid] = channel
        talk.add(channel)
        if channel.person and not talk.began:
            talk.began = True
            self.tell("began", talk)
        else:
            self.changed(talk)
        return channel

    def thread(self, linkedid: str) -> Conversation | None:
        """Return the conversation that a thread is, or has become part of."""
        return self.conversations.get(linkedid) or self._threads.get(linkedid)

    def keep(self, talk: Conversation) -> None:
        """Have a conversation, under all its threads."""
        self.conversations[talk.linkedid] = talk
        for linkedid in talk.threads:
            self._threads[linkedid] = talk

    def _forget(self, talk: Conversation) -> None:
        self.conversations.pop(talk.linkedid, None)
        for linkedid in talk.threads:
            self._threads.pop(linkedid, None)

    def begin(self, linkedid: str, at: float) -> Conversation:
        """Begin a conversation."""
        talk = Conversation(linkedid, at)
        talk.originated = linkedid.startswith(CLICK)
        self.keep(talk)
        return talk

    def close(self, channel: Channel, at: float, cause: int, *, by_list: bool = False) -> None:
        """End a channel, and with the last one its conversation."""
        talk = channel.conversation
        self.leave(channel, at)
        if channel.peer is not None:
            channel.peer.peer = None
            channel.peer = None
        del self.channels[channel.uniqueid]
        self._gone[channel.uniqueid] = channel, by_list
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        talk.channels.remove(channel)
        part = channel.part
        if part is not None and part not in talk.live_parts:  # or it is the second line of a phone that stays
            part.unhold(at)
            part.ended_at = at
            part.cause = cause
        if channel.uniqueid in (talk.origin, talk.linkedid):
            talk.cause = cause
        self.hear(talk, at)
        self.changed(talk)
        talk.unseen = talk.unseen or by_list
        if not talk.channels:
            self._end(talk, at)

    def _end(self, talk: Conversation, at: float) -> None:
        if talk.talking_since is not None:
            talk.seconds += max(0.0, at - talk.talking_since)
            talk.talking_since = None
        talk.ended_at = max(at, talk.started_at)
        self._forget(talk)
        self.tell("ended", talk)

    def undo(self, uniqueid: str, name: str) -> Channel | None:
        """Return a channel that was said to have ended and goes on, there again; None where it is not known."""
        channel, by_list = self._gone.get(uniqueid, (None, False))
        if channel is None or channel.name != name:
            return None
        talk = channel.conversation
        if (self.thread(talk.linkedid) or talk) is not talk:
            return None
        del self._gone[uniqueid]
        if not by_list:  # a list may be older than what was heard after it
            self.oddities["channel went on after its end"] += 1
        self.channels[uniqueid] = channel
        talk.channels.append(channel)
        talk.ended_at = None
        self.keep(talk)
        if channel.part is not None:
            channel.part.ended_at = None
            channel.part.cause = 0
        self.changed(talk)
        return channel

    # --- who hears whom -----------------------------------------------------------------------------------------

    def enter(self, channel: Channel, bridge_id: str, at: float, *, holding: bool, conference: bool) -> None:
        """Put a channel into a bridge; whoever is there is of the same conversation from now on."""
        bridge = self.bridges.get(bridge_id)
        if bridge is None:
            bridge = self.bridges[bridge_id] = Bridge(bridge_id, holding=holding, conference=conference)
        if channel.bridge is bridge:
            return
        if channel.bridge is not None:
            self._out(channel)
        channel.bridge = bridge
        bridge.channels.append(channel)
        if not bridge.holding:
            for other in list(bridge.channels):
                if other.conversation is not channel.conversation:
                    self.merge(channel.conversation, other.conversation, _via(bridge, channel, other), at)
            part = channel.part
            if bridge.conference and part is not None and part.via == "caller":
                part.via = "conference"
        self.hear(channel.conversation, at)
        self.changed(channel.conversation)

    def leave(self, channel: Channel, at: float) -> None:
        """Take a channel out of its bridge."""
        if channel.bridge is None:
            return
        self._out(channel)
        self.hear(channel.conversation, at)
        self.changed(channel.conversation)

    def _out(self, channel: Channel) -> None:
        bridge = channel.bridge
        channel.bridge = None
        if bridge is not None:
            bridge.channels.remove(channel)
            if not bridge.channels:
                self.bridges.pop(bridge.id, None)

    def hear(self, talk: Conversation, at: float) -> None:
        """Look who hears whom in a conversation now."""
        for part in talk.hear(at):
            self._learnt(talk, part)
            talk.handing = ""
            if part.via not in ("caller", "click"):
                self.tell("answered", talk, part)

    def pair(self, one: Channel, two: Channel, at: float) -> None:
        """Note that two channels are the halves of one Local channel."""
        one.peer, two.peer = two, one
        if one.conversation is not two.conversation:
            self.merge(one.conversation, two.conversation, "dial", at)

    # --- conversations ------------------------------------------------------------------------------------------

    def merge(self, one: Conversation, two: Conversation, via: str, at: float) -> Conversation:
        """Make one conversation of two: the older goes on; `via` is how the caller of the other came in."""
        if one is two:
            return one
        kept, lost = sorted((one, two), key=lambda talk: (talk.started_at, talk.linkedid))
        self._forget(lost)
        kept.take(lost, via)
        self.keep(kept)
        self._changed.pop(id(lost), None)
        untold = any(what == "began" and talk is lost for what, talk, _, _ in self._news)
        self._news = [news for news in self._news if news[1] is not lost]
        began = not kept.began and lost.began
        kept.began |= lost.began
        if began:
            self.tell("began", kept)
        if lost.began and not untold:
            self.tell("merged", kept, was=lost.linkedid)
        for channel, _ in self._gone.values():
            if channel.conversation is lost:
                channel.conversation = kept
        self.hear(kept, at)
        return kept

    def ring(self, channel: Channel, via: str, at: float, *, number: str = "", queue: str = "") -> None:
        """Give a dialled person's channel its part."""
        talk = channel.conversation
        part = talk.join(channel, via, at, number=number, queue=queue)
        if part is None:
            if channel.part is None and channel.person:
                self.oddities["too many legs"] += 1
            return
        self._direct(talk, channel, number)
        if channel.state == RINGING:  # it does already
            self.rings(channel)
        self.changed(talk)

    def rings(self, channel: Channel) -> None:
        """Note that a phone rings."""
        part = channel.part
        if part is not None and not part.rang and part.answered_at is None:
            part.rang = True
            self.tell("rang", channel.conversation, part)

    def _direct(self, talk: Conversation, channel: Channel, number: str) -> None:
        """Note what a phone that is dialled says of a conversation's way."""
        if talk.way is Way.INBOUND:
            return
        if channel.extension:
            if not talk.agent:
                talk.agent = channel.extension
            return
        if talk.way is Way.INTERNAL or not talk.trunk:
            talk.way = Way.OUTBOUND
            talk.number = number or talk.number
            talk.trunk = line_of(channel.name)

    def hand_on(self, talk: Conversation, transfer: Transfer) -> None:
        """Note that a conversation was handed on."""
        if transfer not in talk.transfers and len(talk.transfers) < MOST_PARTS:
            talk.transfers += (transfer,)
            self.changed(talk)

    def _learnt(self, talk: Conversation, part: Part) -> None:
        """Note who answered a transfer of which it was not known to whom it led."""
        if talk.handing == "transfer" and talk.transfers and not talk.transfers[-1].to:
            last = replace(talk.transfers[-1], to=part.extension or part.number)
            talk.transfers = (*talk.transfers[:-1], last)


def line_of(name: str) -> str:
    """Return technology and endpoint of a channel's name: `PJSIP/trunk-0000001a` → `PJSIP/trunk`."""
    return sys.intern(f"{name.partition('/')[0]}/{endpoint_of(name)}")


def _via(bridge: Bridge, one: Channel, two: Channel) -> str:
    if bridge.conference:
        return "conference"
    if one.conversation.parked or two.conversation.parked:
        return "park"
    return "dial"
