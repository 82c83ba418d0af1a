"""People as a maker's phones can show and dial them.

Invariant: a name is one line of visible characters of the character set asked for, within the maker's limits, and
never empty; a number is made of what can be dialled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agi_server.calls.naming import finish, render
from agi_server.web.phonebooks.document import without_noncharacters
from agi_server.web.phonebooks.question import Question
from storage.phonebook import Entry, Kind

_NOT_DIALLED = re.compile(r"[^0-9A-Za-z*#+._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a maker's phones can take. `lines`: numbers on a page; `characters` and `octets` (UTF-8): of a name."""

    lines: int = 0
    characters: int = 40
    octets: int = 79
    numbers: int = 9  # of one person
    ampersand: str = "&"  # what stands for one


class Card(NamedTuple):
    """Somebody as a phone can show them; `numbers` are pairs of kind and what to dial."""

    name: str
    first: str
    last: str
    numbers: tuple[tuple[Kind, str], ...]


def cards_of(entries: Iterable[Entry], template: str, asked: Question, limits: Limits) -> list[Card]:
    """Return those who can be dialled; `template` is how contacts are named (the setting `naming.template`)."""
    cards = []
    for entry in entries:
        numbers = tuple(_dialled(entry, asked))[: limits.numbers]
        if numbers:
            names = (_named(entry, template), entry.name, entry.account)
            name = next(filter(None, (fit(name, asked, limits) for name in names)), numbers[0][1])
            first, last = fit(entry.first_name, asked, limits), fit(entry.last_name, asked, limits)
            cards.append(Card(name, first, last if first or last else name, numbers))
    return cards


def lines_of(cards: Iterable[Card], asked: Question, limits: Limits) -> list[tuple[str, str]]:
    """Return pairs of name and number; the kind is told where one person has several."""
    lines = []
    for card in cards:
        for kind, number in card.numbers:
            name = card.name
            if len(card.numbers) > 1:
                kind_told = f", {asked.word(asked.words.kinds.get(kind, kind))}"
                name = _cut(name, limits.characters - len(kind_told), limits.octets - len(kind_told.encode()))
                name += kind_told
            lines.append((name, number))
    return lines


def fit(name: str, asked: Question, limits: Limits) -> str:
    """Return the name as the phone can show it, '' where nothing visible is left of it."""
    if limits.ampersand != "&":
        name = name.replace("&", limits.ampersand)
    name = finish(without_noncharacters(name), charset=asked.charset, length=limits.characters)
    return _cut(name, limits.characters, limits.octets) if any(map(str.isprintable, name)) else ""


def dialled(number: str) -> str:
    """Return what of a number can be dialled."""
    return _NOT_DIALLED.sub("", number)


def _cut(name: str, characters: int, octets: int) -> str:
    """Return so much of a name, cut where `calls.naming.finish` would."""
    length = min(len(name), characters)
    short = finish(name, charset="utf-8", length=length)
    while len(short.encode()) > octets:
        length -= 1
        short = finish(name, charset="utf-8", length=length)
    return short


def _named(entry: Entry, template: str) -> str:
    """Return the name as a call from them shows it."""
    name = entry.name or f"{entry.first_name} {entry.last_name}".strip()
    if not name or not template or any(kind is Kind.EXTENSION for kind, _ in entry.numbers):
        return name
    fields = {
        "name": name,
        "first": entry.first_name,
        "last": entry.last_name,
        "account": entry.account,
        "kind": entry.kind,
        "owner": entry.owner,
    }
    return render(template, {**dict.fromkeys(("number", "did", "trunk_name"), ""), **fields})


def _dialled(entry: Entry, asked: Question) -> Iterable[tuple[Kind, str]]:
    for kind, number in entry.numbers:
        text = dialled(asked.plus + number[1:] if number.startswith("+") else number)
        if text:
            yield kind, text
