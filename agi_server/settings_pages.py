"""Makes the shipped settings file and the reference page from the table of settings."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from agi_server.settings import SECTIONS, Settings, variable

EXAMPLE_HEAD = """\
# Settings of Ostiary. Every line that begins with # and a name shows a default: remove the # to change it.
# Looked for: --config, OSTIARY_CONFIG, /etc/ostiary/ostiary.toml, ./ostiary.toml; the first there is counts.
# OSTIARY_SECTION__KEY in the environment wins over this file. A secret x may be given as x_file, the path of
# a file that holds it, or as a systemd credential called section.x.
"""

REFERENCE_HEAD = """\
# Settings

Ostiary reads one TOML file: the one named by `--config`, else the one named by `OSTIARY_CONFIG`, else
`/etc/ostiary/ostiary.toml`, else `./ostiary.toml`. None is needed: every setting has a default.
[`ostiary.example.toml`](../ostiary.example.toml) holds them all.

Of the values given for a setting the last of these wins:

1. the settings file;
2. a systemd credential called `section.key` (secrets and files only, see `systemd/ostiary.service`);
3. the environment variable in the table. A list is written as JSON (`["10.0.0.0/8", "::1"]`) or with commas
   (`10.0.0.0/8, ::1`), a table as JSON (`{"Lead": "Status <> 'Junk'"}`); yes and no as `true` and `false`, `yes`
   and `no`, `on` and `off`, `1` and `0`.

A secret `x` may be given as `x_file` instead, the path of a file that holds it. A credential called
`salesforce.private_key` stands for `salesforce.private_key_file`, one called `salesforce.ca` for
`salesforce.ca_file`.

An unknown name or an impossible value stops Ostiary from starting. The message lists every mistake with file
and line, variable or credential, what was expected, and the nearest name there is.
"""


def render_example() -> str:
    """Return `ostiary.example.toml`: every setting commented out, with help, unit and default."""
    parts = [EXAMPLE_HEAD]
    for section, fields in SECTIONS.items():
        parts.append(f"\n# {_about(section)}\n[{section}]\n")
        for key, info in fields.items():
            parts.append(
                "\n" + _comment(f"{_help(info)} Unit: {_unit(info)}." if _unit(info) else _help(info))
            )
            parts.extend(f"# Example: {key} = {_toml(value)}\n" for value in info.examples or ())
            parts.append(f"#{key} = {_toml(info.default)}\n")
    return "".join(parts)


def render_reference() -> str:
    """Return `docs/settings.md`: a table a section."""
    parts = [REFERENCE_HEAD]
    for section, fields in SECTIONS.items():
        parts.append(f"\n## {section}\n\n{_about(section)}\n\n")
        parts.append("| Setting | Variable | Default | Unit | Meaning |\n|---|---|---|---|---|\n")
        for key, info in fields.items():
            meaning = " ".join(
                [_help(info), *(f"Example: {_code(_toml(value))}" for value in info.examples or ())]
            )
            names = [_code(f"{section}.{key}"), _code(variable(section, key))]
            row = " | ".join([*names, _code(_toml(info.default)), _unit(info), meaning])
            parts.append(f"| {row} |\n")
    return "".join(parts)


def _about(section: str) -> str:
    return str(type(Settings.model_fields[section].default).__doc__)


def _unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _help(info: FieldInfo) -> str:
    """Return the description, with the values there are to choose from unless it names them."""
    text = str(info.description)
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    if all(choice in text for choice in choices):
        return text
    return f"{text} One of: {', '.join(choices)}."


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, width=108, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|")


def _key(text: str) -> str:
    """Return a key as TOML: quoted where it holds more than a bare key may, such as a dot."""
    return text if re.fullmatch(r"[\w-]+", text, re.ASCII) else json.dumps(text)


def _toml(value: object) -> str:
    """Return a default or an example as TOML; a path that is not set is an empty text."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    text = "" if value is None else str(value)
    return f"'{text}'" if "\\" in text else json.dumps(text, ensure_ascii=False)
