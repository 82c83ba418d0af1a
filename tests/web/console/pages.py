"""What tests of pages have in common."""

from __future__ import annotations

import re
from html import unescape

import httpx

# Markup, quotes, an ampersand, a right-to-left mark, a line separator, and far too long.
HOSTILE = "<script>alert(1)</script>\"'&\u202eevil\u2028" + "x" * 150


def hidden(page: httpx.Response | str, name: str) -> list[str]:
    """Return the values of a hidden field, as a browser would send them."""
    text = page if isinstance(page, str) else page.text
    found = re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)"', text)
    return [unescape(value) for value in found]


def shown(page: httpx.Response) -> str:
    """Return the text of a page in one line, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def is_text_only(page: httpx.Response) -> bool:
    """Return whether what HOSTILE holds is nothing but text on the page."""
    return "<script>alert" not in page.text and "\u2028" not in page.text and 'evil"' not in page.text
