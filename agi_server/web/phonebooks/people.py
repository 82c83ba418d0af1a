"""Whom phone books are made of: agents, and the contacts that a whole book is chosen from.

Invariant: however many phones fetch their book at the same time, its contacts are read once: at a million of them it
takes the better part of a second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from weakref import WeakKeyDictionary

from anyascii import anyascii

from agi_server.calls.directory import Agent
from agi_server.web.services import Services
from storage.database import Database
from storage.phonebook import Entry, Kind, choose_entries

FRESH_SECONDS = 30.0

_SPELT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})  # as people with a keypad do


@dataclass(slots=True)
class _Kept:
    """What was read last, and until when that counts; `lock` is held while it is read."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    entries: Sequence[Entry] = ()
    read_at: float = float("-inf")


_KEPT: WeakKeyDictionary[Database, _Kept] = WeakKeyDictionary()


async def contacts_of_book(services: Services) -> Sequence[Entry]:
    """Return the contacts of a whole book by name, as many as phonebook.whole leaves room for behind the agents.

    They are at most FRESH_SECONDS old. Raises DirectoryError.
    """
    kept = _KEPT.setdefault(services.database, _Kept())
    async with kept.lock:
        now = services.clock()
        if not 0 <= now - kept.read_at < FRESH_SECONDS:
            room = max(0, services.settings.phonebook.whole - len(agents_found(services, "")))
            entries = await services.database.read(lambda conn: choose_entries(conn, room))
            kept.entries = await asyncio.to_thread(_by_name, entries)
            kept.read_at = now
        return kept.entries


def agents_found(services: Services, term: str) -> list[Entry]:
    """Return the agents whom `term` finds by name, all for ''; none where phonebook.agents says so."""
    if not services.settings.phonebook.agents:
        return []
    agents = [agent for agent in services.directory.policy().agents if _is_found(agent, term)]
    return [
        Entry(id=agent.id, name=agent.name or agent.extension, numbers=((Kind.EXTENSION, agent.extension),))
        for agent in sorted(agents, key=lambda agent: (_folded(agent.name), agent.extension))
    ]


def _by_name(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (anyascii(entry.name).casefold(), entry.id))


def _is_found(agent: Agent, term: str) -> bool:
    """Return whether each word of `term` begins one of the name's, or the extension."""
    spelt = agent.name.casefold().translate(_SPELT)
    words = [*_folded(agent.name).split(), *_folded(spelt).split(), agent.extension.casefold()]
    parts = _folded(term).split()
    return not term or (bool(parts) and all(any(word.startswith(part) for word in words) for part in parts))


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """Return the words without accents and case."""
    return " ".join(re.findall(r"\w+", anyascii(text).casefold()))
