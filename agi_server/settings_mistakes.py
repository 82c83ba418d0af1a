"""Says what is wrong with a setting, on which line, and what may have been meant.

Invariant: no text made here holds the value of a secret.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from agi_server.settings import SECTIONS, ReformatEntry, is_secret

Where = tuple[str | int, ...]  # section, key, and inside a list index and key

MANY = 20  # names are not listed in a hint when there are more
EXPECTED = {  # by pydantic's type of error; its own words otherwise
    "bool_type": "should be true or false",
    "float_type": "should be a number",
    "int_from_float": "should be a whole number",
    "int_type": "should be a whole number",
    "missing": "is missing",
    "model_type": 'should be a table such as {match = "00(.*)", replace = "+\\\\1"}',
    "string_type": "should be text in quotes",
    "tuple_type": "should be a list",
}


def _label(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def explain(details: ErrorDetails) -> str:
    """Return what is wrong: the setting's name, what was expected, and what there is if it may be shown."""
    path, kind, value = details["loc"], details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown(path, value)
    if kind == "model_type" and len(path) == 1:
        return f"{path[0]} should be a section, [{path[0]}]"
    if kind == "value_error":
        what = str(details["ctx"]["error"])
    else:
        what = EXPECTED.get(kind) or re.sub(r"^\w+ should", "should", details["msg"])
    if isinstance(value, str | int | float) and not is_secret(SECTIONS[str(path[0])][str(path[1])]):
        what += f", not {json.dumps(value, ensure_ascii=False)}"
    return f"{_label(path)} {what}"


def _unknown(path: Sequence[str | int], value: object) -> str:
    section, key = str(path[0]), str(path[-1])
    homes = [name for name in SECTIONS if key in SECTIONS[name]]
    if len(path) == 1 and not isinstance(value, dict):
        return f"{key} stands outside a section; {nearest(key, (), [f'{home}.{key}' for home in homes])}"
    if len(path) == 1:
        return f"[{key}] is no section; {nearest(key, SECTIONS)}"
    fields = SECTIONS[section] if len(path) == 2 else ReformatEntry.model_fields
    hint = nearest(key, fields, [f"{home}.{key}" for home in homes])
    return f"{_label(path)} is no setting; {hint}"


def nearest(name: str, known: Iterable[str], elsewhere: Sequence[str] = (), *, likeness: float = 0.6) -> str:
    """Return a hint at what may have been meant, or at what there is."""
    known = list(known)
    if found := get_close_matches(name, known, 1, likeness) or elsewhere[:1]:
        return f"did you mean {found[0]}?"
    if known and len(known) <= MANY:
        return f"there are {', '.join(known)}"
    return "`ostiary settings --reference` lists those there are"


def line_numbers(text: str) -> dict[Where, int]:
    """Return the line on which each table, list and value of a sound TOML text begins.

    A prefix of the lines that is sound TOML ends with a statement; what the next such prefix has more began
    on the line after it. So no second parser can disagree with the first.
    """
    lines = text.split("\n")
    found: dict[Where, int] = {}
    begin = 1
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        for path in _paths(values):
            found.setdefault(path, begin)
        begin = end + 1
    return found


def _paths(value: object, path: Where = ()) -> Iterator[Where]:
    inner: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        yield (*path, key)
        yield from _paths(item, (*path, key))
