"""Pages of settings: the switches people ask for first, then every setting, and changing one that may change.

Invariant: secrets are not shown; what is taken here is what `storage.overrides` takes, for API and console alike.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args, get_origin

from fastapi import APIRouter, Depends, Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError, NotFoundError
from agi_server.settings import SECTIONS, Settings
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.entry import Entry, entry_of
from agi_server.web.console.languages import gettext_of, mark
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Services, Use
from storage.overrides import SettingNow, effective, put_override, remove_override, settings_now, value_of

router = APIRouter()
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]
Key = Annotated[str, Path(max_length=100, pattern=r"^[a-z_]+\.[a-z_]+$")]

FEATURES = (
    ("naming.enabled", mark("Name on the phone"), mark("The phone shows who is calling.")),
    ("screening.enabled", mark("Blacklist"), mark("Rules decide who is let in.")),
    (
        "routing.enabled",
        mark("Routing to the responsible"),
        mark("A call goes to the agent who owns the contact."),
    ),
    ("contacts.create", mark("Contact creation"), mark("An unknown caller becomes a contact.")),
    (
        "reminders.missed_calls",
        mark("Missed-call reminders"),
        mark("The responsible agent is told of a call nobody answered."),
    ),
)
WIDE = 60  # characters; what is longer is typed into a larger field


@router.get("/settings")
async def show_settings(request: Request, use: Use, actor: Admin) -> Response:
    """Show all settings."""
    all_ = await use.database.read(lambda c: settings_now(c, use.settings))
    by_key = {setting.key: setting for setting in all_}
    sections = [(name, [by_key[f"{name}.{key}"] for key in keys]) for name, keys in SECTIONS.items()]
    features = [(key, label, hint, by_key[key].value is True) for key, label, hint in FEATURES]
    return page(
        request, actor, "settings.html", sections=sections, features=features, about=_about, text=text_of
    )


@router.post("/settings")
async def switch(request: Request, use: Use, actor: Admin) -> Response:
    """Switch features on and off."""
    entry = await entry_of(request)

    async def job(connection: AsyncConnection) -> None:
        now = await effective(connection, use.settings)
        for key, _, _ in FEATURES:
            wanted = entry[key] == "on"
            if value_of(now, key) is not wanted:
                await _put(connection, use, actor, key, wanted)

    await use.database.write(job)
    _ = gettext_of(request)
    return redirect(request, "/settings", notice=_("Saved; it counts from the next call on."))


@router.get("/settings/{key}")
async def show_setting(request: Request, use: Use, actor: Admin, key: Key) -> Response:
    """Show one setting, in a form."""
    setting = await _known(use, key)
    return _form(request, actor, setting, Entry({"value": text_of(setting.value)}))


@router.post("/settings/{key}")
async def change(request: Request, use: Use, actor: Admin, key: Key) -> Response:
    """Change a setting, or go back to the file's value."""
    setting = await _known(use, key)
    _ = gettext_of(request)
    typed = (await request.form()).get("value", "")  # whole: a list may have several lines
    entry = Entry({})
    entry.typed["value"] = typed if isinstance(typed, str) else ""
    back = (await entry_of(request))["do"] == "back"

    async def job(connection: AsyncConnection) -> None:
        if back:
            now = int(use.clock())
            await remove_override(connection, key, settings=use.settings, who=actor.who, now=now)
        else:
            await _put(connection, use, actor, key, _parsed(setting, entry["value"]))

    try:
        await use.database.write(job)
    except InputError as error:
        entry.mistakes["value"] = str(error)
        return _form(request, actor, setting, entry)
    return redirect(request, "/settings", notice=_("Saved; it counts from the next call on."))


def text_of(value: object) -> str:
    """Return a value as it is typed in: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _choices(key: str) -> tuple[str, ...]:
    """Return the only values a setting may have; none where there are others."""
    section, _, name = key.partition(".")
    type_ = SECTIONS[section][name].annotation
    return tuple(map(str, get_args(type_))) if get_origin(type_) is Literal else ()


def _shape(setting: SettingNow) -> str:
    """Return how a setting is typed in: switch, choice, number, text or json."""
    if _choices(setting.key):
        return "choice"
    match setting.value:
        case bool():
            return "switch"
        case int() | float():
            return "number"
        case str() | None:
            return "text"
        case _:
            return "json"


def _parsed(setting: SettingNow, text: str) -> object:
    """Return the value that was typed. Raises InputError."""
    shape = _shape(setting)
    if shape in {"text", "choice"}:
        return text.strip()
    if shape == "switch":
        return text == "true"
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        wanted = "a number" if shape == "number" else "JSON, e.g. " + json.dumps(setting.file)
        raise InputError(f"{setting.key} should be {wanted}") from error
    return value


async def _put(connection: AsyncConnection, use: Services, actor: Actor, key: str, value: object) -> None:
    now = int(use.clock())
    await put_override(connection, key, value, settings=use.settings, who=actor.who, now=now)


async def _known(use: Services, key: str) -> SettingNow:
    all_ = await use.database.read(lambda c: settings_now(c, use.settings))
    found = next((setting for setting in all_ if setting.key == key), None)
    if found is None:
        raise NotFoundError(f"there is no setting {key!r}")
    return found


def _form(request: Request, actor: Actor, setting: SettingNow, entry: Entry) -> Response:
    return page(
        request,
        actor,
        "setting.html",
        status=422 if entry.mistakes else 200,
        setting=setting,
        entry=entry,
        shape=_shape(setting),
        choices=[(choice, choice) for choice in _choices(setting.key)],
        file=text_of(setting.file),
        wide=len(text_of(setting.value)) > WIDE or _shape(setting) == "json",
    )


def _about(section: str) -> str:
    return str(type(Settings.model_fields[section].default).__doc__)
