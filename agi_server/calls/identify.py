"""Who is calling: the matching ladder, the first rung that holds anybody wins.

Own extension, anonymous, exact number, switchboard, tail digits. Where a rung holds several and nothing makes
one of them right, the match says so and names nobody to route to: a guess is never passed off as knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import re2

from agi_server.calls.call import Rung, TraceStep
from agi_server.calls.directory import Agent, Contact, Directory
from agi_server.calls.extensions import matches
from agi_server.calls.numbers import NOT_ALLOWED, Number, NumberState, switchboard_prefixes
from agi_server.calls.policy import Policy
from agi_server.calls.reformatting import quiet_options
from agi_server.errors import InputError

LONGEST_EXTENSION = 8  # digits; longer bare digits are taken for a telephone number first
SHORTEST_TAIL = 6  # digits; fewer say next to nothing about who calls


class Match(NamedTuple):
    """Who was found.

    `contact` is the one right record, if there is one; `shown` the one whose fields make the name; `company`
    stands in for a person's name where all that is known is the company. `owned` holds the owner who is
    responsible whichever of several it is (None: nobody, or not the same). `agent` is the caller himself, on
    one of the PBX's own extensions.
    """

    rung: Rung
    step: TraceStep
    contact: Contact | None = None
    shown: Contact | None = None
    company: str = ""
    owned: Contact | None = None
    ambiguous: bool = False
    agent: Agent | None = None


NOBODY = Match(Rung.NONE, TraceStep("match", "none", "nobody has this number"))
_ANONYMOUS = Match(
    Rung.ANONYMOUS, TraceStep("match", "anonymous", "the caller sends no number that we may use")
)


def identify(number: Number, presentation: int, policy: Policy, directory: Directory) -> Match:
    """Return who has this number. Raises DirectoryError where the directory cannot be read."""
    if number.raw[:1] != "+":  # nothing that begins with a plus is an extension
        own = _own_extension(number, presentation, policy)
        if own is not None:
            return own
    if number.state is NumberState.ANONYMOUS:
        return _ANONYMOUS
    if number.e164:
        hits = directory.contacts_by_number(number.e164)
        if hits:
            return _choose(Rung.EXACT, hits, policy)
        covered = _switchboard(number.e164, policy, directory)
        if covered:
            return _choose(Rung.SWITCHBOARD, covered, policy)
    length = policy.tail_digits
    if SHORTEST_TAIL <= length <= len(number.digits):
        hits = directory.contacts_by_tail(number.digits, length, with_country=bool(number.e164))
        if hits:
            return _choose(Rung.TAIL, hits, policy)
    return NOBODY


def _own_extension(number: Number, presentation: int, policy: Policy) -> Match | None:
    """Return the match of an own extension, also where its digits could be a national number."""
    if number.state is NumberState.LOCAL:
        dialled = number.digits
    elif presentation & NOT_ALLOWED:
        return None
    else:
        dialled = number.raw.strip()
    agent = policy.by_extension.get(dialled)
    if agent is None and (len(dialled) > LONGEST_EXTENSION or not matches(policy.own_extensions, dialled)):
        return None
    step = TraceStep("match", "extension", "one of our own extensions", dialled)
    return Match(Rung.EXTENSION, step, agent=agent)


def check_extensions(pattern: str) -> None:
    """Raise InputError unless the pattern of own extensions is empty or RE2."""
    try:
        re2.compile(pattern, quiet_options())
    except (re2.error, UnicodeEncodeError) as error:
        raise InputError(
            f"own extensions {pattern!r}: this is no RE2 pattern ({error}); write e.g. [1-8][0-9]{{2}}"
        ) from error


def _switchboard(e164: int, policy: Policy, directory: Directory) -> list[Contact]:
    """Return whose main number covers this one: those with the longest prefix."""
    prefixes = switchboard_prefixes(e164, policy.switchboard_digits)
    if not prefixes:
        return []
    covering = [pair for pair in directory.contacts_by_switchboard(prefixes) if pair[1].covers(e164)]
    if not covering:
        return []
    longest = max(switchboard.prefix for _, switchboard in covering)
    return [contact for contact, switchboard in covering if switchboard.prefix == longest]


def is_named(contact: Contact, number: Number) -> bool:
    """Return whether more is known of a contact than the number; the insert look-up makes contacts of numbers."""
    return contact.name != number.text


def company_of(contact: Contact) -> str:
    """Return the name of the company a contact is or belongs to, or ''."""
    return contact.name if contact.kind == "Account" else contact.account


def _choose(rung: Rung, hits: Sequence[Contact], policy: Policy) -> Match:
    """Return the one that is meant, or what all of them have in common."""
    if len(hits) == 1:
        return _one(rung, hits[0], "one contact")
    found = {hit.id: hit for hit in hits}
    first = next(
        (kind for kind in policy.kind_order if any(hit.kind == kind for hit in found.values())), None
    )
    alike = [hit for hit in found.values() if first is None or hit.kind == first]
    if len(alike) == 1:
        return _one(rung, alike[0], f"the only {alike[0].kind} of {len(found)} contacts")
    latest = max(alike, key=lambda hit: (hit.active_at, -hit.id))
    owners = {hit.owner_id or hit.owner_salesforce_id or hit.owner_email for hit in alike}
    owned = latest if len(owners) == 1 and owners.isdisjoint({0, ""}) else None
    companies = {hit.account_id for hit in alike}
    if len(companies) == 1 and 0 not in companies:
        company = company_of(latest)
        step = TraceStep("match", rung.value, f"{len(alike)} contacts of one company", company or latest.name)
        return Match(rung, step, shown=latest, company=company, owned=owned)
    if owned is not None:
        step = TraceStep("match", rung.value, f"{len(alike)} contacts of one owner", owned.owner)
        return Match(rung, step, shown=latest, owned=owned)
    detail = f"{len(alike)} contacts, named by the most recently active, routed to none of them"
    return Match(rung, TraceStep("match", "ambiguous", detail, latest.name), shown=latest, ambiguous=True)


def _one(rung: Rung, contact: Contact, detail: str) -> Match:
    company = (company_of(contact) or contact.name) if rung is Rung.SWITCHBOARD else ""
    step = TraceStep("match", rung.value, detail, contact.name)
    return Match(rung, step, contact, contact, company, contact)
