"""Fanvil: search with paging on the phone, and a file that it fetches as a whole.

A person has three numbers at most, and an ampersand in a name is trouble whatever way it is written: `+` stands for it.
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

LIMITS = Limits(lines=16, numbers=3, ampersand="+")
_FIELDS = ("Telephone", "Mobile", "Other")


def screen(text: str) -> Xml:
    """Return a text to show, in the place of a name."""
    return element("FanvilIPPhoneDirectory", _menu_item(text, ""))


router = APIRouter(prefix="/fanvil")
_pages = APIRouter(route_class=refusing(screen), dependencies=[Depends(PHONE)])
_books = APIRouter(route_class=refusing(None, book=True), dependencies=[Depends(PHONE)])


@_pages.api_route("/search", methods=["GET", "HEAD"])
async def search(asked: Asked) -> Response:
    """Ask for a name or number; the phone appends `term=` to the URL."""
    prompt = asked.word(asked.words.prompt)
    field = element(
        "InputField",
        element("Prompt", text=prompt),
        element("Parameter", text="term"),
        element("Default"),
    )
    return answer(
        element(
            "FanvilIPPhoneInputScreen",
            element("Title", text=asked.word(asked.words.title)),
            element("Prompt", text=prompt),
            element("URL", text=asked.address("fanvil/list", drop=("term",))),
            field,
        ),
        asked.charset,
    )


@_pages.api_route("/list", methods=["GET", "HEAD"])
async def directory(services: Use, asked: Asked) -> Response:
    """Answer with a page of whom the search finds; without one, of everyone."""
    page = await find_page(services, asked, LIMITS)
    return answer(_directory(page.cards, page.following, asked), asked.charset)


@_pages.api_route("/number", methods=["GET", "HEAD"])
async def number(services: Use, asked: Asked) -> Response:
    """Answer with who has a number."""
    return answer(_directory(look_up(services, asked, LIMITS), "", asked), asked.charset)


@_books.api_route("/phonebook.xml", methods=["GET", "HEAD"])
async def book(services: Use, asked: Asked) -> Response:
    """Answer with the whole book."""
    cards = await whole_book(services, asked, LIMITS)
    return await answer_book(lambda: element("PhoneBook", *map(_entry, cards)), asked.charset)


def _directory(cards: Iterable[Card], following: str, asked: Question) -> Xml:
    items = [_menu_item(name, number) for name, number in lines_of(cards, asked, LIMITS)]
    if not items and not following:
        return screen(asked.word(asked.words.nobody))
    keys = [(asked.words.dial, "SoftKey:Dial"), (asked.words.leave, "SoftKey:Exit")]
    if following:
        keys.append((asked.words.next, asked.address("fanvil/list", cursor=following)))
    soft = [
        element("SoftKey", element("Name", text=asked.word(name)), element("URI", text=uri))
        for name, uri in keys
    ]
    return element("FanvilIPPhoneDirectory", *items, *soft)


def _menu_item(prompt: str, uri: str) -> Xml:
    return element("MenuItem", element("Prompt", text=prompt), element("URI", text=uri))


def _entry(card: Card) -> Xml:
    numbers = dict.fromkeys(_FIELDS, "")
    for kind, number in card.numbers:
        wanted = "Mobile" if kind is Kind.MOBILE else "Telephone"
        free = next(field for field in (wanted, "Other", *_FIELDS) if not numbers[field])
        numbers[free] = number
    return element(
        "DirectoryEntry",
        element("Name", text=card.name),
        *(element(field, text=numbers[field]) for field in _FIELDS),
        element("Ring", text="Default"),
        element("Group"),
    )


router.include_router(_pages)
router.include_router(_books)
