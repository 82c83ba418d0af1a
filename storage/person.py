"""What somebody is known by, and whether a text is about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number, digits_of
from storage.people import ContactCard

_SHORTEST: Final = 3  # characters: a shorter name or number is found in too many texts that mean others
_NATIONAL: Final = 7  # digits: fewer, and a number without its country or area may be anybody's


class Person(NamedTuple):
    """Somebody: ids past and present, E.164 numbers, digits without country, e-mail in lower case, all as texts."""

    ids: tuple[int, ...]
    numbers: tuple[int, ...]
    local: tuple[str, ...]
    email: str
    texts: re.Pattern[str]

    def named_in(self, value: object) -> bool:
        """Return whether any text within a JSON value names them."""
        if isinstance(value, dict):
            return any(map(self.named_in, (*value.keys(), *value.values())))
        if isinstance(value, list):
            return any(map(self.named_in, value))
        return value is not None and self.texts.search(str(value)) is not None

    def dialled_in(self, value: object) -> bool:
        """Return whether any text within a JSON value is a number of theirs, however it was dialled."""
        if isinstance(value, dict):
            return any(map(self.dialled_in, value.values()))
        if isinstance(value, list):
            return any(map(self.dialled_in, value))
        return isinstance(value, str | int) and self.has(str(value))

    def has(self, number: str) -> bool:
        """Return whether a number, as a PBX writes it, is theirs."""
        digits = digits_of(number)
        bare = digits.lstrip("0")
        return digits in self.local or (
            len(bare) >= _NATIONAL
            and any(str(own).endswith(bare) or bare.endswith(str(own)) for own in self.numbers)
        )


def pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Return what finds any of these texts, whole: a short name is part of many words."""
    words = [re.escape(text) for text in {*texts} if len(text) >= _SHORTEST]
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)" if words else r"(?!)", re.IGNORECASE)


async def of_contact(conn: AsyncConnection, contact_id: int, card: ContactCard | None) -> Person:
    """Return who a contact is; without a card it is no longer here, and its calls tell."""
    if card is None:
        # Only a number that was found as this contact's own, not one behind a switchboard.
        query = (
            "SELECT DISTINCT number FROM calls WHERE contact_id = ? AND rung = 'exact' AND number IS NOT NULL"
        )
        numbers = tuple((await conn.exec_driver_sql(query, (contact_id,))).scalars())
        return Person((contact_id,), numbers, (), "", pattern(map(str, numbers)))
    aliases = await conn.exec_driver_sql("SELECT id FROM contact_aliases WHERE contact_id = ?", (card.id,))
    numbers = tuple(int(number[1:]) for number in card.numbers if number.startswith("+"))
    local = tuple(number for number in card.numbers if not number.startswith("+"))
    names = (card.name, f"{card.first_name} {card.last_name}".strip(), card.email)
    texts = pattern([*names, *map(str, numbers), *local, *(text for _, text in card.phones)])
    return Person((card.id, *aliases.scalars()), numbers, local, card.email.lower(), texts)


def of_number(number: Number) -> Person:
    """Return who a number is, as far as that says."""
    numbers = (number.e164,) if number.e164 else ()
    local = () if number.e164 or not number.digits else (number.digits,)
    return Person((), numbers, local, "", pattern([number.digits]))


async def holders(conn: AsyncConnection, number: Number) -> list[int]:
    """Return contacts with a number, a few at most."""
    query = (
        "SELECT contact_id FROM phones WHERE number % 1000000 = ?1 % 1000000 AND +number = ?1 "
        "UNION SELECT contact_id FROM local_phones WHERE digits = ?2 ORDER BY 1 LIMIT 5"
    )
    return [*(await conn.exec_driver_sql(query, (number.e164, number.digits))).scalars()]
