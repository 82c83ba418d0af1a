"""AMI's bytes into messages: pure, no I/O.

Invariant: whatever comes, in chunks cut anywhere, each message is read once, whole and in order; memory is bounded by
LONGEST; and nothing raises. What a caller chose (an encoded newline in the user part of his From ends up raw in
CallerIDNum) can add headers to a message or cut it in two: of a header that comes twice nobody knows which is
Asterisk's, so both are left out (but for those that it writes before anything a caller chose); and what does not begin
as Asterisk's messages do is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

LONGEST: Final = 64 * 1024  # bytes of a message; Asterisk's longest is some 2 kB
LONGEST_GREETING: Final = 100
MOST_HEADERS: Final = 1000  # ListCommands has one for each of some 200 actions
GREETING: Final = "Asterisk Call Manager/"

_END: Final = b"\r\n\r\n"
_FIRST: Final = frozenset({"Event", "Response", "Privilege", "ActionID"})  # written before what callers chose
_REPEATED: Final = "ChanVariable"  # Asterisk writes one for each variable of manager.conf's channelvars

Message = dict[
    str, str
]  # headers as Asterisk spells them; the first is Event or Response, and says what it is


class Reader:
    """Reads one connection. `odd` is told of what no Asterisk sends."""

    def __init__(self, odd: Callable[[str], None]) -> None:
        self._odd = odd
        self._buffer = bytearray()
        self._searched = 0  # bytes of it that hold no end of a message
        self._skipping = False  # up to the end of a message that is too long
        self.greeting: str | None = None  # None: not there yet; what is not Asterisk's is there, too

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now."""
        buffer = self._buffer
        buffer += data
        if self.greeting is None and not self._greeted():
            return
        while True:
            end = buffer.find(_END, max(0, self._searched - len(_END) + 1))
            if end < 0:
                break
            block = bytes(buffer[:end])
            del buffer[: end + len(_END)]
            self._searched = 0
            if self._skipping:
                self._skipping = False
            elif message := self._message(block):
                yield message
        self._searched = len(buffer)
        if len(buffer) > LONGEST:
            if not self._skipping:
                self._odd("message too long")
            self._skipping = True
            del buffer[: -len(_END)]
            self._searched = 0

    def _greeted(self) -> bool:
        """Take the first line, if it is there."""
        end = self._buffer.find(b"\r\n", 0, LONGEST_GREETING)
        if end < 0 and len(self._buffer) < LONGEST_GREETING:
            return False
        line = bytes(self._buffer[: end if end >= 0 else LONGEST_GREETING])
        del self._buffer[: end + 2 if end >= 0 else LONGEST_GREETING]
        self.greeting = line.decode("utf-8", "replace")
        return True

    def _message(self, block: bytes) -> Message | None:
        message: Message = {}
        twice: set[str] = set()
        lines = block.decode("utf-8", "replace").lstrip("\r\n").split("\r\n")
        if not lines[0].startswith(("Event: ", "Response: ")):
            self._odd("no message")
            return None
        if len(lines) > MOST_HEADERS:
            self._odd("too many headers")
            return None
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                self._odd("no header")
            elif name not in message:
                message[name] = value[1:] if value[:1] == " " else value
            elif not name.endswith(_REPEATED):
                twice.add(name)
        if twice:
            self._odd("header twice")
            for name in twice - _FIRST:
                del message[name]
        return message
