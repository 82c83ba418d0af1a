"""What is changed of the settings file while Ostiary runs: the rows of the table `settings`.

Invariant: whatever is put here is what the setting's own model takes, together with all else that is in force; the
rows and the file are brought together in one way (`storage.policy.apply`), whoever asks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.settings import SECTIONS, Settings, is_secret
from agi_server.settings_mistakes import EXPECTED
from storage import policy
from storage.audit import note
from storage.schema import settings as table

CHANGEABLE: Final = (*policy.SECTIONS, "reminders")  # sections
MOST: Final = 65_536  # bytes of a value as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A row: the value as JSON has it, who put it there and when (seconds since 1970)."""

    key: str  # section.name
    value: object
    changed_at: int
    changed_by: str


class SettingNow(NamedTuple):
    """A setting as it is: the value in force, the file's and the default; None for secrets, which are never told."""

    key: str
    value: object
    file: object
    default: object
    unit: str
    help: str
    secret: bool
    may_change: bool
    override: Override | None


def may_change(key: str) -> bool:
    """Return whether a setting may change at run time."""
    section, _, name = key.partition(".")
    return section in CHANGEABLE and name in SECTIONS[section]


async def list_overrides(conn: AsyncConnection) -> dict[str, Override]:
    """Return all rows by key."""
    rows = await conn.execute(select(table).order_by(table.c.key))
    return {row["key"]: Override(**row) for row in rows.mappings()}


async def effective(conn: AsyncConnection, settings: Settings) -> Settings:
    """Return the settings in force: those of the file with each good row applied."""
    rows = [(each.key, each.value) for each in (await list_overrides(conn)).values()]
    return policy.apply(settings, rows, CHANGEABLE)


async def settings_now(conn: AsyncConnection, file: Settings) -> list[SettingNow]:
    """Return all settings, in the order of the reference."""
    in_force, overrides, default = await effective(conn, file), await list_overrides(conn), Settings()
    found = []
    for section, fields in SECTIONS.items():
        for name, info in fields.items():
            key, secret = f"{section}.{name}", is_secret(info)
            extra = info.json_schema_extra
            found.append(
                SettingNow(
                    key=key,
                    value=None if secret else value_of(in_force, key),
                    file=None if secret else value_of(file, key),
                    default=None if secret else value_of(default, key),
                    unit=str(extra.get("unit", "")) if isinstance(extra, dict) else "",
                    help=info.description or "",
                    secret=secret,
                    may_change=may_change(key),
                    override=overrides.get(key) if may_change(key) else None,
                )
            )
    return found


def changed(settings: Settings, key: str, value: object) -> Settings:
    """Return settings with one value changed, as at run time.

    Raises NotFoundError when there is no such setting, ConflictError when it only changes in the file, InputError
    saying what was expected when the value cannot be taken.
    """
    section, _, name = key.partition(".")
    if name not in SECTIONS.get(section, {}):
        raise no_such(key)
    if not may_change(key):
        raise ConflictError(
            f"{key} cannot change while Ostiary runs: change it in the settings file and restart"
        )
    try:
        if len(json.dumps(value, ensure_ascii=False).encode()) > MOST:
            raise InputError(f"{key} is too long: at most {MOST} bytes of JSON")
        new = policy.change(getattr(settings, section), name, value)
    except ValidationError as error:
        raise InputError("; ".join(_mistake(key, each) for each in error.errors()[:_MISTAKES])) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{key} is nothing that can be kept as JSON") from error
    return settings.model_copy(update={section: new})


async def put_override(
    conn: AsyncConnection, key: str, value: object, *, settings: Settings, who: str, now: int
) -> Override:
    """Put a value in the place of the file's (`settings`); return the row as it is now.

    Raises NotFoundError, ConflictError and InputError as `changed` does.
    """
    before = await effective(conn, settings)
    after = changed(before, key, value)
    old, new = value_of(before, key), value_of(after, key)
    row = {"value": new, "changed_at": now, "changed_by": who}
    statement = insert(table).values(key=key, **row)
    await conn.execute(statement.on_conflict_do_update(index_elements=["key"], set_=row))
    await note(
        conn,
        who=who,
        what="settings.put",
        before={"key": key, "value": old},
        after={"key": key, "value": new},
        now=now,
    )
    return Override(key=key, value=new, changed_at=now, changed_by=who)


async def remove_override(conn: AsyncConnection, key: str, *, settings: Settings, who: str, now: int) -> bool:
    """Go back to the file's value (that of `settings`); return whether there was another."""
    found = (await list_overrides(conn)).get(key)
    if found is None:
        return False
    await conn.execute(table.delete().where(table.c.key == key))
    after = {"key": key, "value": value_of(settings, key)} if may_change(key) else None
    await note(
        conn, who=who, what="settings.remove", before={"key": key, "value": found.value}, after=after, now=now
    )
    return True


def no_such(key: str) -> NotFoundError:
    """Return the error of a key that is none, with a hint at what may have been meant."""
    known = [f"{section}.{name}" for section in CHANGEABLE for name in SECTIONS[section]]
    found = get_close_matches(key, known, 1)
    hint = f"did you mean {found[0]}?" if found else "`ostiary settings --reference` lists those there are"
    return NotFoundError(f"there is no setting {key!r}; {hint}")


def value_of(settings: Settings, key: str) -> object:
    """Return a setting's value as JSON has it; not for secrets."""
    section, _, name = key.partition(".")
    return getattr(settings, section).model_dump(mode="json", include={name})[name]


_MISTAKES = 5  # told at once


def _mistake(key: str, details: ErrorDetails) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"][1:])
    if details["type"] == "value_error":
        what = str(details["ctx"]["error"])
    else:
        what = EXPECTED.get(details["type"]) or details["msg"].replace("Input should", "should")
    return f"{key}{where} {what}"
