"""How far a call has come that was ordered by a click, by the PBX's events: pure, no I/O.

The agent's channel has an id that we chose (storage.dials.CHANNEL and the dial's own, which nobody outside knows), and
all channels that come of it have that as their Linkedid: so events of a dial are told from all others, and what a
caller makes up is about none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from storage.dials import CHANNEL

SECOND: Final = "-2"  # behind the id: the other end of a Local channel, where an agent has several phones

_UP: Final = "6"  # ChannelState
_RINGING: Final = "5"
_THREADS: Final = ("Linkedid", "Uniqueid", "DestLinkedid", "DestUniqueid")

# DialStatus of Asterisk's DialEnd, and causes of Q.850 where there was none, for the agent and for who is called.
_AGENT: Final = {
    "BUSY": "agent-busy",
    "NOANSWER": "agent-no-answer",
    "CHANUNAVAIL": "agent-unreachable",
    "CONGESTION": "agent-unreachable",
}
_AGENT_CAUSES: Final = {
    "17": "agent-busy",
    "21": "agent-busy",
    "3": "agent-unreachable",
    "20": "agent-unreachable",
}
_CALLED: Final = {"BUSY": "busy", "NOANSWER": "no-answer", "CANCEL": "cancelled"}
_CALLED_CAUSES: Final = {"17": "busy", "18": "no-answer", "19": "no-answer"}
_WELL: Final = frozenset({"", "0", "16"})  # causes: it ended as calls end


class Step(NamedTuple):
    """A state of storage.dials.STATES, and why (of `failed`)."""

    state: str
    reason: str = ""


def dial_of(event: Mapping[str, str]) -> str:
    """Return the id of the dial that an event belongs to, '' for none."""
    for name in _THREADS:
        thread = event.get(name, "")
        if thread.startswith(CHANNEL):
            return thread[len(CHANNEL) :].removesuffix(SECOND)
    if event.get("Event") == "OriginateResponse" and event.get("ActionID", "").startswith(CHANNEL):
        return event["ActionID"][len(CHANNEL) :]
    return ""


def is_refusal(event: Mapping[str, str]) -> bool:
    """Return whether this says that nobody was reached at all, or not in time."""
    return event.get("Event") == "OriginateResponse" and event.get("Response") == "Failure"


@dataclass(slots=True)
class Progress:
    """One dial as its events go by. `cancelled`: somebody wants it to end."""

    dial_id: str
    cancelled: bool = False
    state: str = ""  # as last returned
    has_channel: bool = False  # the agent's
    rang: bool = False
    agent_there: bool = False  # the agent has picked up
    answered: bool = False
    agent_status: str = ""
    called_status: str = ""

    @property
    def channel(self) -> str:
        """Return the PBX's id of the agent's channel."""
        return CHANNEL + self.dial_id

    def event(self, event: Mapping[str, str]) -> Step | None:
        """Take an event of this dial; return how far it has come now, None where that says nothing new."""
        if is_refusal(event):  # it may overtake all that the channel has to say
            return None
        self.has_channel = self.has_channel or event.get("Uniqueid") == self.channel
        return self._new(self._step(event))

    def refused(self) -> Step | None:
        """Return what it means that a while ago the PBX said it could not: nothing where there was a channel after all.

        Its end says more, and is sure to come.
        """
        return None if self.has_channel else self._new(self._failed("agent-unreachable"))

    def there(self, channels: Iterable[Mapping[str, str]]) -> Step | None:
        """Take this dial's channels as a list has them (CoreShowChannel); return how far it has come."""
        own = next((each for each in channels if each.get("Uniqueid") == self.channel), {})
        if own.get("ChannelState") != _UP:
            return None
        self.agent_there = True
        self.answered = self.answered or bool(own.get("BridgeId"))
        return self._new(Step("answered" if self.answered else "dialling"))

    def _new(self, step: Step | None) -> Step | None:
        if step is None or step.state == self.state:
            return None
        self.state = step.state
        return step

    def _step(self, event: Mapping[str, str]) -> Step | None:
        own = event.get("Uniqueid") == self.channel
        match event.get("Event"):
            case "Newstate":
                return self._state(event.get("ChannelState", ""), own=own)
            case "DialState" if event.get("DialStatus") in {"RINGING", "PROGRESS"}:
                return self._rings()
            case "DialEnd":
                agents = (
                    event.get("DestUniqueid") == self.channel
                    or event.get("Uniqueid") == self.channel + SECOND
                )
                return self._dialled(event.get("DialStatus", ""), agents=agents)
            case "Hangup" if own:
                return self._over(event.get("Cause", ""))
        return None

    def _state(self, state: str, *, own: bool) -> Step | None:
        if state == _RINGING and not (own and self.agent_there):
            return self._rings()
        if state == _UP and own and not self.agent_there:
            self.agent_there = True
            return Step("dialling")
        return None

    def _rings(self) -> Step | None:
        if self.answered:
            return None
        self.rang = True
        return Step("ringing" if self.agent_there else "ringing-agent")

    def _dialled(self, status: str, *, agents: bool) -> Step | None:
        if agents:
            self.agent_status = status
        elif status == "ANSWER" and not self.answered:
            self.answered = True
            return Step("answered")
        else:
            self.called_status = status
        return None

    def _over(self, cause: str) -> Step:
        if self.answered:
            return Step("ended")
        if not self.agent_there:
            unheard = "agent-no-answer" if self.rang else "agent-unreachable"
            return self._failed(_AGENT_CAUSES.get(cause) or _AGENT.get(self.agent_status, unheard))
        if self.called_status:
            return self._failed(_CALLED.get(self.called_status, "failed"))
        if cause in _WELL:  # nobody was dialled: an announcement, a mailbox, a conference
            return Step("failed", "cancelled") if self.cancelled else Step("ended")
        return self._failed(_CALLED_CAUSES.get(cause, "failed"))

    def _failed(self, reason: str) -> Step:
        return Step("failed", "cancelled" if self.cancelled else reason)
