"""Find contacts by anything people know of them: words, a number, an e-mail, an id.

The index is a full-text table that triggers of the database keep (see `migrations`, version 0003): whoever writes to
contacts, it is right. Invariant: a text that somebody types never becomes full-text syntax. It is cut into words by the
index's own tokenizer, and each of them is quoted.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import digits_of, normalise
from agi_server.errors import InputError
from storage.aliases import by_id, by_salesforce_id
from storage.lists import LIST, as_json, ask, fetch
from storage.schema import NUMBER_IS

# What the words of contacts are stored with in place of letters the tokenizer knows no other form of: as in version
# 0003 of the tables. All others lose case and accents in the tokenizer.
FOLDS: Final = (
    ("ß", "ss"), ("ẞ", "ss"), ("æ", "ae"), ("Æ", "ae"), ("œ", "oe"), ("Œ", "oe"), ("ø", "o"), ("Ø", "o"),
    ("ł", "l"), ("Ł", "l"), ("đ", "d"), ("Đ", "d"), ("ð", "d"), ("Ð", "d"), ("þ", "th"), ("Þ", "th"),
    ("ħ", "h"), ("Ħ", "h"), ("ŧ", "t"), ("Ŧ", "t"), ("ı", "i"),
)  # fmt: skip

_LONGEST_TEXT = 200  # characters looked at
_MOST_WORDS = 8  # looked for; more only cost
_LONGEST_INDEXED = 8  # letters: the longest beginning of a word that has a list of its own in the index
_SHORTEST_TAIL = 6  # digits
_MOST_DIRECT = 200  # contacts found by a number or an id

_SPELT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue",
                        "Ø": "Oe", "Å": "Aa"})  # fmt: skip
_UMLAUT = re.compile("[aouAOU][\u0308\u030a]")  # as two characters; all else stays as the index has it
_DIGRAPH = re.compile("(ae|oe|ue|aa)")
_MOST_DIGRAPHS = 3  # of a word, each with and without its second letter
_NUMBER = re.compile(r"[\d\s+()./\-\u2010-\u2015\u2212]+")
_ID = re.compile(r"[0-9]{1,18}")
_IDEOGRAPHS = "\u2e80"  # from here on one character may be a whole surname

# Where a page ended: the stage of the search and the last id of it, `direct`'s index or a contact's.
_CURSOR = re.compile(r"([0-3])\.([0-9]{1,18})")
_EVERYBODY, _DIRECT, _WHOLE, _BEGUN = range(4)


@dataclass(frozen=True, slots=True)
class Found:
    """A contact as a list shows it; `owner` is a name or an e-mail, `phones` are pairs of label and text as typed."""

    id: int
    kind: str
    name: str
    account: str
    email: str
    owner: str
    vip: bool
    salesforce_id: str
    source: str
    phones: tuple[tuple[str, str], ...]


class _Stage(NamedTuple):
    """A way to look, and the full-text query for it."""

    number: int
    query: str = ""


async def search(
    conn: AsyncConnection, text: str, *, limit: int, after: str = "", region: str = ""
) -> tuple[list[Found], str]:
    """Return at most `limit` contacts and where the next page begins, '' where there is none.

    Contacts with that very number or id come first, then those whose number ends so (six digits or more), those that
    have all the words of the text, whatever their order, case and accents, and those with words that begin so; in
    each group by id. `region` is the ISO country of numbers written without one. Without any text: everybody. `after`
    is where the page before ended; raises InputError when it is no such place.
    """
    stage, last = _place(after)
    text = _clean(text)
    found: list[int] = []
    if not text:
        found, more = await _everybody(conn, last, limit)
        return await _cards(conn, found), f"{_EVERYBODY}.{found[-1]}" if more else ""
    direct = await _direct(conn, text, region)
    stages = [_Stage(_DIRECT), *_stages(text)]
    for number, query in stages:
        if number < stage:
            continue
        start = last if number == stage else 0
        wanted = limit - len(found)
        if number == _DIRECT:
            ids = direct[start : start + wanted]
            more, end = len(direct) > start + wanted, start + wanted
        else:
            ids, more = await _by_words(conn, query, start, direct, wanted)
            end = ids[-1] if ids else start
        found += ids
        if more:
            return await _cards(conn, found), f"{number}.{end}"
    return await _cards(conn, found), ""


def _place(after: str) -> tuple[int, int]:
    if not after:
        return _EVERYBODY, 0
    match = _CURSOR.fullmatch(after)
    if match is None:
        raise InputError("this is no place in a search; begin again without it")
    return int(match[1]), int(match[2])


def _clean(text: str) -> str:
    """Return a text that SQLite takes, with no private characters: of those the index has its own."""
    text = _UMLAUT.sub(lambda found: unicodedata.normalize("NFC", found[0]), text[:_LONGEST_TEXT])
    return "".join(
        char if unicodedata.category(char) not in {"Co", "Cs", "Cc"} else " " for char in text
    ).strip()


# --- words


def _stages(text: str) -> list[_Stage]:
    words = words_of(text)
    if not words:
        return []
    whole = _all(_any(word, "") for word in words)
    completed = [_completes(word, last=word is words[-1]) for word in words]
    if not any(completed):
        return [_Stage(_WHOLE, whole)]
    begun = _all(_any(word, "*" if more else "") for word, more in zip(words, completed, strict=True))
    return [_Stage(_WHOLE, whole), _Stage(_BEGUN, f"({begun}) NOT ({whole})")]


def _completes(word: Collection[str], *, last: bool) -> bool:
    """Return whether a word may be the beginning of one.

    Not a single letter. Nor, unless it is the last and may still be written, one that is longer than the beginnings
    the index knows: whoever has it would be read from the index before the first is shown.
    """
    shortest = min(word, key=len)
    if len(shortest) == 1 and shortest < _IDEOGRAPHS:
        return False
    return last or max(map(len, word)) <= _LONGEST_INDEXED


def words_of(text: str) -> list[tuple[str, ...]]:
    """Return the words of a text as the index has them, each with its other spellings: `müller` also as `mueller`."""
    written = zip(*_tokens(_folded(text), _folded(text.translate(_SPELT))), strict=True)
    words = [*dict.fromkeys(written)][:_MOST_WORDS]
    return [tuple(dict.fromkeys((*_spellings(plain), spelt))) for plain, spelt in words]


def _folded(text: str) -> str:
    for letter, typed in FOLDS:
        text = text.replace(letter, typed)
    return text


def _tokens(plain: str, spelt: str) -> tuple[list[str], list[str]]:
    """Cut two texts as the index does: by its own tokenizer, for Python's idea of a letter is of another year."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "CREATE VIRTUAL TABLE typed USING fts5(words, tokenize='unicode61 remove_diacritics 2')"
        )
        connection.execute("CREATE VIRTUAL TABLE cut USING fts5vocab(typed, instance)")
        connection.execute("INSERT INTO typed VALUES (?), (?)", (plain, spelt))
        found: tuple[list[str], list[str]] = [], []
        for doc, term in connection.execute('SELECT doc, term FROM cut ORDER BY "offset"'):
            found[doc - 1].append(term)
        return found


