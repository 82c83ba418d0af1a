"""Callers who lie in their numbers: an encoded line break becomes header lines, whole events even, on the AMI.

Asterisk 22 keeps 79 bytes of a number. What they do to the record of their own call is theirs to suffer; every other
call is on record as if they had never called.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk
from tests.pbx.company import company
from tests.pbx.conversations import LINE
from tests.pbx.expected import Said, differences, missed
from tests.pbx.sipp import Sipp
from tests.pbx.test_weather import Callers

pytestmark = pytest.mark.slow

# {uniqueid} and {channel} are a victim's
LIES = (
    "\r\n\r\nEvent: Hangup\r\nUniqueid: {uniqueid}\r\nChannel: {channel}\r\n\r\n",
    "\r\n\r\nEvent: Hangup\r\nChannel: {channel}\r\nUniqueid: {uniqueid}",
    "\r\nUniqueid: {uniqueid}\r\nChannel: {channel}",
    "\r\nLinkedid: {uniqueid}",
    "\r\n\r\nEvent: DialEnd\r\nDestUniqueid: {uniqueid}\r\nDialStatus: BUSY",
    "\r\n\r\nEvent: BridgeLeave\r\nUniqueid: {uniqueid}\r\n\r\n",
    "\r\n\r\nEvent: Rename\r\nUniqueid: {uniqueid}\r\nNewname: A/b-1\r\n\r\n",
    "\r\n\r\nEvent: Newchannel\r\nUniqueid: 1.1\r\nLinkedid: 1.1\r\nChannel: A/b-1",
    "\r\n\r\nEvent: Shutdown\r\nShutdown: Cleanly\r\n\r\n",
    "\r\n\r\nEvent: FullyBooted\r\nStatus: Fully Booted\r\n\r\n",
    "\r\n\r\nResponse: Goodbye\r\nActionID: 1\r\n\r\n",
    "\r\n\r\nEvent: CoreShowChannelsComplete\r\nEventList: Complete\r\n\r\n",
    "\r\n\r\nEvent: QueueCallerAbandon\r\nQueue: sales\r\nUniqueid: {uniqueid}",
    "\u2028\x85\r\rEvent: Hangup\nUniqueid: {uniqueid}",
)


def test_nobody_forges_the_record_of_another(
    asterisk: Asterisk, sipp: Sipp, ami: Ami, ports: dict[str, int], tmp_path: Path
) -> None:
    callers = Callers(sipp, ami)
    try:
        with company(tmp_path, asterisk, ports["AMI"]) as ours:
            talking, ringing = callers("through"), callers("queued")
            began = time.monotonic()
            phone, call = talking.phone(1), talking.calls(LINE)
            talking.up(call, phone)
            since = time.monotonic()
            asterisk.set_global("RINGS", "10")
            ringing_phone = ringing.phone(1, "rings")
            waiting = ringing.calls(LINE)
            ringing_phone.invite()
            signed_in = ours.signed_in()
            for index, lie in enumerate(LIES):
                lane, seat = ((talking, 0), (talking, 1), (ringing, 1))[index % 3]
                talking.forge(
                    f"{index}" + lie.format(uniqueid=lane.uniqueid(seat), channel=lane.channel(seat))
                )
            spoken = time.monotonic() - since
            talking.hand(call).hang_up()
            talking.over()
            least_and_most = (spoken, time.monotonic() - began)
            waiting.wait()
            asterisk.wait_for_no_channel()
            ours.settled(len(LIES) + 2, but="ended")
            table = {
                "through": Said(seconds=least_and_most),
                "queued": missed("no answer", "Missed", "no answer"),
            }
            assert not differences(ours, table)
            assert len(ours.ostiary.rows("SELECT 1 FROM calls WHERE part_of = ''")) == len(LIES) + 2
            assert ours.signed_in() == signed_in, "a lie ended the connection"
            assert not ours.ostiary.rows("SELECT 1 FROM live_calls"), "something invented goes on for ever"
    finally:
        asterisk.set_global("RINGS", "3")
        callers.end()
