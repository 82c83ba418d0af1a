"""What becomes of a conversation's row when more is told of it.

Invariant: of all that is told of one conversation (decisions, who answered, how it ended, the PBX's record, AMI's), in
whatever order and however often, comes the same row. So for each column somebody has the say: the decisions, the
earliest first, for who called whom and why; who sees most of the call (`TELLERS`) for how it went. What they leave
empty, the others fill in. `marks` keeps apart what cannot be seen from the values: a word for each unit of columns that
no decision has given (UNITS), and ANSWERED, ASSIGNED and SETTLED.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from agi_server.calls.numbers import normalise
from agi_server.calls.record import TELLERS, Record, Way
from storage.lists import as_json

Row = dict[str, Any]

DECISION: Final = "decision"
# Columns that are given together. A unit is empty where those in EMPTY_IF are.
UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    DECISION: ("uniqueid", "direction", "started_at", "verdict", "reason", "rule_id"),
    "number": ("number", "number_text"),
    "name": ("name",),
    "did": ("did",),
    "trunk": ("trunk",),
    "contact": ("contact_id", "rung"),
    "routed_to": ("routed_to",),
    "trace": ("trace",),
}
_EMPTY_IF: Final = {**UNITS, "contact": ("contact_id",)}
_NOTHING: Final = frozenset({None, "", "null", "[]"})

ANSWERED: Final = "answered"  # `answered_by` is what the dialplan told while the call went on
ASSIGNED: Final = "assigned"  # a person said whose call it was
SETTLED: Final = "settled"  # a person said that nobody need call back

_HOW_IT_WENT: Final = (
    "ended_at", "disposition", "seconds", "answered_by", "answered_at", "legs", "transfers", "told_by",
)  # fmt: skip
_LEGS: Final = ("legs", "transfers")
_WHERE_IT_WAS: Final = ("pbx", "linkedid", "queue", "recording")
COLUMNS: Final = (
    "id",
    *(each for unit in UNITS.values() for each in unit),
    *_HOW_IT_WENT,
    *_WHERE_IT_WAS,
    "marks",
)


def rank(teller: str) -> int:
    """Return how much a teller sees. Raises ValueError for none of TELLERS."""
    if teller not in TELLERS:
        raise ValueError(f"{teller!r} tells of no calls; expected one of {', '.join(TELLERS[1:])}")
    return TELLERS.index(teller)


def has(row: Mapping[str, Any], mark: str) -> bool:
    """Return whether a row has a mark."""
    return mark in row["marks"].split()


def marked(row: Mapping[str, Any], *marks: str) -> str:
    """Return the row's marks with these, too."""
    return " ".join(sorted({*row["marks"].split(), *marks}))


def _without(row: Mapping[str, Any], mark: str) -> str:
    return " ".join(sorted({*row["marks"].split()} - {mark}))


def _is_empty(row: Mapping[str, Any], unit: str) -> bool:
    return unit != DECISION and all(row[name] in _NOTHING for name in _EMPTY_IF[unit])


def by_age(row: Mapping[str, Any]) -> tuple[int, str, str]:
    """Return what decisions of one conversation are ordered by."""
    return row["started_at"], row["uniqueid"], row["id"]


# --- the rules


def with_decision(row: Row, decision: Mapping[str, Any]) -> Row:
    """Return a row with one more decision of the same conversation in it."""
    merged = dict(row)
    decided = not has(row, DECISION)
    first = not decided or by_age(decision)[:2] < by_age(row)[:2]
    internal = row["direction"] == Way.INTERNAL
    for unit, names in _units_of(row).items():
        if not _is_empty(decision, unit) and (first or has(row, unit) or _is_empty(row, unit)):
            merged |= {name: decision[name] for name in names}
            merged["marks"] = _without(merged, unit)
    if first and merged["contact_id"] is None:
        merged["rung"] = decision["rung"]
    if internal and merged["direction"] == Way.OUTBOUND:
        merged["direction"] = str(Way.INTERNAL)
    return merged


def with_told(row: Row, told: Mapping[str, Any]) -> Row:
    """Return a row with what somebody told of its conversation (`told_of`) in it.

    A glimpse gives what AMI saw, and leaves to the dialplan how the call went.
    """
    merged = dict(row)
    glimpse = told["told_by"] == "glimpse"
    above = rank(told["told_by"]) >= rank(row["told_by"]) or (glimpse and row["told_by"] == "ended")
    for unit, names in _units_of(row).items():
        mine = _is_empty(row, unit) or (above and has(row, unit))
        if unit != DECISION and mine and not _is_empty(told, unit):
            merged |= {name: told[name] for name in names}
            merged["marks"] = marked(merged, unit)
    if above:
        merged |= {name: told[name] for name in _HOW_IT_WENT}
        if glimpse:
            merged |= _known_better(row)
        if has(row, DECISION):
            merged |= {name: told[name] for name in UNITS[DECISION]}
            merged["rung"] = merged["rung"] if merged["contact_id"] else told["rung"]
        else:
            merged["direction"] = _direction(row, told)
    with_legs = (each for each in (merged, row, told) if each["legs"] not in _NOTHING)
    merged |= {name: value for name, value in next(with_legs, merged).items() if name in _LEGS}
    for name in _WHERE_IT_WAS:
        if told[name] and (above or not row[name]):
            merged[name] = told[name]
    return merged


