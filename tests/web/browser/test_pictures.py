"""The pictures of the docs, taken from the pages as they are."""

from __future__ import annotations

from typing import Any

from tests.web.browser.conftest import Console, Visitor
from tests.web.browser.pictures import shoot


def test_live_calls(console: Console, visit: Any) -> None:
    told = console.call("+493023125010")
    one: Visitor = visit("admin", height=620)
    page = one.go("/")
    row = page.locator(f"[data-call='{told['OSTIARY_CALL']}']")
    row.wait_for()
    row.locator("details summary").first.click()
    shoot(page, "live-call")


def test_a_trial(visit: Any) -> None:
    one: Visitor = visit("admin", height=760)
    page = one.go("/trial")
    page.fill("[name=number]", "+493023125010")
    page.locator("main form").first.locator("button").first.click()
    page.locator("main .trace").first.wait_for()
    shoot(page, "trial")
    assert one.complaints == []
