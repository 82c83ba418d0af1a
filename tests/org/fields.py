"""What an object and a field are; the properties are those of Salesforce's describe."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

TEXT: Final = frozenset(
    {"string", "phone", "email", "url", "picklist", "textarea", "combobox", "multipicklist"}
)
ID: Final = frozenset({"id", "reference"})
NUMBER: Final = frozenset({"int", "double", "currency", "percent"})
LONG_TEXT: Final = 255  # a textarea of more characters can be neither filtered nor sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field; `type` is describe's word; `length` in characters, `default` what a new record gets."""

    name: str
    type: str
    length: int = 0
    label: str = ""
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    external_id: bool = False
    unique: bool = False
    id_lookup: bool = False
    reference_to: tuple[str, ...] = ()
    relationship: str = ""
    default: Any = None
    defaulted: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = False
    precision: int = 0
    scale: int = 0
    compound: str = ""

    @property
    def custom(self) -> bool:
        """Is it one that the org's admin added?"""
        return self.name.endswith("__c")

    @property
    def title(self) -> str:
        """The label people see."""
        if self.label:
            return self.label
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name.removesuffix("__c").replace("_", " "))
        return re.sub(r"\bId$", "ID", words)

    @property
    def filterable(self) -> bool:
        """May it stand in WHERE?"""
        return self.type != "address" and not self.long_text

    @property
    def long_text(self) -> bool:
        """Is it a text too long to be filtered or sorted?"""
        return self.type == "textarea" and self.length > LONG_TEXT

    @property
    def required(self) -> bool:
        """Must a new record bring it?"""
        return not self.nillable and self.createable and not self.defaulted and self.type != "boolean"

    @property
    def polymorphic(self) -> bool:
        """Can it refer to several objects?"""
        return len(self.reference_to) > 1


@dataclass(slots=True)
class SObject:
    """An object: its fields in describe's order, by lower-case name too, and what is hidden from the user."""

    name: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    deletable: bool = True
    mergeable: bool = False
    createable: bool = True
    hidden: bool = False
    hidden_fields: set[str] = field(default_factory=set)
    by_lower: dict[str, Field] = field(default_factory=dict)
    relationships: dict[str, Field] = field(default_factory=dict)

    def add(self, fields: Iterable[Field]) -> None:
        """Add fields at the end."""
        for new in fields:
            self.fields[new.name] = new
            self.by_lower[new.name.lower()] = new
            if new.relationship:
                self.relationships[new.relationship.lower()] = new

    def find(self, name: str) -> Field | None:
        """Find a field the user may see; case does not matter."""
        found = self.by_lower.get(name.lower())
        return None if found is None or found.name in self.hidden_fields else found

    def visible(self) -> list[Field]:
        """List the fields the user may see."""
        return [each for each in self.fields.values() if each.name not in self.hidden_fields]


def text(name: str, length: int = 255, kind: str = "string", **more: Any) -> Field:
    """Make a text field."""
    return Field(name=name, type=kind, length=length, **more)


def phone(name: str, **more: Any) -> Field:
    """Make a phone field: free text of 40 characters."""
    return Field(name=name, type="phone", length=40, **more)


def picklist(name: str, *values: str, length: int = 255, **more: Any) -> Field:
    """Make a picklist; other values are taken too unless it is restricted."""
    return Field(name=name, type="picklist", length=length, values=values, **more)


def checkbox(name: str, **more: Any) -> Field:
    """Make a checkbox, off by default."""
    return Field(name=name, type="boolean", nillable=False, defaulted=True, **({"default": False} | more))


def reference(name: str, *targets: str, relationship: str = "", **more: Any) -> Field:
    """Make a look-up of records of the target objects."""
    relationship = relationship or (name.removesuffix("__c") + "__r" if name.endswith("__c") else name[:-2])
    return Field(
        name=name, type="reference", length=18, reference_to=targets, relationship=relationship, **more
    )


def number(name: str, precision: int, scale: int = 0, kind: str = "double", **more: Any) -> Field:
    """Make a number with `precision` digits, `scale` of them after the point."""
    return Field(name=name, type=kind, precision=precision, scale=scale, **more)


def plain(name: str, kind: str, **more: Any) -> Field:
    """Make a field of a type that has no more to say (date, datetime, id …)."""
    return Field(name=name, type=kind, **more)


def read_only(made: Field) -> Field:
    """Turn a field into one that only Salesforce writes."""
    return replace(made, createable=False, updateable=False)
