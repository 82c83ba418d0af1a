"""Polycom (Poly): pages for the microbrowser, and the directory file that is fetched with the provisioning.

First and last names in the file are 40 bytes of UTF-8 at most ("Administrator Guide", Local Contact Directory File
Format); one item has one number, and a number is there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from fastapi import APIRouter, Depends, Response

from agi_server.web.phonebooks.access import PHONE
from agi_server.web.phonebooks.cards import Card, Limits, lines_of
from agi_server.web.phonebooks.document import Xml, answer, answer_book, element
from agi_server.web.phonebooks.entries import find_page, look_up, whole_book
from agi_server.web.phonebooks.question import Asked, Question
from agi_server.web.phonebooks.refusals import refusing
from agi_server.web.services import Use

LIMITS = Limits(lines=16)
FILE = Limits(characters=40, octets=40)
_HTML = "text/html"


def page_of(title: str, *content: Xml) -> Xml:
    """Return a page."""
    head = element("head", element("title", text=title))
    return element("html", head, element("body", *content), xmlns="http://www.w3.org/1999/xhtml")


def screen(text: str) -> Xml:
    """Return a text to show."""
    return page_of("Ostiary", element("p", text=text))


router = APIRouter(prefix="/polycom")
_pages = APIRouter(route_class=refusing(screen, media_type=_HTML), dependencies=[Depends(PHONE)])
_books = APIRouter(route_class=refusing(None, book=True), dependencies=[Depends(PHONE)])


@_pages.api_route("/search", methods=["GET", "HEAD"])
async def search(asked: Asked) -> Response:
    """Ask for a name or number."""
    words = asked.words
    hidden = [
        element("input", type="hidden", name_=key, value=value)
        for key, value in asked.carried.items()
        if key != "term"
    ]
    prompt = asked.word(words.prompt)
    fields = element(
        "p",
        element("label", text=prompt, for_="term"),
        element("input", type="text", name_="term", id="term", value=""),
        *hidden,
        element("input", type="submit", value=asked.word(words.search)),
    )
    form = element("form", fields, action=f"{asked.base}phonebooks/polycom/list", method="get")
    return answer(page_of(asked.word(words.title), form), asked.charset, media_type=_HTML)


@_pages.api_route("/list", methods=["GET", "HEAD"])
async def directory(services: Use, asked: Asked) -> Response:
    """Answer with a page of whom the search finds; without one, of everyone."""
    page = await find_page(services, asked, LIMITS)
    return _listed(page.cards, page.following, asked)


@_pages.api_route("/number", methods=["GET", "HEAD"])
async def number(services: Use, asked: Asked) -> Response:
    """Answer with who has a number."""
    return _listed(look_up(services, asked, LIMITS), "", asked)


@_books.api_route("/000000000000-directory.xml", methods=["GET", "HEAD"])
async def book(services: Use, asked: Asked) -> Response:
    """Answer with the whole book."""
    cards = await whole_book(services, asked, FILE)
    return await answer_book(lambda: _items(cards), asked.charset)


def _listed(cards: Sequence[Card], following: str, asked: Question) -> Response:
    words = asked.words
    items = [
        element("li", element("a", text=name, href=f"tel://{quote(number, safe='+*')}"))
        for name, number in lines_of(cards, asked, LIMITS)
    ]
    if following:
        more = asked.address("polycom/list", cursor=following)
        items.append(element("li", element("a", text=asked.word(words.next), href=more)))
    content = element("ol", *items) if items else element("p", text=asked.word(words.nobody))
    return answer(page_of(asked.word(words.title), content), asked.charset, media_type=_HTML)


def _items(cards: Iterable[Card]) -> Xml:
    people: dict[str, Card] = {}
    for card in cards:
        for _, number in card.numbers:
            people.setdefault(number, card)
    items = [_item(card, number) for number, card in people.items()]
    return element("directory", element("item_list", *items))


def _item(card: Card, number: str) -> Xml:
    return element(
        "item",
        element("ln", text=card.last),
        element("fn", text=card.first),
        element("ct", text=number),
        # No speed dial (sd): nobody's keys change. No diversion, rejection, watching or blocking either.
        *(element(name, text="0") for name in ("ad", "ar", "bw", "bb")),
    )


router.include_router(_pages)
router.include_router(_books)
