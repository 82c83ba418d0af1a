"""A manager connection of the tests' own: asks Asterisk for what a phone cannot, and keeps every byte it says."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.pbx.waiting import PATIENCE

Event = dict[str, str]
SECRET = "for-the-tests"


class Ami:
    """A connection that is logged in. `received` is all it heard, as it came; `events` is the same, in pieces."""

    def __init__(self, port: int, user: str = "tests", *, events: bool = True) -> None:
        self.received = bytearray()
        self.events: list[Event] = []
        self._answers: dict[str, Event] = {}
        self._numbers = itertools.count(1)
        self._heard = threading.Condition()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.ask("Login", Username=user, Secret=SECRET, Events="on" if events else "off")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def ask(self, action: str, **headers: str) -> Event:
        """Send an action; return the response. Raises RuntimeError when it is an error, TimeoutError without one."""
        return self.send(action, list(headers.items()))

    def send(self, action: str, headers: list[tuple[str, str]]) -> Event:
        """Send an action whose headers may come more than once, as `ask` does."""
        number = str(next(self._numbers))
        lines = [("Action", action), ("ActionID", number), *headers]
        text = "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
        self._socket.sendall(text.encode())
        with self._heard:
            if not self._heard.wait_for(lambda: number in self._answers, PATIENCE):
                raise TimeoutError(f"no response to {action}")
            answer = self._answers.pop(number)
        if answer.get("Response") == "Error":
            raise RuntimeError(f"{action}: {answer.get('Message')}")
        return answer

    def until(self, wanted: Callable[[Event], object], seconds: float = PATIENCE, *, since: int = 0) -> Event:
        """Return the first event that is wanted, of those from number `since` on. Raises TimeoutError."""
        found: list[Event] = []

        def heard() -> bool:
            nonlocal since
            while since < len(self.events) and not found:
                if wanted(self.events[since]):
                    found.append(self.events[since])
                since += 1
            return bool(found)

        with self._heard:
            if not self._heard.wait_for(heard, seconds):
                raise TimeoutError(
                    f"not heard within {seconds} s; last: {[e.get('Event') for e in self.events[-20:]]}"
                )
        return found[0]

    def _listen(self) -> None:
        rest = b""
        while True:
            try:
                chunk = self._socket.recv(65536)
            except OSError:
                return
            if not chunk:
                return
            with self._heard:
                self.received += chunk
                *blocks, rest = (rest + chunk).split(b"\r\n\r\n")
                for block in blocks:
                    self._take(parse(block.decode("utf-8", "replace")))
                self._heard.notify_all()

    def _take(self, message: Event) -> None:
        if "Response" in message:
            self._answers[message.get("ActionID", "")] = message
        else:
            self.events.append(message)


def parse(block: str) -> Event:
    """Return the headers of one message; of a header that comes twice, the first."""
    message: Event = {}
    for line in block.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            message.setdefault(name, value.removeprefix(" "))
    return message
