"""Cisco: enterprise, SPA and multiplatform phones ("Cisco Unified IP Phone Services Application Development Notes").

A menu leads to a search and to everyone. 32 entries a directory, 64 characters a menu item's name; the header
`Refresh: 0; url=…` gives a Next key, and a soft key of our own does for phones that do not know it.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from agi_server.web.phonebooks.access import PHONE
from agi_server.web.phonebooks.cards import Limits, fit, lines_of
from agi_server.web.phonebooks.document import Xml, answer, element
from agi_server.web.phonebooks.entries import find_page, look_up
from agi_server.web.phonebooks.question import Asked, Question
from agi_server.web.phonebooks.refusals import refusing
from agi_server.web.services import Use

LIMITS = Limits(lines=32, characters=64)


def screen(text: str) -> Xml:
    """Return a text to show."""
    return element("CiscoIPPhoneText", element("Title", text="Ostiary"), element("Text", text=text))


router = APIRouter(prefix="/cisco", route_class=refusing(screen), dependencies=[Depends(PHONE)])


@router.api_route("", methods=["GET", "HEAD"])
async def menu(asked: Asked) -> Response:
    """Offer a search, and everyone."""
    words = asked.words
    items = [(words.search, "cisco/search"), (words.everyone, "cisco/list")]
    return answer(
        element(
            "CiscoIPPhoneMenu",
            element("Title", text=asked.word(words.title)),
            *(
                element(
                    "MenuItem",
                    element("Name", text=asked.word(name)),
                    element("URL", text=asked.address(path, drop=("term",))),
                )
                for name, path in items
            ),
        ),
        asked.charset,
    )


@router.api_route("/search", methods=["GET", "HEAD"])
async def search(asked: Asked) -> Response:
    """Ask for a name or number; the phone appends `term=` to the URL."""
    item = element(
        "InputItem",
        element("DisplayName", text=asked.word(asked.words.prompt)),
        element("QueryStringParam", text="term"),
        element("DefaultValue"),
        element("InputFlags", text="A"),
    )
    return answer(
        element(
            "CiscoIPPhoneInput",
            element("Title", text=asked.word(asked.words.title)),
            element("Prompt", text=asked.word(asked.words.prompt)),
            element("URL", text=asked.address("cisco/list", drop=("term",))),
            item,
        ),
        asked.charset,
    )


@router.api_route("/list", methods=["GET", "HEAD"])
async def directory(services: Use, asked: Asked) -> Response:
    """Answer with a page of whom the search finds; without one, of everyone."""
    page = await find_page(services, asked, LIMITS)
    following = asked.address("cisco/list", cursor=page.following) if page.following else ""
    return answer(
        _directory(lines_of(page.cards, asked, LIMITS), following, asked),
        asked.charset,
        headers={"Refresh": f"0; url={following}"} if following else None,
    )


@router.api_route("/number", methods=["GET", "HEAD"])
async def number(services: Use, asked: Asked) -> Response:
    """Answer with who has a number."""
    cards = look_up(services, asked, LIMITS)
    return answer(_directory(lines_of(cards, asked, LIMITS), "", asked), asked.charset)


def _directory(lines: list[tuple[str, str]], following: str, asked: Question) -> Xml:
    words = asked.words
    if not lines and not following:
        return screen(asked.word(words.nobody))
    parts = [
        element("Title", text=asked.word(words.title)),
        element("Prompt", text=fit(asked.term or asked.number, asked, LIMITS) or asked.word(words.everyone)),
    ]
    parts += [
        element("DirectoryEntry", element("Name", text=name), element("Telephone", text=number))
        for name, number in lines
    ]
    keys = [(words.dial, "SoftKey:Dial"), (words.leave, "SoftKey:Exit")]
    if following:
        keys.append((words.next, following))
    parts += [
        element(
            "SoftKeyItem",
            element("Name", text=asked.word(name)),
            element("URL", text=url),
            element("Position", text=str(position)),
        )
        for position, (name, url) in enumerate(keys, 1)
    ]
    return element("CiscoIPPhoneDirectory", *parts)
