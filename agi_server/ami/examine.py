"""What a PBX lets its AMI user do and hear, asked for `ostiary check`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from agi_server.ami.connection import answer_to, log_in, open_protocol
from agi_server.settings import Pbx

if TYPE_CHECKING:
    from agi_server.ami.protocol import Protocol

HEAR_SECONDS: Final = 3.0

# Actions, and the class of manager.conf's `write` that each needs (any of several: the one in our manager.conf).
_FOLLOWING: Final = {"CoreShowChannels": "reporting", "DeviceStateList": "reporting"}
_DIALLING: Final = {"Originate": "originate", "Hangup": "call"}
_TOO_MUCH: Final = {"Command": "command", "UpdateConfig": "config", "ModuleLoad": "system", "AGI": "agi"}

_CHECK: Final = "ostiary-check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Classes of manager.conf: those missing to follow calls and to dial, and those nobody needs.

    `deaf`: it tells of no calls (class call of `read`); None: that could not be found out.
    """

    greeting: str
    following: tuple[str, ...]
    dialling: tuple[str, ...]
    too_much: tuple[str, ...]
    deaf: bool | None


async def examine(pbx: Pbx) -> Rights:
    """Log in and return what we may do. Raises PbxDown, PbxRefusal, SettingsError."""
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(event: Mapping[str, str]) -> None:
        if event.get("ActionID") == _CHECK and not heard.done():
            heard.set_result(None)

    protocol = await open_protocol(pbx, hear, lambda _: None)
    try:
        await log_in(protocol, pbx, events="on")
        listed = await answer_to(protocol, {"Action": "ListCommands"})
        actions = {name.lower() for name in listed.response}
        deaf = None
        if "originate" in actions:
            # A call over a technology that there is not: it fails at once, and all who hear of calls hear of that.
            call = {"Channel": "OstiaryCheck/none", "Application": "NoOp", "Async": "true"}
            await answer_to(protocol, {"Action": "Originate", "ActionID": _CHECK, **call})
            deaf = not await _hears(protocol, heard)
        return Rights(
            greeting=await protocol.greeted,
            following=_without(_FOLLOWING, actions),
            dialling=_without(_DIALLING, actions),
            too_much=tuple(right for name, right in _TOO_MUCH.items() if name.lower() in actions),
            deaf=deaf,
        )
    finally:
        protocol.close()


async def _hears(protocol: Protocol, heard: asyncio.Future[None]) -> bool:
    """Return whether it comes in time; asked in between, for Asterisk may keep an event until there is more to do."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAR_SECONDS):
            while not heard.done():
                await asyncio.wait({heard}, timeout=HEAR_SECONDS / 10)
                await answer_to(protocol, {"Action": "Ping"})
    return heard.done()


def _without(needed: Mapping[str, str], actions: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(right for name, right in needed.items() if name.lower() not in actions))
