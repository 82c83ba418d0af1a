"""Two people edit one thing: whoever says what they saw (If-Match) never undoes what they did not see.

A tag is strong: it changes with anything a reader of the document may see. Compare within the transaction that
writes, or somebody else's change fits between.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Literal

import orjson
from fastapi import Header
from starlette.exceptions import HTTPException

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=1000, description="Change only the version with this ETag."),
]
IfNoneMatch = Annotated[
    Literal["*"] | None,
    Header(alias="If-None-Match", description="`*`: only if it is not there yet."),
]
_TAG = re.compile(r'(W/)?"([^"]*)"')


def etag(version: object) -> str:
    """Return the tag, with its quotes, of a document, or of whatever else names a version."""
    text = orjson.dumps(version, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return f'"{hashlib.sha256(text).hexdigest()[:24]}"'


def require(if_match: str | None, tag: str) -> None:
    """Answer 412 unless the header is absent, `*`, or lists `tag` (RFC 9110 §13.1.1: weak tags never match)."""
    if if_match is None or if_match.strip() == "*":
        return
    if any(not weak and f'"{text}"' == tag for weak, text in _TAG.findall(if_match)):
        return
    raise HTTPException(
        HTTPStatus.PRECONDITION_FAILED,
        "somebody else changed it in the meantime: fetch it again, and decide again",
    )


def require_put(if_match: str | None, if_none_match: str | None, tag: str | None) -> None:
    """Answer 412 where a PUT was meant for another version than `tag`; None: the thing is not there."""
    if tag is None and if_match is not None:
        raise HTTPException(HTTPStatus.PRECONDITION_FAILED, "it is not there, or no longer")
    if tag is not None and if_none_match is not None:
        raise HTTPException(
            HTTPStatus.PRECONDITION_FAILED, "it is there already: fetch it, and change it with If-Match"
        )
    if tag is not None:
        require(if_match, tag)
