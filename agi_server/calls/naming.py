"""What the phone shows.

Invariant: whatever came in, a display name is one line without control, bidirectional and other invisible
characters (but the joiners that scripts and emoji need), of at most `name_length` characters and 79 bytes of
UTF-8 (Asterisk cuts there, mid-character), and within the charset asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from anyascii import anyascii

from agi_server.calls.call import Call, Rung, TraceStep
from agi_server.calls.directory import Contact
from agi_server.calls.identify import Match, is_named
from agi_server.calls.numbers import NOT_ALLOWED, Number, is_placeholder
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.errors import InputError

FIELDS = ("name", "first", "last", "account", "kind", "owner", "number", "did", "trunk_name")
LONGEST_BYTES = 79

_JOINERS = "\u200c\u200d"
_TOKEN = re.compile(r"\{([^{}\[\]]*)\}|([\[\]{}])|([^{}\[\]]+)")

Piece = tuple[bool, str]  # (is a field, its name or the text)
Section = tuple[bool, tuple[Piece, ...]]  # (left out when a field is empty, pieces)


@lru_cache(maxsize=256)
def compile_template(template: str) -> tuple[Section, ...]:
    """Return the sections of `{name}[ ({account})]`, or raise InputError."""
    sections: list[Section] = []
    pieces: list[Piece] = []
    optional = False
    for match in _TOKEN.finditer(template):
        field, mark, text = match.groups()
        if field is not None:
            if field not in FIELDS:
                known = " ".join(f"{{{name}}}" for name in FIELDS)
                raise InputError(f"template {template!r} has an unknown field {{{field}}}; there are {known}")
            pieces.append((True, field))
        elif text is not None:
            pieces.append((False, text))
        elif mark in "{}" or optional is (mark == "["):
            raise InputError(
                f"template {template!r}: {mark} at {match.start() + 1} has no partner, or is nested"
            )
        else:
            sections.append((optional, tuple(pieces)))
            pieces, optional = [], not optional
    if optional:
        raise InputError(f"template {template!r}: a [ is not closed")
    return (*sections, (False, tuple(pieces)))


def check_template(template: str) -> None:
    """Raise InputError when the template names an unknown field or its brackets do not pair."""
    compile_template(template)


def render(template: str, fields: Mapping[str, str]) -> str:
    """Return the template with its fields; an optional part with an empty field is left out."""
    parts: list[str] = []
    for optional, pieces in compile_template(template):
        values = [fields[text] if is_field else text for is_field, text in pieces]
        if not optional or all(values):
            parts += values
    return "".join(parts)


def unquote(name: str) -> str:
    r"""Undo one level of SIP quoting, which Asterisk passes on (`Erika \"Rika\"`)."""
    name = name.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"' and not name.endswith('\\"'):
        name = name[1:-1]
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) if "\\" in name else name


def finish(name: str, *, charset: str, length: int) -> str:
    """Return the name fit for a phone: cleaned, in `charset` (utf-8, latin-1 or ascii), cut."""
    if name.isascii() and name.isprintable():
        return (name if " " not in name else " ".join(name.split()))[: min(length, LONGEST_BYTES)].rstrip()
    name = _clean(name)
    if charset != "utf-8" and not name.isascii():
        name = _clean(_transliterate(name, charset))
    return _cut(name, length)


def _clean(name: str) -> str:
    """Return one line of visible characters, composed (NFC), with single spaces."""
    visible = "".join(map(_visible, name))
    if not visible.isascii():  # composed last: what stood between a letter and its accent is gone
        visible = unicodedata.normalize("NFC", visible)
    return " ".join(visible.split())


def _visible(char: str) -> str:
    if char.isprintable() or char in _JOINERS:
        return char
    category = unicodedata.category(char)
    if category in {"Cc", "Zl", "Zp", "Zs"}:
        return " "
    return "" if category in {"Cf", "Cs"} else char


# An ideograph is a syllable, or a word, of its own.
_IDEOGRAPH = r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_IDEOGRAPHS = re.compile(f"({_IDEOGRAPH})(?={_IDEOGRAPH})")


def _transliterate(name: str, charset: str) -> str:
    encoding = "latin-1" if charset == "latin-1" else "ascii"
    parts = []
    for char in _IDEOGRAPHS.sub(r"\1 ", name):
        try:
            char.encode(encoding)
        except UnicodeEncodeError:
            text = anyascii(char)
            parts.append("" if len(text) > 2 and text[0] == text[-1] == ":" else text)  # an emoji's name
        else:
            parts.append(char)
    return "".join(parts)


def _cut(name: str, length: int) -> str:
    """Cut at `length` characters and 79 bytes, not within a letter with its marks or a joined emoji."""
    end = min(length, len(name))
    while len(name[:end].encode()) > LONGEST_BYTES:
        end -= 1
    whole = end
    while 0 < whole < len(name) and _belongs_together(name, whole):
        whole -= 1
    return name[: whole or end].rstrip()


def _belongs_together(name: str, at: int) -> bool:
    """Return whether what is before `at` and what is behind it make one visible character."""
    before, behind = name[at - 1], name[at]
    if unicodedata.category(behind) in {"Mn", "Me", "Mc"} or behind in _JOINERS or before == "\u200d":
        return True
    if "\U0001f3fb" <= behind <= "\U0001f3ff":  # skin tone
        return True
    flags = 0  # a flag is two regional indicators
    while flags < at and "\U0001f1e6" <= name[at - 1 - flags] <= "\U0001f1ff":
        flags += 1
    return flags % 2 == 1 and "\U0001f1e6" <= behind <= "\U0001f1ff"


def trunk_name(call: Call, policy: Policy) -> str:
    """Return the name the trunk sent, fit for a phone."""
    return finish(unquote(call.name), charset=policy.charset, length=policy.name_length) if call.name else ""


def is_real(name: str) -> bool:
    """Return whether a trunk's name is a name, not a number again or a placeholder."""
    return any(map(str.isalpha, name)) and not is_placeholder(name)