def _known_better(row: Row) -> Row:
    """Return what the dialplan has told of how a call went of which AMI saw neither answer nor end."""
    if row["told_by"] == "ended":
        return {name: row[name] for name in _HOW_IT_WENT if name not in _LEGS}
    return {name: row[name] for name in ("answered_by", "answered_at")} if has(row, ANSWERED) else {}


def _units_of(row: Row) -> Mapping[str, tuple[str, ...]]:
    """Return the units that others may give: whose call it was, a person has the last word on."""
    return {unit: names for unit, names in UNITS.items() if unit != "contact" or not has(row, ASSIGNED)}


def _direction(row: Row, told: Mapping[str, Any]) -> str:
    """Return which way a call went that was decided on: an outgoing one may turn out to stay in the house."""
    decided = Way.OUTBOUND if row["direction"] == Way.INTERNAL else Way(row["direction"])
    return str(Way.INTERNAL if told["direction"] == Way.INTERNAL and decided is Way.OUTBOUND else decided)


def with_answer(row: Row, at: int, extension: str) -> Row:
    """Return a row with who answered, as the dialplan tells while the call goes on: the first one counts."""
    if rank(row["told_by"]) > rank("ended"):
        return row
    merged = dict(row)
    if row["told_by"] and row["answered_by"] and not has(row, ANSWERED):
        merged["answered_at"] = min(at, row["answered_at"] or at)
    elif row["answered_at"] is None or (at, extension) < (row["answered_at"], row["answered_by"]):
        merged |= {"answered_at": at, "answered_by": extension, "marks": marked(row, ANSWERED)}
    return merged


def with_end(row: Row, *, ended_at: int, disposition: str, seconds: int, answered_by: str) -> Row:
    """Return a row with how the call went, as the dialplan tells at its end.

    A conversation that was decided on twice may be told of twice: the last end counts.
    """
    if rank(row["told_by"]) > rank("ended"):
        return row
    merged = dict(row)
    told = {"ended_at": ended_at, "disposition": disposition, "seconds": seconds, "told_by": "ended"}
    if row["told_by"] != "ended" or [*told.values()] > [row[name] for name in told]:
        merged |= told
    if answered_by:
        by_another_end = row["answered_by"] if row["told_by"] == "ended" and not has(row, ANSWERED) else ""
        merged |= {"answered_by": max(answered_by, by_another_end), "marks": _without(row, ANSWERED)}
    return merged


def with_news(row: Row, other: Row) -> Row:
    """Return a row with what the dialplan told of another row's call, which turned out to be of this conversation."""
    merged = row
    if other["told_by"] == "ended":
        by = "" if has(other, ANSWERED) else other["answered_by"]
        end = {name: other[name] for name in ("ended_at", "disposition", "seconds")}
        merged = with_end(merged, **end, answered_by=by)
    if other["answered_at"] is not None and rank(other["told_by"]) <= rank("ended"):
        merged = with_answer(merged, other["answered_at"], other["answered_by"])
    return merged


# --- a record as columns


def told_of(record: Record, region: str, decided: Mapping[str, object] | None) -> Row:
    """Return a record as columns. `decided`: what would have been decided on a call that nobody asked about.

    Nobody asked, so nothing was refused: its verdict is `allow`.
    """
    assert record.ended_at is not None
    decided = decided or {}
    internal = record.way is Way.INTERNAL
    number = None if internal else normalise(record.number, region).e164 or None
    let_in = decided.get("verdict", "allow") == "allow"
    row: Row = {
        "id": f"{record.pbx}-{record.linkedid}",
        "uniqueid": record.linkedid,
        "direction": str(record.way),
        "started_at": int(record.started_at),
        "verdict": "allow",
        "reason": str(decided.get("reason") or "") if let_in else "",
        "rule_id": None,
        "number": number,
        "number_text": record.number,
        "name": decided.get("name") or record.name,
        "did": decided.get("did") or record.did,
        "trunk": decided.get("trunk") or record.trunk,
        "contact_id": decided.get("contact_id"),
        "rung": str(decided.get("rung") or "none"),
        "routed_to": decided.get("routed_to") or ("" if record.way is Way.INBOUND else record.agent),
        "trace": _text(decided.get("trace")),
        "ended_at": int(record.ended_at),
        "disposition": str(record.disposition),
        "seconds": record.seconds,
        "answered_by": record.answered_by,
        "answered_at": None if record.answered_at is None else int(record.answered_at),
        "legs": as_json([asdict(leg) for leg in record.legs]),
        "transfers": as_json([asdict(transfer) for transfer in record.transfers]),
        "told_by": record.told_by,
        "pbx": record.pbx,
        "linkedid": record.linkedid,
        "queue": record.queue,
        "recording": record.recording,
        "marks": "",
    }
    if decided.get("number_text"):
        row |= {"number": decided.get("number"), "number_text": decided["number_text"]}
    return row | {"marks": marked(row, *(unit for unit in UNITS if not _is_empty(row, unit)))}


def _text(value: object) -> str | None:
    return json.dumps(value) if value else None
