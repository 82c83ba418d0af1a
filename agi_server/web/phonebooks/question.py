"""What a phone asks for, and the addresses it is told to go on with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, get_args
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, Request

from agi_server.calls.naming import finish
from agi_server.errors import InputError
from agi_server.settings import Settings
from agi_server.web.phonebooks.document import Charset
from agi_server.web.phonebooks.words import WORDS, Words
from agi_server.web.services import Use

LONGEST = 100  # characters of a search
_CHARSETS: tuple[Charset, ...] = get_args(Charset)
# What phones put the typed text in place of, where one left it as it was.
_PLACEHOLDERS = frozenset({"#SEARCH", "__X__"})
_ASCII = bytes(range(128))
_PLUS = re.compile(r"[0-9*#+]{0,8}")
_CARRIED = ("token", "charset", "plus", "language", "term")  # goes on to the next page


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request of a phone. `term` '': everyone; `plus`: what the PBX wants dialled in place of a number's plus."""

    term: str = ""
    number: str = ""
    cursor: str = ""
    charset: Charset = "utf-8"
    plus: str = "+"
    words: Words = WORDS["en"]
    base: str = "http://localhost/"  # the address that the phone used
    carried: Mapping[str, str]  # parameters as given, the token among them

    def address(self, path: str, *, drop: tuple[str, ...] = (), **more: str) -> str:
        """Return the whole address of a page below /phonebooks/, as this phone reached it."""
        parameters = {key: value for key, value in self.carried.items() if key not in drop} | more
        query = urlencode(parameters)
        return f"{self.base}phonebooks/{path}" + (f"?{query}" if query else "")

    def word(self, text: str) -> str:
        """Return one of our own words in the character set asked for."""
        return finish(text, charset=self.charset, length=len(text) * 2)


def parameters_of(request: Request) -> dict[str, str]:
    """Return the parameters, the first of each; phones send UTF-8 or Latin-1."""
    raw = quote(request.scope["query_string"], safe=_ASCII)
    for encoding in ("utf-8", "latin-1"):
        try:
            pairs = parse_qsl(
                raw, keep_blank_values=True, encoding=encoding, errors="strict", max_num_fields=50
            )
        except UnicodeDecodeError:
            continue
        except ValueError:  # too many
            break
        return dict(reversed(pairs))
    return {}


def question_of(request: Request, settings: Settings, charset: str) -> Question:
    """Return what is asked; `charset` is what phones here can show where the request does not say.

    Raises InputError when a parameter is none that is known.
    """
    given = parameters_of(request)
    term = " ".join(given.get("term", "")[:LONGEST].split())
    if term in _PLACEHOLDERS:
        term = ""
    wanted = given.get("charset") or charset
    language = given.get("language") or (settings.http.language if settings.http.language in WORDS else "en")
    plus = given.get("plus", "+").strip() or "+"  # a bare + in an address is a space
    if wanted not in _CHARSETS:
        raise InputError(f"charset: write one of {', '.join(_CHARSETS)}")
    if language not in WORDS:
        raise InputError(f"language: write one of {', '.join(WORDS)}")
    if _PLUS.fullmatch(plus) is None:
        raise InputError("plus: write what is dialled for a country code, e.g. 00")
    carried = {key: given[key] for key in _CARRIED if given.get(key)}
    carried.pop("term", None)
    if term:
        carried["term"] = term
    return Question(
        term=term,
        number=given.get("number", "").strip()[:LONGEST],
        cursor=given.get("cursor", ""),
        charset=wanted,
        plus=plus,
        words=WORDS[language],
        base=str(request.base_url),
        carried=carried,
    )


def _asked(request: Request, services: Use) -> Question:
    return question_of(request, services.settings, services.directory.policy().charset)


Asked = Annotated[Question, Depends(_asked)]