def give_name(
    call: Call, number: Number, match: Match, policy: Policy, *, did: DidPolicy, sent: str = ""
) -> tuple[str, TraceStep]:
    """Return what the phone shows, and why; `sent` is the trunk's name as `trunk_name` made it."""
    ours, source = _ours(call, number, match, policy, did=did, sent=sent)
    ours = finish(ours, charset=policy.charset, length=policy.name_length) if ours else ""
    trunk_wins = sent and (policy.trunk_name == "trunk" or (policy.trunk_name == "fill" and is_real(sent)))
    if match.rung is Rung.ANONYMOUS:
        trunk_wins = False  # a name behind a withheld number is withheld, too
    if ours and not trunk_wins:
        return ours, TraceStep("name", source, "", ours)
    if sent:
        return sent, TraceStep("name", "trunk", "what the trunk sent", sent)
    return "", TraceStep("name", "none", "no name is known and the trunk sent none")


def _ours(
    call: Call, number: Number, match: Match, policy: Policy, *, did: DidPolicy, sent: str
) -> tuple[str, str]:
    """Return our own name for the caller before it is made fit, and which it is (a token)."""
    if match.rung is Rung.ANONYMOUS:
        return policy.anonymous_name, "anonymous"
    if match.rung is Rung.EXTENSION:
        return (match.agent.name if match.agent is not None else ""), "agent"
    if match.shown is None or not is_named(match.shown, number):
        template, plain, source = policy.unknown_template, "", "unknown"
    elif match.company:
        template, plain, source = did.template, match.company, "company"
    elif match.contact is None:
        template, plain, source = policy.ambiguous_name, match.shown.name, "ambiguous"
    else:
        template, plain, source = did.template, match.shown.name, "contact"
    if template == "{name}" or not template:
        return plain, source
    fields = _fields(match, plain)
    fields["number"] = "" if call.presentation & NOT_ALLOWED else number.text
    fields["did"], fields["trunk_name"] = call.did, sent
    text = render(template, fields)
    return (text if text.strip() else plain), source


_EMPTY = Contact(id=0, kind="")


def _fields(match: Match, name: str) -> dict[str, str]:
    shown = match.shown or _EMPTY
    if match.company:
        owner = match.owned.owner if match.owned is not None else ""
        return {"name": name, "first": "", "last": "", "account": name, "kind": "Account", "owner": owner}
    return {
        "name": name,
        "first": shown.first_name,
        "last": shown.last_name,
        "account": shown.account,
        "kind": shown.kind,
        "owner": shown.owner,
    }
