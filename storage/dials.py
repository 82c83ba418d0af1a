"""Calls that people ordered by a click, and how far each has come.

Invariant: one click, one dial: of several at once for one agent and number the first makes it and the others find it.
A dial's state only goes forward, and what is over stays as it ended. It is told to one PBX at most, once: `claim` says
to whom, on disk, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.audit import note
from storage.schema import NUMBER_IS, agent_states, calls, dials

# As they follow each other; the last two are both the end.
STATES: Final = ("asked", "ringing-agent", "dialling", "ringing", "answered", "ended", "failed")
OVER: Final = frozenset({"ended", "failed"})
CHANNEL: Final = (
    "ostiary-dial-"  # what the PBX's own id of the agent's channel begins with; the dial's id follows
)

_CLICKING: Final = (
    3  # seconds: a click so soon after the first is the same one, even if that has failed by then
)
_MINUTE: Final = 60
_UNWANTED: Final = (
    f"SELECT 1 FROM phones p CROSS JOIN contacts c ON c.id = p.contact_id WHERE {NUMBER_IS.format(':number')} "  # noqa: S608  # constants
    "AND c.do_not_call UNION ALL SELECT 1 FROM contacts WHERE id = :contact AND do_not_call LIMIT 1"
)
_RANK: Final = {state: min(rank, STATES.index("ended")) for rank, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """A call ordered by a click: `agent` is the extension that rings first, then `text` (+E164 or an extension).

    `number` are its E.164 digits, None for an extension. `who` ordered it (user:ana, token:crm), times are seconds
    since 1970, `reason` says why a dial failed, `pbx` is whose it is to dial ('': it was told to none yet), `call_id`
    is the call that came of it ('': none is known).
    """

    id: str
    agent: str
    number: int | None
    text: str
    name: str
    contact_id: int | None
    asked_at: int
    who: str
    state: str = "asked"
    reason: str = ""
    changed_at: int = 0
    pbx: str = ""
    call_id: str = ""

    @property
    def over(self) -> bool:
        """Return whether nothing more will come of it."""
        return self.state in OVER


class Ordered(NamedTuple):
    """What became of an order: a new dial, the one there was already, or none before `wait` seconds have passed."""

    dial: Dial | None
    new: bool
    wait: int = 0


async def order(
    conn: AsyncConnection, dial: Dial, *, per_minute: int, same_seconds: int, override: str = "", now: int
) -> Ordered:
    """Put down an order. A click on the same number within `same_seconds` is the same dial, unless that is over.

    `override` names what would have kept the number from being dialled: it is noted in the audit log.
    """
    same = await _same(conn, dial, same_seconds, now)
    if same is not None:
        return Ordered(same, new=False)
    wait = await _wait(conn, dial.agent, per_minute, now)
    if wait:
        return Ordered(None, new=False, wait=wait)
    values = {
        "id": dial.id,
        "agent": dial.agent,
        "number": dial.number,
        "number_text": dial.text,
        "name": dial.name,
        "contact_id": dial.contact_id,
        "asked_at": now,
        "changed_at": now,
        "who": dial.who,
        "state": "asked",
    }
    await conn.execute(dials.insert().values(values))
    if override:
        after = {"id": dial.id, "agent": dial.agent, "number": dial.text, "reason": override}
        await note(conn, who=dial.who, what="dials.override", before=None, after=after, now=now)
    made = await get(conn, dial.id)
    assert made is not None
    return Ordered(made, new=True)


async def get(conn: AsyncConnection, dial_id: str) -> Dial | None:
    """Return a dial, None where there is none with that id."""
    row = (await conn.execute(_query().where(dials.c.id == dial_id))).mappings().first()
    return None if row is None else _dial(row)


async def page(
    conn: AsyncConnection, *, agent: str = "", limit: int, after: str = ""
) -> tuple[list[Dial], str]:
    """Return dials, the newest first, and the cursor of those behind them ('': there are none).

    Raises InputError when `after` is none of ours.
    """
    query = _query().order_by(dials.c.asked_at.desc(), dials.c.id.desc()).limit(limit + 1)
    if agent:
        query = query.where(dials.c.agent == agent)
    if after:
        at, dot, id_ = after.partition(".")
        if not (dot and at.isascii() and at.isdigit() and len(at) < 19):
            raise InputError(f"cursor {after!r}: take `next` of the page before as it is")
        older = and_(dials.c.asked_at == int(at), dials.c.id < id_)
        query = query.where(or_(dials.c.asked_at < int(at), older))
    found = [_dial(row) for row in (await conn.execute(query)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], f"{last.asked_at}.{last.id}" if last is not None else ""


async def claim(conn: AsyncConnection, dial_id: str, pbx: str, now: int) -> bool:
    """Note that this PBX is told to dial; False where it must not be: told already, cancelled, or unknown."""
    wanted = dials.update().where(dials.c.id == dial_id, dials.c.state == "asked", dials.c.pbx == "")
    return bool((await conn.execute(wanted.values(pbx=pbx, changed_at=now))).rowcount)


async def went_on(conn: AsyncConnection, dial_id: str, state: str, reason: str, now: int) -> Dial | None:
    """Note how far a dial has come; return it, None where that is nothing new."""
    before = [each for each in STATES if _RANK[each] < _RANK[state]]
    wanted = dials.update().where(dials.c.id == dial_id, dials.c.state.in_(before))
    if not (await conn.execute(wanted.values(state=state, reason=reason, changed_at=now))).rowcount:
        return None
    return await get(conn, dial_id)


async def withdraw(conn: AsyncConnection, dial_id: str, now: int) -> Dial | None:
    """Cancel a dial that no PBX was told of yet; return it, None where it is too late for that."""
    wanted = dials.update().where(dials.c.id == dial_id, dials.c.state == "asked", dials.c.pbx == "")
    changed = wanted.values(state="failed", reason="cancelled", changed_at=now)
    return await get(conn, dial_id) if (await conn.execute(changed)).rowcount else None


async def lost(conn: AsyncConnection, pbx: str, live: Collection[str], *, now: int) -> list[Dial]:
    """End the dials of this PBX that it has no channel of (`live`: ids of dials with one); return them."""
    query = select(dials.c.id, dials.c.state).where(dials.c.pbx == pbx, ~dials.c.state.in_(OVER))
    gone = [row for row in await conn.execute(query) if row.id not in live]
    spoke = [row.id for row in gone if row.state == "answered"]
    ended = [await went_on(conn, dial_id, "ended", "", now) for dial_id in spoke]
    others = await _lost(conn, [row.id for row in gone if row.id not in spoke], now)
    return [*(dial for dial in ended if dial is not None), *others]


async def unclaimed(conn: AsyncConnection, *, before: int, now: int) -> list[Dial]:
    """End the dials ordered before that no PBX was ever told of; return them."""
    query = select(dials.c.id).where(dials.c.pbx == "", ~dials.c.state.in_(OVER), dials.c.asked_at <= before)
    return await _lost(conn, [row.id for row in await conn.execute(query)], now)


async def wants_no_calls(conn: AsyncConnection, number: int, contact_id: int = 0) -> bool:
    """Return whether anybody with this number (E.164 digits), or this contact, does not want to be called."""
    values = {"number": number, "contact": contact_id}
    return (await conn.exec_driver_sql(_UNWANTED, values)).scalar() is not None


async def pbxs_of(conn: AsyncConnection, agent: str) -> list[str]:
    """Return the PBXs that know the agent's telephone, those that reach it first."""
    query = select(agent_states.c.pbx).where(agent_states.c.extension == agent)
    return list((await conn.execute(query.order_by(agent_states.c.state == "unreachable"))).scalars())


