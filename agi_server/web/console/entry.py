"""What somebody typed into a form.

Invariant: every value is one line of at most `LONGEST` characters without control characters, and whoever made a
mistake gets back what was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import FormData

from agi_server.errors import InputError
from agi_server.exchange.cells import clean

T = TypeVar("T")

LONGEST = 1000  # characters; the templates set narrower bounds
LARGEST_ID = 2**63 - 1  # what the database holds


class Entry:
    """The values of a form by field, and the mistakes found in them so far, by field ('': in the whole)."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.typed = {name: clean(value) for name, value in values.items()}
        self.mistakes: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        """Return what was typed; '' for a field that is not there."""
        return self.typed.get(name, "")

    def wrong(self, name: str) -> str:
        """Return what is wrong with a field, or ''."""
        return self.mistakes.get(name, "")

    def read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return what `parse` makes of a field; where it raises InputError, note that and return `default`."""
        text = self[name]
        if len(text) > LONGEST:
            self.mistakes[name] = f"this is longer than {LONGEST} characters"
            return default
        try:
            return parse(text)
        except InputError as error:
            self.mistakes[name] = str(error)
            return default


async def entry_of(request: Request) -> Entry:
    """Return the form of a request; of several values of a field the last."""
    return Entry(texts(await request.form()))


def texts(form: FormData) -> dict[str, str]:
    """Return the fields that are text, no files."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`; nothing is 0."""

    def parse(text: str) -> int:
        if not text:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise InputError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse
