"""The page of calls to call back."""

from __future__ import annotations

import re

from agi_server.calls.call import Direction
from tests.web.console.calls import NAUGHTY, journal
from tests.web.console.pages import hidden
from tests.web.front import Front


async def test_who_was_missed_and_not_spoken_with_since_is_shown(front: Front) -> None:
    await journal(front, "ana", "+493023125010", ago=900, disposition="noanswer")
    await journal(front, "who", "+34911234567", name=NAUGHTY, ago=800, disposition="cancel")
    await journal(front, "back", "+351210000999", ago=700, disposition="noanswer")
    outbound = {"direction": Direction.OUTBOUND, "extension": "101"}
    await journal(
        front, "call", "+351210000999", ago=600, disposition="answer", answered_by="trunk", **outbound
    )
    await journal(front, "bad", "+4930900900", ago=500, disposition="noanswer")  # blocked
    await journal(front, "old", "+34911234568", ago=3 * 86_400, disposition="noanswer")
    viewer = await front.client_as("viewer")
    shown = (await viewer.get("/call-back")).text
    assert [
        name in shown for name in ("/calls/ana", "/calls/who", "/calls/back", "/calls/bad", "/calls/old")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert 'href="tel:%2B493023125010"' in shown
    assert "<img src=x" not in shown
    assert "/calls/old" in (await viewer.get("/call-back?days=7")).text


async def test_nobody_waits(front: Front) -> None:
    assert (
        "Nobody waits to be called back." in (await (await front.client_as("viewer")).get("/call-back")).text
    )


async def test_how_often_somebody_called_in_vain(front: Front) -> None:
    for place in range(3):
        await journal(front, f"a{place}", "+34911234567", ago=900 - place, disposition="noanswer")
    await journal(front, "b", "+34911234568", ago=500, disposition="noanswer")
    page = (await (await front.client_as("viewer")).get("/call-back")).text
    assert re.findall(r'<td class="number"[^>]*>(\d+)<', page) == ["1", "3"]


async def test_what_is_settled_is_gone(front: Front) -> None:
    await journal(front, "a", "+34911234567", ago=900, disposition="noanswer")
    viewer, operator = await front.client_as("viewer"), await front.client_as("operator")
    assert "/call-back?days=7" not in re.findall(
        r'action="([^"]*)"', (await viewer.get("/call-back?days=7")).text
    )
    page = await operator.get("/call-back?days=7")
    assert 'action="/call-back?days=7"' in page.text
    assert hidden(page, "call") == ["a"]
    answer = await operator.post("/call-back?days=7", data={"call": "a"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/call-back?days=7")
    page = await operator.get("/call-back?days=7")
    assert "It is noted that this is settled." in page.text
    assert "/calls/a" not in page.text
    await journal(front, "b", "+34911234567", ago=60, disposition="noanswer")  # who calls again waits again
    assert "/calls/b" in (await operator.get("/call-back")).text
    assert (await operator.post("/call-back", data={"call": "never"})).status_code == 404
    assert (await viewer.post("/call-back", data={"call": "b"})).status_code == 403
