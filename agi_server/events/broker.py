"""The broker: where it is, and how we sign in, for the publisher and for `ostiary check`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import socket
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from aiomqtt import Client, MqttError, ProtocolVersion, Will
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agi_server.errors import SettingsError
from agi_server.settings import Settings

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0  # that the broker has for each of its answers
KEEP_ALIVE: Final = 15  # seconds; a broker that is silently gone is found out within twice that
IN_FLIGHT: Final = 10  # messages not yet confirmed: what brokers take at least (Receive Maximum)
MOST_WAITING: Final = 100  # messages that came in and wait to be read

# For the libraries: whoever uses the connection says what they would log.
_SILENT = logging.getLogger("agi_server.mqtt")
_SILENT.disabled = True


class Connection(Client):
    """aiomqtt's client, which also says what the broker refused and lets go of a socket when signing in fails.

    `refused` counts messages the broker confirmed as refused (MQTT 5.0, 3.4.2.1: it lacks the right, or room),
    `refusal` is why; `unread` counts messages that came in too quickly.
    """

    def __init__(self, host: str, port: int, **options: Any) -> None:  # noqa: ANN401  # as Client takes them
        super().__init__(host, port, **options)
        self.refused = 0
        self.refusal = ""
        self.unread = 0
        self._given_up = False
        for outcome in (self._connected, self._disconnected):
            outcome.add_done_callback(_looked_at)

    async def __aenter__(self) -> Self:
        """Sign in; raises MqttError or OSError."""
        try:
            return await super().__aenter__()
        except BaseException:
            self._given_up = True  # a thread may still be connecting
            self._client.disconnect()
            raise

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109  # as in Client
        """Wait as Client does, but lose no cancellation: wait_for() of Python 3.11 may."""
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise MqttError("Operation timed out") from None

    def _on_socket_open(self, client: PahoClient, userdata: Any, sock: Any) -> None:  # noqa: ANN401
        if self._given_up:
            raise ConnectionAbortedError
        super()._on_socket_open(client, userdata, sock)

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,  # noqa: ANN401  # as in Client
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self._given_up:
            return
        if self._connected.done():
            super()._on_disconnect(client, userdata, flags, reason_code, properties)
        else:  # Client would wait on for the answer
            self._connected.set_exception(MqttError("it closed the connection without an answer"))

    def _on_publish(
        self,
        client: PahoClient,
        userdata: Any,  # noqa: ANN401  # as in Client
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        if reason_code.is_failure:
            self.refused += 1
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_message(self, client: PahoClient, userdata: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        if self._queue.full():
            self.unread += 1
        else:
            super()._on_message(client, userdata, message)


def _looked_at(outcome: asyncio.Future[None]) -> None:
    """Keep asyncio from complaining of an error that another one came before."""
    if not outcome.cancelled():
        outcome.exception()


def where(settings: Settings) -> tuple[str, int]:
    """Return host and port of `mqtt.url`."""
    parts = urlsplit(settings.mqtt.url.get_secret_value())
    assert parts.hostname is not None  # the settings take no URL without
    return parts.hostname, parts.port or {"mqtt": 1883, "mqtts": 8883}[parts.scheme]


async def connection(
    settings: Settings,
    *,
    purpose: str = "",
    will: Will | None = None,
    session_seconds: int = 0,
    answer_seconds: float,
) -> Connection:
    """Return a connection to sign in with (`async with`). Raises SettingsError for a wrong `mqtt.ca_file`.

    `purpose` sets it apart from the publisher: of two with one name, the broker throws the elder out.
    The broker has `answer_seconds` for each of its answers. `session_seconds` is how long it keeps what comes
    for us while we are away; 0: not at all.
    """
    parts = urlsplit(settings.mqtt.url.get_secret_value())
    return Connection(
        *where(settings),
        identifier=client_id(settings.storage.state_directory) + (f"-{purpose}" if purpose else ""),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls_context=await asyncio.to_thread(_tls, settings.mqtt.ca_file) if parts.scheme == "mqtts" else None,
        protocol=ProtocolVersion.V5,
        clean_start=session_seconds == 0,
        properties=properties(PacketTypes.CONNECT, SessionExpiryInterval=session_seconds),
        will=will,
        keepalive=KEEP_ALIVE,
        timeout=answer_seconds,
        max_inflight_messages=IN_FLIGHT,
        max_queued_incoming_messages=MOST_WAITING,
        logger=_SILENT,
    )


def properties(packet: int, **values: object) -> Properties:
    """Return MQTT 5 properties of a packet (PacketTypes) by their names; raises MQTTException for a wrong value."""
    made = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def client_id(state_directory: Path) -> str:
    """Return our name at the broker: stable, and another for each machine and state directory."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]
    digest = hashlib.sha256(str(state_directory.absolute()).encode()).hexdigest()
    return f"ostiary-{host}-{digest[:8]}"


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError, too
        raise SettingsError(
            f"mqtt.ca_file: {ca_file} cannot be used ({error.strerror or error}); "
            "expected a PEM file with the certificate of the authority that signed the broker's"
        ) from error
