"""SIPp as trunk and as telephones, and what went over the wire."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.pbx.asterisk import dying_with_us
from tests.pbx.waiting import PATIENCE
from tests.ports import UDP, free_port

SCENARIOS = Path(__file__).parent / "scenarios"
FATAL = 254  # and 255 are SIPp's exit codes when something else than a call fails
LONGEST = 90  # seconds after which SIPp ends, whatever happens: no call of these tests takes longer

_ENTRY = re.compile(r"^-{10,}[^\n]*\nUDP message (sent|received) [\[(]\d+\]? bytes\)? ?:\n\n", re.MULTILINE)
_NAME_ADDR = re.compile(r'(?:"((?:[^"\\]|\\.)*)"\s*)?<([^>]*)>')


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message as it went over the wire."""

    sent: bool  # by SIPp
    text: str

    @property
    def start(self) -> str:
        """Return the request or status line."""
        return self.text.partition("\n")[0].rstrip("\r")

    @property
    def status(self) -> int:
        """Return the status code, 0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    def header(self, name: str) -> str:
        """Return the first header of that name, '' without one."""
        found = re.search(rf"^{re.escape(name)}\s*:[ \t]*(.*?)\r?$", self.text, re.MULTILINE | re.IGNORECASE)
        return found.group(1) if found else ""

    def display_name(self, header: str = "From") -> str:
        """Return the display name in an address header, its quoted pairs undone (RFC 3261 section 25.1)."""
        found = _NAME_ADDR.match(self.header(header))
        assert found, f"no address in {header}: {self.header(header)!r}"
        return re.sub(r"\\(.)", r"\1", found.group(1) or "")


class Party:
    """One SIPp process: a caller or a telephone."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._trace = folder / "messages"
        environment = {**os.environ, "TERM": "dumb"}
        with (folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                dying_with_us(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def messages(self) -> list[Message]:
        """Return everything sent and received so far."""
        if not self._trace.exists():
            return []
        parts = _ENTRY.split(self._trace.read_text("utf-8", "surrogateescape"))
        return [Message(kind == "sent", text) for kind, text in zip(parts[1::2], parts[2::2], strict=True)]

    def received(self) -> list[Message]:
        """Return everything received so far."""
        return [message for message in self.messages() if not message.sent]

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait for the end of the call. Raises subprocess.TimeoutExpired, and RuntimeError where it never began."""
        if self._process.wait(seconds) >= FATAL:
            raise RuntimeError(
                f"{self.name} was not made: {(self._trace.parent / 'output').read_text()[:1000]}"
            )

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()

    def await_message(self, start: str, seconds: float = PATIENCE) -> Message:
        """Return the first message received whose first line begins so. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.received():
                if message.start.startswith(start):
                    return message
            if time.monotonic() > deadline:
                seen = [message.start for message in self.messages()]
                raise TimeoutError(f"{self.name} received no {start} within {seconds} s, but {seen}")
            time.sleep(0.02)


class Phone(Party):
    """A telephone of ours."""

    def invite(self, seconds: float = PATIENCE) -> Message:
        """Return the INVITE that made it ring."""
        return self.await_message("INVITE ", seconds)

    def rang(self) -> bool:
        """Return whether it was ever asked to ring."""
        return any(message.start.startswith("INVITE ") for message in self.received())


class Call(Party):
    """A call made by SIPp."""

    def final(self, seconds: float = PATIENCE) -> Message:
        """Return the final answer to the INVITE, waiting for it. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.received():
                if message.status >= 200 and message.header("CSeq").endswith("INVITE"):
                    return message
            if time.monotonic() > deadline:
                seen = [message.start for message in self.messages()]
                raise TimeoutError(f"no final answer within {seconds} s, but {seen}")
            time.sleep(0.02)

    def status(self, seconds: float = PATIENCE) -> int:
        """Return the final status of the INVITE, waiting for it and for the end of the call."""
        code = self.final(seconds).status
        self.wait(seconds)
        return code


class Sipp:
    """Starts parties and ends them all."""

    def __init__(self, folder: Path, server: tuple[str, int], phones: dict[str, tuple[str, int]]) -> None:
        self._folder = folder
        self.server = server
        self._phones = phones
        self._parties: list[Party] = []

    def call(
        self,
        did: str,
        *,
        number: str = "anonymous",
        name: str = "",
        sender: str = "",
        headers: tuple[str, ...] = (),
        address: str = "127.0.0.1",
        port: int = 0,
        hold: float = 5,
        scenario: str = "caller",
        media: int = 9,
    ) -> Call:
        """Call `did`; hang up `hold` seconds after the answer.

        `number` and `name` stand in From, or `sender` does as a whole. The trunk calls from 127.0.0.1, a phone from
        its own `address`; `media` is the port on which the caller listens.
        """
        display = f'"{name}" ' if name else ""
        values = {
            "TO": did,
            "FROM": sender or f"{display}<sip:{number}@{address}>",
            "HOLD": str(int(hold * 1000)),
            "HEADERS": "".join("\n      " + header for header in headers),
            "MEDIA": str(media),
        }
        folder, command = self._prepare(scenario, values, address, port or free_port(address, UDP))
        call = Call(f"the call to {did}", [*command, f"{self.server[0]}:{self.server[1]}"], folder)
        self._parties.append(call)
        return call

    def phone(
        self, extension: str, scenario: str = "answers", *, hold: float = 5, rings: float = 0.05
    ) -> Phone:
        """Switch on the phone of an extension: it `answers`, `rings` unheard, or is `busy`; back when it listens.

        It answers after `rings` seconds, and hangs up `hold` seconds later.
        """
        address, port = self._phones[extension]
        folder, command = self._prepare(
            scenario, {"HOLD": str(int(hold * 1000)), "RINGS": str(int(rings * 1000))}, address, port
        )
        phone = Phone(f"phone {extension}", command, folder)
        self._parties.append(phone)
        _await_port(address, port)
        return phone

    def message(self, to: str, body: str, *, sender: str, address: str = "127.0.0.1") -> Call:
        """Send a MESSAGE; `sender` stands in From as it is, as `body` does (SIPp reads square brackets itself)."""
        values = {"TO": to, "FROM": sender, "BODY": body}
        folder, command = self._prepare("message", values, address, free_port(address, UDP))
        sent = Call(f"the message to {to}", [*command, f"{self.server[0]}:{self.server[1]}"], folder)
        self._parties.append(sent)
        return sent

    def flood(self, did: str, *, number: str, rate: int, calls: int) -> subprocess.CompletedProcess[bytes]:
        """Make `calls` calls at `rate` a second; SIPp's exit code is 0 when every one was answered and ended."""
        values = {
            "TO": did,
            "FROM": f"<sip:{number}@127.0.0.1>",
            "HOLD": "60000",
            "HEADERS": "",
            "MEDIA": "9",
        }
        folder, command = self._prepare("answered", values, "127.0.0.1", free_port(kind=UDP), trace=False)
        command[command.index("-m") + 1] = str(calls)
        command += ["-r", str(rate), "-l", str(rate * 10), f"{self.server[0]}:{self.server[1]}"]
        return subprocess.run(
            dying_with_us(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=calls / rate + PATIENCE,
            env={**os.environ, "TERM": "dumb"},
            check=False,
        )

    def another(self, name: str) -> Sipp:
        """Return one whose parties end apart from these."""
        return Sipp(self._folder / name, self.server, self._phones)

    def end(self) -> None:
        """End every party."""
        for party in self._parties:
            party.kill()
        self._parties.clear()

    def _prepare(
        self, scenario: str, values: dict[str, str], address: str, port: int, *, trace: bool = True
    ) -> tuple[Path, list[str]]:
        folder = self._folder / f"sipp-{scenario}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        text = (SCENARIOS / f"{scenario}.xml").read_text()
        (folder / "scenario.xml").write_text(
            re.sub(r"@([A-Z]+)@", lambda match: values[match.group(1)], text)
        )
        command = [
            "sipp",
            "-sf",
            "scenario.xml",
            "-i",
            address,
            "-p",
            str(port),
            "-m",
            "1",
            "-nostdin",
            "-aa",
        ]
        command += ["-timeout", f"{LONGEST}s"]
        if trace:
            command += ["-trace_msg", "-message_file", str(folder / "messages")]
        return folder, command


def _await_port(address: str, port: int, seconds: float = PATIENCE) -> None:
    """Return when somebody listens for UDP there. Raises TimeoutError."""
    wanted = "".join(f"{byte:02X}" for byte in reversed(socket.inet_aton(address))) + f":{port:04X}"
    deadline = time.monotonic() + seconds
    while wanted not in set(_bound()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on {address}:{port}")
        time.sleep(0.01)


def _bound() -> Iterator[str]:
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        yield line.split()[1]
