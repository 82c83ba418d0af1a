"""Yealink: a remote phone book, with search where its address has #SEARCH in it.

A remote phone book has no paging: a search is answered with as many people as fit the 10,000 bytes of Yealink's XML
objects ("XML Browser Developer's Guide").
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends, Response

from agi_server.web.phonebooks.access import PHONE
from agi_server.web.phonebooks.cards import Card, Limits
from agi_server.web.phonebooks.document import Xml, answer, answer_book, element, encode
from agi_server.web.phonebooks.entries import find_page, look_up, whole_book
from agi_server.web.phonebooks.question import Asked, Question
from agi_server.web.phonebooks.refusals import refusing
from agi_server.web.services import Use

OBJECT_BYTES = 10_000
LIMITS = Limits(lines=250)  # more do not fit an object


def screen(text: str) -> Xml:
    """Return a text to show."""
    return element("YealinkIPPhoneTextScreen", element("Title", text="Ostiary"), element("Text", text=text))


router = APIRouter(prefix="/yealink", route_class=refusing(screen, book=True), dependencies=[Depends(PHONE)])


@router.api_route("", methods=["GET", "HEAD"])
async def yealink(services: Use, asked: Asked) -> Response:
    """Answer with whom the search finds; without one, with the whole book."""
    if not asked.term:
        cards = await whole_book(services, asked, LIMITS)
        return await answer_book(lambda: _directory(cards, asked), asked.charset)
    page = await find_page(services, asked, LIMITS)
    return answer(_directory(_fitting(page.cards, asked), asked), asked.charset)


@router.api_route("/number", methods=["GET", "HEAD"])
async def number(services: Use, asked: Asked) -> Response:
    """Answer with who has a number."""
    return answer(_directory(look_up(services, asked, LIMITS), asked), asked.charset)


def _directory(cards: Iterable[Card], asked: Question) -> Xml:
    title = element("Title", text=asked.word(asked.words.title))
    return element("YealinkIPPhoneDirectory", title, *map(_entry, cards))


def _entry(card: Card) -> Xml:
    numbers = [element("Telephone", text=number) for _, number in card.numbers]
    return element("DirectoryEntry", element("Name", text=card.name), *numbers)


def _fitting(cards: Iterable[Card], asked: Question) -> list[Card]:
    """Return as many as an object may hold."""
    room = (
        OBJECT_BYTES - len(encode(_directory((), asked), asked.charset)) - len("</YealinkIPPhoneDirectory>")
    )
    fitting = []
    for card in cards:
        room -= len(_entry(card).encode("utf-8"))  # no shorter than what is sent
        if room < 0:
            break
        fitting.append(card)
    return fitting
