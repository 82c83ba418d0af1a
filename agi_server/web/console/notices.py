"""What a page says once, after a form was answered with a redirection.

The text travels in a cookie of the browser's own, shown as text and gone with the next page; so a link cannot
bring a text of its choosing into a page.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi import Request, Response

COOKIE = "notice"
_LONGEST = 300  # characters, of 12 bytes at most; a cookie holds 4,096


def leave(response: Response, text: str) -> None:
    """Have the next page show the text."""
    response.set_cookie(COOKIE, quote(text[:_LONGEST]), max_age=60, httponly=True, samesite="lax")


def take(request: Request) -> str:
    """Return the text left for this page, or ''."""
    return unquote(request.cookies.get(COOKIE, ""))[:_LONGEST]


def remove(response: Response) -> None:
    """Forget it: it was shown."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
