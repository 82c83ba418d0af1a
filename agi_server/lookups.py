"""Callers whom the local directory does not know, asked for in Salesforce: the call path's side.

Invariant: a call waits for an answer no longer than it is told it may, and waits only where an answer can come:
nothing is asked while the worker is away, behind or does not ask Salesforce itself just now. One question at a time
about a number, however many callers share it; what Salesforce does not know either is remembered for a while, in
bounded memory. The worker asks (salesforce/lookup.py), and has stored whom it found before it says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import NamedTuple

import orjson

from agi_server.calls.call import TraceStep

OPEN_QUESTIONS = 200  # at most; the worker answers each, if only to say that it will not ask
REMEMBERED = 20_000  # numbers nobody knows; some 2 MB
OUTCOMES = ("found", "unknown", "remembered", "late", "failed", "not_asked")  # what is counted

_FOUND = TraceStep("lookup", "found", "Salesforce knows the number")
_UNKNOWN = TraceStep("lookup", "unknown", "nobody has this number in Salesforce either")
_REMEMBERED = TraceStep("lookup", "unknown", "nobody had this number in Salesforce a short while ago")
_LATE = TraceStep("lookup", "late", "no answer of Salesforce in time; if one comes, the next call knows")
_NO_TIME = TraceStep("lookup", "not_asked", "the call's own deadline leaves no time")
_AWAY = "the worker is away"


class _Told(NamedTuple):
    """An answer of the worker."""

    outcome: str  # found | unknown | failed | not_asked
    why: str


class Lookups:
    """Asks the worker; on the event loop of the call path. `outcomes` counts, for the metrics."""

    def __init__(self, *, forget: int) -> None:
        """Remember for `forget` seconds whom Salesforce does not know."""
        self.outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        self._forget = forget
        self._link: asyncio.Transport | None = None
        self._closed = _AWAY  # why nothing is asked; empty: it is
        self._paused = False
        self._ids = itertools.count(1)
        self._questions: dict[str, asyncio.Future[_Told]] = {}  # by number
        self._numbers: dict[int, str] = {}  # of the questions, by id
        self._unknown: dict[str, float] = {}  # number → time of the loop when it is forgotten, soonest first

    async def find(self, number: str, seconds: float) -> TraceStep:
        """Ask about a number, `+…`, and wait at most so long; the outcome says what to do.

        `found`: the directory knows now. `unknown` · `late` · `failed` · `not_asked`: it does not; `detail` says
        why.
        """
        loop = asyncio.get_running_loop()
        if self._is_unknown(number, loop.time()):
            return self._count("remembered", _REMEMBERED)
        if seconds <= 0:
            return self._count("not_asked", _NO_TIME)
        question = self._questions.get(number)
        if question is None:
            if why := self._why_not():
                return self._count("not_asked", TraceStep("lookup", "not_asked", why))
            question = self._ask(number)
        done, _ = await asyncio.wait((question,), timeout=seconds)
        if not done:
            return self._count("late", _LATE)
        told = question.result()
        if told.outcome == "found":
            return self._count("found", _FOUND)
        if told.outcome == "unknown":
            return self._count("unknown", _UNKNOWN)
        return self._count(told.outcome, TraceStep("lookup", told.outcome, told.why))

    # What the link calls

    def connected(self, link: asyncio.Transport) -> None:
        """A worker is there; it says when it can be asked."""
        self._link = link
        self._paused = False
        self._closed = "the worker has not reached Salesforce yet"

    def disconnected(self) -> None:
        """The worker is gone, and with it whatever it was asked."""
        self._link = None
        self._closed = _AWAY
        for id_ in list(self._numbers):
            self.answered(id_, "not_asked", _AWAY)

    def pause(self, paused: bool) -> None:
        """Stop or go on asking: the socket is full, or no longer so."""
        self._paused = paused

    def told(self, closed: str) -> None:
        """Hear from the worker why it asks nothing just now; empty: it does."""
        self._closed = closed

    def answered(self, id: int, outcome: str, why: str) -> None:  # noqa: A002  # as it is called on the wire
        """Hear the answer to a question."""
        number = self._numbers.pop(id, None)
        if number is None:  # asked by a call path before us
            return
        if outcome == "unknown":
            self._remember(number)
        question = self._questions.pop(number)
        if not question.done():
            question.set_result(_Told(outcome, why))

    def _ask(self, number: str) -> asyncio.Future[_Told]:
        assert self._link is not None
        id_ = next(self._ids)
        question = self._questions[number] = asyncio.get_running_loop().create_future()
        self._numbers[id_] = number
        message = {"id": id_, "number": number}
        self._link.write(orjson.dumps((0, "lookup", message), option=orjson.OPT_APPEND_NEWLINE))
        return question

    def _why_not(self) -> str:
        if self._closed:
            return self._closed
        if self._paused:
            return "the worker is behind"
        if len(self._questions) >= OPEN_QUESTIONS:
            return "too many questions wait for an answer"
        return ""

    def _is_unknown(self, number: str, now: float) -> bool:
        until = self._unknown.get(number)
        if until is None:
            return False
        if until <= now:
            del self._unknown[number]
            return False
        return True

    def _remember(self, number: str) -> None:
        self._unknown.pop(number, None)  # to the end: all are kept equally long, so the first goes first
        if len(self._unknown) >= REMEMBERED:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[number] = asyncio.get_running_loop().time() + self._forget

    def _count(self, outcome: str, step: TraceStep) -> TraceStep:
        self.outcomes[outcome] += 1
        return step
