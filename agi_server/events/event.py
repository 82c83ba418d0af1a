"""What may happen, and what is told of it (docs/events.md has each type with its schema)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """Types of events; the dots become levels of an MQTT topic."""

    RINGING = "call.ringing"  # an inbound call was let in, and rings
    ANSWERED = "call.answered"
    ENDED = "call.ended"
    PROGRESS = "call.progress"  # for one extension: how a call goes that was ordered for it by a click
    DECISION = "decision"  # any decision, blocked and outbound calls, too
    SCREEN_POP = "screen.pop"  # for one extension: who is calling it
    MISSED = "reminder.missed_call"  # for one extension: nobody answered its caller
    CHAT = "chat.changed"  # a chat began, or went on
    BLACKLIST = "blacklist.changed"
    CONTACT = "contact.changed"
    CONFIGURATION = "configuration.changed"  # agents, DIDs, settings, users, tokens
    SYNC = "sync.state"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` grows, `at` is seconds since 1970, `extension` names whose it is ('': everyone's)."""

    id: int
    type: EventType
    at: float
    data: dict[str, Any]
    extension: str = ""

    def document(self) -> dict[str, Any]:
        """Return the event as every listener gets it, whatever the way: JSON of a browser's stream, of MQTT."""
        return {
            "id": self.id,
            "type": self.type.value,
            "at": round(self.at, 3),
            "extension": self.extension,
            "data": self.data,
        }
