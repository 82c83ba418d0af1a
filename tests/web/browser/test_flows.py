"""What people do in the console, in every language."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agi_server.web.console.languages import LANGUAGES
from tests.web.browser.conftest import HOSTILE, PASSWORD, TALK, Console, Visitor, hold, until_held
from tests.web.browser.pictures import shoot

KNOWN = "async call => { const page = await (await fetch('/calls')).text(); return page.includes(call); }"
languages = pytest.mark.parametrize("language", LANGUAGES)


@languages
def test_who_is_not_logged_in_is_led_to_the_page_they_wanted(
    console: Console, visit: Any, language: str
) -> None:
    one: Visitor = visit(None, language=language)
    page = one.page
    page.goto(console.address + "/calls?verdict=block")
    assert "/log-in" in page.url
    page.fill("[name=name]", "viewer")
    page.fill("[name=password]", "wrong " + PASSWORD)
    page.click("main form button")
    page.locator("main .error").wait_for()
    page.fill("[name=password]", PASSWORD)
    page.click("main form button")
    page.wait_for_url(console.address + "/calls?verdict=block")
    page.click("header form button")
    page.wait_for_url(re.compile("/log-in"))
    page.goto(console.address + "/calls")
    assert "/log-in" in page.url


@languages
def test_a_call_appears_and_changes_while_one_looks(console: Console, visit: Any, language: str) -> None:
    one: Visitor = visit("operator", language=language)
    page = one.go("/")
    page.wait_for_selector("#state:not(:empty)")
    told = console.call("+493023125010")
    row = page.locator(f"[data-call='{told['OSTIARY_CALL']}'], #call-{told['OSTIARY_CALL']}").first
    row.wait_for()
    assert "Ana Muñoz" in row.inner_text()
    if language == "en":
        shoot(page, "live-call")
    console.call("+351210000999", HOSTILE)
    page.get_by_text("onerror=alert(1)").first.wait_for()
    assert one.complaints == []


@pytest.mark.parametrize("address", ["/", "/my-calls?extension=101"])
def test_a_call_between_reading_the_page_and_listening_appears(
    console: Console, visit: Any, address: str
) -> None:
    console.phone("101", "free")
    one: Visitor = visit("operator")
    held = hold(one, "**/api/v1/events?*")
    page = one.go(address)
    until_held(one, held)
    told = console.call("+493023125010")
    page.wait_for_function(KNOWN, arg=f"/calls/{told['OSTIARY_CALL']}")
    held[0].continue_()
    page.locator(f"[data-call='{told['OSTIARY_CALL']}']").first.wait_for()
    assert one.complaints == []


@languages
def test_a_caller_is_blocked_from_the_history(console: Console, visit: Any, language: str) -> None:
    number = f"+3319900{7000 + list(LANGUAGES).index(language)}"
    call = f"/calls/{console.call(number, 'Pest')['OSTIARY_CALL']}"
    one: Visitor = visit("operator", language=language)
    page = one.go("/calls")
    page.wait_for_function(KNOWN, arg=call)
    page.reload()
    page.locator(f"main table tbody a[href='{call}']").first.click()
    page.wait_for_url(f"**{call}")
    shoot(page, "call", language)
    form = page.locator("main form[action*=block]").first
    if not form.locator("button").is_visible():
        page.locator("main details:has(form[action*=block]) > summary").first.click()
    form.locator("button").last.click()
    page.locator("main .notice").wait_for()
    assert console.call(number)["OSTIARY_ACTION"] == "block"
    assert one.complaints == []


@languages
def test_who_calls_is_put_on_the_screen(console: Console, visit: Any, language: str) -> None:
    console.phone("101", "free")
    one: Visitor = visit("operator", language=language)
    page = one.go("/my-calls?extension=101")
    page.wait_for_selector("#state.on")
    others = console.call("+351210000999", HOSTILE)["OSTIARY_CALL"]
    told = console.call("+493023125010")
    row = page.locator(f"#pops > li[data-call='{told['OSTIARY_CALL']}']")
    row.wait_for()
    assert "Ana Muñoz" in row.inner_text()
    assert "Acme" in row.inner_text()
    assert page.locator(f"#pops > li[data-call='{others}']").count() == 0
    assert "Ana Muñoz" in page.locator("#news").inner_text()
    row.locator("summary").click()
    assert row.locator(".trace li").count() > 3
    if language == "en":
        shoot(page, "screen-pop")
    console.ended(told["OSTIARY_CALL"])
    page.wait_for_selector(f"#pops > li.over[data-call='{told['OSTIARY_CALL']}']")
    page.locator(f"#lists a[href='/calls/{told['OSTIARY_CALL']}']").first.wait_for()
    row.locator("[data-link=call]").click()
    page.wait_for_url(re.compile(f"/calls/{told['OSTIARY_CALL']}$"))
    assert one.complaints == []


def test_a_busy_agent_is_shown_a_caller_only_when_answering(console: Console, visit: Any) -> None:
    one: Visitor = visit("operator")
    page = one.go("/my-calls?extension=101")
    page.wait_for_selector("#state.on")
    console.phone("101", "busy")
    silent = console.call("+493023125010")["OSTIARY_CALL"]
    taken = console.call("+493023125010")["OSTIARY_CALL"]
    console.answered(taken, "101")
    page.locator(f"#pops > li[data-call='{taken}']").wait_for()
    console.phone("101", "free")
    rung = console.call("+493023125010")["OSTIARY_CALL"]
    page.locator(f"#pops > li[data-call='{rung}']").wait_for()
    assert page.locator(f"#pops > li[data-call='{silent}']").count() == 0
    assert one.complaints == []


PLAYED = """audio => new Promise((done, failed) => {
  audio.onloadedmetadata = done;
  audio.onerror = failed;
  audio.load();
  audio.preload = 'auto';
  audio.muted = true;
  audio.play().catch(() => {});
})"""


def test_a_recording_is_played(visit: Any) -> None:
    one: Visitor = visit("viewer")
    page = one.go(f"/calls/{TALK}")
    page.locator("audio").evaluate(PLAYED)
    assert 0.9 < page.locator("audio").evaluate("audio => audio.duration") < 1.1
    assert one.complaints == []
