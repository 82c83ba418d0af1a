"""Salesforce ids in their two forms: 15 characters whose case matters, and 18 that survive losing it.

What is stored is always 18 characters long, so that one record has one id whoever wrote it down (reports and
URLs give 15). Source: "Record IDs" in Salesforce's Object Reference.
"""

from __future__ import annotations

import functools

from agi_server.errors import InputError

SHORT, LONG = 15, 18
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


@functools.lru_cache(maxsize=4096)  # accounts and owners come again and again
def checksum(short: str) -> str:
    """Return which of fifteen characters are capitals: five bits a character."""
    fives = (short[0:5], short[5:10], short[10:15])
    return "".join(_CHECK[sum(c.isupper() << place for place, c in enumerate(five))] for five in fives)


def long_id(text: str) -> str:
    """Return an id in its form of 18 characters; raises InputError for what is none.

    Of 18 characters the last three must tell the case of the others: an id whose case was changed on its way
    is refused.
    """
    if len(text) not in {SHORT, LONG} or not (text.isascii() and text.isalnum()):
        raise InputError(f"{text!r} is no Salesforce id; expected 15 or 18 letters and digits")
    whole = text[:SHORT] + checksum(text[:SHORT])
    if len(text) == LONG and text != whole:
        raise InputError(
            f"{text!r} is no Salesforce id: the last three characters do not fit the others; were capitals changed?"
        )
    return whole
