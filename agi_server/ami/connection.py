"""A lasting connection to one PBX's manager interface.

Invariant: whatever the PBX does (is away, mute, slow, refuses, restarts), `keep` neither ends nor raises and nothing
waits without a deadline; the longer it fails, the rarer the tries. A PBX that says nothing is a lost one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from agi_server.ami.parsing import GREETING
from agi_server.errors import OstiaryError, PbxDown, PbxRefusal, SettingsError
from agi_server.settings import Pbx, Settings

if TYPE_CHECKING:
    from panoramisk.message import Message

    from agi_server.ami.protocol import Answer, Protocol

FIRST_PAUSE: Final = 0.2  # seconds until the next try; each further pause is twice as long,
LONGEST_PAUSE: Final = 30.0  # up to this; at once where it refused the log-in, which an admin must mend
STABLE: Final = 5.0  # seconds after which a connection counts as one that worked
CONNECT_SECONDS: Final = 5.0  # TCP, TLS and the greeting
ANSWER_SECONDS: Final = 10.0
MOST_HELD: Final = 100_000  # events
PING_SECONDS: Final = 5.0  # of silence until we ask whether it is there

log = structlog.get_logger()


def pbxs(settings: Settings) -> tuple[Pbx, ...]:
    """Return where all PBXs are."""
    ami = settings.ami
    if not ami.host:
        return ()
    first = Pbx(**{name: getattr(ami, name) for name in Pbx.model_fields})
    return first, *ami.others


class Connection:
    """`hear` is called with each event and when it came, `odd` with each oddity, on the event loop, in order.

    Events that come while `begun` asks how things stand are held until it is done: they may be older.
    """

    def __init__(
        self, pbx: Pbx, *, hear: Callable[[Mapping[str, str], float], None], odd: Callable[[str], None]
    ) -> None:
        self.pbx = pbx
        self.error = "not connected yet"  # why it is down; '': it is up
        self.since = time.time()  # when that last changed
        self.heard_at: float | None = (
            None  # when something last came over the connection before; None: there was none
        )
        self._hear = hear
        self._odd = odd
        self._held: list[tuple[Mapping[str, str], float]] | None = None
        self._protocol: Protocol | None = None  # while logged in

    @property
    def up(self) -> bool:
        """Return whether it is there and all that `begun` does is done."""
        return not self.error

    @property
    def silence(self) -> float:
        """Return for how many seconds nothing came; infinite while it is down."""
        if self._protocol is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._protocol.heard_at

    async def keep(
        self, begun: Callable[[], Awaitable[None]], changed: Callable[[], None] = lambda: None
    ) -> NoReturn:
        """Stay logged in for ever. `begun` is awaited after each log-in, `changed` called when it goes up or down."""
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            refused = False
            try:
                async with self._logged_in():
                    await begun()
                    self._release()
                    self._note("", changed)
                    await self._watch()
            except OstiaryError as error:
                self._note(str(error) or type(error).__name__, changed)
                refused = isinstance(error, PbxRefusal | SettingsError)
            except Exception as error:
                log.exception("AMI: the connection failed", pbx=self.pbx.name)
                self._note(f"{type(error).__name__}: {error}", changed)
            if time.monotonic() - started > STABLE:
                pause = FIRST_PAUSE
            if refused:
                pause = LONGEST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
            pause = min(2 * pause, LONGEST_PAUSE)

    async def send(self, action: Mapping[str, Any], *, seconds: float | None = None) -> Message:
        """Send one action and return its response, also one that says no (`success`).

        Raises PbxDown: not connected, or no answer (then `sent`: it may have been done); LocalProtocolError: a value
        holds a line break.
        """
        return (await self._asked(action, seconds)).response

    async def listing(self, action: Mapping[str, Any], *, whole: bool = True) -> list[dict[str, str]]:
        """Send an action that answers with a list; return its items.

        Raises PbxDown, also where items are missing from a list that must be `whole`; PbxRefusal.
        """
        name = action["Action"]
        answer = await self._asked(action, None)
        if not answer.response.success:
            raise PbxRefusal(f"{name}: {answer.response.message or 'refused'}")
        came = len(answer.items)
        if answer.counted.isdecimal() and int(answer.counted) != came:
            self._odd("list incomplete")
            if whole:
                raise PbxDown(f"{name}: {came} of {answer.counted} items came", sent=True)
        return answer.items

    @contextlib.contextmanager
    def holding(self) -> Iterator[list[tuple[Mapping[str, str], float]]]:
        """Hold events until the context is left: those that come behind a list must be heard after it.

        Yields what is held, and when it came.
        """
        if self._held is not None:  # somebody does already
            yield self._held
            return
        held = self._held = []
        try:
            yield held
        finally:
            if self._held is held:
                self._release()

    def drop(self, reason: str) -> None:
        """End the connection that there is; it is made again."""
        if self._protocol is not None and not self._protocol.closed:
            log.warning("AMI: connection given up", pbx=self.pbx.name, reason=reason)
            self._protocol.close()

    async def _asked(self, action: Mapping[str, Any], seconds: float | None) -> Answer:
        protocol = self._protocol
        if protocol is None:
            raise PbxDown(f"PBX {self.pbx.name} is not connected: {self.error}")
        return await answer_to(protocol, action, seconds)

    @contextlib.asynccontextmanager
    async def _logged_in(self) -> AsyncIterator[None]:
        self._held = []
        protocol = await open_protocol(self.pbx, self._take, self._odd)
        try:
            await log_in(protocol, self.pbx, events="on")
            self._protocol = protocol
            yield
        finally:
            if self.up:
                self.heard_at = time.time() - self.silence
            self._protocol = None
            protocol.close()

    def _take(self, event: Mapping[str, str]) -> None:
        now = time.time()
        if self._held is None:
            self._hear(event, now)
        elif len(self._held) < MOST_HELD:
            self._held.append((event, now))
        else:
            self.drop(f"more than {MOST_HELD} events came before it said how things stand")

    def _release(self) -> None:
        """Pass on what was held, and from now on all."""
        held, self._held = self._held or [], None
        for event, at in held:
            self._hear(event, at)

    async def _watch(self) -> NoReturn:
        """Return never; raise PbxDown when the connection ends or nothing comes any more."""
        protocol = self._protocol
        assert protocol is not None
        while True:
            quiet = asyncio.get_running_loop().time() - protocol.heard_at
            await asyncio.wait({protocol.lost}, timeout=max(0.0, PING_SECONDS - quiet))
            if protocol.lost.done():
                raise PbxDown("it closed the connection")
            if self.silence >= PING_SECONDS:
                await answer_to(protocol, {"Action": "Ping"})

    def _note(self, error: str, changed: Callable[[], None]) -> None:
        if error == self.error:
            return
        was_up, self.error = self.up, error
        if was_up or not error:
            self.since = time.time()
        if error:
            log.warning("AMI: not connected", pbx=self.pbx.name, error=error)
        else:
            log.info("AMI: connected", pbx=self.pbx.name)
        changed()


async def open_protocol(
    pbx: Pbx, hear: Callable[[Mapping[str, str]], None], odd: Callable[[str], None]
) -> Protocol:
    """Return a connection that has been greeted. Raises PbxDown, SettingsError."""
    from agi_server.ami.protocol import Protocol  # noqa: PLC0415  # panoramisk, for those who have a PBX

    loop = asyncio.get_running_loop()
    where = f"{pbx.host}:{pbx.port}"
    context = tls_context(pbx)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, protocol = await loop.create_connection(
                lambda: Protocol(hear, odd), pbx.host, pbx.port, ssl=context
            )
            try:
                greeting = await protocol.greeted
            except BaseException:
                protocol.close()
                raise
    except TimeoutError:
        raise PbxDown(f"{where} did not answer within {CONNECT_SECONDS:.0f} s") from None
    except PbxDown as error:
        raise PbxDown(f"{where}: {error}") from None
    except ssl.SSLCertVerificationError as error:
        raise PbxDown(f"{where}: its certificate is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise PbxDown(
            f"{where} does not speak TLS as we do ({error.reason or error}); is it the TLS port?"
        ) from None
    except OSError as error:
        raise PbxDown(f"{where} cannot be reached: {error.strerror or error}") from None
    if not greeting.startswith(GREETING):
        protocol.close()
        raise PbxDown(f"what answers at {where} is not AMI: {greeting[:40]!r}")
    return protocol


async def log_in(protocol: Protocol, pbx: Pbx, *, events: str) -> None:
    """Log in; `events` is on, off or classes. Raises PbxRefusal, PbxDown, SettingsError."""
    action = {"Action": "Login", "Username": pbx.username, "Secret": secret_of(pbx), "Events": events}
    try:
        response = (await answer_to(protocol, action)).response
    except PbxDown as error:
        raise PbxDown(f"{pbx.host}:{pbx.port}: no answer to the log-in: {error}") from None
    if not response.success:
        reason = response.message or "no reason given"
        raise PbxRefusal(f"{pbx.host}:{pbx.port} refuses the user {pbx.username!r}: {reason}")


async def answer_to(protocol: Protocol, action: Mapping[str, Any], seconds: float | None = None) -> Answer:
    """Send an action and return its answer. Raises PbxDown, LocalProtocolError."""
    seconds = ANSWER_SECONDS if seconds is None else seconds
    answer = protocol.order(action)
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise PbxDown(f"no answer to {action['Action']} within {seconds:.0f} s", sent=True) from None


def tls_context(pbx: Pbx) -> ssl.SSLContext | None:
    """Return how TLS is to be spoken, None where it is not. Raises SettingsError."""
    if not pbx.tls:
        return None
    try:
        return ssl.create_default_context(cafile=pbx.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"ca_file of PBX {pbx.name}: {pbx.ca_file}: {error.strerror or error}") from None


def secret_of(pbx: Pbx) -> str:
    """Return the secret. Raises SettingsError where its file cannot be read."""
    if secret := pbx.secret.get_secret_value():
        return secret
    if pbx.secret_file is None:
        return ""
    return _first_line(pbx.secret_file, f"secret_file of PBX {pbx.name}")


def _first_line(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{what}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{what}: {path} is not UTF-8") from None