async def _lost(conn: AsyncConnection, ids: Iterable[str], now: int) -> list[Dial]:
    ended = [await went_on(conn, dial_id, "failed", "lost", now) for dial_id in ids]
    return [dial for dial in ended if dial is not None]


async def _same(conn: AsyncConnection, dial: Dial, same_seconds: int, now: int) -> Dial | None:
    """Return the dial that this order only repeats."""
    query = (
        _query()
        .where(dials.c.agent == dial.agent, dials.c.number_text == dial.text)
        .where(
            or_(
                and_(dials.c.asked_at > now - same_seconds, ~dials.c.state.in_(OVER)),
                dials.c.asked_at > now - min(_CLICKING, same_seconds),
            )
        )
        .order_by(dials.c.asked_at.desc())
    )
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else _dial(row)


async def _wait(conn: AsyncConnection, agent: str, per_minute: int, now: int) -> int:
    """Return for how many seconds the agent has dialled enough, 0 where there is room for one more."""
    last = (
        select(dials.c.asked_at)
        .where(dials.c.agent == agent, dials.c.asked_at > now - _MINUTE)
        .order_by(dials.c.asked_at.desc())
        .offset(per_minute - 1)
        .limit(1)
    )
    at = (await conn.execute(last)).scalar()
    return 0 if at is None else int(at) + _MINUTE - now


def _query() -> Select[Any]:
    channel = CHANNEL + dials.c.id
    call = (
        select(func.coalesce(func.nullif(calls.c.part_of, ""), calls.c.id))
        .where(or_(calls.c.uniqueid == channel, and_(calls.c.linkedid == channel, calls.c.linkedid != "")))
        .order_by(calls.c.part_of)
        .limit(1)
        .scalar_subquery()
    )
    return select(dials, func.coalesce(call, "").label("call_id"))


def _dial(row: RowMapping) -> Dial:
    values: dict[str, Any] = {**row}
    return Dial(text=values.pop("number_text"), **values)
