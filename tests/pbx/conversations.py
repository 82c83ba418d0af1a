"""Conversations, from the first ring to the last goodbye: what callers and agents do, in a lane of its own each.

`ALL` maps a conversation's name to the function that has it take place. Each returns when every channel of it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import quote

from tests.pbx import lanes
from tests.pbx.ami import Ami, Event
from tests.pbx.dialog import Dialog
from tests.pbx.places import DID as ELSEWHERE
from tests.pbx.sipp import Call, Party, Phone, Sipp

LONG = 60.0  # seconds; nobody hangs up of their own accord before
LINE, GROUP, QUEUE, MENU, VOICEMAIL, RECORDED, ABSENT, LOCAL_GROUP, FORWARDED = range(9)


class Lane:
    """A small company, the caller who calls it, and all they can do; `number` is whom they speak with outside."""

    def __init__(self, lane: int, number: str, sipp: Sipp, ami: Ami, name: str = "") -> None:
        self.lane = lane
        self.number = number
        self.name = name
        self._sipp = sipp
        self._ami = ami
        self._since = len(ami.events)
        self.spoken = 0.0

    def extension(self, seat: int) -> str:
        return lanes.extension(self.lane, seat)

    def did(self, place: int) -> str:
        return f"4930778{self.lane}{place:02}"

    def calls(self, place: int, *, gives_up: float = 0) -> Call:
        """Let the party outside call; with `gives_up` they hang up after so many seconds of ringing."""
        scenario, hold = ("hangs_up", gives_up) if gives_up else ("caller", LONG)
        return self._sipp.call(
            self.did(place), number=self.number, name=self.name, scenario=scenario, hold=hold
        )

    def dials(self, seat: int, number: str, *, gives_up: float = 0) -> Call:
        """Let a phone of ours dial."""
        address = self._address(seat)
        scenario, hold = ("hangs_up", gives_up) if gives_up else ("caller", LONG)
        sender = f"<sip:{self.extension(seat)}@{address}>"
        return self._sipp.call(number, sender=sender, address=address, scenario=scenario, hold=hold)

    def phone(self, seat: int, scenario: str = "answers", *, rings: float = 0.3) -> Phone:
        return self._sipp.phone(self.extension(seat), scenario, hold=LONG, rings=rings)

    def outside(self, scenario: str = "answers", *, rings: float = 0.3) -> Phone:
        """Let the party outside have a phone."""
        return self._sipp.phone(lanes.outside(self.lane), scenario, hold=LONG, rings=rings)

    def hand(self, party: Party, seat: int = 0) -> Dialog:
        """Return the call a party is in; seat 0 is whoever called from outside."""
        return Dialog(party, self._address(seat), self._sipp.server)

    def up(self, *parties: Party) -> None:
        """Wait until parties speak: a caller's call was answered, a phone that answered is in a bridge."""
        for party in parties:
            if isinstance(party, Call):
                status = party.final().status
                assert status == 200, f"{party.name}: {status}"
            else:
                party.await_message("ACK ")

    def joined(self, *seats: int, times: int = 1) -> None:
        """Wait until phones have entered a bridge so many times."""
        for seat in seats:
            seen = 0
            since = self._since
            while seen < times:
                event = self.heard("BridgeEnter", lambda event, seat=seat: self._is(event, seat), since=since)  # type: ignore[misc]
                since = self._ami.events.index(event) + 1
                seen += 1

    def talk(self, seconds: float) -> None:
        time.sleep(seconds)
        self.spoken += seconds

    def ask(self, action: str, **headers: str) -> Event:
        return self._ami.ask(action, **headers)

    def presses(self, keys: str, seat: int) -> None:
        """Press keys on a phone."""
        for key in keys:
            self.ask("PlayDTMF", Channel=self.channel(seat), Digit=key, Receive="true", Duration="80")
            time.sleep(0.1)  # as fast as fingers are, and features.conf wants it

    def channel(self, seat: int) -> str:
        """Return the name of a phone's channel (seat 0: of the caller outside), the last one."""
        found = [event["Channel"] for event in self._news() if self._is(event, seat)]
        return found[-1]

    def uniqueid(self, seat: int) -> str:
        return [event["Uniqueid"] for event in self._news() if self._is(event, seat)][-1]

    def heard(
        self, name: str, wanted: Callable[[Event], object] = lambda _: True, *, since: int | None = None
    ) -> Event:
        """Wait for an event of this lane's conversations."""
        return self._ami.until(
            lambda event: event.get("Event") == name and wanted(event),
            since=self._since if since is None else since,
        )

    def over(self) -> None:
        """Wait until every channel of this lane is gone."""
        threads = {event["Linkedid"] for event in self._news() if self._ours(event)}
        for event in self._news():
            if event["Linkedid"] in threads or self._ours(event):
                self.heard("Hangup", lambda gone, one=event["Uniqueid"]: _gone(gone, one))  # type: ignore[misc]

    def forge(self, text: str) -> None:
        """Call with `text` as the number: what is no letter is encoded, and Asterisk decodes it."""
        sender = f"<sip:{quote(text, safe='')}@127.0.0.1>"
        call = self._sipp.call(ELSEWHERE, sender=sender)
        call.status()

    def _news(self) -> Iterable[Event]:
        return [
            event
            for event in self._ami.events[self._since :]
            if event.get("Event") == "Newchannel" and "Linkedid" in event and "Channel" in event
        ]

    def _ours(self, event: Event) -> bool:
        channel = event.get("Channel", "")
        return (
            any(self._is(event, seat) for seat in (0, *lanes.SEATS))
            or channel.startswith(f"Local/{self.lane}")
            or event.get("Exten", "").startswith((f"4930778{self.lane}", self.number))
        )

    def _is(self, event: Event, seat: int) -> bool:
        if seat:
            return event.get("Channel", "").startswith(f"PJSIP/{self.extension(seat)}-")
        return event.get("Channel", "").startswith("PJSIP/trunk-") and self.number in (
            event.get("CallerIDNum"),
            event.get("ConnectedLineNum"),
        )

    def _address(self, seat: int) -> str:
        return f"127.0.0.{self.extension(seat)}" if seat else "127.0.0.1"


