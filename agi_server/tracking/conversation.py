"""One conversation while it goes on: who is in it, who speaks, and for how long.

Invariants: the way only goes from internal to one with a party outside; what was said of an answer stays (a menu, a
queue or a second agent never takes it away); time spoken only grows.
"""

from __future__ import annotations

from agi_server.calls.record import Transfer, Way
from agi_server.tracking.parts import Channel, Part

MOST_PARTS = 200  # of one conversation; a conference that never ends would grow for ever
CLICK = "ostiary-dial-"  # how the id of a channel begins that rings a phone for a click


class Conversation:
    """What is known of it so far. Times are seconds since 1970."""

    __slots__ = (
        "agent",
        "answered_at",
        "answered_by",
        "began",
        "cause",
        "channels",
        "did",
        "ended_at",
        "handing",
        "left_at",
        "linkedid",
        "name",
        "number",
        "origin",
        "originated",
        "parked",
        "parts",
        "queue",
        "recording",
        "seconds",
        "started_at",
        "talking_since",
        "threads",
        "transfers",
        "trunk",
        "uniqueids",
        "unseen",
        "waiting",
        "way",
    )

    def __init__(self, linkedid: str, started_at: float) -> None:
        self.linkedid = linkedid
        self.started_at = started_at
        self.way = Way.INBOUND
        self.number = ""
        self.name = ""
        self.did = ""
        self.trunk = ""
        self.agent = ""
        self.answered_at: float | None = None
        self.answered_by = ""
        self.ended_at: float | None = None
        self.unseen = False  # a part of it was: somebody had come or gone when we looked again
        self.seconds = 0.0
        self.talking_since: float | None = None
        self.queue = ""
        self.waiting = ""  # the queue the caller waits in now
        self.recording = ""
        self.parked = False
        self.handing = ""  # how the next phone comes in: transfer or park
        self.origin = ""  # uniqueid of the channel of who called
        self.originated = False  # the PBX itself made the first channel, as a click does
        self.began = False  # somebody has been told of it: a person is or was in it
        self.left_at: float | None = None  # when who called hung up
        self.cause = 0  # why the first channel ended
        self.channels: list[Channel] = []
        self.uniqueids: tuple[str, ...] = ()
        self.parts: tuple[Part, ...] = ()
        self.transfers: tuple[Transfer, ...] = ()
        self.threads: tuple[str, ...] = ()  # linkedids of conversations that became part of it

    def add(self, channel: Channel) -> None:
        """Take a channel in."""
        channel.conversation = self
        self.channels.append(channel)
        if channel.uniqueid not in self.uniqueids and len(self.uniqueids) < MOST_PARTS * 3:
            self.uniqueids += (channel.uniqueid,)

    def join(
        self, channel: Channel, via: str, at: float, *, number: str = "", queue: str = ""
    ) -> Part | None:
        """Give a person's channel a part; None where it has one, or there are too many."""
        if channel.part is not None or not channel.person or len(self.parts) >= MOST_PARTS:
            return None
        part = Part(channel.extension, "" if channel.extension else number, via, queue, at)
        channel.part = part
        self.parts += (part,)
        return part

    @property
    def live_parts(self) -> list[Part]:
        """The parts whose channels are still there."""
        return [channel.part for channel in self.channels if channel.part is not None]

    def hear(self, at: float) -> list[Part]:
        """Look who hears whom now; return the parts that speak for the first time."""
        spoke: list[Part] = []
        talking = False
        seen: set[int] = set()
        for channel in self.channels:
            if channel.bridge is None or channel.bridge.holding or id(channel.bridge) in seen:
                continue
            people = room(channel, seen)
            if len(people) > 1:
                talking |= self._speak(people, at, spoke)
        if talking and self.talking_since is None:
            self.talking_since = at
        elif not talking and self.talking_since is not None and not self._on_hold():
            self.seconds += max(0.0, at - self.talking_since)
            self.talking_since = None
            for part in self.live_parts:
                part.unhold(at)  # nobody is left who could wait
        return spoke

    def _speak(self, people: list[Channel], at: float, spoke: list[Part]) -> bool:
        """Note that these people hear each other; return whether it is this conversation and no consultation."""
        for person in people:
            if person.part is None and person.uniqueid != self.origin:
                self.join(person, self.handing or "dial", at)
            part = person.part
            if part is not None and part.answered_at is None:
                part.answered_at = at
                part.began_at = min(part.began_at, at)  # a list that was ahead had it begin later
                spoke.append(part)
        counts = self.way is Way.INTERNAL or any(not person.extension for person in people)
        if counts and self.answered_at is None:
            self.answered_at = at
            self.started_at = min(self.started_at, at)
            self.answered_by = self._who(people)
        return counts

    def _who(self, people: list[Channel]) -> str:
        if self.way is Way.OUTBOUND and self.agent:
            return self.agent
        ours = [person for person in people if person.extension]
        return next((one.extension for one in ours if one.uniqueid != self.origin), "")

    def _on_hold(self) -> bool:
        """Return whether somebody outside waits for one of us who put them on hold and speaks elsewhere."""
        return any(part.held_since is not None for part in self.live_parts) and any(
            channel.bridge is not None
            and not channel.bridge.holding
            and channel.person
            and not channel.extension
            for channel in self.channels
        )

    def take(self, other: Conversation, via: str) -> None:
        """Become one with another conversation, which is no more; `via` is how its caller came in."""
        if self.way is Way.INTERNAL and other.way is not Way.INTERNAL:
            self._yield(other)
        elif self.answered_at is None and other.way is not Way.INTERNAL:
            self._speak_as(other)
        ours = {part.extension: part for part in self.parts if part.extension and part.ended_at is None}
        lines: list[Part] = []
        for channel in other.channels:
            part = channel.part
            if channel.uniqueid == other.origin and channel.uniqueid != self.origin and channel.person:
                if part is None:
                    other.join(channel, via, other.started_at, number=other.number)
                elif part.extension in ours:  # the second line of a phone that is in already
                    lines.append(part)
                    channel.part = ours[part.extension]
                elif part.via in ("caller", "click"):
                    part.via = via
            self.add(channel)
        self.parts = (*self.parts, *(part for part in other.parts if part not in lines))[:MOST_PARTS]
        self.uniqueids = tuple(dict.fromkeys((*self.uniqueids, *other.uniqueids)))
        self.transfers += other.transfers
        self.threads += (other.linkedid, *other.threads)
        self.queue = self.queue or other.queue
        self.waiting = self.waiting or other.waiting
        self.recording = self.recording or other.recording
        other.channels = []

    def _yield(self, other: Conversation) -> None:
        """An internal call that becomes part of one with somebody outside says what that one says."""
        self.way, self.number, self.name, self.did = other.way, other.number, other.name, other.did
        self.trunk, self.agent, self.origin = other.trunk, other.agent, other.origin
        self.left_at, self.cause, self.originated = other.left_at, other.cause, other.originated
        self._speak_as(other)

    def _speak_as(self, other: Conversation) -> None:
        self.answered_at, self.answered_by = other.answered_at, other.answered_by
        self.seconds, self.talking_since = other.seconds, other.talking_since


def room(channel: Channel, seen: set[int]) -> list[Channel]:
    """Return the people who hear each other where a channel is, through Local channels too; `seen` gets the bridges."""
    people: list[Channel] = []
    bridges = [channel.bridge]
    while bridges:
        bridge = bridges.pop()
        if bridge is None or bridge.holding or id(bridge) in seen:
            continue
        seen.add(id(bridge))
        for one in bridge.channels:
            if one.person:
                people.append(one)
            elif one.peer is not None:
                bridges.append(one.peer.bridge)
    return people
