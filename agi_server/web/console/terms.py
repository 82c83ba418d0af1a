"""Tokens and explanations of decisions in words: verdicts, reasons, rungs, treatments, dispositions, stages.

Invariant: a token or explanation that is not known here is shown as it is, never hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from agi_server.web.console.languages import mark as _

# By what they are a token of; the same token may be another word elsewhere.
TERMS: Mapping[str, Mapping[str, str]] = {
    "verdict": {"allow": _("let in"), "block": _("blocked")},
    "direction": {"inbound": _("incoming"), "outbound": _("outgoing"), "internal": _("internal")},
    "reason": {
        "known": _("known caller"),
        "switchboard": _("company switchboard"),
        "tail": _("last digits match"),
        "extension": _("own extension"),
        "anonymous": _("number withheld"),
        "unknown": _("unknown caller"),
        "ambiguous": _("several contacts"),
        "allow-list": _("on the allow list"),
        "blacklist-exact": _("number on the blacklist"),
        "blacklist-prefix": _("prefix on the blacklist"),
        "blacklist-regex": _("pattern on the blacklist"),
        "blacklist-country": _("country on the blacklist"),
        "blacklist-anonymous": _("withheld numbers are blocked"),
        "error": _("not decided: error"),
    },
    "rung": {
        "exact": _("exact number"),
        "switchboard": _("company switchboard"),
        "tail": _("last digits"),
        "extension": _("own extension"),
        "anonymous": _("number withheld"),
        "none": _("nobody"),
    },
    "treatment": {
        "hangup": _("hang up"),
        "busy": _("busy tone"),
        "congestion": _("congestion tone"),
        "voicemail": _("voicemail"),
        "announce": _("announcement"),
        "redirect": _("redirect"),
    },
    "disposition": {
        "answer": _("answered"),
        "answered": _("answered"),
        "busy": _("busy"),
        "noanswer": _("no answer"),
        "no answer": _("no answer"),
        "cancel": _("caller hung up"),
        "cancelled": _("caller hung up"),
        "elsewhere": _("answered elsewhere"),
        "congestion": _("no line free"),
        "chanunavail": _("phone not reachable"),
        "failed": _("failed"),
        "blocked": _("blocked"),
    },
    "via": {
        "caller": _("calls"),
        "dial": _("rung"),
        "queue": _("rung by a queue"),
        "pickup": _("picked up"),
        "transfer": _("transferred to"),
        "conference": _("in a conference"),
        "park": _("fetched from parking"),
        "click": _("by a click"),
    },
    "transfer": {"blind": _("handed on"), "attended": _("handed on after asking")},
    "pop": {
        "ringing": _("when the phone rings"),
        "answer": _("when answered"),
        "off": _("never"),
    },
    "stage": {
        "number": _("Number"),
        "match": _("Caller"),
        "lookup": _("Salesforce"),
        "screen": _("Rules"),
        "name": _("Name"),
        "route": _("Route"),
        "error": _("Error"),
    },
    "outcome": {
        "allow": _("let in"),
        "block": _("blocked"),
        "none": _("none"),
        "off": _("switched off"),
        "exact": _("exact number"),
        "switchboard": _("company switchboard"),
        "tail": _("last digits"),
        "extension": _("own extension"),
        "anonymous": _("number withheld"),
        "ambiguous": _("several contacts"),
        "agent": _("agent"),
        "away": _("not at work"),
        "busy": _("busy"),
        "unreachable": _("not reachable"),
        "paused": _("paused"),
        "fallback": _("fallback"),
        "self": _("the caller"),
        "dropped": _("left out"),
        "reformatted": _("reformatted"),
        "found": _("found"),
        "unknown": _("unknown"),
        "late": _("too late"),
        "not_asked": _("not asked"),
        "trunk": _("as sent"),
        "contact": _("contact"),
        "company": _("company"),
        "e164": _("complete number"),
        "local": _("country not known"),
        "failed": _("failed"),
    },
    "kind": {
        "exact": _("exact number"),
        "prefix": _("prefix"),
        "regex": _("pattern (regular expression)"),
        "country": _("country"),
        "anonymous": _("number withheld"),
        "Contact": _("Contact"),
        "Account": _("Account"),
        "Lead": _("Lead"),
        "Opportunity": _("Opportunity"),
    },
    "role": {"viewer": _("viewer"), "operator": _("operator"), "admin": _("administrator")},
}


def term(gettext: Callable[[str], str], token: object, kind: str = "") -> str:
    """Return a token in words; `kind` is a key of TERMS ('': the first that has the token)."""
    text = str(token)
    kinds = [TERMS[kind]] if kind else TERMS.values()
    found = next((terms[text] for terms in kinds if text in terms), None)
    return text if found is None else gettext(found)


def explain(gettext: Callable[[str], str], detail: str) -> str:
    """Return the explanation of a trace's step in the reader's language; whoever is named in it is, too."""
    for pattern, sentence in _SENTENCES:
        found = pattern.fullmatch(detail)
        if found is not None:
            parts = {name: _part(gettext, name, text or "") for name, text in found.groupdict().items()}
            return gettext(sentence) % parts
    return detail


def _part(gettext: Callable[[str], str], name: str, text: str) -> str:
    if name == "because":
        return explain(gettext, text)
    if name in {"kind", "other_kind"}:
        return term(gettext, text, "kind")
    return gettext(_WHO.get(text, text)) if name == "who" else text


_WHO = {
    text: text
    for text in (
        _("who spoke with the caller last"),
        _("the owner"),
        _("the VIP agent"),
        _("the owner's delegate"),
        _("the default agent"),
    )
}
_PARTS = {
    "who": "|".join(map(re.escape, _WHO)),
    "kind": r"\w+",
    "other_kind": r"\w+",
    "because": ".+?",
    "count": r"\d+",
    "rule": r"\d+",
    "other": r"\d+",
    "more": r"\d+",
}


def _compiled(sentence: str) -> tuple[re.Pattern[str], str]:
    pieces = re.split(r"%\((\w+)\)s", sentence)
    pattern = "".join(
        f"(?P<{piece}>{_PARTS[piece]})" if index % 2 else re.escape(piece)
        for index, piece in enumerate(pieces)
    )
    return re.compile(pattern), sentence


# As agi_server.calls and agi_server.lookups say it.
_SENTENCES = tuple(
    map(
        _compiled,
        (
            _("identification is off for this DID"),
            _("screening is off for this DID"),
            _("naming is off for this DID: what the trunk sent"),
            _("by a reformatting rule"),
            _("nobody has this number"),
            _("the caller sends no number that we may use"),
            _("one of our own extensions"),
            _("one contact"),
            _("the only %(kind)s of %(count)s contacts"),
            _("%(count)s contacts of one company"),
            _("%(count)s contacts of one owner"),
            _("%(count)s contacts, named by the most recently active, routed to none of them"),
            _("Salesforce knows the number"),
            _("nobody has this number in Salesforce either"),
            _("nobody had this number in Salesforce a short while ago"),
            _("no answer of Salesforce in time; if one comes, the next call knows"),
            _("the call's own deadline leaves no time"),
            _("the worker is away"),
            _("the worker has not reached Salesforce yet"),
            _("the worker is behind"),
            _("too many questions wait for an answer"),
            _("no rule meets the caller"),
            _("allow rule %(rule)s (%(kind)s)"),
            _("block rule %(rule)s (%(kind)s)"),
            _(
                "allow rule %(rule)s (%(kind)s) %(because)s, before rule %(other)s (%(other_kind)s) and %(more)s more"
            ),
            _(
                "block rule %(rule)s (%(kind)s) %(because)s, before rule %(other)s (%(other_kind)s) and %(more)s more"
            ),
            _("is more specific"),
            _("has the longer prefix"),
            _("is for this DID"),
            _("allows, and allow wins between equals"),
            _("is the older of two equals"),
            _("what the trunk sent"),
            _("no name is known and the trunk sent none"),
            _("the caller is one of our own extensions"),
            _("%(who)s is not at work"),
            _("%(who)s is the caller himself"),
            _("the extension of %(who)s may not be dialled"),
            _("%(who)s is busy"),
            _("%(who)s cannot be reached"),
            _("%(who)s takes no calls now"),
            _("straight to the fallback"),
            _("nobody responsible is at work: the PBX's own plan"),
            _("nobody responsible is at work and free: the PBX's own plan"),
            _("the fallback may not be dialled"),
            _("the target of rule %(rule)s may not be dialled"),
            *_WHO,
        ),
    )
)


def sentences(gettext: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the explanations for live.js: a regular expression of JavaScript's, and the words it stands for."""
    return [(pattern.pattern.replace("(?P<", "(?<"), gettext(sentence)) for pattern, sentence in _SENTENCES]
