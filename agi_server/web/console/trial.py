"""Try before you trust: the decision as it would be, with the rules as they are and with changes that nobody has saved.

Invariant: nothing is written but by the button that says so. The changes to be tried live in the form itself, as
they were typed, and are read anew with each request.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from agi_server.calls.call import Call
from agi_server.calls.decide import decide
from agi_server.calls.directory import Directory, Rule
from agi_server.calls.document import document
from agi_server.calls.replay import Edited, Replay, replay
from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.settings import Settings
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.entry import LARGEST_ID, Entry, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.rules import Reading, read_rule, reading
from agi_server.web.console.versions import version_of
from agi_server.web.services import Services, Use
from storage.blacklist import RuleRow, add_rule, change_rule, find_rule, get_rule, remove_rules
from storage.directory import SqliteDirectory
from storage.location import sqlite_uri
from storage.past_calls import past_calls

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Writer = Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))]

MOST_EDITS = 50
DAY = 24 * 3600  # seconds that a replay looks back
MOST_CALLS = 20_000  # that a replay decides anew
SHOWN = 200  # calls that a replay shows
_LONGEST = 200  # characters of a number or a name
_RULE_FIELDS = ("list", "kind", "pattern", "did", "treatment", "target", "reason", "expires")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to be tried: a rule that comes (`old` None), changes, or goes (`new` None).

    `text` is its form; `version` is that of the rule which whoever made the change has seen.
    """

    text: str
    old: RuleRow | None
    new: Rule | None
    version: str = ""


@router.get("/trial")
async def start(request: Request, use: Use, actor: Reader) -> Response:
    """Show the form, and the decision where another page has filled it in."""
    entry = Entry(dict(request.query_params))
    return await _show(request, use, actor, entry, [], decided="number" in entry.typed)


@router.post("/trial")
async def go_on(request: Request, use: Use, actor: Reader) -> Response:
    """Decide, add a change or take one back, replay."""
    form = await request.form()
    entry = Entry({name: value for name, value in form.items() if isinstance(value, str)})
    how = reading(use.directory.policy(), use.clock())
    kept = [text for text in form.getlist("edit") if isinstance(text, str)]
    if entry["drop"].isdecimal():
        kept = [text for index, text in enumerate(kept) if str(index) != entry["drop"]]
    new = ""
    if entry["do"] in {"add", "change"}:
        read_rule(entry, how, await _rule(use, entry["rule"]))
        new = _text({name: entry[name] for name in (*_RULE_FIELDS, "rule", "version")})
    elif entry["do"] == "without":
        if await _rule(use, entry.read("rule", _rule_id, "")) is None:
            entry.mistakes.setdefault("rule", gettext_of(request)("There is no such rule."))
        new = _text({"rule": entry["rule"], "remove": "yes"})
    if new and not entry.mistakes and new not in kept:
        if len(kept) >= MOST_EDITS:
            entry.mistakes["pattern"] = f"at most {MOST_EDITS} changes can be tried at once"
        else:
            kept = [*kept, new]
    edits = await _edits(use, kept, how)
    return await _show(
        request, use, actor, entry, edits, decided=entry["tried"] == "yes" or entry["do"] == "try",
        replayed=entry["do"] == "replay",
    )  # fmt: skip


@router.post("/trial/save")
async def save(request: Request, use: Use, actor: Writer) -> Response:
    """Make the changes that were tried."""
    form = await request.form()
    how = reading(use.directory.policy(), use.clock())
    edits = await _edits(use, [text for text in form.getlist("edit") if isinstance(text, str)], how)

    async def job(connection: AsyncConnection) -> None:
        for edit in edits:
            await _apply(connection, edit, actor.who, int(how.now))

    try:
        await use.database.write(job)
    except (ConflictError, NotFoundError) as error:
        entry = Entry({name: value for name, value in form.items() if isinstance(value, str)})
        entry.mistakes[""] = str(error)
        return await _show(request, use, actor, entry, edits, decided=entry["tried"] == "yes")
    _ = gettext_of(request)
    return redirect(request, "/blacklist", notice=_("Changes made: %(count)s") % {"count": len(edits)})


