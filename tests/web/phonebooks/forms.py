"""The documented forms of the makers' documents, and whether a document has one.

A form says for each element which attributes it has and, as a regular expression over the names of its children (each
with a blank behind it), what is in it; None: text. What a maker's documentation does not name is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

import httpx


class Model(NamedTuple):
    children: str | None = None
    attributes: frozenset[str] = frozenset()


TEXT = Model()
Form = Mapping[str, Model]


def of(children: str, *attributes: str) -> Model:
    return Model(children, frozenset(attributes))


ENTRY: Form = {
    "DirectoryEntry": of("Name Telephone "),
    "Name": TEXT,
    "Telephone": TEXT,
    "Title": TEXT,
    "Prompt": TEXT,
    "URL": TEXT,
    "Text": TEXT,
}
YEALINK: Form = {
    **ENTRY,
    "YealinkIPPhoneDirectory": of("(Title )?(Prompt )?(DirectoryEntry )*"),
    "DirectoryEntry": of("Name (Telephone )+"),
    "YealinkIPPhoneTextScreen": of("Title Text "),
}
SNOM: Form = {
    **ENTRY,
    "SnomIPPhoneInput": of("Url InputItem "),
    "Url": TEXT,
    "InputItem": of("DisplayName InputToken DefaultValue InputFlags "),
    **dict.fromkeys(("DisplayName", "InputToken", "DefaultValue", "InputFlags", "Label"), TEXT),
    "SnomIPPhoneDirectory": of("(Title )?(DirectoryEntry ){0,100}(SoftKeyItem ){0,2}"),
    "SoftKeyItem": of("Label URL Name "),
    "SnomIPPhoneText": of("Title (Prompt )?Text "),
}
SNOM_TBOOK: Form = {
    "tbook": of("(item )*", "e", "complete"),
    "item": of("first_name last_name number number_type ", "context", "type", "index"),
    **dict.fromkeys(("first_name", "last_name", "number", "number_type"), TEXT),
}
SNOM_CONTACTS: Form = {
    "tbook": of("(contact )*", "e", "complete", "version"),
    "contact": of("first_name last_name numbers ", "fav", "vip", "blocked"),
    "numbers": of("(number )+"),
    "number": of("", "no", "type", "outgoing_id"),
    **dict.fromkeys(("first_name", "last_name"), TEXT),
}
GRANDSTREAM: Form = {
    "AddressBook": of("version (Contact )*"),
    "Contact": of("id FirstName LastName (Phone )+"),
    "Phone": of("phonenumber accountindex ", "type"),
    **dict.fromkeys(("version", "id", "FirstName", "LastName", "phonenumber", "accountindex"), TEXT),
}
CISCO: Form = {
    **ENTRY,
    "CiscoIPPhoneMenu": of("Title (Prompt )?(MenuItem ){0,100}"),
    "MenuItem": of("Name URL "),
    "CiscoIPPhoneInput": of("Title Prompt URL (InputItem ){1,5}"),
    "InputItem": of("DisplayName QueryStringParam DefaultValue InputFlags "),
    **dict.fromkeys(("DisplayName", "QueryStringParam", "DefaultValue", "InputFlags", "Position"), TEXT),
    "CiscoIPPhoneDirectory": of("Title Prompt (DirectoryEntry ){0,32}(SoftKeyItem ){0,8}"),
    "SoftKeyItem": of("Name URL Position "),
    "CiscoIPPhoneText": of("Title (Prompt )?Text "),
}
POLYCOM: Form = {
    "directory": of("item_list "),
    "item_list": of("(item )*"),
    "item": of("ln fn ct (sd )?(rt )?(dc )?(ad )?(ar )?(bw )?(bb )?"),
    **dict.fromkeys(("ln", "fn", "ct", "sd", "rt", "dc", "ad", "ar", "bw", "bb"), TEXT),
}
FANVIL: Form = {
    "FanvilIPPhoneInputScreen": of("Title Prompt URL InputField "),
    "InputField": of("Prompt Parameter Default "),
    "FanvilIPPhoneDirectory": of("(MenuItem ){1,16}(SoftKey ){0,4}"),
    "MenuItem": of("Prompt URI "),
    "SoftKey": of("Name URI "),
    **dict.fromkeys(("Title", "Prompt", "URL", "URI", "Parameter", "Default", "Name"), TEXT),
}
FANVIL_BOOK: Form = {
    "PhoneBook": of("(DirectoryEntry )*"),
    "DirectoryEntry": of("Name Telephone Mobile Other Ring Group "),
    **dict.fromkeys(("Name", "Telephone", "Mobile", "Other", "Ring", "Group"), TEXT),
}


def read(response: httpx.Response, form: Form, *, status: int = 200) -> ET.Element:
    """Return the document of an answer that has this form."""
    assert response.status_code == status, response.text
    assert response.headers["cache-control"] == "no-store"
    root = parse(response.content)
    declared = re.match(rb'<\?xml version="1.0" encoding="([A-Z0-9-]+)"\?>\n', response.content)
    assert declared is not None
    assert response.headers["content-type"] == f"text/xml; charset={declared[1].decode().lower()}"
    check(root, form)
    return root


def parse(document: bytes) -> ET.Element:
    return ET.fromstring(document)


def check(element: ET.Element, form: Form) -> None:
    """Fail unless the element is of this form."""
    model = form[element.tag]
    assert set(element.attrib) == model.attributes, element.tag
    if model.children is None:
        assert len(element) == 0, element.tag
        return
    assert (element.text or "").strip() == "", element.tag
    names = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(model.children, names), f"{element.tag}: {names}"
    for child in element:
        check(child, form)


def texts(root: ET.Element, tag: str) -> list[str]:
    """Return what is in all elements of a name, in order."""
    return [element.text or "" for element in root.iter(tag)]
