"""Calls by a click, on the worker's side: have a PBX ring an agent's telephone and then dial, and say how it goes.

Invariant: an Originate is sent once at most: `storage.dials.claim` puts on disk that it is about to be before it is,
and whatever comes of it, it is not sent again. Everything in it is of a known alphabet; the name alone is text, without
what could end a line or a quotation. The states of a dial are written before they are told.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from agi_server.ami.progress import SECOND, Progress, Step, dial_of, is_refusal
from agi_server.errors import DirectoryError, OstiaryError, PbxDown
from agi_server.settings import Dialling
from storage.dials import CHANNEL, Dial, claim, get, lost, pbxs_of, unclaimed, went_on, withdraw

if TYPE_CHECKING:
    from agi_server.ami.connection import Connection
    from storage.database import Database

PAUSE: Final = 1.0  # seconds until a state that could not be written is written again
OVERTAKEN: Final = 1.0  # seconds by which OriginateResponse may be ahead of the channel's own events
ORDER_SECONDS: Final = 60  # an order that no PBX was told of by then came to nothing
LONGEST_NAME: Final = 79  # bytes that Asterisk keeps of a name

_ID: Final = re.compile(r"[0-9a-f]{1,32}", re.ASCII)
_PHONE: Final = re.compile(r"[A-Za-z0-9_.+-]{1,80}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9*#+]{1,40}", re.ASCII)

Tell = Callable[[object], Awaitable[None]]
Job = Callable[[], Awaitable[None]]

log = structlog.get_logger()


class Dialler:
    """One for all PBXs of a worker. `connections` by name are the follower's; `tell` speaks to the serving process.

    The follower runs `run`, hands over every event (`event`) and every order (`asked`), and awaits `resynced` with the
    list of channels after each log-in, before a connection counts as up.
    """

    def __init__(
        self,
        settings: Dialling,
        technology: str,
        database: Database,
        *,
        connections: Mapping[str, Connection],
        tell: Tell,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._technology = technology
        self._database = database
        self._connections = connections
        self._tell = tell
        self._clock = clock
        self._going: dict[str, Progress] = {}  # by the dial's id
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()

    async def run(self) -> None:
        """Do what is asked, for ever; never raises."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_safely(self._give_up))
            while True:
                tasks.create_task(_safely(await self._jobs.get()))

    def asked(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take an order: `dial` {id, agent, number, shown, name} or `hang_up` {id}."""
        if kind == "dial":
            self._jobs.put_nowait(partial(self._dial, dict(content)))
        elif kind == "hang_up":
            self._jobs.put_nowait(partial(self._hang_up, str(content["id"])))

    def event(self, pbx: str, event: Mapping[str, str]) -> None:
        """Take any event of a PBX; those of no dial cost a look at their thread."""
        dial_id = dial_of(event)
        if not dial_id:
            return
        going = self._going.get(dial_id)
        if going is None:  # it is over: what comes now is of others whom the call was handed to
            return
        if going.cancelled and event.get("Event") == "Newchannel":
            self._jobs.put_nowait(partial(self._end, pbx, dial_id))
        if is_refusal(event):
            self._jobs.put_nowait(partial(self._refused, dial_id))
        step = going.event(event)
        if step is not None:
            self._went(dial_id, step)

    async def resynced(self, pbx: str, channels: Sequence[Mapping[str, str]]) -> None:
        """Take the list of all channels of a PBX that was not heard of for a while (CoreShowChannel)."""
        live: dict[str, list[Mapping[str, str]]] = {}
        for channel in channels:
            if (dial_id := dial_of(channel)) and _ID.fullmatch(dial_id):
                live.setdefault(dial_id, []).append(channel)
        now = int(self._clock())
        try:
            gone = await self._database.write(lambda conn: lost(conn, pbx, live.keys(), now=now))
        except DirectoryError as error:
            log.error("AMI: calls by a click that were lost could not be noted", error=str(error))
            return
        for dial in gone:
            self._going.pop(dial.id, None)
            await self._say(dial)
        for dial_id, its in live.items():
            going = self._going.setdefault(dial_id, Progress(dial_id))
            if going.cancelled:
                self._jobs.put_nowait(partial(self._end, pbx, dial_id))
            if (step := going.there(its)) is not None:
                self._went(dial_id, step)

    async def _dial(self, order: dict[str, Any]) -> None:
        dial_id, agent = str(order["id"]), str(order["agent"])
        try:
            connection = await self._pbx_of(agent)
            action = originate(order, self._settings, await self._phone(connection, agent))
        except OstiaryError as error:
            log.warning("AMI: a call by a click cannot be ordered", error=str(error))
            await self._note(dial_id, Step("failed", "no-pbx" if isinstance(error, PbxDown) else "refused"))
            return
        now, name = int(self._clock()), connection.pbx.name
        if not await self._database.write(lambda conn: claim(conn, dial_id, name, now)):
            return  # cancelled, or told a PBX already
        self._going[dial_id] = Progress(dial_id)
        try:
            answer = await connection.send(action)
        except PbxDown as error:
            log.warning("AMI: a call by a click was not taken", pbx=name, error=str(error))
            if not error.sent:  # else it may ring: the next list of channels says
                self._went(dial_id, Step("failed", "no-pbx"))
            return
        if not answer.success:
            log.error("AMI: the PBX refuses to dial", pbx=name, error=str(answer.message))
            self._went(dial_id, Step("failed", "refused"))

    async def _pbx_of(self, agent: str) -> Connection:
        """Return the PBX that has the agent's phone, as far as that is known. Raises PbxDown where none is there."""
        there = {name: connection for name, connection in self._connections.items() if connection.up}
        if len(there) > 1:
            known = await self._database.read(lambda conn: pbxs_of(conn, agent))
            there = {name: there[name] for name in known if name in there} or there
        if not there:
            raise PbxDown("no PBX is connected")
        return next(iter(there.values()))

    async def _phone(self, connection: Connection, agent: str) -> str:
        """Return the channel that rings the agent's phone, or all of them where several are registered."""
        plain = f"{self._technology}/{agent}"
        if self._technology.upper() != "PJSIP" or _PHONE.fullmatch(agent) is None:
            return plain
        asked = await connection.send({"Action": "Getvar", "Variable": f"PJSIP_DIAL_CONTACTS({agent})"})
        several = asked.success and "&" in asked.value
        return f"Local/{agent}@{self._settings.context}-phone/n" if several else plain

    async def _refused(self, dial_id: str) -> None:
        await asyncio.sleep(OVERTAKEN)
        going = self._going.get(dial_id)
        if going is not None and (step := going.refused()) is not None:
            self._went(dial_id, step)

    async def _hang_up(self, dial_id: str) -> None:
        now = int(self._clock())
        withdrawn = await self._database.write(lambda conn: withdraw(conn, dial_id, now))
        if withdrawn is not None:
            await self._say(withdrawn)
            return
        dial = await self._database.read(lambda conn: get(conn, dial_id))
        if dial is None or dial.over:
            return
        self._going.setdefault(dial_id, Progress(dial_id)).cancelled = True
        await self._end(dial.pbx, dial_id)

    async def _end(self, pbx: str, dial_id: str) -> None:
        """Hang up; where the channel is not there yet, or the PBX away, that is done when it is."""
        connection = self._connections.get(pbx)
        if connection is not None and connection.up:
            await connection.send({"Action": "Hangup", "Channel": CHANNEL + dial_id, "Cause": "16"})

    def _went(self, dial_id: str, step: Step) -> None:
        if step.state in {"ended", "failed"}:
            self._going.pop(dial_id, None)
        self._jobs.put_nowait(partial(self._note, dial_id, step))

    async def _note(self, dial_id: str, step: Step) -> None:
        """Write how far a dial has come, and tell if that was new."""
        now = int(self._clock())
        while True:
            try:
                dial = await self._database.write(lambda conn: went_on(conn, dial_id, *step, now))
            except DirectoryError as error:
                log.error("AMI: how a call by a click goes could not be noted", error=str(error))
                await asyncio.sleep(PAUSE)
            else:
                if dial is not None:
                    await self._say(dial)
                return

    async def _say(self, dial: Dial) -> None:
        content = {
            "id": dial.id,
            "agent": dial.agent,
            "number": dial.text,
            "state": dial.state,
            "reason": dial.reason,
            "at": dial.changed_at,
        }
        await self._tell(("call", "progress", content))

    async def _give_up(self) -> None:
        """Now and then, end the orders that never came this far."""
        while True:
            now = int(self._clock())
            try:
                given_up = await self._database.write(
                    lambda conn: unclaimed(conn, before=now - ORDER_SECONDS, now=now)  # noqa: B023  # awaited here
                )
            except DirectoryError as error:
                log.error("AMI: orders that came to nothing could not be ended", error=str(error))
            else:
                for dial in given_up:
                    await self._say(dial)
            await asyncio.sleep(ORDER_SECONDS)


def originate(order: Mapping[str, Any], settings: Dialling, channel: str) -> dict[str, Any]:
    """Return the action that rings the agent's `channel` and then dials. Raises OstiaryError for an odd order."""
    dial_id, agent, number, shown = (str(order[name]) for name in ("id", "agent", "number", "shown"))
    for text, alphabet in ((dial_id, _ID), (agent, _PHONE), (number, _NUMBER), (shown, _NUMBER)):
        if alphabet.fullmatch(text) is None:
            raise OstiaryError(f"a call by a click was not dialled: {text!r} is not what it should be")
    action: dict[str, Any] = {
        "Action": "Originate",
        "ActionID": CHANNEL + dial_id,
        "Channel": channel,
        "ChannelId": CHANNEL + dial_id,
        "Context": settings.context,
        "Exten": number,
        "Priority": "1",
        "Timeout": str(settings.ring_seconds * 1000),
        "CallerID": f'"{shown_name(str(order["name"]))}" <{shown}>',
        "Async": "true",
        "Variable": [f"__OSTIARY_CLICK={dial_id}", f"OSTIARY_EXTENSION={agent}"],
    }
    if channel.startswith("Local/"):
        action["OtherChannelId"] = CHANNEL + dial_id + SECOND
    return action


def shown_name(name: str) -> str:
    """Return a name as a quoted string of a caller id may hold it: one line, no quotation marks, no addresses."""
    text = "".join(char if char.isprintable() else " " for char in name)
    text = re.sub(r'["\\<>]', "'", text)
    return " ".join(text.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore").split())


async def _safely(job: Job) -> None:
    """Do a job; one that fails takes no other with it."""
    try:
        await job()
    except OstiaryError as error:
        log.error("AMI: an order could not be carried out", error=str(error))
    except Exception:
        log.exception("AMI: an order failed")
