"""Events as Asterisk 22.10 writes them, made by hand: for tests of what is hard to record, and to measure with."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator

Event = dict[str, str]

STATES = {0: "Down", 4: "Ring", 5: "Ringing", 6: "Up"}
CAUSES = {16: "Normal Clearing", 17: "User busy", 19: "User alerting, no answer", 26: "Answered elsewhere"}
EPOCH = 1_795_300_000

# what the dialplan does around a call, and Ostiary's own share of it: of no interest, but there
VARIABLES = (
    "SIPDOMAIN",
    "DIALSTATUS",
    "DIALEDPEERNUMBER",
    "DIALEDPEERNAME",
    "OSTIARY_ACTION",
    "OSTIARY_CALL",
)
APPLICATIONS = ("Gosub", "Set", "AGI", "GotoIf", "Return", "Dial")


def ours(endpoint: str) -> str:
    """Return the extension of an endpoint: digits are one of ours."""
    return endpoint if endpoint.isdecimal() and len(endpoint) < 7 else ""


class Line:
    """One channel, and the events about it."""

    _numbers = itertools.count()

    def __init__(
        self,
        endpoint: str,
        *,
        number: str = "",
        name: str = "",
        exten: str = "s",
        state: int = 0,
        of: Line | None = None,
        technology: str = "PJSIP",
        uniqueid: str = "",
        suffix: str = "",
    ) -> None:
        index = next(self._numbers)
        self.channel = f"{technology}/{endpoint}-{index:08x}{suffix}"
        self.uniqueid = uniqueid or f"{EPOCH}.{index}"
        self.linkedid: str = of.linkedid if of is not None else self.uniqueid
        self.number = number or endpoint
        self.name = name
        self.connected = "<unknown>"
        self.connected_name = "<unknown>"
        self.context = "from-trunk" if endpoint == "trunk" else "from-internal"
        self.exten = exten
        self.state = state

    def snapshot(self, prefix: str = "") -> Event:
        """Return the headers that describe it."""
        return {
            f"{prefix}Channel": self.channel,
            f"{prefix}ChannelState": str(self.state),
            f"{prefix}ChannelStateDesc": STATES[self.state],
            f"{prefix}CallerIDNum": self.number,
            f"{prefix}CallerIDName": self.name,
            f"{prefix}ConnectedLineNum": self.connected,
            f"{prefix}ConnectedLineName": self.connected_name,
            f"{prefix}Language": "en",
            f"{prefix}AccountCode": "",
            f"{prefix}Context": self.context,
            f"{prefix}Exten": self.exten,
            f"{prefix}Priority": "1",
            f"{prefix}Uniqueid": self.uniqueid,
            f"{prefix}Linkedid": self.linkedid,
        }

    def event(self, name: str, privilege: str = "call,all", **more: str) -> Event:
        """Return an event about it."""
        return {"Event": name, "Privilege": privilege, **self.snapshot(), **more}

    def new(self) -> Event:
        """Return its birth."""
        return self.event("Newchannel")

    def rings(self) -> Event:
        """Return that it rings."""
        self.state = 5
        return self.event("Newstate")

    def up(self) -> Event:
        """Return that it was taken up."""
        self.state = 6
        return self.event("Newstate")

    def wants_out(self, cause: int = 16) -> Event:
        """Return that its far end hung up."""
        return self.event("HangupRequest", Cause=str(cause))

    def hangup(self, cause: int = 16) -> Event:
        """Return its end."""
        return self.event("Hangup", **{"Cause": str(cause), "Cause-txt": CAUSES.get(cause, "Unknown")})

    def listed(
        self, application: str, data: str = "", *, bridge: str = "", duration: str = "00:00:05"
    ) -> Event:
        """Return it as the list of channels has it."""
        return {
            "Event": "CoreShowChannel",
            **self.snapshot(),
            "Application": application,
            "ApplicationData": data,
            "Duration": duration,
            "BridgeId": bridge,
        }


class Bridge:
    """One bridge, and the events about it."""

    _numbers = itertools.count(1)

    def __init__(self, technology: str = "simple_bridge", kind: str = "basic") -> None:
        self.id = f"00000000-0000-4000-8000-{next(self._numbers):012x}"
        self.technology = technology
        self.kind = kind
        self.count = 0

    def _headers(self) -> Event:
        return {
            "BridgeUniqueid": self.id,
            "BridgeType": self.kind,
            "BridgeTechnology": self.technology,
            "BridgeCreator": "<unknown>",
            "BridgeName": "<unknown>",
            "BridgeNumChannels": str(self.count),
            "BridgeVideoSourceMode": "none",
        }

    def enter(self, line: Line) -> Event:
        """Return that a channel comes in."""
        self.count += 1
        return line.event("BridgeEnter", **self._headers())

    def leave(self, line: Line) -> Event:
        """Return that a channel goes out."""
        self.count -= 1
        return line.event("BridgeLeave", **self._headers())

    def destroy(self) -> Event:
        """Return its end."""
        return {"Event": "BridgeDestroy", "Privilege": "call,all", **self._headers()}


def dial(name: str, source: Line | None, dest: Line, **more: str) -> Event:
    """Return DialBegin, DialState or DialEnd."""
    from_source = source.snapshot() if source is not None else {}
    return {"Event": name, "Privilege": "call,all", **from_source, **dest.snapshot("Dest"), **more}


def calling(source: Line | None, dest: Line, string: str = "") -> Event:
    """Return that one channel dials another."""
    return dial("DialBegin", source, dest, DialString=string or dest.number)


def dialled(source: Line | None, dest: Line, status: str) -> Event:
    """Return what came of it."""
    return dial("DialEnd", source, dest, DialStatus=status)


def two(name: str, one: tuple[str, Line], other: tuple[str, Line], **more: str) -> Event:
    """Return an event about two channels, each under the prefix of its headers."""
    return {
        "Event": name,
        "Privilege": "call,all",
        **one[1].snapshot(one[0]),
        **other[1].snapshot(other[0]),
        **more,
    }


def joined(queue: str, line: Line) -> Event:
    """Return that a caller waits in a queue."""
    return line.event("QueueCallerJoin", "agent,all", Queue=queue, Position="1", Count="1")


def left(queue: str, line: Line) -> Event:
    """Return that a caller waits no more."""
    return line.event("QueueCallerLeave", "agent,all", Queue=queue, Position="1", Count="0")


def caller(index: int = 0, did: str = "4930777101") -> Line:
    """Return a channel on which somebody calls from outside."""
    return Line("trunk", number=f"4930{2_000_000 + index}", name="Erika", exten=did, state=4)


def _arrives(line: Line) -> Iterator[Event]:
    yield line.new()
    for application in APPLICATIONS:
        yield line.event(
            "Newexten", "dialplan,all", Extension=line.exten, Application=application, AppData="x"
        )
    for variable in VARIABLES:
        yield line.event("VarSet", "dialplan,all", Variable=variable, Value="")


def _rung(line: Line, phone: Line) -> Iterator[Event]:
    phone.connected, phone.connected_name = line.number, line.name
    yield phone.new()
    yield phone.event("NewConnectedLine")
    yield calling(line, phone)
    yield phone.rings()
    line.connected = phone.number
    yield line.event("NewConnectedLine")
    yield dial("DialState", line, phone, DialStatus="RINGING")


def answered(index: int, ring: str = "101") -> Iterator[Event]:
    """A call that is answered, and ended by the caller."""
    line = caller(index)
    phone = Line(ring, of=line)
    yield from _arrives(line)
    yield from _rung(line, phone)
    yield phone.up()
    yield dialled(line, phone, "ANSWER")
    yield line.up()
    bridge = Bridge()
    yield bridge.enter(phone)
    yield bridge.enter(line)
    yield line.wants_out()
    yield bridge.leave(line)
    yield bridge.leave(phone)
    yield bridge.destroy()
    yield phone.hangup()
    yield line.hangup()


def unanswered(index: int, status: str = "NOANSWER", cause: int = 19) -> Iterator[Event]:
    """A call to a phone that nobody takes up, or that is busy."""
    line = caller(index)
    phone = Line("102", of=line)
    yield from _arrives(line)
    yield from _rung(line, phone)
    if status == "CANCEL":
        yield line.wants_out(127)
    yield dialled(line, phone, status)
    yield phone.hangup(cause)
    yield line.hangup(cause)


def queued(index: int) -> Iterator[Event]:
    """A call to a queue whose second agent answers."""
    line = caller(index)
    first, second = Line("101", of=line), Line("102", of=line)
    yield from _arrives(line)
    yield line.up()
    yield joined("sales", line)
    yield from _rung(line, first)
    yield dialled(line, first, "NOANSWER")
    yield first.hangup(0)
    yield from _rung(line, second)
    yield second.up()
    yield dialled(line, second, "ANSWER")
    yield left("sales", line)
    bridge = Bridge()
    yield bridge.enter(line)
    yield bridge.enter(second)
    yield second.wants_out()
    yield bridge.leave(second)
    yield bridge.leave(line)
    yield bridge.destroy()
    yield second.hangup()
    yield line.hangup()


def _cancelled(index: int) -> Iterator[Event]:
    return unanswered(index, "CANCEL", 0)


def _busy(index: int) -> Iterator[Event]:
    return unanswered(index, "BUSY", 17)


KINDS: tuple[Callable[[int], Iterator[Event]], ...] = (answered, unanswered, queued, _busy, _cancelled)


def stream(calls: int, at_once: int = 100) -> Iterator[Event]:
    """Return the events of so many calls, `at_once` of them in progress, one event of each in turn."""
    waiting = (KINDS[index % len(KINDS)](index) for index in range(calls))
    live = deque(itertools.islice(waiting, at_once))
    while live:
        call = live.popleft()
        event = next(call, None)
        if event is not None:
            yield event
            live.append(call)
        else:
            live.extend(itertools.islice(waiting, 1))