def _spellings(word: str) -> Iterator[str]:
    """Yield a word as it is and with `ue` and the like as the one letter they may stand for."""
    parts = _DIGRAPH.split(word, maxsplit=_MOST_DIGRAPHS)  # every second part is a digraph
    choices = [(part, part[0]) if place % 2 else (part,) for place, part in enumerate(parts)]
    yield from map("".join, itertools.product(*choices))


def _any(spellings: Iterable[str], end: str) -> str:
    return "(" + " OR ".join(f'"{word}"{end}' for word in spellings) + ")"  # a token has no quote in it


def _all(words: Iterable[str]) -> str:
    return " AND ".join(words)


# Rows of this table come by id, and only as many as are asked for are found.
_BY_WORDS = (
    "SELECT rowid FROM contact_search WHERE contact_search MATCH ? AND rowid > ? "
    "AND rowid NOT IN (SELECT value FROM json_each(?)) ORDER BY rowid LIMIT ?"
)


async def _by_words(
    conn: AsyncConnection, query: str, after: int, but: Collection[int], limit: int
) -> tuple[list[int], bool]:
    """Return ids above `after`, and whether there are more."""
    rows = await ask(conn, _BY_WORDS, query, after, as_json(but), limit + 1)
    return _page([number for (number,) in rows], limit)


