"""A page of a Bulk 2.0 query's results: CSV, read row by row as it comes in.

Invariant: a page gives as many rows as its header Sforce-NumberOfRecords announces, or it ends with SalesforceDown.
Whether pages after the first repeat the column names is not said by Salesforce's documents; what does not look like
names is taken for a row (Bulk API 2.0 and Bulk API Developer Guide, "Get Results for a Query Job").
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests

from agi_server.errors import SalesforceDown

CHUNK = 256 * 1024  # bytes
_NAMES = re.compile(r"[A-Za-z]\w*(\.\w+)*")
WHAT = "the results of the Bulk query"


@dataclass(frozen=True, slots=True)
class Results:
    """A page: its rows by column (SOQL's names, e.g. Account.Name; '' for null), and the locator of the next one."""

    names: list[str]
    rows: Iterator[dict[str, str]]
    next: str  # '' after the last page


def open_page(response: requests.Response, usual: Callable[[], list[str]]) -> Results:
    """Begin to read a page; `usual` gives the column names of a page that has none."""
    reader = _reader(response)
    first = next(reader, [])
    names, head = first, []
    if first and not ("Id" in first and all(map(_NAMES.fullmatch, first))):
        names, head = usual(), [first]
    announced = response.headers.get("Sforce-NumberOfRecords", "")
    locator = response.headers.get("Sforce-Locator", "null")
    expected = int(announced) if announced.isdecimal() else None
    return Results(names, _rows(names, head, reader, expected), "" if locator == "null" else locator)


def _rows(
    names: list[str], head: list[list[str]], reader: Iterator[list[str]], expected: int | None
) -> Iterator[dict[str, str]]:
    count, width = 0, len(names)
    for cells in _both(head, reader):
        if len(cells) != width:
            raise SalesforceDown(f"{WHAT}: a row has {len(cells)} columns, not {width}")
        count += 1
        yield dict(zip(names, cells, strict=True))
    if expected is not None and count < expected:
        raise SalesforceDown(f"{WHAT}: {count} records came, {expected} were announced")


def _both(head: list[list[str]], reader: Iterator[list[str]]) -> Iterator[list[str]]:
    yield from head
    yield from reader


def _reader(response: requests.Response) -> Iterator[list[str]]:
    problem = ""
    try:
        for row in csv.reader(_lines(response), strict=True):
            if row:
                yield row
    except requests.RequestException:
        problem = "the connection was cut"
    except csv.Error:
        problem = "it is no CSV"
    if problem:  # outside: the cause's frames hold the request
        raise SalesforceDown(f"{WHAT}: {problem}")


def _lines(response: requests.Response) -> Iterator[str]:
    """Yield lines with their ends; not `iter_lines`, which also splits at U+2028 and drops what it split at.

    Half a character in one record (an emoji that was cut) must not keep us from all others: U+FFFD is in its place.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    for chunk in response.iter_content(CHUNK):
        *lines, rest = (rest + decode(chunk)).split("\n")
        for line in lines:
            yield line + "\n"
    rest += decode(b"", final=True)
    if rest:
        yield rest
