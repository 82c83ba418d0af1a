"""vCards, versions 2.1 (Outlook), 3.0 (iOS, Google, Nextcloud; RFC 2426) and 4.0 (RFC 6350).

Invariant: one card is in memory at a time, without its photo; a broken card costs nobody but itself.
"""

from __future__ import annotations

import io
import quopri
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple, TextIO
from urllib.parse import unquote

from agi_server.errors import InputError
from agi_server.exchange.cells import clean, identity, kind_of
from agi_server.exchange.decoding import find_encoding
from agi_server.exchange.headings import phone_field
from agi_server.exchange.report import Report
from agi_server.exchange.tables import LOST
from storage.contacts import ContactRow

LONGEST_LINE = 1 << 16  # characters of a property that are kept
LINE_OCTETS = 75  # RFC 2426, 2.6: lines longer than this are folded

_WANTED = frozenset(
    {"BEGIN", "END", "FN", "N", "ORG", "TEL", "EMAIL", "UID", "KIND", "X-ABLABEL", "X-ABSHOWAS",
     "X-ADDRESSBOOKSERVER-KIND"}
)  # fmt: skip
_NAME = re.compile(r"(?:([A-Za-z0-9-]+)\.)?([A-Za-z0-9-]+)(?=[;:])")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PIECE = re.compile(r"\\.|;|[^\\;]+|\\", re.DOTALL)
_APPLE_LABEL = re.compile(r"_\$!<(.*)>!\$_")
_TYPES = {"Phone": "WORK,VOICE", "MobilePhone": "CELL", "HomePhone": "HOME,VOICE"}  # the others: VOICE


class Property(NamedTuple):
    """One line of a card: `item1.TEL;TYPE=CELL:…`. `words` are its parameters' values, capital letters."""

    group: str
    name: str
    words: frozenset[str]
    value: str


def holds_cards(file: BinaryIO) -> bool:
    """Return whether a file begins as a vCard does, in whatever encoding; rewind it."""
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").upper().startswith(b"BEGIN:VCARD")


def read_cards(
    file: BinaryIO, report: Report, *, encoding: str = "", database: str = ""
) -> Iterator[tuple[int, ContactRow]]:
    """Yield line and contact of every card; groups of contacts are passed over. Raises InputError."""
    codec = find_encoding(file, encoding)
    report.notes.append(f"read as vCards, {'utf-8' if codec == 'utf-8-sig' else codec}")
    text = io.TextIOWrapper(file, codec, errors="replace")
    empty = True
    try:
        for line, card in _cards(_unfolded(text), report):
            empty = False
            if any(LOST in prop.value for prop in card):
                lost = next(prop for prop in card if LOST in prop.value)
                report.refuse(line, lost.name, f"bytes that are not {codec} (--encoding)", lost.value)
            elif not _is_group(card):
                row = _contact(card, database)
                if row is None:
                    report.refuse(line, "FN", "neither a name nor a company", "")
                else:
                    yield line, row
        if empty and not report.not_taken:
            raise InputError("the file holds no vCard (BEGIN:VCARD … END:VCARD)")
    finally:
        with suppress(ValueError):  # closed by whoever opened it
            text.detach()  # the file is not ours to close


def write_cards(rows: Iterable[ContactRow], out: TextIO) -> int:
    """Write contacts as vCards 3.0, which every program reads; return how many.

    Owner, kind of record and the like have no place in a vCard.
    """
    count = 0
    for row in rows:
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{_escaped(row.last_name)};{_escaped(row.first_name)};;;"]
        lines.append(f"FN:{_escaped(row.name)}")
        if row.account:
            lines.append(f"ORG:{_escaped(row.account)}")
        if row.kind == "Account":
            lines.append("X-ABSHOWAS:COMPANY")
        lines += [
            f"TEL;TYPE={_TYPES.get(label, 'VOICE,X-OTHER')}:{_escaped(text)}" for label, text in row.phones
        ]
        if row.email:
            lines.append(f"EMAIL;TYPE=INTERNET:{_escaped(row.email)}")
        if uid := row.salesforce_id or row.key:
            lines.append(f"UID:{_escaped(uid)}")
        lines.append("END:VCARD")
        out.write("".join(f"{_folded(line)}\r\n" for line in lines))
        count += 1
    return count


