import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.errors import InputError
from storage.salesforce_ids import long_id

# Known pairs: an object's prefix with lower case, upper case and digits in every group of five.
PAIRS = [
    ("003000000000001", "003000000000001AAA"),
    ("001D000000IRFma", "001D000000IRFmaIAH"),
    ("0013000000AAAAA", "0013000000AAAAAAA5"),
    ("ZZZZZZZZZZZZZZZ", "ZZZZZZZZZZZZZZZ555"),
    ("zzzzzzzzzzzzzzz", "zzzzzzzzzzzzzzzAAA"),
]
SHORT = st.text(alphabet=string.ascii_letters + string.digits, min_size=15, max_size=15)


@pytest.mark.parametrize(("short", "whole"), PAIRS)
def test_both_forms_give_the_long_one(short: str, whole: str) -> None:
    assert long_id(short) == long_id(whole) == whole


@pytest.mark.parametrize(
    "text",
    [
        *("", "003", "0030000000000010", "003000000000001AA", "003000000000001AAAA"),
        *("003000000000001AAB", "001D000000IRFMAIAH", "001d000000irfmaiah", "00300000000000-", "00300000000000é"),
        *("003000000000001\n", " 003000000000001"),
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no Salesforce id"):
        long_id(text)


@given(short=SHORT, at=st.integers(0, 14))
def test_an_id_with_another_case_is_another_or_refused(short: str, at: int) -> None:
    whole = long_id(short)
    assert long_id(whole) == whole
    assert whole.startswith(short)
    swapped = short[:at] + short[at].swapcase() + short[at + 1 :]
    if swapped != short:
        assert long_id(swapped)[15:] != whole[15:]
        with pytest.raises(InputError):
            long_id(swapped + whole[15:])
