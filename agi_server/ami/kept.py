"""A finished record between its end and the journal: as JSON, so that a crash in between loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer, Way


def pack(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return asdict(record)


def unpack(state: Mapping[str, Any]) -> Record:
    """Return the record again. Raises KeyError, TypeError, ValueError where it is none."""
    return Record(
        **{
            **state,
            "uniqueids": tuple(state["uniqueids"]),
            "way": Way(state["way"]),
            "disposition": Disposition(state["disposition"]),
            "legs": tuple(Leg(**{**leg, "outcome": LegOutcome(leg["outcome"])}) for leg in state["legs"]),
            "transfers": tuple(Transfer(**transfer) for transfer in state["transfers"]),
        }
    )
