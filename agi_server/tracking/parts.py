"""What a conversation is made of while it goes on: channels, bridges, and the part each phone has in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agi_server.calls.record import LegOutcome

if TYPE_CHECKING:
    from agi_server.tracking.conversation import Conversation

# Channels of these technologies are Asterisk's own glue between others: nobody listens there.
_GLUE: Final = frozenset(
    {
        "local",
        "announcer",
        "bridge",
        "cbann",
        "cbrec",
        "message",
        "multicastrtp",
        "recorder",
        "snoop",
        "surrogate",
        "asyncgoto",
        "null",
    }
)
# States of a channel (Asterisk's enum ast_channel_state)
DOWN: Final = 0
DIALING: Final = 3
RING: Final = 4  # it called and waits to be answered
RINGING: Final = 5
UP: Final = 6


class Bridge:
    """Channels that hear each other; a `holding` one (parking) plays them music, a `conference` each entered alone."""

    __slots__ = ("channels", "conference", "holding", "id")

    def __init__(self, id: str, *, holding: bool, conference: bool) -> None:  # noqa: A002  # its name in events
        self.id = id
        self.holding = holding
        self.conference = conference
        self.channels: list[Channel] = []


class Part:
    """One phone's part in a conversation: what becomes a Leg. Times are seconds since 1970."""

    __slots__ = (
        "answered_at",
        "began_at",
        "cause",
        "ended_at",
        "extension",
        "held",
        "held_since",
        "number",
        "queue",
        "rang",
        "status",
        "via",
    )

    def __init__(self, extension: str, number: str, via: str, queue: str, began_at: float) -> None:
        self.extension = extension
        self.number = number
        self.via = via
        self.queue = queue
        self.began_at = began_at
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.held = 0.0
        self.held_since: float | None = None
        self.rang = False
        self.status = ""  # DialEnd's
        self.cause = 0  # Hangup's

    def hold(self, at: float) -> None:
        """Put on hold; again is nothing."""
        if self.held_since is None:
            self.held_since = at

    def unhold(self, at: float) -> None:
        """Take back from hold."""
        if self.held_since is not None:
            self.held += max(0.0, at - self.held_since)
            self.held_since = None


class Channel:
    """One end of a line. `person`: somebody may sit there; `extension` is that of our phone, '' for a trunk."""

    __slots__ = (
        "bridge",
        "conversation",
        "extension",
        "name",
        "part",
        "peer",
        "person",
        "renamed",
        "state",
        "uniqueid",
        "wants_out",
    )

    def __init__(
        self, uniqueid: str, name: str, state: int, conversation: Conversation, *, extension: str
    ) -> None:
        self.uniqueid = uniqueid
        self.name = name
        self.state = state
        self.conversation = conversation
        self.person = is_person(name)
        self.extension = extension
        self.bridge: Bridge | None = None
        self.part: Part | None = None
        self.peer: Channel | None = None  # the other half of a Local channel
        self.renamed = ""
        self.wants_out = False  # its far end has hung up


def is_person(name: str) -> bool:
    """Return whether a person may be at the end of a channel of this name."""
    return name.partition("/")[0].lower() not in _GLUE


OUTCOMES: Final = {  # of DialEnd's DialStatus
    "BUSY": LegOutcome.BUSY,
    "CHANUNAVAIL": LegOutcome.FAILED,
    "CONGESTION": LegOutcome.FAILED,
    "INVALIDARGS": LegOutcome.FAILED,
    "DONTCALL": LegOutcome.FAILED,
    "TORTURE": LegOutcome.FAILED,
}
