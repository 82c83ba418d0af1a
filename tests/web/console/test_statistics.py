from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agi_server.web.console.statistics import by_hour_of_day, distribution, offset, today
from storage.history import Hour
from tests.web.console.calls import journal
from tests.web.front import Front

METRICS = """\
# TYPE ostiary_answer_seconds histogram
ostiary_answer_seconds_bucket{le="0.0005",script="incoming"} 0
ostiary_answer_seconds_bucket{le="0.001",script="incoming"} 900
ostiary_answer_seconds_bucket{le="0.001",script="ping"} 10
ostiary_answer_seconds_bucket{le="+Inf",script="incoming"} 1000
ostiary_answer_seconds_bucket{le="+Inf",script="ping"} 10
# TYPE ostiary_salesforce_sync_lag_seconds gauge
ostiary_salesforce_sync_lag_seconds 840
"""
AT = 1795284842  # 2026-11-21T18:14:02Z


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
def test_the_day_is_that_of_the_house(zone: str) -> None:
    midnight = datetime.fromtimestamp(today(AT, zone), ZoneInfo(zone))

    assert (midnight.hour, midnight.minute, midnight.second) == (0, 0, 0)
    assert 0 <= AT - today(AT, zone) < 86_400
    assert today(AT, zone, 6) == today(AT, zone) - 6 * 86_400
    assert (AT + offset(AT, zone)) % 86_400 == AT - today(AT, zone)


def test_hours_of_all_days_add_up() -> None:
    hours = by_hour_of_day([Hour(AT, 3, 1), Hour(AT - 86_400, 2, 0), Hour(AT - 3600, 0, 4)], "Europe/Berlin")

    assert len(hours) == 24
    assert {column.label: list(column.values) for column in hours if sum(column.values)} == {
        "19": [5, 1],
        "18": [0, 4],
    }


def test_a_distribution_is_without_its_empty_ends() -> None:
    below = {0.0001: 0.0, 0.001: 0.0, 0.01: 3.0, 0.1: 3.0, 1.0: 5.0, float("inf"): 5.0}

    assert [(column.label, column.values) for column in distribution(below, "en")] == [
        ("10 ms", [3]),
        ("100 ms", [0]),
        ("1 sec", [2]),
    ]
    assert distribution({}, "en") == []
    assert distribution({1.0: 0.0, float("inf"): 2.0}, "en")[0].label == "> 1 sec"


async def test_charts_are_shown_with_their_numbers(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def metrics() -> str:
        return METRICS

    monkeypatch.setattr(front.server, "metrics", metrics)
    for place in range(3):
        await journal(front, f"c{place}", "+34911234567", ago=place)
    await journal(front, "bad", "+4930900900", ago=1)
    page = (await (await front.client_as("viewer")).get("/statistics?days=30")).text

    assert "Half of 1010 answers took up to 1 ms, 99 percent up to &gt; 1 ms." in page
    assert "3 let in, 1 blocked" in page
    assert re.search(r"<b>14 mins?</b>", page)
    assert page.index("+34 911 23 45 67") < page.index("+49 30 900900")  # who called more comes first
    assert page.count('role="img"') == 2
    assert page.count("<table>") == 2


async def test_without_the_serving_process_the_rest_is_shown(front: Front) -> None:
    front.server.down = True
    page = await (await front.client_as("viewer")).get("/statistics")

    assert page.status_code == 200
    assert "Nothing was answered yet, or the serving process does not tell." in page.text


@pytest.mark.parametrize("days", ["0", "91", "x"])
async def test_a_period_that_is_none_is_refused(front: Front, days: str) -> None:
    answer = await (await front.client_as("viewer")).get(
        f"/statistics?days={days}", headers={"Accept": "text/html"}
    )

    assert answer.status_code == 422
