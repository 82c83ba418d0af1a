"""A telephone's hands: what its user does in the middle of a call that SIPp holds for it.

SIPp follows its script; what a test decides while the call goes on (hold, transfer, hang up) is sent here, in the same
dialog (RFC 3261 section 12), from another port of the telephone's address.
"""

from __future__ import annotations

import itertools
import re
import secrets
import socket
from urllib.parse import quote

from tests.pbx.sipp import Message, Party

_sequence = itertools.count(50)  # above whatever SIPp numbered


class Dialog:
    """The call that a party is in, from its messages: it must have been answered."""

    def __init__(self, party: Party, address: str, server: tuple[str, int]) -> None:
        self._address = address
        self._server = server
        messages = party.messages()
        invite = next(message for message in messages if message.start.startswith("INVITE "))
        self.call_id = invite.header("Call-ID")
        answer = next(message for message in messages if _answers(message, invite))
        theirs, ours = answer.header("To"), answer.header("From")
        self.called = not invite.sent  # it was rung, and did not dial
        self._local, self._remote = (theirs, ours) if self.called else (ours, theirs)
        theirs_at, ours_at = (invite, answer) if self.called else (answer, invite)
        self._target = theirs_at.header("Contact").partition("<")[2].partition(">")[0]
        self._contact = ours_at.header("Contact")  # SIPp's: what the other side begins must go there

    def hang_up(self) -> None:
        """Say goodbye."""
        self._request("BYE")

    def hold(self) -> None:
        """Put the other side on hold."""
        self._request("INVITE", sdp=_sdp(self._address, "sendonly"))

    def resume(self) -> None:
        """Take it back."""
        self._request("INVITE", sdp=_sdp(self._address, "sendrecv"))

    def refer(self, number: str, replacing: Dialog | None = None) -> int:
        """Transfer the other side to a number: blindly, or to the party of another call of this phone (RFC 3891)."""
        host = f"{self._server[0]}:{self._server[1]}"
        target = f"sip:{number}@{host}"
        if replacing is not None:
            target += "?Replaces=" + quote(
                f"{replacing.call_id};to-tag={_tag(replacing._remote)};from-tag={_tag(replacing._local)}",
                safe="",
            )
        return self._request("REFER", f"Refer-To: <{target}>", f"Referred-By: <sip:phone@{host}>")

    def _request(self, method: str, *headers: str, sdp: str = "") -> int:
        """Send a request and wait for its final answer; return its status. Raises TimeoutError."""
        number = next(_sequence)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.bind((self._address, 0))
            wire.settimeout(1)
            text = self._text(method, number, wire.getsockname()[1], *headers, sdp=sdp)
            for _ in range(10):
                wire.sendto(text, self._server)
                status = _final(wire)
                if status:
                    break
            else:
                raise TimeoutError(f"no answer to {method}")
            if method == "INVITE":
                wire.sendto(self._text("ACK", number, wire.getsockname()[1]), self._server)
        return status

    def _text(self, method: str, number: int, port: int, *headers: str, sdp: str = "") -> bytes:
        lines = [
            f"{method} {self._target} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._address}:{port};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: {self._local}",
            f"To: {self._remote}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {number} {method}",
            f"Contact: {self._contact}",
            *headers,
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + sdp).encode()


def _answers(message: Message, invite: Message) -> bool:
    return message.status == 200 and message.header("CSeq") == invite.header("CSeq")


def _tag(address: str) -> str:
    found = re.search(r";tag=([^;>\s]+)", address)
    assert found, address
    return found.group(1)


def _sdp(address: str, direction: str) -> str:
    lines = ["v=0", "o=- 1 2 IN IP4 " + address, "s=-", "c=IN IP4 " + address, "t=0 0", "m=audio 9 RTP/AVP 0"]
    return "\r\n".join([*lines, "a=rtpmap:0 PCMU/8000", f"a={direction}", ""])


def _final(wire: socket.socket) -> int:
    """Return the status of the final answer, 0 when none came in time."""
    while True:
        try:
            text = wire.recv(65536).decode("utf-8", "replace")
        except TimeoutError:
            return 0
        if text.startswith("SIP/2.0 ") and int(text.split()[1]) >= 200:
            return int(text.split()[1])
