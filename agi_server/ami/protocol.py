"""One connection to Asterisk's manager interface: panoramisk's protocol without its traps.

Invariant: an action is written once and settled once, by its own answer or by the end of the connection; it is never
sent again. An event ends nothing: that Asterisk shuts down is believed when the connection ends. What is no item of a
list we asked for is an event only with the class (`Privilege`) that Asterisk gives each: there is little room for it
in what a caller can make up.

panoramisk writes actions and reads answers. What is done here instead: taking the bytes apart (its own decodes each
chunk alone, loses characters at the borders and keeps what never ends), who ends a connection (its own believes an
`Event: Shutdown` that a caller may have made up), and the end (its own sends again what was not answered: a call
would be dialled twice).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol
from panoramisk.message import Message

from agi_server.ami.parsing import GREETING, Reader
from agi_server.errors import LocalProtocolError, PbxDown

MOST_ITEMS: Final = 100_000  # of a list: more channels than any Asterisk has

_BREAKS: Final = ("\r", "\n", "\0")


class Answer(NamedTuple):
    """What an action was answered: the response, of a list its items, and how many Asterisk says there are ('')."""

    response: Message
    items: list[dict[str, str]]
    counted: str = ""


class Order(Action):  # type: ignore[misc]  # panoramisk has no types
    """An action and its answer to come.

    A list ends by the event that is named so: headers may be a caller's, who is on the list himself. Messages are taken
    as they are spelt, for panoramisk's own make no difference between `Event` and `event`.
    """

    def add(self, message: dict[str, str]) -> None:
        """Take the next message with our id."""
        if not self.responses:
            self.responses.append(Message(message))
            if message.get("EventList", "").lower() == "start":
                self.items: list[dict[str, str]] = []
            else:
                self._settle(Answer(self.responses[0], []))
        elif message.get("Event") == f"{self['action']}Complete" or len(self.items) == MOST_ITEMS:
            self._settle(Answer(self.responses[0], self.items, message.get("ListItems", "")))
        else:
            self.items.append(message)

    def _settle(self, answer: Answer) -> None:
        if not self.future.done():
            self.future.set_result(answer)


class Protocol(AMIProtocol):  # type: ignore[misc]  # panoramisk has no types
    """Calls `hear` with each event and `odd` with each oddity; `lost` is done when the connection has ended."""

    def __init__(self, hear: Callable[[Mapping[str, str]], None], odd: Callable[[str], None]) -> None:
        self._hear = hear
        self._odd = odd
        self._reader = Reader(odd)
        self.encoding = "utf-8"
        loop = asyncio.get_running_loop()
        self.heard_at = loop.time()  # when something last came
        self.greeted: asyncio.Future[str] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.heard_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        """Take what came apart."""
        self.heard_at = asyncio.get_running_loop().time()
        for message in self._reader.feed(data):
            self._take(message)
        greeting = self._reader.greeting
        if greeting is not None and not self.greeted.done():
            self.greeted.set_result(greeting)
        if greeting is not None and not greeting.startswith(GREETING):
            self.close()

    def _take(self, message: dict[str, str]) -> None:
        order = self.responses.get(message.get("ActionID", ""))
        is_response = next(iter(message)) == "Response"
        # an answer and an event of its id may come at once
        if order is not None and not order.future.done() and (is_response or order.responses):
            order.add(message)
        elif is_response:
            self._odd("answer to no question")
        elif "Privilege" in message:
            self._hear(message)
        else:
            self._odd("event of no class")

    def order(self, action: Mapping[str, Any]) -> asyncio.Future[Answer]:
        """Write an action; return its answer to come. Raises LocalProtocolError, PbxDown (not sent)."""
        for name, value in action.items():
            for text in value if isinstance(value, list | tuple) else (value,):
                if any(character in f"{name}{text}" for character in _BREAKS):
                    raise LocalProtocolError(f"AMI: {name} of an action holds a line break")
        order = Order(action)
        try:
            data = str(order).encode()
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"AMI: an action is not text: {error.reason}") from None
        if self.closed or self.transport.is_closing():
            raise PbxDown("the connection has ended")
        self.responses[order.id] = order
        order.future.add_done_callback(lambda _: self.responses.pop(order.id, None))
        self.transport.write(data)
        return cast("asyncio.Future[Answer]", order.future)

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what waits for an answer."""
        self.closed = True
        self.transport.close()
        reason = f"the connection broke ({exc})" if exc else "it closed the connection"
        for order in list(self.responses.values()):
            if not order.future.done():
                order.future.set_exception(PbxDown(reason, sent=True))
        self.responses.clear()
        if not self.lost.done():
            self.lost.set_result(None)
        if not self.greeted.done():
            self.greeted.set_exception(PbxDown(reason))
            self.greeted.exception()  # whether or not anybody waits for it

    def close(self) -> None:
        """End it, whatever waits."""
        self.closed = True
        self.transport.abort()
