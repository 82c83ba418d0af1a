from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.org.errors import OrgError
from tests.org.ids import Allocator, long_id

SHORT = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", min_size=15, max_size=15)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        # Pairs that Salesforce's own pages and recorded answers show.
        ("001D000000IRFma", "001D000000IRFmaIAH"),
        ("001R0000005hDFY", "001R0000005hDFYIA2"),
        ("003D000000QV9n2", "003D000000QV9n2IAD"),
        ("000000000000000", "000000000000000AAA"),
    ],
)
def test_the_checksum_is_salesforces(short: str, long: str) -> None:
    assert long_id(short) == long
    assert long_id(long) == long


@given(SHORT)
def test_18_characters_survive_the_loss_of_case(short: str) -> None:
    long = long_id(short)
    assert long[:15] == short
    assert long_id(long.lower()) == long_id(long.upper()) == long


@pytest.mark.parametrize(
    "text", ["", "003", "00300000000000!", "00300000000000AA", "003000000000001BAA", "x" * 19]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(OrgError) as refusal:
        long_id(text)
    assert refusal.value.code == "MALFORMED_ID"


def test_ids_are_given_in_order_and_once() -> None:
    ids = Allocator()
    given_out = [ids.next("003") for _ in range(5000)] + [ids.next("00Q")]
    assert given_out[:-1] == sorted(set(given_out[:-1]))
    assert all(long_id(each) == each for each in given_out)
    assert given_out[-1].startswith("00Q")
