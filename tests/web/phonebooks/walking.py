"""Ask a front for phone books as phones do."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import httpx

from agi_server.web.access import Scope
from tests.web.front import Front
from tests.web.phonebooks.forms import Form, read

HOSTILE = (
    "<script>alert(1)</script>",
    'Ana "Rika" & Söhne\'s ]]>',
    "\u202eevil\u2066",
    "line\u2028separator\u2029",
    "bell\x07\x00null",
    "&amp;lt; %3Cb%3E",
    "\ufffe\uffffnon",
    "🎉" * 60,
)


async def phone(front: Front) -> httpx.AsyncClient:
    """Return a phone with a token that it sends in a header."""
    return await front.client(Scope.PHONEBOOK)


async def walk(
    client: httpx.AsyncClient, url: str, form: Form, following: Callable[[ET.Element], str]
) -> list[ET.Element]:
    """Return all pages from this one on; `following` returns the next one's address, or ''."""
    pages = []
    while url:
        pages.append(read(await client.get(url), form))
        url = following(pages[-1])
    return pages
