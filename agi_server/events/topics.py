"""The topic tree: `<prefix>/…`, one topic a type of event, one more a person where it is theirs.

A topic level may hold neither `/` nor the wildcards `+` and `#` nor NUL (MQTT 5.0, 1.5.4 and 4.7); what else it
should not hold (control characters) and `%` itself are written `%XX`, as in a URL.
"""

from __future__ import annotations

import re
from typing import Final

from agi_server.events.event import Event, EventType

_UNFIT: Final = re.compile("[/+#%\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff\u2028\u2029]")
_OF_AGENT: Final = {
    EventType.SCREEN_POP: "screen_pop",
    EventType.MISSED: "missed_call",
    EventType.PROGRESS: "progress",
}
STATES: Final = frozenset({EventType.SYNC})  # retained: who subscribes later gets the last one, too

ONLINE: Final = "online"
OFFLINE: Final = "offline"


def topic_of(prefix: str, event: Event) -> str:
    """Return the topic of an event."""
    whose = _OF_AGENT.get(event.type)
    if whose is not None:
        return f"{prefix}/agent/{level(event.extension)}/{whose}"
    return f"{prefix}/{event.type.value.replace('.', '/')}"


def status_topic(prefix: str) -> str:
    """Return where `online` or `offline` stands, retained."""
    return f"{prefix}/status"


def command_topics(prefix: str) -> str:
    """Return the topic filter of the commands."""
    return f"{prefix}/command/blacklist/+"


def answers_topic(prefix: str) -> str:
    """Return what the topic of a command's answer must begin with where it lies below the prefix."""
    return f"{prefix}/answer/"


def level(text: str) -> str:
    """Return a text as one level of a topic; different texts make different levels, and none is empty."""
    return _UNFIT.sub(_escape, text) or "%"


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
