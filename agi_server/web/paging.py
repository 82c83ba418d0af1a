"""Lists in pages: `?limit=` and `?cursor=`, answered `{"items": […], "next": "cursor" | null}`.

A cursor is what the storage's function gave for the next page; whoever asks takes it as it is.
"""

from __future__ import annotations

from typing import Annotated, Generic, NamedTuple, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

T = TypeVar("T")

DEFAULT = 50
MOST = 200


class Asked(NamedTuple):
    """Which page is wanted: at most `limit` items, those behind `after` ('': the first)."""

    limit: int
    after: str


class Listed(BaseModel, Generic[T]):
    """One page; `next` is the cursor of the following one, null on the last."""

    items: list[T]
    next: str | None


async def _asked(  # one that is no coroutine is called in a thread
    limit: Annotated[int, Query(ge=1, le=MOST, description="Items at most.")] = DEFAULT,
    cursor: Annotated[str, Query(max_length=400, description="`next` of the page before.")] = "",
) -> Asked:
    return Asked(limit, cursor)


Paging = Annotated[Asked, Depends(_asked)]


def listed(items: list[T], after: str) -> Listed[T]:
    """Return a page; `after` is what the storage said of the next ('': there is none)."""
    return Listed(items=items, next=after or None)