def _gone(event: Event, uniqueid: str) -> bool:
    return (
        event.get("Uniqueid") == uniqueid and "Cause" in event and "Privilege" in event
    )  # a forged one is shorter


def answered(lane: Lane) -> None:
    """Calls 101, who answers; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.up(call, phone)
    lane.talk(2)
    lane.hand(call).hang_up()


def missed(lane: Lane) -> None:
    """Calls 101; it rings out after 3 s."""
    lane.phone(1, "rings")
    lane.calls(LINE).wait()


def busy(lane: Lane) -> None:
    """Calls 101, which is busy."""
    lane.phone(1, "busy")
    lane.calls(LINE).wait()


def cancelled(lane: Lane) -> None:
    """Calls 101 and gives up after 1.5 s of ringing."""
    lane.phone(1, "rings")
    lane.calls(LINE, gives_up=1.5).wait()


def failed(lane: Lane) -> None:
    """Calls 109, a phone that never registered."""
    lane.calls(ABSENT).wait()


def group(lane: Lane) -> None:
    """Calls a group, 101 and 102 ring at once; 102 answers; 2 s; the caller hangs up."""
    lane.phone(1, "rings")
    phone, call = lane.phone(2, rings=0.8), lane.calls(GROUP)
    lane.up(call, phone)
    lane.talk(2)
    lane.hand(call).hang_up()


def local_group(lane: Lane) -> None:
    """Calls a group whose members are rung through Local channels; 102 answers; 2 s; 102 hangs up."""
    lane.phone(1, "rings")
    phone, call = lane.phone(2, rings=0.8), lane.calls(LOCAL_GROUP)
    lane.up(call, phone)
    lane.talk(2)
    lane.hand(phone, 2).hang_up()


def queue(lane: Lane) -> None:
    """Calls the queue; 101 and 102 ring; 102 answers after 1.5 s; 2 s; 102 hangs up."""
    lane.phone(1, "rings")
    phone, call = lane.phone(2, rings=1.5), lane.calls(QUEUE)
    lane.up(phone)
    lane.talk(2)
    lane.hand(phone, 2).hang_up()
    call.wait()


def queue_abandoned(lane: Lane) -> None:
    """Calls the queue; 101 and 102 ring; the caller gives up after 2 s."""
    lane.phone(1, "rings")
    lane.phone(2, "rings")
    lane.calls(QUEUE, gives_up=2).wait()


def menu_nobody(lane: Lane) -> None:
    """Calls a menu, which answers and plays; then 101 rings out; the menu says so and hangs up."""
    lane.phone(1, "rings")
    lane.calls(MENU).wait()


def menu_answered(lane: Lane) -> None:
    """Calls a menu, which answers and plays; then 101 answers; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(MENU)
    lane.up(phone)
    lane.talk(2)
    lane.hand(call).hang_up()


