"""Recorded streams: the text of a manager connection, as events and when they came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agi_server.calls.record import Record
from agi_server.tracking.tracker import Told, Tracker
from tests.tracking.traffic import Event, ours

STREAMS = Path(__file__).parent / "streams"
BEGUN = 1_795_300_000.0
Timed = tuple[float, Event]


def names() -> list[str]:
    """Return the names of all streams recorded from Asterisk 22."""
    return sorted(path.stem for path in STREAMS.glob("*.ami"))


def names_16() -> list[str]:
    """Return the names of all streams recorded from Asterisk 16."""
    return sorted(f"asterisk-16/{path.stem}" for path in (STREAMS / "asterisk-16").glob("*.ami"))


def raw(name: str) -> str:
    """Return a stream's text."""
    return (STREAMS / f"{name}.ami").read_bytes().decode("utf-8", "replace")


def messages(text: str, twice: str = "without") -> Iterator[Event]:
    """Return a text's messages.

    Of a header that comes `twice` none counts (as agi_server/ami has it), the `first`, the `last`, or both as a `list`.
    """
    for block in text.split("\r\n\r\n"):
        found: dict[str, list[str]] = {}
        for line in block.split("\r\n"):
            key, colon, value = line.partition(":")
            if colon:
                found.setdefault(key, []).append(value.removeprefix(" "))
        message = {key: _value(values, twice) for key, values in found.items()}
        message = {key: value for key, value in message.items() if value is not None}
        if isinstance(message.get("Event"), str):
            yield message


def _value(values: list[str], twice: str) -> Any:
    if len(values) == 1:
        return values[0]
    return {"first": values[0], "last": values[-1], "list": values, "without": None}[twice]


def timed(events: Iterable[Event]) -> list[Timed]:
    """Return events with when they came: what Asterisk says, else a little after the one before."""
    at = BEGUN
    found: list[Timed] = []
    for event in events:
        with contextlib.suppress(ValueError):  # somebody wrote into it
            at = float(event.get("Timestamp", at))
        found.append((at, event))
    return found


def stream(name: str) -> list[Timed]:
    """Return a recorded stream."""
    return timed(messages(raw(name)))


def play(tracker: Tracker, events: Iterable[Timed]) -> list[Told]:
    """Feed events; return all that was told."""
    return [told for at, event in events for told in tracker.event(event, at)]


def ended(told: Iterable[Told]) -> list[Record]:
    """Return the records of conversations that ended."""
    return [each.record for each in told if each.what == "ended"]


def records(events: Iterable[Timed]) -> list[Record]:
    """Return the records of the conversations in a stream."""
    return ended(play(Tracker("pbx", ours), events))
