"""One AGI dialogue without I/O: bytes in, events out.

1. Nothing in this module reads a clock, a socket or a setting; limits are numbers.
2. Every buffer has a bound; passing it is the peer's fault (RemoteProtocolError).
3. A caller can put newlines into the environment block (an encoded newline in a SIP user part), and with them
   lines of his own. So a line ends at LF only, the first occurrence of a key wins, what has arrived behind
   the empty line is thrown away, and from then on only a line in the form of a reply counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from agi_server.errors import RemoteProtocolError

_VARIABLE = re.compile(r"^agi_(\w+): ?(.*)", re.MULTILINE | re.ASCII)  # `^` and `.` know no line end but LF
_URL = re.compile(r"h?agi://[^/]*/?(.*)", re.IGNORECASE | re.DOTALL)
_RESULT = re.compile(r"200 result=(\S*)(?: \((.*)\))?(?: endpos=(\d+))?")  # greedy: up to the last bracket
_REFUSAL = re.compile(r"(510|511|520)([ -])(.*)")


@dataclass(frozen=True, slots=True)
class AgiRequest:
    """What a PBX asks: the script, and where its arguments may stand.

    `env` is the environment block without the `agi_` of its keys; `args` are `agi_arg_1` and what follows.
    Every value is as it was sent, and most may be chosen by the caller. `since` is the monotonic time, in s, at
    which its connection came in: `fastagi.deadline` runs from there.
    """

    script: str
    query: Mapping[str, str]
    env: Mapping[str, str]
    args: tuple[str, ...] = ()
    since: float = 0.0

    def get(self, key: str, *env_keys: str, position: int | None = None) -> str:
        """Return the first that is not empty of: query value, positional argument (from 1), environment, "".

        Asterisk writes `unknown` where it has nothing to say: in the environment that is empty.
        """
        if value := self.query.get(key):
            return value
        if position is not None and len(self.args) >= position and (value := self.args[position - 1]):
            return value
        for env_key in env_keys:
            if (value := self.env.get(env_key)) and value != "unknown":
                return value
        return ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The PBX's reply to one command.

    `200 result=<result> (<data>) endpos=<endpos>`; 510, 511 and 520 have no result, and their text as data.
    """

    code: int
    result: str
    data: str | None = None
    endpos: int | None = None

    @property
    def good(self) -> bool:
        """False when the command did not run: refused, no such application (-2), failed (-1)."""
        return self.code == 200 and not self.result.startswith("-")


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller hung up, or the PBX ended the dialogue: it sends the same bare line for both."""


Event = AgiRequest | Reply | HungUp


class Dialogue:
    """The PBX's half of one dialogue: first an environment block, then replies.

    Lines and the block are bounded in bytes and lines; `max_bytes` bounds the block, and all that follows it.
    """

    __slots__ = (
        "_buffer",
        "_in_block",
        "_max_bytes",
        "_max_line",
        "_max_lines",
        "_received",
        "_since",
        "_usage",
    )

    def __init__(
        self, *, max_line: int = 4096, max_lines: int = 200, max_bytes: int = 65536, since: float = 0.0
    ) -> None:
        self._since = since  # for the request
        self._max_line = max_line
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._in_block = True
        self._received = 0  # bytes behind the block
        self._usage: list[str] | None = None  # lines of a 520 that is not over

    @property
    def pending(self) -> int:
        """Bytes received that make no whole block or line yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> Sequence[Event]:
        """Return the events that `data` completes. Raises RemoteProtocolError; the dialogue is then over."""
        if not self._in_block:
            return self._receive_replies(data)
        # Asterisk writes the block line by line, so this runs about twenty times a call, mostly in vain.
        buffer = self._buffer
        seam = max(len(buffer) - 2, 0)
        buffer += data
        end = buffer.find(b"\n\n", seam)
        other = buffer.find(b"\n\r\n", seam)
        if other >= 0:
            end = other if end < 0 else min(end, other)
        if end < 0:
            if len(buffer) > self._max_line:
                self._bound_block(len(buffer))
            return ()
        self._bound_block(end + 1)
        block = buffer[:end].decode("utf-8", "replace")
        buffer.clear()
        self._in_block = False
        return (parse_block(block, self._since),)

    def receive_eof(self) -> Sequence[Event]:
        """Return what the end of the stream completes. Raises RemoteProtocolError for an unfinished block."""
        if self._in_block and self._buffer:
            raise RemoteProtocolError(f"closed inside the environment block, after {self.pending} bytes")
        if self._usage is not None:
            usage, self._usage = self._usage, None
            return (Reply(520, "", "\n".join(usage)),)
        return ()

    def _bound_block(self, end: int) -> None:
        """Raise RemoteProtocolError when the block, which reaches to `end` so far, is too long."""
        if self._buffer.count(b"\n", 0, end) > self._max_lines:
            raise RemoteProtocolError(f"an environment block of more than {self._max_lines} lines")
        if end > self._max_bytes:
            raise RemoteProtocolError(f"an environment block of more than {self._max_bytes} bytes")
        if end > self._max_line and max(map(len, self._buffer[:end].split(b"\n"))) > self._max_line:
            raise RemoteProtocolError(f"a line of more than {self._max_line} bytes in the environment block")

    def _receive_replies(self, data: bytes) -> list[Event]:
        self._received += len(data)
        if self._received > self._max_bytes:
            raise RemoteProtocolError(f"more than {self._max_bytes} bytes behind the environment block")
        *lines, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest
        if len(rest) > self._max_line:
            raise RemoteProtocolError(f"a reply line of more than {self._max_line} bytes")
        return [event for line in lines if (event := self._reply(line)) is not None]

    def _reply(self, line: bytearray) -> Event | None:
        """Read one line behind the block; whatever has not the form of a reply says nothing."""
        text = line.decode("utf-8", "replace").removesuffix("\r")
        if text == "HANGUP":
            return HungUp()
        if self._usage is not None:
            self._usage.append(text)
            if not text.startswith("520 "):
                return None
            usage, self._usage = self._usage, None
            return Reply(520, "", "\n".join(usage))
        if found := _RESULT.match(text):
            result, data, endpos = found.groups()
            return Reply(200, result, data, None if endpos is None else int(endpos[:18]))
        if found := _REFUSAL.match(text):
            code, dash, data = found.groups()
            if code == "520" and dash == "-":
                self._usage = [data]
                return None
            return Reply(int(code), "", data)
        return None  # an empty line, `100 Trying`, what a caller put behind an early end of the block


