"""Checks that talk to others: the running server, Asterisk's manager interface, the MQTT broker.

Every conversation ends within DEADLINE seconds, whatever the other side does.
"""

from __future__ import annotations

import asyncio
import logging
from http.client import HTTPConnection, HTTPException

from agi_server import __version__
from agi_server.cli.finding import Finding, Verdict
from agi_server.errors import OstiaryError, SettingsError
from agi_server.fastagi.client import ask
from agi_server.fastagi.sockets import reach
from agi_server.scripts import variables
from agi_server.settings import Settings

DEADLINE = 5.0  # seconds

# For the libraries: a Finding says what they would log.
_SILENT = logging.getLogger("agi_server.check")
_SILENT.disabled = True


async def server(settings: Settings) -> Finding:
    """Ask the running server, as a PBX would."""
    listen = settings.fastagi.listen
    host, port = reach(listen)
    try:
        outcome = await ask(host, port, "ping", timeout=DEADLINE)
    except ConnectionRefusedError:
        return Finding(
            Verdict.WARN, f"no server at {listen}", "start it: `systemctl start ostiary`, or `ostiary serve`"
        )
    except (OSError, TimeoutError, OstiaryError) as error:
        return Finding(
            Verdict.FAIL,
            f"the server at {listen} does not answer: {_reason(error)}",
            "read its log: journalctl -u ostiary",
        )
    status = outcome.variables.get(settings.fastagi.prefix + variables.STATUS, "")
    if not status:
        return Finding(
            Verdict.FAIL,
            f"what answers at {listen} is not Ostiary",
            "is another FastAGI server on that port?",
        )
    if not status.endswith(f" {__version__}"):
        return Finding(
            Verdict.WARN, f"the server at {listen} says {status}, this is {__version__}", "restart the server"
        )
    return Finding(Verdict.OK, f"the server at {listen} says {status}")


async def http(settings: Settings) -> Finding:
    """Ask the HTTP side whether it is ready."""
    if not settings.http.enabled:
        return Finding(Verdict.OFF, "http.enabled is false")
    listen = settings.http.listen
    host, port = reach(listen)
    try:
        status, body = await asyncio.to_thread(_get, host, port, "/readyz")
    except ConnectionRefusedError:
        return Finding(Verdict.WARN, f"nothing at http://{listen}", "it comes up with the server")
    except (OSError, HTTPException) as error:
        return Finding(Verdict.FAIL, f"http://{listen} does not answer: {_reason(error)}")
    if status != 200:
        return Finding(Verdict.FAIL, f"http://{listen}/readyz says {status}: {body}", "journalctl -u ostiary")
    return Finding(Verdict.OK, f"http://{listen}/readyz says ready")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, " ".join(response.read(1000).decode(errors="replace").split())
    finally:
        connection.close()


async def ami(settings: Settings) -> Finding:
    """Sign in to Asterisk's manager interface."""
    host, port = settings.ami.host, settings.ami.port
    if not host:
        return Finding(Verdict.OFF, "ami.host is empty")
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(DEADLINE):
            banner = await _ami_banner(host, port)
            if not banner.startswith("Asterisk Call Manager/"):
                return Finding(
                    Verdict.FAIL,
                    f"what answers at {where} is not AMI: {banner[:40]!r}",
                    "ami.port is that of manager.conf, 5038 by default",
                )
            refusal = await _ami_login(settings)
    except TimeoutError:
        return Finding(
            Verdict.FAIL,
            f"{where} did not answer within {DEADLINE:.0f} s",
            "is it AMI, and does a firewall let it through?",
        )
    except OSError as error:
        return Finding(
            Verdict.FAIL,
            f"{where} cannot be reached: {error.strerror or error}",
            "manager.conf: enabled = yes, port and bindaddr",
        )
    if refusal:
        return Finding(
            Verdict.FAIL,
            f"{where} refuses the user {settings.ami.username!r}: {refusal}",
            "ami.username and ami.secret must be those of manager.conf; its permit= must let this machine in",
        )
    return Finding(Verdict.OK, f"signed in at {where} as {settings.ami.username} ({banner})")


async def _ami_banner(host: str, port: int) -> str:
    """Return the line Asterisk greets with; the library would wait for ever for one that does not come."""
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    try:
        return (await reader.readline()).decode(errors="replace").strip()
    except ValueError:  # a line beyond the limit
        return ""
    finally:
        writer.close()


async def _ami_login(settings: Settings) -> str:
    """Return why Asterisk refuses, '' when it does not."""
    from panoramisk import Manager  # noqa: PLC0415  # most machines have no AMI to check

    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def gone(*_: object) -> None:
        if not lost.done():
            lost.set_result(None)

    manager = Manager(
        host=settings.ami.host,
        port=settings.ami.port,
        username=settings.ami.username,
        secret=settings.ami.secret.get_secret_value(),
        events="off",
        on_disconnect=gone,
        log=_SILENT,
    )
    try:
        await manager.connect()
        login = manager.authenticated_future
        await asyncio.wait({login, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        manager.close()
    if not login.done():
        return "it closed the connection without an answer"
    response = login.result()
    return "" if response.success else str(response.message or "no reason given")


async def mqtt(settings: Settings) -> Finding:
    """Sign in to the MQTT broker, as the server does but under a name of its own."""
    if not settings.mqtt.url.get_secret_value():
        return Finding(Verdict.OFF, "mqtt.url is empty")
    from aiomqtt import MqttError  # noqa: PLC0415  # most machines have no broker to check

    from agi_server.events import broker  # noqa: PLC0415  # as above

    host, port = broker.where(settings)
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(DEADLINE):
            client = await broker.connection(settings, purpose="check", answer_seconds=DEADLINE)
            async with client:
                pass
    except SettingsError as error:
        return Finding(Verdict.FAIL, str(error))
    except (MqttError, TimeoutError) as error:
        reason = str(error) or f"no answer within {DEADLINE:.0f} s"
        return Finding(Verdict.FAIL, f"{where}: {reason}", _mqtt_hint(reason))
    return Finding(Verdict.OK, f"signed in at {where}")


def _mqtt_hint(reason: str) -> str:
    if "certificate" in reason.lower():
        return "mqtt.ca_file must hold the authority that signed the broker's certificate, and its name be the host's"
    if "protocol version" in reason.lower():
        return "the broker must speak MQTT 5"
    return "is the broker up, and are user and password of mqtt.url right?"