def _unfolded(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield line number and property, lines joined again; of those nobody wants only the beginning."""
    start, current, wanted = 0, "", False
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if start and line[:1] in {" ", "\t"}:
            addition = line[1:]
        elif current.endswith("=") and "QUOTED-PRINTABLE" in current.upper():
            current, addition = current[:-1], line
        else:
            if wanted:
                yield start, current
            start, current, addition = number, line, ""
            match = _NAME.match(line)
            wanted = match is not None and match[2].upper() in _WANTED
        if wanted and len(current) < LONGEST_LINE:
            current += addition
    if wanted:
        yield start, current


def _cards(lines: Iterable[tuple[int, str]], report: Report) -> Iterator[tuple[int, list[Property]]]:
    begun = 0
    card: list[Property] = []
    for number, line in lines:
        prop = _property(line)
        if prop is None:
            continue
        if prop.name == "BEGIN" and prop.value.strip().upper() == "VCARD":
            if begun:
                report.refuse(begun, "", "the card has no END:VCARD", _first_value(card))
            begun, card = number, []
        elif prop.name == "END" and begun:
            yield begun, card
            begun, card = 0, []
        elif begun:
            card.append(prop)
    if begun:
        report.refuse(begun, "", "the card has no END:VCARD", _first_value(card))


def _property(line: str) -> Property | None:
    """Return a content line taken apart; None when it is none."""
    match = _NAME.match(line)
    if match is None:
        return None
    quoted = False
    for at in range(match.end(), len(line)):  # a colon within quotes belongs to a parameter
        if line[at] == '"':
            quoted = not quoted
        elif line[at] == ":" and not quoted:
            break
    else:
        return None
    words: set[str] = set()
    charset = "utf-8"
    for parameter in line[match.end() : at].replace('"', "").upper().split(";"):
        name, _, values = parameter.rpartition("=")  # 2.1 writes the value alone: TEL;CELL
        if name == "CHARSET":
            charset = values
        elif name == "PREF":  # 4.0
            words.add(name)
        elif name in {"", "TYPE", "ENCODING"}:
            words.update(values.split(","))
    value = line[at + 1 :]
    if "QUOTED-PRINTABLE" in words:
        value = _decoded(value, charset)
    return Property(match[1] or "", match[2].upper(), frozenset(words), value)


def _decoded(value: str, charset: str) -> str:
    data = quopri.decodestring(value.encode("utf-8"))
    try:
        return data.decode(charset, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _contact(card: list[Property], database: str) -> ContactRow | None:
    labels = {prop.group: prop.value for prop in card if prop.name == "X-ABLABEL"}
    values: dict[str, str] = {}
    emails: list[tuple[bool, str]] = []
    phones: list[tuple[str, str]] = []
    for prop in card:
        if prop.name == "TEL":
            label = _label(prop, labels)
            if label and (number := clean(_number(prop.value))):
                phones.append((label, number))
        elif prop.name == "EMAIL":
            emails.append(("PREF" not in prop.words, clean(_unescaped(prop.value))))
        elif prop.value:
            values.setdefault(prop.name, prop.value)
    last, first = [clean(_unescaped(part)) for part in [*_split(values.get("N", "")), "", ""][:2]]
    account = clean(_unescaped(_split(values.get("ORG", ""))[0]))
    name = clean(_unescaped(values.get("FN", ""))) or f"{first} {last}".strip()
    company = (
        "COMPANY" in values.get("X-ABSHOWAS", "").upper() or values.get("KIND", "").strip().lower() == "org"
    )
    if not name:
        name, company = account, True
    if not name:
        return None
    uid = clean(_unescaped(values.get("UID", "")))
    own_id, key = identity(uid)
    kind = kind_of("Account" if company else "", own_id)
    return ContactRow(
        salesforce_id=own_id,
        kind=kind or "Contact",
        name=name,
        first_name=first,
        last_name=last,
        email=min(emails, key=lambda pair: pair[0])[1] if emails else "",
        account_salesforce_id="",
        account=account,
        owner_salesforce_id="",
        owner_email="",
        owner="",
        vip=None,
        active_at=0,
        database=database,
        key=key or None,
        phones=tuple(phones),
    )


def _is_group(card: list[Property]) -> bool:
    return any(
        prop.name in {"KIND", "X-ADDRESSBOOKSERVER-KIND"} and prop.value.strip().lower() == "group"
        for prop in card
    )


def _label(prop: Property, labels: dict[str, str]) -> str:
    """Return the phone field of a TEL; '' for a fax. The label that Apple and Google keep beside it wins."""
    own = labels.get(prop.group, "") if prop.group else ""
    if own:
        return phone_field(_APPLE_LABEL.sub(r"\1", _unescaped(own)))
    return phone_field(" ".join(prop.words - {"QUOTED-PRINTABLE", "8BIT"}))


def _number(value: str) -> str:
    """Return the number of a TEL: 4.0 writes tel: URIs (RFC 3966)."""
    if value[:4].lower() != "tel:":
        return _unescaped(value)
    number, *parameters = unquote(value[4:]).split(";")
    for parameter in parameters:
        name, _, setting = parameter.partition("=")
        if name.lower() == "ext" and setting:
            number += f" ext. {setting}"
        elif name.lower() == "phone-context" and setting.startswith("+"):
            number = setting + number
    return number


def _split(value: str) -> list[str]:
    """Return the parts of a value, which semicolons without a backslash separate."""
    parts = [""]
    for piece in _PIECE.findall(value):
        if piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _unescaped(value: str) -> str:
    return (
        _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], value) if "\\" in value else value
    )


def _escaped(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
    return escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")


def _folded(line: str) -> str:
    """Fold a line to 75 octets, never within a character."""
    if len(line) * 4 <= LINE_OCTETS or (line.isascii() and len(line) <= LINE_OCTETS):
        return line
    parts, size = [""], 0
    for character in line:
        octets = len(character.encode("utf-8"))
        if size + octets > LINE_OCTETS:
            parts.append(" ")
            size = 1
        parts[-1] += character
        size += octets
    return "\r\n".join(parts)


def _first_value(card: list[Property]) -> str:
    return next((prop.value for prop in card if prop.name in {"FN", "N", "ORG"}), "")
