"""Who is on a page of a phone book.

Invariant: going from page to page by `Page.following` meets everyone who can be dialled exactly once, agents first,
and a page has no more lines than the maker's limit, but for one person who alone has more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Call
from agi_server.calls.decide import decide_outgoing
from agi_server.errors import InputError
from agi_server.web.phonebooks.cards import Card, Limits, cards_of, dialled, fit
from agi_server.web.phonebooks.people import agents_found, contacts_of_book
from agi_server.web.phonebooks.question import Question
from agi_server.web.services import Services
from storage.phonebook import Entry, Kind, find_entries

BLOCKS = 20  # that one page looks through: where hardly anyone has a number, the next page goes on
AT_ONCE = 32  # contacts of a block

# A block is what one question brings: `a` the agents, `w` the contacts of the whole book, `c` and a cursor of the
# search: contacts that it finds behind there. A cursor is how many of a block to skip, a dot, and the block.
_CURSOR = re.compile(r"([0-9]{1,6})\.(a|w|c.*)", re.DOTALL)

Block = tuple[Sequence[Entry], str]  # its people, and the block behind it ('': none)


class Page(NamedTuple):
    """One page; `following` is the cursor of the next, '' where this is the last."""

    cards: Sequence[Card]
    following: str


async def find_page(services: Services, asked: Question, limits: Limits) -> Page:
    """Return the page at `asked.cursor`: whom `asked.term` finds, or everyone of the whole book.

    Raises InputError for a cursor that is none of ours, DirectoryError.
    """
    cursor = _CURSOR.fullmatch(asked.cursor or "0.a")
    if cursor is None:
        raise InputError("cursor: there is no such page; search again")
    start = int(cursor[1]), cursor[2]
    if not asked.term:
        everyone = await contacts_of_book(services)
        return await _fill(partial(_browse, services, everyone), start, services, asked, limits)
    return await services.database.read(
        lambda conn: _fill(partial(_search, services, asked.term, conn), start, services, asked, limits)
    )


async def whole_book(services: Services, asked: Question, limits: Limits) -> list[Card]:
    """Return everyone for a book that is fetched as a whole: agents, then contacts, each by name."""
    agents = agents_found(services, "")
    everyone = [*agents, *await contacts_of_book(services)][: services.settings.phonebook.whole]
    return await asyncio.to_thread(cards_of, everyone, _template(services), asked, limits)


def look_up(services: Services, asked: Question, limits: Limits) -> list[Card]:
    """Return who has the number asked for, under the name that a call to them would show."""
    number = dialled(asked.number)
    if not number:
        return []
    call = Call(id=services.new_call_id(), number=asked.number)
    name = decide_outgoing(call, services.directory, services.clock()).display_name
    name = fit(name, asked, limits)
    return [Card(name, "", name, ((Kind.WORK, number),))] if name else []


async def _fill(
    read: Callable[[str], Awaitable[Block]],
    start: tuple[int, str],
    services: Services,
    asked: Question,
    limits: Limits,
) -> Page:
    """Return the page that begins behind so many people of that block."""
    skip, block = start
    cards: list[Card] = []
    room = limits.lines
    for _ in range(BLOCKS):
        people, following = await read(block)
        for at, entry in enumerate(people[skip:], skip):
            for card in cards_of([entry], _template(services), asked, limits):
                if cards and len(card.numbers) > room:
                    return Page(cards, f"{at}.{block}")
                cards.append(card)
                room -= len(card.numbers)
        if not following:
            return Page(cards, "")
        block, skip = following, 0
    return Page(cards, f"0.{block}")


async def _browse(services: Services, everyone: Sequence[Entry], block: str) -> Block:
    """Return the agents, then the contacts."""
    return (agents_found(services, ""), "w") if block == "a" else (everyone, "")


async def _search(services: Services, term: str, conn: AsyncConnection, block: str) -> Block:
    """Return the agents found, then the contacts found, so many at once."""
    if block == "a":
        return agents_found(services, term), "c"
    region = services.settings.numbers.region
    found, after = await find_entries(conn, term, limit=AT_ONCE, after=block[1:], region=region)
    return found, f"c{after}" if after else ""


def _template(services: Services) -> str:
    return services.directory.policy().default.template