def parse_block(block: str, since: float = 0.0) -> AgiRequest:
    """Read a whole environment block, without the empty line that ends it; its connection came in at `since`.

    Lines that are not `agi_key: value` are ignored. Raises RemoteProtocolError when there is no other.
    """
    if "\r\n" in block or block.endswith("\r"):
        block = block.replace("\r\n", "\n").removesuffix("\r")
    pairs = _VARIABLE.findall(block)
    env: dict[str, str] = dict(pairs)
    if len(env) != len(pairs):
        env = {}
        for key, value in pairs:
            env.setdefault(key, value)
    if not env:
        raise RemoteProtocolError("no agi_… line in the environment block: this is not a PBX")
    script, _, query = _target(env).partition("?")
    arguments: list[str] = []
    while (argument := env.get(f"arg_{len(arguments) + 1}")) is not None:
        arguments.append(argument)
    return AgiRequest(unquote(script).strip("/"), _parse_query(query), env, tuple(arguments), since)


def _target(env: Mapping[str, str]) -> str:
    """Return path and query of the URL.

    Asterisk writes agi_network_script (if there is a path) before agi_request, and both before anything
    that a caller can choose: the first of the two is Asterisk's own, a later one may be a caller's.
    """
    for key, value in env.items():
        if key == "network_script":
            return value
        if key == "request" and (found := _URL.match(value)):
            return str(found[1])
    return ""


def _parse_query(query: str) -> Mapping[str, str]:
    """Read `key=value&…`; the first occurrence of a key wins.

    URIENCODE() writes a space as `+` and a plus as `%2B`, a plain ${CALLERID(num)} begins with a plus: so a
    plus is itself at the beginning of a value, and a space behind that.
    """
    values: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if "+" in value:
            value = value[0] + value[1:].replace("+", " ")
        values.setdefault(unquote(key), unquote(value) if "%" in value else value)
    return values
