"""Snom: search with paging in the minibrowser, and two forms of the book that a phone fetches as a whole.

Input: the phone puts what was typed in the place of the token in the URL (service.snom.com, "SnomIPPhoneInput").
`tbook` is the directory of all firmware, one number an item; its version 2.0, with several, is for firmware from
10.1.178 (service.snom.com, "Remote XML Directory"), which asks by POST.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends, Response

from agi_server.web.phonebooks.access import PHONE
from agi_server.web.phonebooks.cards import Card, Limits, lines_of
from agi_server.web.phonebooks.document import Xml, answer, answer_book, element
from agi_server.web.phonebooks.entries import find_page, look_up, whole_book
from agi_server.web.phonebooks.question import Asked, Question
from agi_server.web.phonebooks.refusals import refusing
from agi_server.web.services import Use
from storage.phonebook import Kind

LIMITS = Limits(lines=32)  # the minibrowser selects by number up to 100 lines
_TOKEN = "__X__"  # noqa: S105  # a placeholder, no secret
_OLD_TYPES = {Kind.MOBILE: "mobile", Kind.EXTENSION: "sip"}  # else fixed
_TYPES = {Kind.WORK: "business", Kind.OTHER: "fixed"}  # else the kind's own name


def screen(text: str) -> Xml:
    """Return a text to show."""
    return element("SnomIPPhoneText", element("Title", text="Ostiary"), element("Text", text=text))


router = APIRouter(prefix="/snom")
_pages = APIRouter(route_class=refusing(screen), dependencies=[Depends(PHONE)])
_books = APIRouter(route_class=refusing(screen, book=True), dependencies=[Depends(PHONE)])


@_pages.api_route("/search", methods=["GET", "HEAD"])
async def search(asked: Asked) -> Response:
    """Ask for a name or number."""
    item = element(
        "InputItem",
        element("DisplayName", text=asked.word(asked.words.prompt)),
        element("InputToken", text=_TOKEN),
        element("DefaultValue"),
        element("InputFlags", text="a"),
    )
    url = element("Url", text=asked.address("snom/list", term=_TOKEN))
    return answer(element("SnomIPPhoneInput", url, item), asked.charset)


@_pages.api_route("/list", methods=["GET", "HEAD"])
async def directory(services: Use, asked: Asked) -> Response:
    """Answer with a page of whom the search finds; without one, of everyone."""
    page = await find_page(services, asked, LIMITS)
    return answer(_directory(lines_of(page.cards, asked, LIMITS), page.following, asked), asked.charset)


@_pages.api_route("/number", methods=["GET", "HEAD"])
async def number(services: Use, asked: Asked) -> Response:
    """Answer with who has a number."""
    cards = look_up(services, asked, LIMITS)
    return answer(_directory(lines_of(cards, asked, LIMITS), "", asked), asked.charset)


@_books.api_route("/tbook.xml", methods=["GET", "HEAD", "POST"])
async def tbook(services: Use, asked: Asked) -> Response:
    """Answer with the whole book, for all firmware."""
    cards = await whole_book(services, asked, LIMITS)
    return await answer_book(lambda: _items(cards), asked.charset)


@_books.api_route("/contacts.xml", methods=["GET", "HEAD", "POST"])
async def contacts(services: Use, asked: Asked) -> Response:
    """Answer with the whole book in version 2.0."""
    cards = await whole_book(services, asked, LIMITS)
    return await answer_book(
        lambda: element("tbook", *map(_contact, cards), e="2", version="2.0", complete="true"), asked.charset
    )


def _directory(lines: list[tuple[str, str]], following: str, asked: Question) -> Xml:
    if not lines and not following:
        return screen(asked.word(asked.words.nobody))
    parts = [element("Title", text=asked.word(asked.words.title))]
    parts += [
        element("DirectoryEntry", element("Name", text=name), element("Telephone", text=number))
        for name, number in lines
    ]
    if following:
        label = element("Label", text=asked.word(asked.words.next))
        url = element("URL", text=asked.address("snom/list", cursor=following))
        parts.append(element("SoftKeyItem", label, url, element("Name", text="F4")))
    return element("SnomIPPhoneDirectory", *parts)


def _items(cards: Iterable[Card]) -> Xml:
    numbered = [(card, kind, number) for card in cards for kind, number in card.numbers]
    items = [
        element(
            "item",
            element("first_name", text=card.first),
            element("last_name", text=card.last),
            element("number", text=number),
            element("number_type", text=_OLD_TYPES.get(kind, "fixed")),
            context="active",
            type="",
            index=str(index),
        )
        for index, (card, kind, number) in enumerate(numbered)
    ]
    return element("tbook", *items, e="2", complete="true")


def _contact(card: Card) -> Xml:
    numbers = [
        element("number", no=number, type=_TYPES.get(kind, str(kind)), outgoing_id="0")
        for kind, number in card.numbers
    ]
    return element(
        "contact",
        element("first_name", text=card.first),
        element("last_name", text=card.last),
        element("numbers", *numbers),
        fav="false",
        vip="false",
        blocked="false",
    )


router.include_router(_pages)
router.include_router(_books)
