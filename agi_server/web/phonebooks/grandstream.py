"""Grandstream: one file that phones fetch now and then ("GXP Series - XML Phonebook Guide").

Names of elements are case-sensitive. The phone appends the file's name to the path it is given, so that a token has
no place in the address.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends, Response

from agi_server.web.phonebooks.access import PHONE
from agi_server.web.phonebooks.cards import Card, Limits
from agi_server.web.phonebooks.document import Xml, answer_book, element
from agi_server.web.phonebooks.entries import whole_book
from agi_server.web.phonebooks.question import Asked
from agi_server.web.phonebooks.refusals import refusing
from agi_server.web.services import Use
from storage.phonebook import Kind

LIMITS = Limits()
_TYPES = {Kind.MOBILE: "Mobile", Kind.HOME: "Home", Kind.OTHER: "Other"}  # else Work

router = APIRouter(
    prefix="/grandstream", route_class=refusing(None, book=True), dependencies=[Depends(PHONE)]
)


@router.api_route("/phonebook.xml", methods=["GET", "HEAD"])
@router.api_route("/gs_phonebook.xml", methods=["GET", "HEAD"])
async def phonebook(services: Use, asked: Asked) -> Response:
    """Answer with the whole book."""
    cards = await whole_book(services, asked, LIMITS)
    return await answer_book(lambda: _book(cards), asked.charset)


def _book(cards: Iterable[Card]) -> Xml:
    contacts = [_contact(number, card) for number, card in enumerate(cards, 1)]
    return element("AddressBook", element("version", text="1"), *contacts)


def _contact(number: int, card: Card) -> Xml:
    phones = [
        element(
            "Phone",
            element("phonenumber", text=number),
            element("accountindex", text="1"),
            type=_TYPES.get(kind, "Work"),
        )
        for kind, number in card.numbers
    ]
    return element(
        "Contact",
        element("id", text=str(number)),
        element("FirstName", text=card.first),
        element("LastName", text=card.last),
        *phones,
    )
