"""Rules as people type them: in a form of the blacklist, or to be tried first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.hours import find_zone
from agi_server.calls.policy import Policy
from agi_server.calls.screening import check_rule
from agi_server.errors import InputError
from agi_server.exchange.values import NO_END, parse_treatment, parse_until
from agi_server.web.console.entry import Entry


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a rule depends on: the moment, and how numbers and times are meant that do not say it."""

    now: float
    region: str
    zone: ZoneInfo
    treatment: Treatment


def reading(policy: Policy, now: float) -> Reading:
    """Return how rules are read under this policy."""
    return Reading(
        now=now,
        region=policy.default.region,
        zone=find_zone(policy.timezone),
        treatment=policy.default_treatment,
    )


def read_rule(entry: Entry, how: Reading, known: Rule | None = None) -> Rule:
    """Return the rule of a form, whose mistakes are then in `entry`; `known` is the one that is being changed."""
    kind = entry.read("kind", _kind, RuleKind.EXACT)
    pattern = ""
    if "kind" not in entry.mistakes:
        pattern = entry.read("pattern", lambda text: check_rule(kind, text, how.region), "")
    allow = entry["list"] == "allow"
    treatment, target = Treatment.HANGUP, ""
    if not allow:
        treatment = entry.read("treatment", lambda text: _treatment(text or how.treatment), Treatment.HANGUP)
        if "treatment" not in entry.mistakes:
            _, target = entry.read(
                "target",
                lambda text: parse_treatment(f"{treatment}:{text}" if text else str(treatment)),
                (treatment, ""),
            )
    return Rule(
        id=known.id if known is not None else 0,
        kind=kind,
        pattern=pattern,
        allow=allow,
        did=entry.read("did", str, ""),
        treatment=treatment,
        target=target,
        reason=entry.read("reason", str, ""),
        expires_at=entry.read("expires", lambda text: _end(text, how, known), 0),
    )


def entry_of_rule(rule: Rule, how: Reading) -> Entry:
    """Return the form that shows a rule."""
    return Entry(
        {
            "list": "allow" if rule.allow else "block",
            "kind": rule.kind.value,
            "pattern": rule.pattern,
            "did": rule.did,
            "treatment": rule.treatment.value,
            "target": rule.target,
            "reason": rule.reason,
            "expires": end_text(rule.expires_at, how.zone),
        }
    )


def end_text(at: int, zone: ZoneInfo) -> str:
    """Return a moment as it may be typed again; '' for never."""
    if not at:
        return ""
    try:
        moment = datetime.fromtimestamp(at, zone)
    except (ValueError, OverflowError, OSError):  # no calendar has such a day; another program wrote it
        return ""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds" if at % 60 else "minutes")


def _kind(text: str) -> RuleKind:
    try:
        return RuleKind(text)
    except ValueError:
        raise InputError(f"there is no kind {text!r}; choose one of {', '.join(RuleKind)}") from None


def _treatment(text: str) -> Treatment:
    try:
        return Treatment(text)
    except ValueError:
        raise InputError(f"there is no treatment {text!r}; choose one of {', '.join(Treatment)}") from None


def _end(text: str, how: Reading, known: Rule | None) -> int:
    """Return when a rule ends; one that has ended already may stay as it is."""
    if not text:
        return 0
    if known is not None and text == end_text(known.expires_at, how.zone):
        return known.expires_at
    return end(text, how.now, how.zone)


def end(text: str, now: float, zone: ZoneInfo) -> int:
    """Return the moment that a text names, at most the year 9999. Raises InputError."""
    return min(parse_until(text, now=now, zone=zone), NO_END)
