"""Which language a page is in, and its words.

Invariant: the message ids are the English texts, and every language that is offered has a complete catalogue
(tests/web/console/test_languages.py); so a page is in one language from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from fastapi import Request

from agi_server.web.services import services_of

SOURCE = "en"
LANGUAGES = {"en": "English", "es": "Español", "pt": "Português", "de": "Deutsch"}  # each by its own name
COOKIE = "language"
CATALOGUES = Path(__file__).with_name("catalogues")
_LONGEST_HEADER = 200  # of Accept-Language; browsers send fewer than 100


def mark(text: str) -> str:
    """Return the text as it is: it is translated where it is shown, and found here by the extraction."""
    return text


def language_of(request: Request) -> str:
    """Return the language of the answer: as the settings say, else as chosen, else as the browser asks."""
    fixed = services_of(request).settings.http.language
    if fixed != "auto":
        return fixed
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else negotiate(request.headers.get("accept-language", ""))


def negotiate(header: str) -> str:
    """Return the best language for an Accept-Language header (RFC 9110, 12.5.4)."""
    asked: list[tuple[float, str]] = []
    for part in header[:_LONGEST_HEADER].split(","):
        name, _, quality = part.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if name.strip() and weight > 0:
            asked.append((weight, name.strip()))
    asked.sort(key=lambda pair: -pair[0])  # stable: the first of equals wins
    for _, name in asked:
        found = negotiate_locale([name.lower()], list(LANGUAGES), sep="-")
        if found is not None:
            return found
    return SOURCE


@cache
def locale_of(language: str) -> Locale:
    """Return how dates and numbers are written; Portuguese as in Portugal, English with the day first."""
    return Locale.parse({"en": "en_GB", "pt": "pt_PT"}.get(language, language))


@cache
def translations(language: str) -> NullTranslations:
    """Return the words of a language, read once."""
    if language == SOURCE:
        return NullTranslations()
    with (CATALOGUES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(fp=compiled)


def gettext_of(request: Request) -> Callable[[str], str]:
    """Return the function that translates; call it `_`, so that texts are found by the extraction."""
    return translations(language_of(request)).gettext
