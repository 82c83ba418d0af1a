"""A finished record as JSON and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.ami.kept import pack, unpack
from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer, Way

texts = st.text(max_size=10)
times = st.floats(0, 4e9)
legs = st.builds(
    Leg,
    extension=texts,
    via=texts,
    began_at=times,
    answered_at=st.none() | times,
    ended_at=st.none() | times,
    held=times,
    outcome=st.sampled_from(LegOutcome),
)
transfers = st.builds(Transfer, kind=texts, at=times, by=texts, to=texts)
records = st.builds(
    Record,
    linkedid=texts,
    uniqueids=st.lists(texts, max_size=3).map(tuple),
    way=st.sampled_from(Way),
    name=texts,
    started_at=times,
    ended_at=st.none() | times,
    disposition=st.sampled_from(Disposition),
    seconds=st.integers(0, 9999),
    legs=st.lists(legs, max_size=3).map(tuple),
    transfers=st.lists(transfers, max_size=2).map(tuple),
)


@given(records)
@settings(max_examples=60)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    again = unpack(json.loads(json.dumps(pack(record))))
    assert again == record
    assert type(again.way) is Way
    assert all(type(leg.outcome) is LegOutcome for leg in again.legs)


@pytest.mark.parametrize(
    "state", [{}, {"linkedid": "1"}, {**pack(Record(linkedid="1", started_at=1.0)), "way": "up"}]
)
def test_what_is_no_record(state: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        unpack(state)