async def _show(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    edits: Sequence[Edit],
    *,
    decided: bool,
    replayed: bool = False,
) -> Response:
    now = use.clock()
    call = Call(
        id="trial",
        number=entry["number"][:_LONGEST],
        did=entry["called"][:_LONGEST],
        name=entry["name"][:_LONGEST],
    )
    edited = _edited(use.directory, edits) if edits else None
    past = (
        await asyncio.to_thread(_replayed, use.database.path, use.settings, edits, int(now))
        if replayed
        else None
    )
    return page(
        request,
        actor,
        "trial.html",
        status=422 if entry.mistakes else 200,
        entry=entry,
        decided=decided,
        decision=document(decide(call, use.directory, now), now) if decided else None,
        otherwise=document(decide(call, edited, now), now) if decided and edited is not None else None,
        edits=edits,
        replay=past,
        shown=SHOWN,
        most_calls=MOST_CALLS,
        now=now,
        timezone=use.directory.policy().timezone,
        blank=Entry({"treatment": use.directory.policy().default_treatment.value}),
    )


def _edited(directory: Directory, edits: Sequence[Edit]) -> Edited:
    """Return the directory with the changes made; new rules have negative ids, the oldest the highest."""
    come = [edit.new if edit.old is not None else replace(edit.new, id=-place)
            for place, edit in enumerate(edits, 1) if edit.new is not None]  # fmt: skip
    return Edited(directory, add=come, remove=[edit.old.id for edit in edits if edit.old is not None])


def _replayed(path: Path, settings: Settings, edits: Sequence[Edit], now: int) -> Replay:
    """Decide the calls of the last day anew, apart from the event loop and its connection."""
    directory = SqliteDirectory(path, settings)
    try:
        with closing(sqlite3.connect(sqlite_uri(path, "ro"), uri=True)) as connection:
            calls = past_calls(connection, now - DAY, MOST_CALLS)
        return replay(calls, directory, _edited(directory, edits))
    finally:
        directory.close()


async def _edits(use: Services, kept: Sequence[str], how: Reading) -> list[Edit]:
    """Return the changes of a form; what cannot be read, or is about a rule that is gone, is left out."""
    edits = []
    for text in kept[:MOST_EDITS]:
        entry = Entry(_values(text))
        old = await _rule(use, entry["rule"])
        if entry["rule"] and old is None:
            continue
        if entry["remove"]:
            edits += [Edit(text, old, None)] if old is not None else []
            continue
        rule = read_rule(entry, how, old)
        if not entry.mistakes:
            edits.append(Edit(text, old, rule, entry["version"]))
    return edits


async def _apply(connection: AsyncConnection, edit: Edit, who: str, now: int) -> None:
    if edit.new is None:
        assert edit.old is not None
        await remove_rules(connection, [edit.old.id], who=who, now=now)
    elif edit.old is not None:
        there = await get_rule(connection, edit.old.id)
        if there is not None and edit.version and version_of(there) != edit.version:
            raise ConflictError(
                f"somebody else has changed rule {there.id} in the meantime; look at it again"
            )
        await change_rule(connection, edit.old.id, edit.new, who=who, now=now)
    elif there := await find_rule(connection, edit.new):
        raise ConflictError(f"rule {there.id} says so already: change that one")
    else:
        await add_rule(connection, edit.new, who=who, now=now)


def _text(values: dict[str, str]) -> str:
    return json.dumps({name: value for name, value in values.items() if value}, ensure_ascii=False)


def _values(text: str) -> dict[str, str]:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _rule_id(text: str) -> str:
    if not whole_number(1, LARGEST_ID)(text):
        raise InputError("write the number of a rule; the blacklist shows it")
    return text


async def _rule(use: Services, text: str) -> RuleRow | None:
    """Return the rule of this number, if it is one and there is such a rule."""
    try:
        number = int(_rule_id(text))
    except InputError:
        return None
    return await use.database.read(lambda connection: get_rule(connection, number))
