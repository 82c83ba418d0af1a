"""Every setting, once: name, default, unit and help, by section.

`settings_pages` makes `ostiary.example.toml` and `docs/settings.md` from this table, and a test fails when
they differ. `settings_file` reads the values. What is checked here is what can be checked without a file, a
network or a database.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from agi_server.settings.deciding import (
    Contacts,
    Matching,
    Naming,
    Numbers,
    ReformatEntry,
    Routing,
    Screening,
)
from agi_server.settings.pbx import Ami, Cdr, Dialling, Pbx
from agi_server.settings.records import Chats, Journal, Recordings, Reminders, Tasks
from agi_server.settings.salesforce import CallEntry, CreateEntry, Salesforce
from agi_server.settings.serving import Audit, FastAgi, Http, Logs, Mqtt, Phonebook, Storage
from agi_server.settings.values import Section, is_loopback

__all__ = [
    "PREFIX",
    "SECTIONS",
    "VARIABLES",
    "CallEntry",
    "CreateEntry",
    "Dialling",
    "FastAgi",
    "Http",
    "Logs",
    "Numbers",
    "Pbx",
    "ReformatEntry",
    "Salesforce",
    "Section",
    "Settings",
    "Storage",
    "Tasks",
    "is_loopback",
    "is_secret",
    "variable",
]

PREFIX = "OSTIARY_"  # what environment variables begin with


class Settings(Section):
    """All sections."""

    storage: Storage = Storage()
    fastagi: FastAgi = FastAgi()
    http: Http = Http()
    numbers: Numbers = Numbers()
    matching: Matching = Matching()
    naming: Naming = Naming()
    screening: Screening = Screening()
    routing: Routing = Routing()
    contacts: Contacts = Contacts()
    journal: Journal = Journal()
    reminders: Reminders = Reminders()
    audit: Audit = Audit()
    phonebook: Phonebook = Phonebook()
    logs: Logs = Logs()
    salesforce: Salesforce = Salesforce()
    tasks: Tasks = Tasks()
    ami: Ami = Ami()
    cdr: Cdr = Cdr()
    recordings: Recordings = Recordings()
    dialling: Dialling = Dialling()
    chats: Chats = Chats()
    mqtt: Mqtt = Mqtt()


SECTIONS: Mapping[str, Mapping[str, FieldInfo]] = {
    name: info.annotation.model_fields
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def variable(section: str, key: str) -> str:
    """Return the name of the environment variable of a setting."""
    return f"{PREFIX}{section}__{key}".upper()


def is_secret(info: FieldInfo) -> bool:
    """Return whether the value of this setting must not be shown."""
    return info.annotation is SecretStr


VARIABLES = {variable(section, key): (section, key) for section, keys in SECTIONS.items() for key in keys}
