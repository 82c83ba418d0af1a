"""What is known of calls in progress, so that an event that names a call by its id can say whose it is.

Invariant: bounded; of more than MOST calls the one heard of least recently is forgotten, and so it is with the numbers
that were spoken with. Decisions of one conversation (the PBX asked twice, or an attended transfer made one of two)
share their progress, so that its answer and its end are each told once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 10_000  # calls; a few kB each
CHANNELS = 30  # of one conversation, by which it is found: a queue may ring hundreds


@dataclass(slots=True)
class Progress:
    """How far a conversation is; `shown` are the extensions on whose screens the caller was put."""

    answered: bool = False
    ended: bool = False
    shown: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Known:
    """A call: its decision's document (calls/document.py), or as much of one as its records say, and how far it is.

    `key` is what it is kept by: its id, its uniqueid while nobody has told an id.
    """

    key: str
    document: dict[str, Any]
    progress: Progress = field(default_factory=Progress)
    uniqueids: list[str] = field(default_factory=list)


class Memory:
    """Calls by id and by the PBX's uniqueid, and when each number was last spoken with."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._calls: OrderedDict[str, Known] = OrderedDict()
        self._ids: dict[str, str] = {}  # by uniqueid: of the newest call that has it
        self._spoken: OrderedDict[str, float] = OrderedDict()  # by number: seconds since 1970

    def __len__(self) -> int:
        return len(self._calls)

    def keep(self, document: dict[str, Any]) -> Known:
        """Keep a call by its decision's document; what was told of the conversation stays told."""
        uniqueid = document["uniqueid"]
        key = document["id"] or uniqueid
        there = self._calls.pop(key, None) or self._going(self._ids.get(uniqueid, ""))
        known = self._calls[key] = Known(key, document, there.progress if there is not None else Progress())
        if uniqueid:
            self._ids[uniqueid] = key
            known.uniqueids.append(uniqueid)
        if len(self._calls) > self._most:
            self._forget()
        return known

    def find(self, *, call_id: str, uniqueid: str, uniqueids: Sequence[str] = ()) -> Known | None:
        """Return the call with this id, else the newest with one of these uniqueids, as the journal finds it.

        `uniqueids` are all those of one conversation: its calls share their progress from now on.
        """
        ids = [call_id, *(self._ids.get(each, "") for each in (uniqueid, *uniqueids))]
        found = [each for each in dict.fromkeys(ids) if each in self._calls]
        if not found:
            return None
        self._calls.move_to_end(found[0])
        known = self._calls[found[0]]
        if uniqueids:
            for other in found[1:]:
                _join(known, self._calls[other])
        self.named(known, uniqueids)
        return known

    def named(self, known: Known, uniqueids: Sequence[str]) -> None:
        """Note that these are channels of a call, too; another call keeps its own."""
        for each in uniqueids[:CHANNELS]:
            if each and self._ids.setdefault(each, known.key) == known.key and each not in known.uniqueids:
                known.uniqueids.append(each)

    def spoke(self, number: str, at: float) -> None:
        """Note that somebody of ours spoke with a number until then."""
        if number:
            self._spoken[number] = max(at, self._spoken.pop(number, at))
            if len(self._spoken) > self._most:
                self._spoken.popitem(last=False)

    def spoken_since(self, number: str, at: float) -> bool:
        """Return whether somebody of ours spoke with a number then or later."""
        return bool(number) and self._spoken.get(number, -1.0) >= at

    def _going(self, key: str) -> Known | None:
        """Return a call that may go on; one that ended and was decided is another conversation than the next."""
        known = self._calls.get(key)
        return None if known is None or (known.progress.ended and known.document["at"]) else known

    def _forget(self) -> None:
        key, known = self._calls.popitem(last=False)
        for uniqueid in known.uniqueids:
            if self._ids.get(uniqueid) == key:
                del self._ids[uniqueid]


def _join(known: Known, other: Known) -> None:
    """Make one progress of two."""
    one, two = known.progress, other.progress
    if one is not two:
        one.answered |= two.answered
        one.ended |= two.ended
        one.shown |= two.shown
        other.progress = one
