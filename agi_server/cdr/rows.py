"""One row of Asterisk's call detail records, from a file or a database.

A row has local times without a zone, in whole seconds, and texts that callers chose. Durations are right whatever the
clocks did, so only the time a row begins is read as local time: its end and its answer are counted from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from agi_server.errors import InputError

LONGEST_TEXT: Final = 200  # characters of a name or a number
LONGEST_CALL: Final = 7 * 86400  # seconds; what lasts longer is no call
SAME: Final = 1.5  # seconds: times of rows are whole ones

_UNIQUEID: Final = re.compile(r"(?:.*-)?([0-9]{6,11})\.[0-9]+", re.ASCII | re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row; times are seconds since 1970. `number`, `name`, `did` and `recording` are there with FreePBX only."""

    uniqueid: str
    linkedid: str
    channel: str
    dstchannel: str = ""
    src: str = ""
    dst: str = ""
    clid: str = ""
    lastapp: str = ""
    lastdata: str = ""
    disposition: str = ""
    number: str = ""
    name: str = ""
    did: str = ""
    recording: str = ""
    started_at: float
    answered_at: float | None = None
    ended_at: float


def read_row(fields: Mapping[str, object], zone: tzinfo | None) -> Row:
    """Return the row that columns by name hold, those of cdr_csv or of a database.

    `zone` is that of times without one, None for this machine's. Raises InputError for what is no row: no times, no
    channel, no uniqueid (cdr.conf: loguniqueid=yes and newcdrcolumns=yes).
    """
    texts = {name: _text(fields.get(name)) for name in _TEXTS}
    uniqueid = texts["uniqueid"] or texts["linkedid"]
    if not uniqueid or not texts["channel"]:
        raise InputError("there is no uniqueid, or no channel; cdr.conf: loguniqueid=yes, newcdrcolumns=yes")
    local = _local(fields.get("start") or fields.get("calldate"))
    begun = _moment(local, zone, epoch_of(uniqueid))
    duration, spoken = _seconds(fields.get("duration")), _seconds(fields.get("billsec"))
    disposition = texts["disposition"].upper()
    ended = begun + _between(local, fields.get("end"), duration)
    answered = None
    if disposition == "ANSWERED" or spoken:
        answered = min(begun + _between(local, fields.get("answer"), max(duration - spoken, 0)), ended)
    return Row(
        uniqueid=uniqueid,
        linkedid=texts["linkedid"] or uniqueid,
        channel=texts["channel"],
        dstchannel=texts["dstchannel"],
        src=texts["src"],
        dst=texts["dst"],
        clid=texts["clid"],
        lastapp=texts["lastapp"],
        lastdata=texts["lastdata"],
        disposition=disposition,
        number=texts["cnum"],
        name=texts["cnam"],
        did=texts["did"],
        recording=texts["recordingfile"],
        started_at=begun,
        answered_at=answered,
        ended_at=ended,
    )


_TEXTS: Final = (
    "uniqueid",
    "linkedid",
    "channel",
    "dstchannel",
    "src",
    "dst",
    "clid",
    "lastapp",
    "lastdata",
    "disposition",
    "cnum",
    "cnam",
    "did",
    "recordingfile",
)


def epoch_of(uniqueid: str) -> float | None:
    """Return when a channel began, as its uniqueid tells (`[name-]1700000000.12`), None where it does not."""
    match = _UNIQUEID.fullmatch(uniqueid)
    return float(match[1]) if match else None


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return _CONTROL.sub(" ", text).strip()[:LONGEST_TEXT]


def _seconds(value: object) -> float:
    """Return a duration; records of high resolution have fractions."""
    if value is None or value == "":
        return 0.0
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_CALL:
        raise InputError(f"a duration of {str(value)[:40]!r} seconds")
    return seconds


def _local(value: object) -> datetime:
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value or "").strip())
    except ValueError as error:
        raise InputError(f"a start of {str(value)[:40]!r}") from error


def _moment(local: datetime, zone: tzinfo | None, epoch: float | None) -> float:
    """Return a local time as seconds since 1970.

    Where clocks are set back an hour comes twice. No row begins before its channel, whose uniqueid says when it began:
    that tells which of the two is meant.
    """
    try:
        zoned = [local] * 2 if local.tzinfo else [local.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
        first, second = (each.timestamp() for each in zoned)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"a start of {local}") from error
    if first < 0:
        raise InputError(f"a start of {local}")
    return second if epoch is not None and first < epoch - SAME else first


def _between(begun: datetime, until: object, about: float) -> float:
    """Return how long after its beginning something was: as durations say, to the second as local times do.

    Durations are cut off, so that what followed at once seems to follow a second later; local times jump.
    """
    try:
        exact = (_local(until) - begun).total_seconds()
    except (InputError, TypeError):  # there is none, or one of the two has a zone
        return about
    return exact if abs(exact - about) <= SAME and exact >= 0 else about
