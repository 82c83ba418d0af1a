"""Every page, in every language: it is there, whole, accessible, light, and shows names as text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from agi_server.web.console.languages import LANGUAGES
from tests.web.browser.conftest import TALK, Console, Visitor
from tests.web.browser.pictures import shoot

PAGES = (
    "/",
    "/my-calls",
    "/my-calls?extension=101",
    "/calls",
    f"/calls/{TALK}",
    "/call-back",
    "/call",
    "/call?number=%2B493023125010",
    "/call?number=%2B4930900900",
    "/call/handler",
    "/call/d1a1",
    "/statistics",
    "/trial",
    "/blacklist",
    "/blacklist/new",
    "/blacklist/import",
    "/contacts",
    "/contacts?q=a",
    "/contacts/new",
    "/contacts/1",
    "/agents",
    "/agents/new",
    "/agents/1",
    "/dids",
    "/dids/new",
    "/settings",
    "/settings/naming.template",
    "/salesforce",
    "/outbox",
    "/health",
    "/users",
    "/audit",
    "/password",
)
HEAVIEST = 100_000  # bytes of a page with everything it loads
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def name_of(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-") or "live"


def barriers(page: Page) -> list[str]:
    """Return what the accessibility check finds, one line each."""
    found = Axe().run(page, options=RULES)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found.response["violations"]
        for node in each["nodes"]
    ]


def is_sound(one: Visitor, path: str, *, barriers_too: bool = True) -> None:
    """Fail where anything is wrong with the page that is open."""
    assert not barriers_too or barriers(one.page) == [], path
    assert one.complaints == [], path
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
    assert one.page.evaluate(
        "[...document.querySelectorAll('.table')].every(e => e.scrollWidth <= e.clientWidth)"
    ), f"a table of {path} is cut off"
    assert one.page.locator("h1").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_in_every_language(visit: Any, language: str) -> None:
    one: Visitor = visit("admin", language=language)
    for path in PAGES:
        page = one.go(path)
        assert page.locator("html").get_attribute("lang") == language
        is_sound(one, path, barriers_too=language == "en")  # they are the same in all, and looking takes long
        if language == "en":
            shoot(page, name_of(path))
        elif path in {"/", "/calls", "/blacklist"}:
            shoot(page, name_of(path), language)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_every_page_on_a_small_screen(visit: Any, dark: bool) -> None:
    one: Visitor = visit("admin", width=360, dark=dark)
    for path in PAGES:
        page = one.go(path)
        is_sound(one, path, barriers_too=dark)  # light colours are looked at on a large screen
        shoot(page, name_of(path), "dark" if dark else "small")


def test_a_page_is_light(visit: Any) -> None:
    one: Visitor = visit("admin")
    for path in PAGES:
        page = one.go(path)
        page.wait_for_load_state("load")
        entries = (
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        )
        weight = page.evaluate(f"{entries}.reduce((sum, each) => sum + each.decodedBodySize, 0)")
        assert 0 < weight <= HEAVIEST, path


def test_every_page_works_without_a_script(console: Console, browser: Any, visit: Any) -> None:
    one: Visitor = visit("admin")
    cookies = one.page.context.cookies()
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    for path in PAGES:
        answer = page.goto(console.address + path)
        assert answer.status == 200
        assert page.locator("main").inner_text()
    context.close()


def test_the_keyboard_reaches_the_content_first(visit: Any) -> None:
    one: Visitor = visit("viewer")
    page = one.go("/calls")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('main').contains(document.activeElement)")


def test_what_a_viewer_may_not_do_is_not_offered(visit: Any) -> None:
    one: Visitor = visit("viewer")
    for path in ("/blacklist", "/contacts/1", "/agents", "/outbox", "/salesforce"):
        page = one.go(path)
        assert page.locator("main form[method=post] button").count() == 0, path
