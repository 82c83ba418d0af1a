"""Record ids: 15 case-sensitive characters, or those and a checksum of 3 that makes case not matter.

Ids are given out in order, so that they sort (byte-wise) as they were made.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from tests.org.errors import OrgError

PREFIXES: Final = {
    "Account": "001", "Contact": "003", "User": "005", "Opportunity": "006", "Organization": "00D",
    "Group": "00G", "Lead": "00Q", "Task": "00T",
}  # fmt: skip
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID: Final = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")


# A capital is a 1, anything else a 0.
_BITS: Final = str.maketrans({letter: "1" if "A" <= letter <= "Z" else "0" for letter in _DIGITS})


def _checksum(five: str) -> str:
    return _CHECKSUM[int(five[::-1].translate(_BITS), 2)]


def long_id(text: str) -> str:
    """Give the 18-character form of an id of 15, or of 18 with a right checksum; the object does not matter.

    An id of 18 may come in any case: its checksum says which letters are capitals. Raises OrgError
    (MALFORMED_ID).
    """
    if not _ID.fullmatch(text):
        raise OrgError("MALFORMED_ID", f"malformed id {text}")
    made = text[:15] + _checksum(text[:5]) + _checksum(text[5:10]) + _checksum(text[10:15])
    return made if text in (made, text[:15]) else long_id(_with_case(text))


def _with_case(text: str) -> str:
    letters = []
    for chunk, check in enumerate(text[15:].upper()):
        bits = _CHECKSUM.find(check)
        for place, letter in enumerate(text[chunk * 5 : chunk * 5 + 5]):
            capital = bool(bits >> place & 1)
            if bits < 0 or (capital and not letter.isalpha()):
                raise OrgError("MALFORMED_ID", f"malformed id {text}")
            letters.append(letter.upper() if capital else letter.lower())
    return "".join(letters[:15])


class Allocator:
    """Gives out ids, one series for each object."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def next(self, prefix: str) -> str:
        """Give the next id of a three-character prefix."""
        self._given[prefix] += 1
        text = f"{prefix}5g000{_base62(self._given[prefix], 7)}"
        return text + _checksum(text[:5]) + _checksum(text[5:10]) + _checksum(text[10:])


def _base62(number: int, width: int) -> str:
    places = ""
    while number:
        number, digit = divmod(number, 62)
        places = _DIGITS[digit] + places
    return places.rjust(width, "0")
