"""Calls on record by the PBX's own records alone: nobody asked about them, and no manager connection sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.pbx import lanes
from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk
from tests.pbx.conversations import Lane, have
from tests.pbx.ostiary import Ostiary
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until
from tests.ports import free_port

LANES = lanes.LANES[1:]
COLUMNS = "direction, number, disposition, answered_by, seconds, queue, told_by, legs, transfers, trunk, pbx"

# way, disposition, who spoke first, seconds at least, queue, how phones came in and out, transfers
EXPECTED: dict[str, tuple[str, str, str, int, str, str, str]] = {
    "answered": ("inbound", "answered", "1", 2, "", "1 dial answered", ""),
    "missed": ("inbound", "no answer", "", 0, "", "1 dial no answer", ""),
    "busy": ("inbound", "busy", "", 0, "", "1 dial busy", ""),
    "queue": ("inbound", "answered", "2", 2, "sales", "1 queue elsewhere; 2 queue answered", ""),
    "blind-transfer": (
        "inbound",
        "answered",
        "1",
        3,
        "",
        "1 dial answered; 2 transfer answered",
        "blind 1 2",
    ),
    "outbound": ("outbound", "answered", "1", 2, "", "1 caller answered; outside dial answered", ""),
}


class Source:
    """Where this PBX writes its records, as Ostiary's settings have it."""

    def __init__(self, asterisk: Asterisk) -> None:
        logs = asterisk.own / "var/log/asterisk"
        self.csv = logs / "cdr-csv/Master.csv"
        self.database = logs / "asteriskcdrdb.db"

    def settings(self, kind: str) -> dict[str, str]:
        named = {
            "csv": {"OSTIARY_CDR__CSV_FILE": str(self.csv)},
            "table": {"OSTIARY_CDR__URL": f"sqlite:///{self.database}"},
        }
        return {
            **named[kind],
            "OSTIARY_CDR__TIMEZONE": "UTC",
            "OSTIARY_CDR__INTERVAL": "1",
            "OSTIARY_CDR__SETTLE": "1",
            "OSTIARY_NUMBERS__OWN_EXTENSIONS": "[12][0-9][1-39]",
        }


@pytest.fixture
def reading(
    asterisk: Asterisk, serve: Callable[..., Ostiary], request: pytest.FixtureRequest
) -> Iterator[Ostiary]:
    """Return a server that nobody asks, and that reads the PBX's records."""
    if request.param == "table" and not asterisk.has_module("cdr_sqlite3_custom.so"):
        pytest.skip("NOT TESTED: call records in a database (this Asterisk has no cdr_sqlite3_custom)")
    settings = Source(asterisk).settings(request.param)
    asterisk.set_global("OSTIARY_SERVER", f"127.0.0.1:{free_port()}")
    server = serve(**settings)
    until(lambda: server.rows("SELECT 1 FROM positions"))  # what comes from now on is told
    yield server
    server.stop()


def told(server: Ostiary, number: str) -> list[dict[str, Any]]:
    names = [name.strip() for name in COLUMNS.split(",")]
    rows = server.rows(f"SELECT {COLUMNS} FROM calls WHERE part_of = '' AND number = ?", int(number))
    return [dict(zip(names, row, strict=True)) for row in rows]


def summary(call: dict[str, Any], lane: int, number: str) -> tuple[str, str, str, int, str, str, str]:
    """Return a call as EXPECTED has it: seats in place of extensions."""

    def seat(name: str) -> str:
        return "outside" if name == number else name.removeprefix(str(lane))

    legs = json.loads(call["legs"] or "[]")
    transfers = json.loads(call["transfers"] or "[]")
    return (
        call["direction"],
        call["disposition"],
        seat(call["answered_by"]),
        call["seconds"],
        call["queue"].partition("-")[0],
        "; ".join(
            f"{seat(leg.get('extension') or leg.get('number', ''))} {leg['via']} {leg['outcome']}"
            for leg in legs
        ),
        "; ".join(f"{each['kind']} {seat(each['by'])} {seat(each['to'])}" for each in transfers),
    )


@pytest.mark.parametrize("reading", ["csv", "table"], indirect=True)
def test_every_call_is_on_record_by_its_rows(
    reading: Ostiary, asterisk: Asterisk, sipp: Sipp, ami: Ami
) -> None:
    numbers = {name: f"49306{index:07}" for index, name in enumerate(EXPECTED)}
    companies = {
        name: Lane(lane, numbers[name], sipp, ami)
        for name, lane in zip(EXPECTED, LANES[: len(EXPECTED)], strict=True)
    }
    with ThreadPoolExecutor(len(companies)) as pool:
        for done in [pool.submit(have, name, company) for name, company in companies.items()]:
            done.result()
    asterisk.wait_for_no_channel()
    for name, company in companies.items():
        expected = EXPECTED[name]

        def whole(number: str = numbers[name], lane: int = company.lane, last: str = expected[-2]) -> bool:
            return any(summary(call, lane, number)[-2] == last for call in told(reading, number))

        with suppress(TimeoutError):  # what is there instead is said below
            until(whole)  # a call whose rows come one by one is told again
        (call,) = told(reading, numbers[name])
        found = summary(call, company.lane, numbers[name])
        assert found[:3] == expected[:3], name
        assert expected[3] <= found[3] <= expected[3] + 2, (name, found)
        assert found[4:] == expected[4:], name
        assert (call["told_by"], call["trunk"], call["pbx"]) == ("cdr", "PJSIP/trunk", "pbx"), name


@pytest.mark.parametrize("reading", ["csv"], indirect=True)
def test_a_log_that_is_rotated_between_two_calls(
    reading: Ostiary, asterisk: Asterisk, sipp: Sipp, ami: Ami
) -> None:
    log = Source(asterisk).csv
    numbers = ["4930610001", "4930610002"]
    for number in numbers:
        have("answered", Lane(LANES[0], number, sipp, ami))
        asterisk.wait_for_no_channel()
        until(lambda number=number: log.exists() and number.encode() in log.read_bytes())  # type: ignore[misc]
        log.rename(Path(f"{log}.{number}"))
    for number in numbers:
        (call,) = until(lambda number=number: told(reading, number))  # type: ignore[misc]
        assert (call["disposition"], call["answered_by"]) == ("answered", f"{LANES[0]}1")
