"""The page of calls to call back."""

from __future__ import annotations

from agi_server.calls.call import Direction
from tests.web.console.calls import NAUGHTY, journal
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
    assert 'href="tel:+493023125010"' in shown
    assert "<img src=x" not in shown
    assert "/calls/old" in (await viewer.get("/call-back?days=7")).text


async def test_nobody_waits(front: Front) -> None:
    assert (
        "Nobody waits to be called back." in (await (await front.client_as("viewer")).get("/call-back")).text
    )
