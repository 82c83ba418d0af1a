"""Rows as Asterisk writes them, made up or recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from agi_server.calls.extensions import own_extension
from agi_server.cdr.csv_file import columns, split
from agi_server.cdr.rows import Row, read_row

FILES = Path(__file__).parent / "files"
BEGAN = 1_795_300_000  # seconds since 1970


def ours(endpoint: str) -> str:
    return own_extension(endpoint, {"101", "102", "103"}, "", ("trunk*",))


def recorded(name: str) -> list[Row]:
    """Return the rows of a recorded conversation, those of the oldest linkedid."""
    records, bad, _ = split((FILES / f"{name}.csv").read_bytes())
    assert bad == 0
    rows = [read_row(columns(record), UTC) for record in records]
    answered = [row for row in rows if row.dstchannel] or rows
    linkedid = min(row.linkedid for row in answered)
    return [row for row in rows if row.linkedid == linkedid]


def text(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def record(
    number: str = "4930200001",
    *,
    began: int = BEGAN,
    rang: int = 2,
    spoke: int = 5,
    disposition: str = "ANSWERED",
    uniqueid: str = "",
    linkedid: str = "",
    channel: str = "PJSIP/trunk-00000001",
    to: str = "PJSIP/101-00000002",
    did: str = "4930777100",
    name: str = "Otto",
) -> bytes:
    """Return a line of Master.csv, times in UTC; a call that was not answered lasted as long as it rang."""
    uniqueid = uniqueid or f"{began}.1"
    answered = disposition == "ANSWERED"
    cells: list[str | int] = [
        "",
        number,
        did,
        "from-trunk",
        f'"{name}" <{number}>',
        channel,
        to,
        "Dial",
        "PJSIP/101,20",
        text(began),
        text(began + rang if answered else None),
        text(began + rang + (spoke if answered else 0)),
        rang + (spoke if answered else 0),
        spoke if answered else 0,
        disposition,
        "DOCUMENTATION",
        uniqueid,
        "",
        "",
        linkedid or uniqueid,
        7,
    ]
    del cells[17]  # no userfield
    return (",".join(_cell(cell) for cell in cells) + "\n").encode()


def _cell(cell: str | int) -> str:
    if isinstance(cell, int):
        return str(cell)
    quoted = cell.replace('"', '""')
    return f'"{quoted}"'
