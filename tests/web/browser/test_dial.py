"""A call by a click, as the person in front of the browser sees it; what stands for the PBX says what a test wants."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.ami.server import SECRET, FakePbx
from tests.house import process, write_settings
from tests.ports import free_port
from tests.web.browser import conftest
from tests.web.browser.conftest import CHROMIUM, PATIENCE, Console, Visitor, hold, until_held

ANA = "+493023125010"


class Pbx:
    """A FakePbx on a thread of its own."""

    def __init__(self) -> None:
        self.fake = FakePbx()
        self.fake.answers = {
            "Originate": {"Message": "Originate successfully queued"},
            "Getvar": {"Value": "PJSIP/101/sip:101@127.0.0.1"},
            "Hangup": {"Message": "Channel Hungup"},
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def ordered(self, name: str, number: int = 1) -> dict[str, str]:
        """Return the action of that name that came as the `number`th, waiting for it."""
        until = time.monotonic() + PATIENCE / 1000
        while self.fake.seen[name] < number:
            assert time.monotonic() < until, f"no {name}"
            time.sleep(0.02)
        return [action for action in self.fake.actions if action["Action"] == name][number - 1]

    def tell(self, name: str, **event: str) -> None:
        """Have an event come."""
        self._loop.call_soon_threadsafe(lambda: self.fake.event(name, **event))

    def state(self, channel: str, state: str) -> None:
        """Have the agent's channel come into a state."""
        self.tell("Newstate", Channel="PJSIP/101-1", Uniqueid=channel, Linkedid=channel, ChannelState=state)


@pytest.fixture(scope="module")
def pbx() -> Iterator[Pbx]:
    made = Pbx()
    yield made
    made.close()


@pytest.fixture(scope="module")
def console(pbx: Pbx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Serve with a PBX."""
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    directory = tmp_path_factory.mktemp("console")
    port, http = free_port(), f"127.0.0.1:{free_port()}"
    ami = f'[ami]\nhost = "127.0.0.1"\nport = {pbx.fake.port}\nusername = "ostiary"\nsecret = "{SECRET}"\n'
    config = write_settings(directory, port=port, more=ami + "[dialling]\nsame_seconds = 0\n")
    text = config.read_text(encoding="utf-8").replace("enabled = false", f'listen = "{http}"')
    config.write_text(text, encoding="utf-8")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, conftest._furnish(config)).result()
    with process(config):
        shown = Console(f"http://{http}", port, directory / "ostiary.db")
        conftest._until_up(shown)
        until_connected(shown)
        yield shown


def until_connected(console: Console) -> None:
    """Return when the PBX may be told to dial."""
    until = time.monotonic() + PATIENCE / 1000
    with httpx.Client(trust_env=False, timeout=60) as web:
        while web.get(f"{console.address}/readyz").json()["parts"].get("pbx") != "ok":
            assert time.monotonic() < until, "the PBX is not followed"
            time.sleep(0.05)  # another process can only be polled


def said(one: Visitor, words: str) -> None:
    expect(one.page.locator("#said")).to_have_text(words, timeout=PATIENCE)


def ordered(one: Visitor, pbx: Pbx) -> str:
    """Order a call from a contact's page; return the id of the agent's channel."""
    before = pbx.fake.seen["Originate"]
    one.go("/contacts/1").click(f"a[href='/call?number={ANA.replace('+', '%2B')}'] >> nth=0")
    expect(one.page.locator("h1")).to_have_text("Call somebody")
    assert pbx.fake.seen["Originate"] == before, "looking dials nothing"
    one.page.select_option("[name=agent]", "101")
    one.page.click("form[action='/call'][method=post] button")
    return pbx.ordered("Originate", before + 1)["ChannelId"]


def test_a_call_is_followed_without_loading_the_page_anew(visit: Any, pbx: Pbx) -> None:
    one: Visitor = visit("operator")
    channel = ordered(one, pbx)
    one.page.evaluate("window.same = true")
    for state, words in (("5", "Your telephone rings: pick it up."), ("6", "The number is being dialled.")):
        pbx.state(channel, state)
        said(one, words)
    pbx.tell("DialEnd", Uniqueid=channel, Linkedid=channel, DestUniqueid="1.1", DialStatus="ANSWER")
    said(one, "You are connected.")
    expect(one.page.locator("#again")).to_be_hidden()
    pbx.tell("Hangup", Uniqueid=channel, Linkedid=channel, Cause="16")
    said(one, "The call is over.")
    expect(one.page.locator("#going")).to_be_hidden()
    expect(one.page.locator("#again")).to_be_visible()
    assert one.page.evaluate("window.same"), "the same page all the time"
    assert one.complaints == []


def test_an_answer_that_is_late_takes_nothing_back(visit: Any, pbx: Pbx) -> None:
    one: Visitor = visit("operator")
    held = hold(one, "**/api/v1/dials/*")
    channel = ordered(one, pbx)
    until_held(one, held)  # its stream of events is open
    late = held[0].fetch()
    assert late.json()["state"] == "asked"
    pbx.state(channel, "5")
    said(one, "Your telephone rings: pick it up.")
    one.page.evaluate(
        "() => { window.end = new Promise(done => new MutationObserver(done).observe(said, {childList: true})); }"
    )
    held[0].fulfill(response=late)
    pbx.tell("Hangup", Uniqueid=channel, Linkedid=channel, Cause="16")
    one.page.evaluate("window.end")
    assert one.page.text_content("#said") == "The agent's telephone was not picked up."


@pytest.mark.parametrize("scripts", [True, False])
def test_a_call_is_cancelled(visit: Any, console: Console, browser: Any, pbx: Pbx, *, scripts: bool) -> None:
    one: Visitor = visit("operator")
    context = None
    if not scripts:
        cookies = one.page.context.cookies()
        context = browser.new_context(java_script_enabled=False)
        context.add_cookies(cookies)
        context.set_default_timeout(PATIENCE)
        one = Visitor(context.new_page(), console.address, [])
    hung_up = pbx.fake.seen["Hangup"]
    channel = ordered(one, pbx)
    pbx.state(channel, "5")
    said(one, "Your telephone rings: pick it up.")
    one.page.click("text=Hang up")
    assert pbx.ordered("Hangup", hung_up + 1)["Channel"] == channel
    pbx.tell("Hangup", Uniqueid=channel, Linkedid=channel, Cause="16")
    said(one, "The call was cancelled.")
    if context is not None:
        context.close()


def test_the_browser_opens_telephone_links_there(visit: Any) -> None:
    one: Visitor = visit("operator")
    page = one.go("/call/handler")
    expect(page.locator("#unable")).to_be_hidden()
    page.click("#register")
    expect(page.locator("#done")).to_be_visible()
    assert one.complaints == []
