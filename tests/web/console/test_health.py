"""The page of health."""

from __future__ import annotations

from tests.web.front import Front


async def test_every_part_is_shown_with_its_state(front: Front) -> None:
    front.server.parts = {
        "directory": "ok: 12 contacts",
        "journal": "off",
        "salesforce": "degraded: <b>away</b>",
    }
    shown = (await (await front.client_as("viewer")).get("/health")).text
    assert "Every part does its work." in shown
    assert "12 contacts" in shown
    assert "&lt;b&gt;away&lt;/b&gt;" in shown
    assert "calls go on without it" in shown
    assert "Calls decided" in shown


async def test_a_part_that_fails_is_told(front: Front) -> None:
    front.server.parts = {"directory": "database /x: disk full"}
    shown = (await (await front.client_as("viewer")).get("/health")).text
    assert "Calls go on, but a part does not do its work." in shown
    assert "database /x: disk full" in shown


async def test_a_serving_process_that_is_away_is_told(front: Front) -> None:
    front.server.down = True
    answer = await (await front.client_as("viewer")).get("/health")
    assert answer.status_code == 200
    assert "does not answer" in answer.text