def blind_transfer(lane: Lane) -> None:
    """Calls 101, who answers, after 1 s sends the caller on to 102 (REFER), who answers; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    other = lane.phone(2, rings=0.8)
    lane.up(call, phone)
    lane.talk(1)
    line = lane.hand(phone, 1)
    line.refer(lane.extension(2))
    lane.up(other)
    line.hang_up()  # Asterisk waits a minute for that, and then says goodbye to whoever has the port
    lane.talk(2)
    lane.hand(call).hang_up()


def blind_transfer_nobody(lane: Lane) -> None:
    """Calls 101, who answers, and after 1 s sends the caller on to 102 (REFER), where it rings out."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.phone(2, "rings")
    lane.up(call, phone)
    lane.talk(1)
    line = lane.hand(phone, 1)
    line.refer(lane.extension(2))
    call.wait()
    line.hang_up()


def attended_transfer(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s feature code *2 to 102, 1 s with 102, 101 leaves; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    other = lane.phone(2, rings=0.8)
    lane.up(call, phone)
    lane.talk(1)
    lane.presses("*2", 1)
    lane.heard("MusicOnHoldStart", lambda event: event.get("Channel") == lane.channel(0))
    lane.presses(lane.extension(2), 1)
    lane.up(other)
    lane.joined(2)
    time.sleep(1)
    lane.hand(phone, 1).hang_up()
    lane.heard("AttendedTransfer", lambda event: lane.channel(1) == event.get("OrigTransfererChannel"))
    lane.talk(2)
    lane.hand(call).hang_up()


def attended_transfer_sip(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s holds, calls 102, 1 s with 102, REFER, Replaces; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    other = lane.phone(2, rings=0.8)
    lane.up(call, phone)
    lane.talk(1)
    first = lane.hand(phone, 1)
    first.hold()
    question = lane.dials(1, lane.extension(2))
    lane.up(question, other)
    time.sleep(1)
    first.refer(lane.extension(2), replacing=lane.hand(question, 1))
    lane.heard("AttendedTransfer", lambda event: lane.channel(2) in event.values())
    first.hang_up()
    lane.talk(2)
    lane.hand(call).hang_up()


def attended_transfer_cancelled(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s *2 to 102, which rings 1 s; 101 is back; 1 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    other = lane.phone(2, "rings")
    lane.up(call, phone)
    lane.talk(1)
    lane.presses("*2", 1)
    lane.heard("MusicOnHoldStart", lambda event: event.get("Channel") == lane.channel(0))
    lane.presses(lane.extension(2), 1)
    other.invite()
    time.sleep(1)
    lane.presses("*1", 1)
    lane.joined(1, times=2)
    lane.talk(1)
    lane.hand(call).hang_up()


def pickup(lane: Lane) -> None:
    """Calls 101, which rings; 102 picks it up (*8); 2 s; the caller hangs up."""
    ringing, call = lane.phone(1, "rings"), lane.calls(LINE)
    ringing.invite()
    picking = lane.dials(2, f"*8{lane.extension(1)}")
    lane.up(picking, call)
    lane.talk(2)
    lane.hand(call).hang_up()


def hold(lane: Lane) -> None:
    """Calls 101, who answers; 1 s; on hold for 2 s; 1 s more; 101 hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.up(call, phone)
    lane.talk(1)
    lane.hand(phone, 1).hold()
    lane.talk(2)
    lane.hand(phone, 1).resume()
    lane.talk(1)
    lane.hand(phone, 1).hang_up()


def park(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s parked (REFER to 700); 1 s later 103 fetches it; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.up(call, phone)
    lane.talk(1)
    caller = lane.channel(0)
    line = lane.hand(phone, 1)
    line.refer("700")
    parked = lane.heard("ParkedCall", lambda event: event.get("ParkeeChannel") == caller)
    line.hang_up()
    time.sleep(1)
    fetching = lane.dials(3, parked["ParkingSpace"])
    lane.up(fetching)
    lane.talk(2)
    lane.hand(call).hang_up()


def conference(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s both go to a conference, which 102 joins; 2 s; one after the other hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.up(call, phone)
    lane.talk(1)
    room = f"77{lane.lane}"
    where = {"Context": "from-internal", "Exten": room, "Priority": "1"}
    extra = {f"Extra{key}": value for key, value in where.items()}
    lane.ask("Redirect", Channel=lane.channel(0), ExtraChannel=lane.channel(1), **where, **extra)
    third = lane.dials(2, room)
    lane.up(third)
    lane.heard("ConfbridgeJoin", lambda event: event.get("Channel") == lane.channel(2))
    lane.talk(2)
    lane.hand(third, 2).hang_up()
    lane.hand(call).hang_up()
    lane.hand(phone, 1).hang_up()


def outbound(lane: Lane) -> None:
    """101 calls out; answered; 2 s; 101 hangs up."""
    lane.outside()
    call = lane.dials(1, f"9{lane.number}")
    lane.up(call)
    lane.talk(2)
    lane.hand(call, 1).hang_up()


def outbound_busy(lane: Lane) -> None:
    """101 calls out; busy."""
    lane.outside("busy")
    lane.dials(1, f"9{lane.number}").wait()


def outbound_unanswered(lane: Lane) -> None:
    """101 calls out; it rings out after 3 s."""
    lane.outside("rings")
    lane.dials(1, f"9{lane.number}").wait()


def outbound_cancelled(lane: Lane) -> None:
    """101 calls out and gives up after 1.5 s of ringing."""
    lane.outside("rings")
    lane.dials(1, f"9{lane.number}", gives_up=1.5).wait()


def internal(lane: Lane) -> None:
    """101 calls 102, who answers; 2 s; 101 hangs up."""
    lane.phone(2)
    call = lane.dials(1, lane.extension(2))
    lane.up(call)
    lane.talk(2)
    lane.hand(call, 1).hang_up()


def click(lane: Lane) -> None:
    """Originate: 101 rings and answers, then calls out; answered; 2 s; 101 hangs up."""
    phone, outside = lane.phone(1), lane.outside()
    originate(lane)
    lane.up(phone, outside)
    lane.talk(2)
    lane.hand(phone, 1).hang_up()


def click_ignored(lane: Lane) -> None:
    """Originate: 101 rings, nobody answers it within 2 s; nobody is called."""
    phone = lane.phone(1, "rings")
    originate(lane)
    phone.wait()


def originate(lane: Lane) -> None:
    lane.ask(
        "Originate",
        Channel=f"PJSIP/{lane.extension(1)}",
        ChannelId=f"ostiary-dial-{lane.lane}",
        Context="from-internal",
        Exten=f"9{lane.number}",
        Priority="1",
        CallerID=f'"Whom we call" <{lane.number}>',
        Timeout="2000",
        Async="true",
    )


def voicemail(lane: Lane) -> None:
    """Calls 101, which rings out; the voicemail answers; the caller hangs up after 1 s of it."""
    lane.phone(1, "rings")
    call = lane.calls(VOICEMAIL)
    lane.up(call)
    time.sleep(1)
    lane.hand(call).hang_up()


def recorded(lane: Lane) -> None:
    """Calls 101 on a line that is recorded (MixMonitor); answered; 2 s; the caller hangs up."""
    phone, call = lane.phone(1), lane.calls(RECORDED)
    lane.up(call, phone)
    lane.talk(2)
    lane.hand(call).hang_up()


def forwarded(lane: Lane) -> None:
    """Calls a number that is forwarded to a mobile outside, which answers; 2 s; the caller hangs up."""
    phone, call = lane.outside(), lane.calls(FORWARDED)
    lane.up(call, phone)
    lane.talk(2)
    lane.hand(call).hang_up()


def forged(lane: Lane) -> None:
    """Calls 101, who answers; after 1 s three others forge that call's end in their numbers; 2 s; he hangs up."""
    phone, call = lane.phone(1), lane.calls(LINE)
    lane.up(call, phone)
    lane.talk(1)
    uniqueid, channel = lane.uniqueid(0), lane.channel(0)
    lane.forge(f"1\r\n\r\nEvent: Hangup\r\nUniqueid: {uniqueid}\r\nChannel: {channel}")
    lane.forge(f"2\r\n\r\nEvent: Hangup\r\nUniqueid: {uniqueid}\r\n\r\nEvent: Status")
    lane.forge(f"3\r\nUniqueid: {uniqueid}\r\nLinkedid: {uniqueid}")
    lane.talk(2)
    lane.hand(call).hang_up()


ALL: dict[str, Callable[[Lane], None]] = {
    conversation.__name__.replace("_", "-"): conversation
    for conversation in (
        answered,
        missed,
        busy,
        cancelled,
        failed,
        group,
        local_group,
        queue,
        queue_abandoned,
        menu_nobody,
        menu_answered,
        blind_transfer,
        blind_transfer_nobody,
        attended_transfer,
        attended_transfer_sip,
        attended_transfer_cancelled,
        pickup,
        hold,
        park,
        conference,
        outbound,
        outbound_busy,
        outbound_unanswered,
        outbound_cancelled,
        internal,
        click,
        click_ignored,
        voicemail,
        recorded,
        forwarded,
        forged,
    )
}


def have(name: str, lane: Lane) -> None:
    """Have a conversation take place, to its end."""
    ALL[name](lane)
    lane.over()
