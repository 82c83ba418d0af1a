"""Reads the settings from file, credentials and environment, and says what is wrong with them.

Invariant: all mistakes are reported at once, each with the place it was made (file and line, credential or
variable), and no text of an error holds a secret.

Of the values given for a setting the last wins: its default; the settings file; a systemd credential named
`section.key`; the variable `OSTIARY_SECTION__KEY`. A secret `x` may be given as `x_file`, the path of a file
that holds it; a credential `section.x` may stand for a setting `x_file`, too.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from pydantic import ValidationError

from agi_server.errors import SettingsError
from agi_server.settings import PREFIX, SECTIONS, VARIABLES, Settings, is_secret, variable
from agi_server.settings_mistakes import Where, explain, line_numbers, nearest

DEFAULT_FILES = (Path("/etc/ostiary/ostiary.toml"), Path("ostiary.toml"))
DATABASE = "ostiary.db"
BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
UNDECODED = re.compile("[\ud800-\udfff]")  # bytes of a variable that are not UTF-8


class _Given(NamedTuple):
    """A value from elsewhere than the settings file."""

    section: str
    key: str
    value: object
    place: str


@dataclass
class _Reading:
    """What has been read so far, where it came from, and what is wrong with it."""

    file: Path | None
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Where, str] = field(default_factory=dict)  # of what is not from the file
    mistakes: list[tuple[int, str]] = field(default_factory=list)  # line of the file (0: elsewhere), text

    @cached_property
    def lines(self) -> dict[Where, int]:
        return line_numbers(self.text)

    def mistake(self, what: str, path: Where | None = None, place: str = "") -> None:
        """Note what is wrong with the value at `path`, or elsewhere."""
        line = 0
        if path is not None:
            line, place = self.place(path)
        self.mistakes.append((line, f"{place}: {what}"))

    def place(self, path: Where) -> tuple[int, str]:
        """Return where the value at `path` came from: the line (0: not the file's) and a text saying it."""
        if place := self.places.get(path[:2]):
            return 0, place
        known = (path[:end] for end in range(len(path), 0, -1))
        line = next((self.lines[part] for part in known if part in self.lines), 0)
        return line, f"{self.file}, line {line}" if line else str(self.file)


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, with `config` as the settings file or else the first default file there is.

    Raises SettingsError with one line for each mistake.
    """
    file, text = _find_file(config, environ)
    reading = _Reading(file, text, _parse(file, text))
    _overlay(reading, list(_credentials(reading, environ)))
    _overlay(reading, list(_variables(reading, environ)))
    _read_secrets(reading)
    settings = None
    try:
        # As JSON, because pydantic is strict there: "5" is no number, a list is one, a path is a string.
        settings = Settings.model_validate_json(json.dumps(reading.values, default=str), strict=True)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            reading.mistake(explain(details), details["loc"])
    if settings is None or reading.mistakes:
        texts = [text for _, text in sorted(reading.mistakes, key=lambda mistake: mistake[0])]
        heading = [f"{len(texts)} mistakes in the settings:"] if len(texts) > 1 else []
        raise SettingsError("\n  ".join(heading + texts))
    return settings


def storage_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of the database; makes the state directory if it is missing.

    Raises SettingsError when neither the directory can be written nor a database in it can be read.
    """
    if settings.storage.url:
        return settings.storage.url
    directory = settings.storage.state_directory.absolute()
    database = directory / DATABASE
    reason = "no permission"
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        usable = os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
        usable = usable or os.access(database, os.R_OK, effective_ids=True)
    except OSError as error:
        usable = False
        reason = error.strerror or str(error)
    if not usable:
        raise SettingsError(
            f"the state directory {directory} cannot be written by this user, uid {os.geteuid()} ({reason}): "
            "run as the user of the service or as root, or set storage.state_directory "
            f"({variable('storage', 'state_directory')}) to a directory of your own"
        )
    return f"sqlite+aiosqlite:///{database}"


def _find_file(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    named = config or (Path(environ["OSTIARY_CONFIG"]) if environ.get("OSTIARY_CONFIG") else None)
    for file in [named] if named else DEFAULT_FILES:
        try:
            return file, file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except (FileNotFoundError, NotADirectoryError) as error:
            if named:
                by = "--config" if config else "OSTIARY_CONFIG"
                raise SettingsError(f"{file}: there is no such settings file ({by} names it)") from error
        except OSError as error:
            raise SettingsError(f"{file}: the settings file cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise SettingsError(f"{file}, line {line}: not UTF-8; save the file as UTF-8") from error
    return None, ""


def _parse(file: Path | None, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = str(error), text.count("\n") + 1  # "at end of document" unless it says otherwise
        if found := re.search(r" \(at line (\d+), column (\d+)\)$", what):
            what, line = f"{what[: found.start()]} (column {found[2]})", int(found[1])
        raise SettingsError(f"{file}, line {line}: not TOML: {what}") from error


def _overlay(reading: _Reading, given: list[_Given]) -> None:
    """Put one source's values over those there are; a secret replaces its file, and the other way round."""
    for section, key, _, _ in given:
        if isinstance(table := reading.values.setdefault(section, {}), dict):
            table.pop(f"{key}_file", None)
            table.pop(key.removesuffix("_file"), None)
    for section, key, value, place in given:
        reading.places[section, key] = place
        if isinstance(table := reading.values[section], dict):
            table[key] = value


def _variables(reading: _Reading, environ: Mapping[str, str]) -> Iterator[_Given]:
    shortened = {name.replace("__", "_"): name for name in VARIABLES}
    for name, text in environ.items():
        if name in VARIABLES:
            section, key = VARIABLES[name]
            if UNDECODED.search(text):
                reading.mistake("not UTF-8", place=name)
            else:
                yield _Given(section, key, _from_text(text, SECTIONS[section][key].annotation), name)
        elif name in shortened:
            reading.mistake(f"no such setting; did you mean {shortened[name]}?", place=name)
        elif name.startswith(PREFIX) and "__" in name:
            hint = nearest(name, VARIABLES, likeness=0.8)  # all begin alike
            reading.mistake(f"no such setting; {hint}", place=name)


def _from_text(text: str, annotation: object) -> object:
    """Return what a variable's text stands for; what makes no sense is left for the check to refuse."""
    if annotation is bool:
        return BOOLEANS.get(text.strip().lower(), text)
    try:
        if annotation is int or annotation is float:
            return int(text) if annotation is int else float(text)
        if get_origin(annotation) is Mapping:
            return json.loads(text)
        if get_origin(annotation) is tuple:
            if text.lstrip().startswith("["):
                return json.loads(text)
            return [item.strip() for item in text.split(",") if item.strip()]
    except ValueError:
        pass
    return text


def _credentials(reading: _Reading, environ: Mapping[str, str]) -> Iterator[_Given]:
    """Yield what systemd passed with LoadCredential= and the like (systemd.exec(5))."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return
    try:
        paths = sorted(Path(directory).iterdir())
    except OSError as error:
        reading.mistake(f"cannot be read: {error.strerror}", place=f"{directory} ($CREDENTIALS_DIRECTORY)")
        return
    for path in paths:
        section, _, key = path.name.partition(".")
        fields = SECTIONS.get(section)
        if fields is None:
            continue  # meant for something else
        place = f"credential {path.name}"
        if key in fields and is_secret(fields[key]):
            if secret := _read_secret(reading, path, place):
                yield _Given(section, key, secret, place)
        elif f"{key}_file" in fields:
            yield _Given(section, f"{key}_file", str(path), place)
        else:
            secrets = [
                f"{name}.{key}" for name, keys in SECTIONS.items() for key in keys if is_secret(keys[key])
            ]
            reading.mistake(f"no such secret; {nearest(path.name, secrets)}", place=place)


def _read_secrets(reading: _Reading) -> None:
    """Replace the names of files that hold a secret by what they hold."""
    for section, fields in SECTIONS.items():
        table = reading.values.get(section)
        if not isinstance(table, dict):
            continue
        for key in filter(lambda key: is_secret(fields[key]), fields):
            name = f"{key}_file"
            path = table.get(name)
            if not path or not isinstance(path, str) or "\0" in path:
                continue
            if table.get(key):
                reading.mistake(
                    f"{section}.{name} is given beside {section}.{key}: give one", (section, name)
                )
                continue
            _, place = reading.place((section, name))
            if secret := _read_secret(reading, Path(path), f"{place}: {section}.{name}"):
                table[key] = secret
                reading.places[section, key] = f"{path}, named by {place}"


def _read_secret(reading: _Reading, path: Path, place: str) -> str:
    """Return the text of a file without the line end, or note why there is none and return ''."""
    try:
        text = path.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        reading.mistake(f"{path} cannot be read: {error.strerror}", place=place)
        return ""
    except UnicodeDecodeError:
        reading.mistake(f"{path} is not UTF-8", place=place)
        return ""
    if not text:
        reading.mistake(f"{path} is empty", place=place)
    return text
