"""What is known of calls in progress, so that an event that names a call by its id can say whose it is.

Invariant: bounded; of more than MOST calls the one heard of least recently is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

MOST = 10_000  # calls; a few kB each


@dataclass(slots=True)
class Known:
    """A call: its decision's document (calls/document.py), and how far it is."""

    document: dict[str, Any]
    answered: bool = False
    ended: bool = False


class Memory:
    """Calls by id and by the PBX's uniqueid."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._calls: OrderedDict[str, Known] = OrderedDict()
        self._ids: dict[str, str] = {}  # by uniqueid: of the newest call that has it

    def __len__(self) -> int:
        return len(self._calls)

    def keep(self, document: dict[str, Any]) -> None:
        """Keep a call by its decision's document."""
        self._calls.pop(document["id"], None)
        self._calls[document["id"]] = Known(document)
        if document["uniqueid"]:
            self._ids[document["uniqueid"]] = document["id"]
        if len(self._calls) > self._most:
            self._forget()

    def find(self, *, call_id: str, uniqueid: str) -> Known | None:
        """Return the call with this id, else the newest with this uniqueid, as the journal finds it."""
        call_id = call_id or self._ids.get(uniqueid, "")
        known = self._calls.get(call_id)
        if known is not None:
            self._calls.move_to_end(call_id)
        return known

    def _forget(self) -> None:
        call_id, known = self._calls.popitem(last=False)
        uniqueid = known.document["uniqueid"]
        if self._ids.get(uniqueid) == call_id:
            del self._ids[uniqueid]