async def _everybody(conn: AsyncConnection, after: int, limit: int) -> tuple[list[int], bool]:
    query = "SELECT id FROM contacts WHERE id > ? ORDER BY id LIMIT ?"
    return _page([number for (number,) in await ask(conn, query, after, limit + 1)], limit)


def _page(ids: list[int], limit: int) -> tuple[list[int], bool]:
    return ids[:limit], len(ids) > limit


# --- numbers and ids

_BY_NUMBER = (
    f"SELECT contact_id FROM phones p WHERE {NUMBER_IS.format('?1')} "  # noqa: S608  # constants, here and below
    f"ORDER BY contact_id LIMIT {_MOST_DIRECT}"
)
_BY_DIGITS = (
    "SELECT contact_id FROM local_phones WHERE digits = ?1 "  # noqa: S608
    f"ORDER BY contact_id LIMIT {_MOST_DIRECT}"
)
# The tail's last six digits are in an index; the rest is compared as text.
_BY_TAIL = (
    "SELECT contact_id FROM phones WHERE number % 1000000 = ?1 AND substr(number, ?2) = ?3 "  # noqa: S608
    "UNION SELECT contact_id FROM local_phones WHERE tail = ?1 AND substr(digits, ?2) = ?3 "
    f"ORDER BY contact_id LIMIT {_MOST_DIRECT}"
)


async def _direct(conn: AsyncConnection, text: str, region: str) -> list[int]:
    """Return the contacts that an id or a number names, the surest first."""
    named = await by_salesforce_id(conn, text)  # may be all digits, too
    if named is None and _ID.fullmatch(text):
        named = await by_id(conn, int(text))
    found = {named.id: None} if named is not None else {}
    if _NUMBER.fullmatch(text) is not None:
        number = normalise(text, region)
        query, value = (_BY_NUMBER, number.e164) if number.e164 else (_BY_DIGITS, number.digits)
        found |= await _ids(conn, query, value)
        for digits in dict.fromkeys((number.digits, digits_of(text).lstrip("0"))):
            if len(digits) >= _SHORTEST_TAIL:
                tail = int(digits[-_SHORTEST_TAIL:])
                found |= await _ids(conn, _BY_TAIL, tail, -len(digits), digits)
    return [*found][:_MOST_DIRECT]


async def _ids(conn: AsyncConnection, query: str, *values: int | str) -> dict[int, None]:
    return {number: None for (number,) in await ask(conn, query, *values)}


# --- what a list shows

_CARDS = (
    "SELECT c.id, c.kind, c.name, ifnull(a.name, ''), c.email, ifnull(nullif(o.name, ''), ifnull(o.email, '')), "  # noqa: S608
    "c.vip, ifnull(c.salesforce_id, ''), c.source FROM contacts c "
    f"LEFT JOIN accounts a ON a.id = c.account_id LEFT JOIN owners o ON o.id = c.owner_id WHERE c.id IN {LIST}"
)
_PHONES = (
    f"SELECT contact_id, label, ifnull(typed, '+' || number) FROM phones WHERE contact_id IN {LIST} "  # noqa: S608
    f"UNION SELECT contact_id, label, ifnull(typed, digits) FROM local_phones WHERE contact_id IN {LIST} ORDER BY 2, 3"
)


async def _cards(conn: AsyncConnection, ids: Sequence[int]) -> list[Found]:
    """Return contacts in the order of `ids`."""
    phones: dict[int, list[tuple[str, str]]] = {number: [] for number in ids}
    for number, label, text in await fetch(conn, _PHONES, ids, ids):
        phones[number].append((label, text))
    cards: dict[int, list[Any]] = {
        row[0]: [*row[:6], row[6] != 0, *row[7:]] for row in await fetch(conn, _CARDS, ids)
    }
    return [Found(*[*row, tuple(phones[number])]) for number in ids if (row := cards.get(number)) is not None]
