"""Every setting: what is in force, what the file says, and what may change while Ostiary runs.

Invariant: no value of a secret leaves here, nor how long it is.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import NotFoundError
from agi_server.settings import Settings
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, json_answer, problems, show_time
from agi_server.web.etags import IfMatch, etag, require
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.overrides import SettingNow, no_such, put_override, remove_override, settings_now

router = APIRouter(prefix="/settings", tags=["settings"])

Key = Annotated[str, Path(max_length=100, pattern=r"^[a-z_]+\.[a-z_]+$", description="section.key")]
Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class SettingDocument(BaseModel):
    """A setting: the value in force and the file's; null for secrets, which are never shown."""

    key: str
    value: Any
    file: Any
    default: Any
    unit: str | None
    help: str
    secret: bool
    may_change: bool
    changed_at: str | None
    changed_by: str | None


class Value(Document):
    """What a setting becomes."""

    value: Any = Field(description="Text, number, true or false, list or table, as the setting asks for.")


@router.get("", response_model=Listed[SettingDocument], responses=problems())
async def list_(use: Use, _actor: Read, paging: Paging) -> Response:
    """List all settings by section, as the reference has them."""
    all_ = await use.database.read(lambda conn: documents(conn, use.settings))
    keys = [each["key"] for each in all_]
    start = keys.index(paging.after) + 1 if paging.after in keys else 0
    page = all_[start : start + paging.limit]
    after = page[-1]["key"] if start + len(page) < len(all_) else None
    return json_answer({"items": page, "next": after})


@router.get("/{key}", response_model=SettingDocument, responses=problems(404))
async def get(use: Use, _actor: Read, key: Key) -> Response:
    """Return one setting."""
    return _answer(await use.database.read(lambda conn: _known(conn, use.settings, key)))


@router.put("/{key}", response_model=SettingDocument, responses=problems(404, 409, 412))
async def put(use: Use, actor: Admin, key: Key, value: Value, if_match: IfMatch = None) -> Response:
    """Change a setting; it counts from the next call on."""

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        require(if_match, etag(await _known(conn, use.settings, key)))
        await put_override(conn, key, value.value, settings=use.settings, who=actor.who, now=int(use.clock()))
        return await _known(conn, use.settings, key)

    return _answer(await use.database.write(job))


@router.delete("/{key}", response_model=SettingDocument, responses=problems(404, 412))
async def delete(use: Use, actor: Admin, key: Key, if_match: IfMatch = None) -> Response:
    """Go back to what the file says; the answer is the setting as it is then."""

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        require(if_match, etag(await _known(conn, use.settings, key)))
        if not await remove_override(conn, key, settings=use.settings, who=actor.who, now=int(use.clock())):
            raise NotFoundError(f"{key} is as the file says already")
        return await _known(conn, use.settings, key)

    return _answer(await use.database.write(job))


async def documents(conn: AsyncConnection, settings: Settings) -> list[dict[str, Any]]:
    """Return all settings as documents; `settings` are the file's."""
    return [_document(setting) for setting in await settings_now(conn, settings)]


def _document(setting: SettingNow) -> dict[str, Any]:
    override = setting.override
    return {
        "key": setting.key,
        "value": setting.value,
        "file": setting.file,
        "default": setting.default,
        "unit": setting.unit or None,
        "help": setting.help,
        "secret": setting.secret,
        "may_change": setting.may_change,
        "changed_at": show_time(override.changed_at) if override is not None else None,
        "changed_by": override.changed_by if override is not None else None,
    }


async def _known(conn: AsyncConnection, settings: Settings, key: str) -> dict[str, Any]:
    for each in await documents(conn, settings):
        if each["key"] == key:
            return each
    raise no_such(key)


def _answer(setting: dict[str, Any]) -> Response:
    return json_answer(setting, 200, {"ETag": etag(setting)})
