"""Two people change one thing: who saves second is shown what the first has saved.

A form carries the version of what it shows, and is saved only while that is the version of what is stored.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from agi_server.calls.directory import Rule
from agi_server.web.etags import etag

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def version_of(thing: DataclassInstance) -> str:
    """Return a text that differs where anything that people change in `thing` differs; hits of rules do not count."""
    names = [field.name for field in fields(Rule if isinstance(thing, Rule) else thing)]
    return etag([getattr(thing, name) for name in names]).strip('"')
