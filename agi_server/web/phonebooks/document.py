"""XML that a phone can read, whatever is in it.

Invariant: a name or a number gets into a document through `element` only, which drops what XML 1.0 cannot hold and
escapes the five characters that Cisco's notes demand; `Xml` is what has been through it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Literal
from xml.sax.saxutils import escape

from fastapi import Response

Charset = Literal["utf-8", "latin-1", "ascii"]

_QUOTES = {'"': "&quot;", "'": "&apos;"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARED = {
    "utf-8": "UTF-8",
    "ascii": "UTF-8",
    "latin-1": "ISO-8859-1",
}  # ASCII is UTF-8, and every phone knows that
NOT_KEPT = {"Cache-Control": "no-store"}


class Xml(str):
    """Text that is XML already."""

    __slots__ = ()


def element(name: str, *content: Xml, text: str = "", **attributes: str) -> Xml:
    """Return an element with text or with elements in it; a trailing _ of an attribute's name is dropped."""
    given = "".join(f' {key.rstrip("_")}="{_escaped(value)}"' for key, value in attributes.items())
    inner = f"{_escaped(text)}{''.join(content)}"
    return Xml(f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>")


def without_noncharacters(text: str) -> str:
    """Return the text without what XML 1.0 has no way to write."""
    return _NOT_XML.sub("", text)


def encode(root: Xml, charset: Charset) -> bytes:
    """Return the document; a character that its character set lacks becomes a reference."""
    declared = _DECLARED[charset]
    text = f'<?xml version="1.0" encoding="{declared}"?>\n{root}\n'
    return text.encode(declared, "xmlcharrefreplace")


def answer(
    root: Xml,
    charset: Charset,
    *,
    status: int = 200,
    media_type: str = "text/xml",
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the document as a response that no phone keeps."""
    kind = f"{media_type}; charset={_DECLARED[charset].lower()}"
    return Response(
        encode(root, charset), status, headers={**NOT_KEPT, "Content-Type": kind, **(headers or {})}
    )


async def answer_book(make: Callable[[], Xml], charset: Charset) -> Response:
    """Return a document that takes its time to make: it is made on a thread."""
    return answer(await asyncio.to_thread(make), charset)


def _escaped(text: str) -> str:
    return escape(without_noncharacters(text), _QUOTES)
