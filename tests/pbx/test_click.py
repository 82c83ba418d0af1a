"""Calls by a click: a real Asterisk rings the agent's phone and then dials, and the page hears how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage.database import Database
from storage.tokens import add_token
from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import PATIENCE, until
from tests.ports import free_port

ERIKA = "+4930100001"
RIKA = "+4930100002"
NAUGHTY = "+4930100004"  # ${EXTEN} $[1+1] ${SHELL(id)}
OVER = {"ended", "failed"}


class Desk:
    """An Ostiary that follows the PBX, and a program that orders calls of it."""

    def __init__(self, ostiary: Ostiary, address: str) -> None:
        self.ostiary = ostiary
        self._numbers = itertools.count(4930990000)
        token = asyncio.run(self._token())
        self.http = httpx.Client(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        until(self.is_up)

    def is_up(self) -> bool:
        """Return whether the PBX is connected."""
        with contextlib.suppress(httpx.HTTPError):
            return bool(self.http.get("/readyz").json()["parts"].get("pbx") == "ok")
        return False

    def click(self, number: str, agent: str = "101") -> httpx.Response:
        """Order a call."""
        return self.http.post("/api/v1/calls", json={"agent": agent, "number": number})

    def ordered(self, number: str = "", agent: str = "101") -> str:
        """Order a call that is taken, of a number nobody called yet unless it is named; return its id."""
        answer = self.click(number or f"+{next(self._numbers)}", agent)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def dial(self, dial_id: str) -> dict[str, Any]:
        """Return how far a call has come."""
        found: dict[str, Any] = self.http.get(f"/api/v1/dials/{dial_id}").json()
        return found

    def call(self, call_id: str) -> dict[str, Any]:
        """Return a call of the journal."""
        found: dict[str, Any] = self.http.get(f"/api/v1/calls/{call_id}").json()
        return found

    def until(self, dial_id: str, *states: str) -> dict[str, Any]:
        """Return a call once it has come so far."""
        return until(lambda: found if (found := self.dial(dial_id))["state"] in states else {})

    def cancel(self, dial_id: str) -> None:
        """Have a call end."""
        assert self.http.delete(f"/api/v1/dials/{dial_id}").status_code in {200, 202}

    def kill_the_worker(self) -> None:
        """Kill it with SIGKILL; another is started."""
        process = self.ostiary.process
        assert process is not None
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if "worker" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
                    os.kill(int(child), signal.SIGKILL)

    async def _token(self) -> str:
        database = await Database.open(f"sqlite+aiosqlite:///{self.ostiary.state}/ostiary.db")
        try:
            _, secret = await database.write(
                lambda conn: add_token(
                    conn, name="test", scopes=["read", "dial"], expires_at=0, who="test", now=int(time.time())
                )
            )
        finally:
            await database.close()
        return secret


class Stream:
    """The events of one type, as a browser hears them."""

    def __init__(self, desk: Desk, type_: str) -> None:
        self.data: list[dict[str, Any]] = []
        self._open = threading.Event()
        self._response: httpx.Response | None = None
        self._desk = desk
        self._type = type_
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._open.wait(PATIENCE)

    def _listen(self) -> None:
        with (
            contextlib.suppress(httpx.HTTPError, _Enough),
            self._desk.http.stream("GET", f"/api/v1/events?types={self._type}") as answer,
        ):
            for line in answer.iter_lines():
                self._open.set()
                if line.startswith("data: "):
                    self.data.append(json.loads(line[6:])["data"])
                    if self.data[-1]["state"] in OVER:
                        raise _Enough

    def close(self) -> None:
        """Return once the call has ended, and with it the stream."""
        self._thread.join(30)
        assert not self._thread.is_alive()


class _Enough(Exception):  # noqa: N818  # no error
    pass


@pytest.fixture(scope="module")
def clicking(serve: Callable[..., Ostiary], asterisk: Asterisk, ports: dict[str, int]) -> Iterator[Desk]:
    address = f"127.0.0.1:{free_port()}"
    server = serve(
        OSTIARY_HTTP__ENABLED="true",
        OSTIARY_HTTP__LISTEN=address,
        OSTIARY_AMI__HOST="127.0.0.1",
        OSTIARY_AMI__PORT=str(ports["AMI"]),
        OSTIARY_AMI__USERNAME="ostiary",
        OSTIARY_AMI__SECRET="for-the-tests",
        OSTIARY_DIALLING__PER_MINUTE="600",
        OSTIARY_DIALLING__RING_SECONDS="5",
    )
    asterisk.set_global("OSTIARY_SERVER", server.address)
    server.load("agents", "Name,Email,Extension\nDora,dora@example.com,104\n")
    made = Desk(server, address)
    yield made
    made.http.close()
    server.stop()  # it would follow the calls of all other tests


@pytest.fixture
def desk(clicking: Desk, asterisk: Asterisk, sipp: Sipp) -> Desk:  # noqa: ARG001  # the PBX is as after it
    asterisk.set_global("OSTIARY_SERVER", clicking.ostiary.address)
    return clicking


def test_a_click_rings_the_agent_and_then_dials(desk: Desk, sipp: Sipp) -> None:
    phone, trunk = sipp.phone("101", hold=10), sipp.phone("trunk", hold=1)
    events = Stream(desk, "call.progress")
    dial_id = desk.ordered("030 100001")
    rung = phone.invite()
    assert rung.display_name() == "Erika Mustermann"
    assert f"<sip:{ERIKA}@" in rung.header("From")
    called = trunk.invite()
    assert called.start.startswith(f"INVITE sip:{ERIKA}@")
    assert (called.display_name(), "<sip:4930777100@" in called.header("From")) == ("Company", True)
    events.close()
    told = [(each["id"], each["state"]) for each in events.data]
    assert told == [
        (dial_id, state) for state in ("asked", "ringing-agent", "dialling", "ringing", "answered", "ended")
    ]
    shown = phone.await_message("UPDATE ")
    assert shown.display_name("P-Asserted-Identity") == "Erika Mustermann", "and not the company's own"
    call_id = until(lambda: desk.dial(dial_id)["call_id"])
    call = until(lambda: found if (found := desk.call(call_id))["disposition"] == "answered" else {})
    assert (call["direction"], call["number"], call["name"]) == ("outbound", ERIKA, "Erika Mustermann")


def test_a_name_is_text_to_the_pbx(desk: Desk, sipp: Sipp) -> None:
    phone = sipp.phone("101", "busy")
    dial_id = desk.ordered(NAUGHTY)
    assert phone.invite().display_name() == directory.NAMES[NAUGHTY[1:]]
    desk.until(dial_id, "failed")


def test_a_colleague_sees_who_is_calling(desk: Desk, sipp: Sipp) -> None:
    sipp.phone("101", hold=10)
    colleague = sipp.phone("103", hold=0.5)
    dial_id = desk.ordered("103")
    invite = colleague.invite()
    assert (invite.display_name(), "<sip:101@" in invite.header("From")) == ("Anna", True)
    desk.until(dial_id, "ended")


def test_several_clicks_at_once_are_one_call(desk: Desk, sipp: Sipp) -> None:
    phone = sipp.phone("101", "rings")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: desk.click(RIKA), range(4)))
    assert sorted(each.status_code for each in answers) == [200, 200, 200, 202]
    phone.invite()
    dial_id = answers[0].json()["id"]
    desk.cancel(dial_id)
    desk.until(dial_id, "failed")
    assert [message.start[:7] for message in phone.received()].count("INVITE ") == 1


@pytest.mark.parametrize(
    "number", ["110", "112", "*21*030#", "+12125552671", "+499001234567", f"+{directory.blocked('busy')}"]
)
def test_what_may_not_be_dialled_never_reaches_the_pbx(
    desk: Desk, asterisk: Asterisk, sipp: Sipp, number: str
) -> None:
    phone = sipp.phone("101")
    before = asterisk.logged()
    assert desk.click(number).status_code in {409, 422}
    assert desk.http.get("/api/v1/dials?limit=1").status_code == 200
    assert not phone.rang()
    assert asterisk.channels() == []
    assert "ostiary-dial" not in asterisk.log(before)


def test_the_agent_s_phone_is_busy(desk: Desk, sipp: Sipp) -> None:
    sipp.phone("101", "busy")
    trunk = sipp.phone("trunk")
    assert desk.until(desk.ordered(), *OVER)["reason"] == "agent-busy"
    assert not trunk.rang()


def test_the_agent_does_not_pick_up(desk: Desk, sipp: Sipp) -> None:
    phone, trunk = sipp.phone("101", "rings"), sipp.phone("trunk")
    assert desk.until(desk.ordered(), *OVER)["reason"] == "agent-no-answer"
    phone.await_message("CANCEL ")
    assert not trunk.rang()


def test_the_agent_s_phone_is_not_there(desk: Desk, sipp: Sipp) -> None:
    trunk = sipp.phone("trunk")
    assert desk.until(desk.ordered(agent="102"), *OVER)["reason"] == "agent-unreachable"
    assert not trunk.rang()


@pytest.mark.parametrize(("scenario", "reason"), [("busy", "busy"), ("rings", "cancelled")])
def test_nobody_is_reached(desk: Desk, sipp: Sipp, scenario: str, reason: str) -> None:
    sipp.phone("101", hold=2)  # the agent gives up then
    sipp.phone("trunk", scenario)
    assert desk.until(desk.ordered(), *OVER)["reason"] == reason


@pytest.mark.parametrize("state", ["ringing-agent", "ringing", "answered"])
def test_a_call_can_be_ended_at_any_time(desk: Desk, sipp: Sipp, state: str) -> None:
    phone = sipp.phone("101", "rings" if state == "ringing-agent" else "answers", hold=20)
    trunk = sipp.phone("trunk", "rings" if state == "ringing" else "answers", hold=20)
    dial_id = desk.ordered()
    desk.until(dial_id, state)
    desk.cancel(dial_id)
    over = desk.until(dial_id, *OVER)
    assert (over["state"], over["reason"]) == (
        ("ended", "") if state == "answered" else ("failed", "cancelled")
    )
    phone.await_message("CANCEL " if state == "ringing-agent" else "BYE ")
    if state != "ringing-agent":
        trunk.await_message("BYE " if state == "answered" else "CANCEL ")


def test_a_call_goes_on_when_the_worker_is_killed(desk: Desk, sipp: Sipp) -> None:
    sipp.phone("101", hold=60)
    trunk = sipp.phone("trunk", hold=60)
    dial_id = desk.ordered()
    desk.until(dial_id, "answered")
    desk.kill_the_worker()
    until(lambda: not desk.is_up())
    until(desk.is_up)
    assert desk.dial(dial_id)["state"] == "answered"
    desk.cancel(dial_id)
    assert desk.until(dial_id, *OVER)["state"] == "ended"
    trunk.await_message("BYE ")


def test_a_call_that_ended_while_the_worker_was_away_has_ended(
    desk: Desk, sipp: Sipp, asterisk: Asterisk
) -> None:
    sipp.phone("101", "rings")
    dial_id = desk.ordered()
    desk.until(dial_id, "ringing-agent")
    desk.kill_the_worker()
    asterisk.console("channel request hangup all")
    asterisk.wait_for_no_channel()
    over = desk.until(dial_id, *OVER)
    assert (over["state"], over["reason"]) == ("failed", "lost")
    until(desk.is_up)
    assert asterisk.channels() == [], "it is not dialled once more"


def test_all_phones_of_an_agent_ring(desk: Desk, sipp: Sipp) -> None:
    first, second = sipp.phone("102", "rings"), sipp.phone("103", hold=10)
    trunk = sipp.phone("trunk", hold=1)
    dial_id = desk.ordered(RIKA, agent="104")
    assert first.invite().display_name() == second.invite().display_name() == "Erika 'Rika' Mustermann"
    assert trunk.invite().start.startswith(f"INVITE sip:{RIKA}@")
    first.await_message("CANCEL ")
    assert desk.until(dial_id, *OVER)["state"] == "ended"


def test_all_phones_of_an_agent_are_busy(desk: Desk, sipp: Sipp) -> None:
    sipp.phone("102", "busy")
    sipp.phone("103", "busy")
    assert desk.until(desk.ordered(agent="104"), *OVER)["reason"] == "agent-busy"
