"""Checks that talk to others: the running server, Asterisk's manager interface and call records, the MQTT broker.

Every conversation ends within DEADLINE seconds, whatever the other side does.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from agi_server import __version__
from agi_server.cli.finding import Finding, Verdict
from agi_server.errors import InputError, OstiaryError, PbxDown, PbxRefusal, SettingsError
from agi_server.fastagi.client import ask
from agi_server.fastagi.sockets import reach
from agi_server.scripts import variables
from agi_server.settings import Pbx, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from agi_server.cdr.watch import Source

DEADLINE = 5.0  # seconds


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
    """Sign in to Asterisk's manager interface, of every PBX, and look at what we may do there."""
    if not settings.ami.host:
        return Finding(Verdict.OFF, "ami.host is empty")
    from agi_server.ami.connection import pbxs  # noqa: PLC0415  # most machines have no AMI to check

    found = pbxs(settings)
    findings = await asyncio.gather(*(_pbx(pbx, dialling=settings.dialling.enabled) for pbx in found))
    if len(found) == 1:
        return findings[0]
    names = [pbx.name for pbx in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return Finding(
            Verdict.FAIL, f"two PBXs are called {twice}", "give each of ami.others a name of its own"
        )
    ill = [each for each in zip(names, findings, strict=True) if each[1].verdict is not Verdict.OK]
    return Finding(
        max((finding.verdict for finding in findings), key=list(Verdict).index),
        "; ".join(f"{name}: {finding.text}" for name, finding in zip(names, findings, strict=True)),
        "; ".join(f"{name}: {finding.hint}" for name, finding in ill if finding.hint),
    )


async def _pbx(pbx: Pbx, *, dialling: bool) -> Finding:
    from agi_server.ami.examine import examine  # noqa: PLC0415  # as above

    where = f"{pbx.host}:{pbx.port}"
    try:
        async with asyncio.timeout(DEADLINE):
            rights = await examine(pbx)
    except TimeoutError:
        return Finding(
            Verdict.FAIL,
            f"{where} did not answer within {DEADLINE:.0f} s",
            "is it AMI, and does a firewall let it through?",
        )
    except PbxRefusal as error:
        return Finding(
            Verdict.FAIL,
            str(error),
            "ami.username and ami.secret must be those of manager.conf; its permit= must let this machine in",
        )
    except PbxDown as error:
        return Finding(Verdict.FAIL, str(error), _ami_hint(str(error)))
    signed_in = f"signed in at {where} as {pbx.username} ({rights.greeting})"
    add = "manager.conf: add to its user {}; `ostiary dialplan manager` prints the whole"
    if rights.following:
        missing = ",".join(rights.following)
        return Finding(
            Verdict.FAIL, f"{signed_in}; calls cannot be followed", add.format(f"write = {missing}")
        )
    if rights.deaf:
        return Finding(
            Verdict.FAIL, f"{signed_in}; it tells us of no calls", add.format("read = call,agent,dialplan")
        )
    if dialling and rights.dialling:
        missing = ",".join(rights.dialling)
        return Finding(
            Verdict.WARN,
            f"{signed_in}; it may not dial",
            add.format(f"write = {missing}") + "; or set dialling.enabled = false",
        )
    if rights.too_much:
        return Finding(
            Verdict.WARN,
            f"{signed_in}; it may do more than it needs",
            f"manager.conf: leave out of its user's write: {', '.join(rights.too_much)}",
        )
    return Finding(Verdict.OK, signed_in)


def _ami_hint(reason: str) -> str:
    if "certificate" in reason:
        return (
            "ami.ca_file must hold the authority that signed the PBX's certificate, and its name be ami.host"
        )
    if "is not AMI" in reason:
        return "ami.port is that of manager.conf: 5038 by default, 5039 with TLS (ami.tls)"
    return "manager.conf: enabled = yes, port and bindaddr"


async def cdr(settings: Settings) -> Finding:
    """Read the last of Asterisk's own call records, of each source."""
    from agi_server.cdr.watch import sources  # noqa: PLC0415  # most machines have none to check

    found = sources(settings)
    if not found:
        return Finding(Verdict.OFF, "cdr.csv_file and cdr.url are empty, or journal.enabled is false")
    findings = [await _records(name.removeprefix("cdr:"), make) for name, make in found.items()]
    return Finding(
        max((finding.verdict for finding in findings), key=list(Verdict).index),
        "; ".join(finding.text for finding in findings),
        "; ".join(finding.hint for finding in findings if finding.hint),
    )


async def _records(name: str, make: Callable[[], Source]) -> Finding:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # as above

    try:
        async with asyncio.timeout(DEADLINE):
            last = await asyncio.to_thread(lambda: make().newest())
    except FileNotFoundError:
        hint = "Asterisk makes it with the first call: is cdr_csv.so loaded, and cdr.csv_file right?"
        return Finding(Verdict.WARN, f"{name} is not there", hint)
    except PermissionError:
        return Finding(Verdict.FAIL, f"{name} may not be read", "add the user ostiary to the group asterisk")
    except InputError as error:
        hint = "cdr.conf: loguniqueid=yes and newcdrcolumns=yes"
        return Finding(Verdict.FAIL, f"{name}: the last record cannot be read: {error}", hint)
    except TimeoutError:
        return Finding(Verdict.FAIL, f"{name} does not answer within {DEADLINE:.0f} s")
    except (OSError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error)
        hint = "cdr.url: host, user, password and database; the user needs SELECT"
        return Finding(Verdict.FAIL, f"{name}: {reason}", hint)
    if last is None:
        return Finding(Verdict.OK, f"{name} can be read; no call lately")
    ended = datetime.fromtimestamp(last.ended_at, UTC).astimezone()
    return Finding(Verdict.OK, f"{name} can be read; the last call ended {ended:%F %T}")


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
