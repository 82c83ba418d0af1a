"""The checkbox that marks a record as blacklisted in Salesforce, and the exact rules here: kept in step both ways.

The last change wins, wherever it was made. `contacts.blacklisted` is what Salesforce says or has been told;
`flagged_numbers` holds the numbers of such contacts whose rules have been seen to. A rule for one of them that is
gone was therefore removed here, and a number that is missing there is new: neither is mistaken for the other when
Salesforce says the same thing again. What waits in the outbox is newer than anything Salesforce says.

A rule here means an exact, unscoped rule that blocks and has not expired. A rule made by a flag stays when its
contact is deleted in Salesforce: only who removes the flag, or the rule, lets the number in again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import RuleKind, Treatment
from storage import salesforce_state
from storage.lists import LIST, as_json, change, fetch
from storage.schema import NUMBER_IS, audit, blacklist, outbox

WHO = "salesforce"
REASON = "blacklisted in Salesforce"
PAGE = 50  # rules or contacts that one call of `collect` looks at: a transaction of some 10 ms

_STATE = "flags"  # in salesforce_state
_BLOCKS = "b.kind = 'exact' AND b.did = '' AND NOT b.allow AND (b.expires_at = 0 OR b.expires_at > ?)"
_CONTACTS = (
    "SELECT c.id, c.salesforce_id, c.blacklisted, c.flag_sent_at, "  # noqa: S608  # our own constants, here and below
    "EXISTS (SELECT 1 FROM outbox o WHERE o.contact_id = c.id AND o.kind = 'flag') FROM contacts c "
    f"WHERE c.salesforce_id IN {LIST} AND (c.blacklisted OR c.salesforce_id IN {LIST})"
)
_NUMBERS = (
    f"SELECT contact_id, '+' || number FROM phones WHERE contact_id IN {LIST} "  # noqa: S608  # see above
    f"UNION SELECT contact_id, digits FROM local_phones WHERE contact_id IN {LIST}"
)
_NOTED = f"SELECT contact_id, pattern FROM flagged_numbers WHERE contact_id IN {LIST}"  # noqa: S608  # see above
_STILL_NOTED = f"SELECT DISTINCT pattern FROM flagged_numbers WHERE pattern IN {LIST}"  # noqa: S608  # see above
# The plus keeps SQLite from reading, and sorting, all rules of the kind for each page.
_RULES = (
    "SELECT b.id, b.pattern, b.expires_at, b.created_by FROM blacklist b "  # noqa: S608  # see above
    f"WHERE b.id > ? AND {_BLOCKS.replace('b.kind', '+b.kind')} ORDER BY b.id LIMIT ?"
)
_UNFLAGGED = (
    f"SELECT c.id, c.salesforce_id, c.kind FROM json_each(?) j CROSS JOIN phones p ON {NUMBER_IS.format('j.value')} "  # noqa: S608  # see above
    "CROSS JOIN contacts c ON c.id = p.contact_id WHERE c.salesforce_id IS NOT NULL AND NOT c.blacklisted "
    "UNION SELECT c.id, c.salesforce_id, c.kind FROM json_each(?) j "
    "CROSS JOIN local_phones p ON p.digits = j.value CROSS JOIN contacts c ON c.id = p.contact_id "
    "WHERE c.salesforce_id IS NOT NULL AND NOT c.blacklisted ORDER BY 1"
)
_FLAGGED = "SELECT DISTINCT contact_id FROM flagged_numbers WHERE contact_id > ? ORDER BY contact_id LIMIT ?"
_WITHOUT_RULE = (
    f"SELECT c.id, c.salesforce_id, c.kind FROM contacts c WHERE c.id IN {LIST} "  # noqa: S608  # see above
    "AND c.salesforce_id IS NOT NULL AND c.blacklisted "
    "AND NOT EXISTS (SELECT 1 FROM flagged_numbers f CROSS JOIN blacklist b "
    f"ON b.pattern = f.pattern WHERE f.contact_id = c.id AND {_BLOCKS}) ORDER BY c.id"
)
_Change = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]  # before, after


class _Pair(NamedTuple):
    """A contact and a number of theirs, as rules have it."""

    contact: int
    pattern: str


class _Record(NamedTuple):
    id: int
    salesforce_id: str
    kind: str


async def apply(
    conn: AsyncConnection,
    flags: Mapping[str, bool],
    *,
    now: int,
    as_of: int | None = None,
    treatment: str = Treatment.HANGUP,
) -> int:
    """Take over what Salesforce says: Salesforce id -> blacklisted. Return how many contacts that changed.

    `as_of` is when Salesforce was asked, in our time, where that was not just now (a job whose results are
    fetched later): what it has been told since is newer. `treatment` is that of the rules it makes. To be
    called after the contacts' numbers are stored, in the same transaction.
    """
    true = [salesforce_id for salesforce_id, flag in flags.items() if flag]
    rows = await fetch(conn, _CONTACTS, flags, true)
    wanted: dict[int, bool] = {}
    before: dict[int, bool] = {}
    for contact, salesforce_id, stored, sent_at, waiting in rows:
        ours_is_newer = waiting or (as_of is not None and sent_at >= as_of)
        before[contact] = bool(stored)
        wanted[contact] = before[contact] if ours_is_newer else flags[salesforce_id]
    concerned = [contact for contact in wanted if wanted[contact] or before[contact]]
    if not concerned:
        return 0
    current = await _numbers(conn, concerned)
    noted = await _noted(conn, concerned)
    flagged = {pair for pair in current if wanted[pair[0]]}
    unflagged = {pair for pair in noted | current if not wanted[pair[0]]}
    moved = noted - current - unflagged  # numbers that flagged contacts no longer have
    changed = {contact for contact in concerned if wanted[contact] != before[contact]}
    for value in (False, True):
        ids = [contact for contact in changed if wanted[contact] is value]
        await change(conn, f"UPDATE contacts SET blacklisted = {value:d} WHERE id IN {LIST}", ids)  # noqa: S608  # see above
    await _note_numbers(conn, come=flagged - noted, gone=unflagged | moved)
    await _remove_rules(conn, _of(unflagged), now)
    await _remove_rules(conn, _of(moved), now, made_by=WHO)  # somebody's own rule is about the number
    await _add_rules(conn, _of(flagged - noted), treatment, now)
    return len(changed | {contact for contact, _ in flagged ^ noted})


async def settled(conn: AsyncConnection, *, now: int) -> bool:
    """Return whether `collect` has nothing to look at: no rule changed or expired since it was through."""
    state = await salesforce_state.get(conn, _STATE)
    return state is not None and _is_settled(state, await _revision(conn), now)


async def collect(conn: AsyncConnection, *, now: int) -> int:
    """Put into the outbox what Salesforce must be told of changed rules; return how many rows that makes.

    One call looks at PAGE rules or contacts; call it until `settled`. A contact with a number that a rule
    blocks gets the flag, unless that rule is itself made by a flag; one that has it and whose numbers no
    rule blocks any more loses it.
    """
    state = await salesforce_state.get(conn, _STATE)
    revision = await _revision(conn)
    if state is None or state["step"] == "":
        if state is not None and _is_settled(state, revision, now):
            return 0
        # What changes from now on is left to the next pass, so that this one comes to its end.
        state = {"revision": revision, "expires": 0, "step": "rules", "after": 0}
    made = await (_collect_rules if state["step"] == "rules" else _collect_contacts)(conn, state, now)
    await salesforce_state.put(conn, _STATE, state, now)
    return made


async def sent(conn: AsyncConnection, contact_ids: Collection[int], *, now: int) -> None:
    """Note that Salesforce has been told the flags of these contacts; `now` is after its answer."""
    await conn.exec_driver_sql(
        f"UPDATE contacts SET flag_sent_at = ? WHERE id IN {LIST}",  # noqa: S608  # see above
        (now, as_json(contact_ids)),
    )


def _is_settled(state: Mapping[str, Any], revision: int, now: int) -> bool:
    return state["step"] == "" and state["revision"] == revision and not 0 < state["expires"] <= now


async def _revision(conn: AsyncConnection) -> int:
    return int(
        (await conn.exec_driver_sql("SELECT value FROM revisions WHERE name = 'blacklist'")).scalar_one()
    )


async def _collect_rules(conn: AsyncConnection, state: dict[str, Any], now: int) -> int:
    """Flag whom the next rules block; moves `state` on."""
    page = await _page(conn, _RULES, state["after"], now, PAGE)
    ends = [expires for _, _, expires, _ in page if expires]
    state["expires"] = min([*ends, *([state["expires"]] if state["expires"] else [])], default=0)
    state.update({"after": page[-1][0]} if len(page) == PAGE else {"step": "contacts", "after": 0})
    numbers = [pattern for _, pattern, _, created_by in page if created_by != WHO]
    e164 = [int(pattern[1:]) for pattern in numbers if pattern.startswith("+") and pattern[1:].isdecimal()]
    local = [pattern for pattern in numbers if not pattern.startswith("+")]
    if not numbers:
        return 0
    found = [_Record(*row) for row in await fetch(conn, _UNFLAGGED, e164, local)]
    await _tell(conn, found, value=True, now=now)
    # All their numbers count as seen to: to block one here is not to block the others.
    await _note_numbers(conn, come=await _numbers(conn, [record.id for record in found]), gone=())
    return len(found)


async def _collect_contacts(conn: AsyncConnection, state: dict[str, Any], now: int) -> int:
    """Take the flag from those of the next contacts whom no rule blocks; moves `state` on."""
    page = [contact for (contact,) in await _page(conn, _FLAGGED, state["after"], PAGE)]
    state.update({"after": page[-1]} if len(page) == PAGE else {"step": "", "after": 0})
    found = [_Record(*row) for row in await _page(conn, _WITHOUT_RULE, as_json(page), now)]
    await _tell(conn, found, value=False, now=now)
    await _note_numbers(conn, come=(), gone=await _noted(conn, [record.id for record in found]))
    return len(found)


async def _tell(conn: AsyncConnection, records: Collection[_Record], *, value: bool, now: int) -> None:
    """Set the flag of contacts here and have it set in Salesforce; what waited to be told of them is outdated."""
    if not records:
        return
    ids = [record.id for record in records]
    await change(conn, f"UPDATE contacts SET blacklisted = {value:d} WHERE id IN {LIST}", ids)  # noqa: S608  # see above
    await change(conn, f"DELETE FROM outbox WHERE kind = 'flag' AND contact_id IN {LIST}", ids)  # noqa: S608  # see above
    told = [
        {"salesforce_id": record.salesforce_id, "kind": record.kind, "value": value} for record in records
    ]
    await conn.execute(
        outbox.insert(),
        [
            {
                "kind": "flag",
                "contact_id": record.id,
                "payload": payload,
                "created_at": now,
                "next_attempt_at": now,
            }
            for record, payload in zip(records, told, strict=True)
        ],
    )
    await _audit(conn, "rules", "salesforce.flag", [(None, payload) for payload in told], now)


async def _page(conn: AsyncConnection, query: str, *values: object) -> Sequence[Sequence[Any]]:
    return (await conn.exec_driver_sql(query, values)).fetchall()


async def _numbers(conn: AsyncConnection, contacts: Collection[int]) -> set[_Pair]:
    return {_Pair(*row) for row in await fetch(conn, _NUMBERS, contacts, contacts)}


async def _noted(conn: AsyncConnection, contacts: Collection[int]) -> set[_Pair]:
    return {_Pair(*row) for row in await fetch(conn, _NOTED, contacts)}


async def _note_numbers(conn: AsyncConnection, *, come: Collection[_Pair], gone: Collection[_Pair]) -> None:
    if gone:
        await conn.exec_driver_sql(
            "DELETE FROM flagged_numbers WHERE contact_id = ? AND pattern = ?", list(gone)
        )
    if come:
        await conn.exec_driver_sql(
            "INSERT OR IGNORE INTO flagged_numbers (contact_id, pattern) VALUES (?, ?)", list(come)
        )


def _of(pairs: Collection[_Pair]) -> set[str]:
    return {pair.pattern for pair in pairs}


async def _add_rules(conn: AsyncConnection, numbers: set[str], treatment: str, now: int) -> None:
    """Block numbers for good: a rule that ends is made to last."""
    existing = await _existing(conn, numbers)
    ours = {"reason": REASON, "created_by": WHO, "expires_at": 0}
    ending = [rule for rule in existing.values() if rule["expires_at"]]
    if ending:
        ids = [rule["id"] for rule in ending]
        await conn.execute(blacklist.update().where(blacklist.c.id.in_(ids)).values(ours))
    exact = {
        "kind": RuleKind.EXACT.value,
        "did": "",
        "allow": False,
        "treatment": treatment,
        "created_at": now,
    }
    new = [{**exact, **ours, "pattern": number} for number in sorted(numbers - existing.keys())]
    if new:
        await conn.execute(blacklist.insert(), new)
    changes = [(rule, rule | ours) for rule in ending] + [(None, rule) for rule in new]
    await _audit(conn, WHO, "blacklist.add", changes, now)


async def _remove_rules(conn: AsyncConnection, numbers: set[str], now: int, *, made_by: str = "") -> None:
    """Remove the rules of numbers that no flagged contact has any more; `made_by`: only those made so."""
    kept = {row[0] for row in await fetch(conn, _STILL_NOTED, numbers)}
    existing = (await _existing(conn, numbers - kept)).values()
    gone = [rule for rule in existing if made_by in {"", rule["created_by"]}]
    await conn.execute(blacklist.delete().where(blacklist.c.id.in_([rule["id"] for rule in gone])))
    await _audit(conn, WHO, "blacklist.remove", [(rule, None) for rule in gone], now)


async def _existing(conn: AsyncConnection, numbers: set[str]) -> dict[str, dict[str, Any]]:
    """Return the exact, unscoped, blocking rules of numbers, expired ones too."""
    if not numbers:
        return {}
    query = select(blacklist).filter_by(kind=RuleKind.EXACT.value, did="", allow=False)
    rows = await conn.execute(query.where(blacklist.c.pattern.in_(numbers)).order_by(blacklist.c.id))
    return {row["pattern"]: dict(row) for row in rows.mappings()}


async def _audit(conn: AsyncConnection, who: str, what: str, changes: Collection[_Change], now: int) -> None:
    if changes:
        rows = [{"at": now, "who": who, "what": what, "before": old, "after": new} for old, new in changes]
        await conn.execute(audit.insert(), rows)
