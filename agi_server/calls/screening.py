"""Who may come in: the most specific rule of blacklist and allow-list decides.

Exact beats prefix, a longer prefix a shorter one, then regular expression, country, anonymous; at equal kind
and length a rule for the dialled DID beats one for all; after that allow beats block. Expired rules do not
count. Anonymous rules meet anonymous callers only, and no other rule meets them. A known contact is met by
exact rules only, where the policy says so. Nothing here blocks but a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import phonenumbers
import re2

from agi_server.calls.call import TraceStep, Verdict
from agi_server.calls.directory import Directory, Rule, RuleKind
from agi_server.calls.numbers import Number, NumberState, calling_code, country_of, digits_of, normalise
from agi_server.calls.reformatting import quiet_options
from agi_server.errors import InputError

_RANK = {
    RuleKind.EXACT: 4,
    RuleKind.PREFIX: 3,
    RuleKind.REGEX: 2,
    RuleKind.COUNTRY: 1,
    RuleKind.ANONYMOUS: 0,
}
LONGEST_NUMBER = 19  # digits; the longest that numbering plans hold possible


def scope_of(did: str) -> str:
    """Return a DID as scopes compare it: its bare digits, or its text where it has none."""
    return digits_of(did) or did.strip().lower()


class RuleBook:
    """The pattern rules (all kinds but exact), compiled so that thousands cost a call no more than a few.

    A rule that cannot be compiled is left out and listed in `broken`: it must not take the others with it.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.broken: list[tuple[Rule, str]] = []
        self._prefixes: dict[str, list[Rule]] = {}
        self._countries: dict[str, list[Rule]] = {}
        self._anonymous: list[Rule] = []
        self._regexes: list[Rule] = []
        self._scopes: dict[str, str] = {}  # of the rules' DIDs
        for rule in rules:
            if rule.did:
                self._scopes[rule.did] = scope_of(rule.did)
            self._add(rule)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        self._set = self._compile()

    def __len__(self) -> int:
        regexes, anonymous = len(self._regexes), len(self._anonymous)
        return regexes + anonymous + sum(map(len, [*self._prefixes.values(), *self._countries.values()]))

    def __iter__(self) -> Iterator[Rule]:
        """Yield the rules that could be compiled."""
        for rules in (*self._prefixes.values(), *self._countries.values(), self._anonymous, self._regexes):
            yield from rules

    def _add(self, rule: Rule) -> None:
        if rule.kind is RuleKind.PREFIX and rule.pattern:
            self._prefixes.setdefault(rule.pattern, []).append(rule)
        elif rule.kind is RuleKind.COUNTRY and rule.pattern:
            self._countries.setdefault(rule.pattern, []).append(rule)
        elif rule.kind is RuleKind.ANONYMOUS:
            self._anonymous.append(rule)
        elif rule.kind is RuleKind.REGEX:
            try:
                check_rule(rule.kind, rule.pattern)
            except InputError as error:
                self.broken.append((rule, str(error)))
            else:
                self._regexes.append(rule)
        else:
            self.broken.append((rule, f"{rule.kind} rule without a pattern"))

    def _compile(self) -> re2.Set | None:
        if not self._regexes:
            return None
        options = quiet_options()
        options.max_mem += (
            len(self._regexes) * 16_384
        )  # a set that runs out of memory matches nothing, silently
        expressions = re2.Set.SearchSet(options)
        for rule in self._regexes:
            expressions.Add(rule.pattern)
        expressions.Compile()
        return expressions

    def scope(self, did: str) -> str:
        """Return what `Rule.did` compares with the dialled DID's scope."""
        known = self._scopes.get(did)
        return scope_of(did) if known is None else known

    def matching(self, number: Number) -> Iterator[Rule]:
        """Yield the rules that meet this number on any DID, expired ones too."""
        if number.state is NumberState.ANONYMOUS:
            yield from self._anonymous
            return
        text = number.text
        for length in self._lengths:
            yield from self._prefixes.get(text[:length], ())
        if self._set is not None:
            yield from map(self._regexes.__getitem__, self._set.Match(text) or ())
        if self._countries and number.e164:
            yield from self._countries.get("+" + calling_code(number.e164), ())
            yield from self._countries.get(country_of(number.e164), ())


class Screened(NamedTuple):
    """The verdict and the rule behind it."""

    verdict: Verdict
    rule: Rule | None
    step: TraceStep


_NO_RULES = Screened(Verdict.ALLOW, None, TraceStep("screen", "none", "no rule meets the caller"))


def screen(
    number: Number, did: str, directory: Directory, *, book: RuleBook, now: float, known: bool = False
) -> Screened:
    """Return whether the caller may come in. `known`: a contact, whom only exact rules meet.

    Raises DirectoryError where the exact rules cannot be read.
    """
    met = matching_rules(number, did, directory, book=book, now=now, known=known)
    if not met:
        return _NO_RULES
    best = met[0]
    verdict = Verdict.ALLOW if best.allow else Verdict.BLOCK
    return Screened(verdict, best, TraceStep("screen", verdict.value, explain(met), best.pattern))


def matching_rules(
    number: Number, did: str, directory: Directory, *, book: RuleBook, now: float, known: bool = False
) -> list[Rule]:
    """Return the rules that meet a caller, the one that decides first. As `screen` otherwise."""
    rules: list[Rule] = directory.exact_rules(number.text) if number.digits else []
    if not known:
        rules = [*rules, *book.matching(number)]
    if not rules:
        return rules
    scope = scope_of(did)
    met = [
        rule
        for rule in rules
        if not 0 < rule.expires_at <= now and (not rule.did or book.scope(rule.did) == scope)
    ]
    met.sort(key=_specificity, reverse=True)
    return met


def _specificity(rule: Rule) -> tuple[int, int, bool, bool, int]:
    length = len(rule.pattern) if rule.kind is RuleKind.PREFIX else 0
    return _RANK[rule.kind], length, bool(rule.did), rule.allow, -rule.id


def explain(rules: Sequence[Rule]) -> str:
    """Say why the first of these rules, in the order of `matching_rules`, decides over the second."""
    best = rules[0]
    text = f"{'allow' if best.allow else 'block'} rule {best.id} ({best.kind})"
    if len(rules) == 1:
        return text
    other = rules[1]
    won, lost = _specificity(best), _specificity(other)
    because = {
        0: "is more specific",
        1: "has the longer prefix",
        2: "is for this DID",
        3: "allows, and allow wins between equals",
        4: "is the older of two equals",
    }[next(index for index, (a, b) in enumerate(zip(won, lost, strict=True)) if a != b or index == 4)]
    return f"{text} {because}, before rule {other.id} ({other.kind}) and {len(rules) - 2} more"


def check_rule(kind: RuleKind | str, pattern: str, region: str = "") -> str:
    """Return the pattern as rules store and compare it, or raise InputError saying what is wrong.

    Numbers with a plus or 00 become `+` and E.164 digits; with `region` (ISO country) national ones do, too.
    Bare digits stay and mean numbers whose country is not known, such as short ones.
    """
    try:
        kind = RuleKind(kind)
    except ValueError:
        raise InputError(f"kind {kind!r} of a rule: write one of {', '.join(RuleKind)}") from None
    pattern = pattern.strip()
    if kind is RuleKind.ANONYMOUS:
        if pattern.lower() not in {"", "*", "anonymous"}:
            raise InputError(f"an anonymous rule takes no pattern, but there is {pattern!r}: leave it empty")
        return ""
    if not pattern:
        raise InputError(f"a rule of kind {kind} needs a pattern")
    if kind is RuleKind.EXACT:
        return _check_exact(pattern, region)
    if kind is RuleKind.PREFIX:
        return _check_prefix(pattern, region)
    if kind is RuleKind.REGEX:
        return _check_regex(pattern)
    return _check_country(pattern)


def _check_exact(pattern: str, region: str) -> str:
    if "*" in pattern:
        raise InputError(f"{pattern!r} has a *: make it a rule of kind prefix")
    if any(
        char.isalpha()
        for char in re.sub(r"^(tel|sips?):", "", pattern, flags=re.IGNORECASE).partition("@")[0]
    ):
        raise InputError(f"{pattern!r} is not a telephone number: write digits, e.g. +4930123456")
    number = normalise(pattern, region)
    if digits_of(pattern).startswith("00") and "+" not in pattern:
        international = normalise("+" + digits_of(pattern)[2:], region)
        if international.e164:  # else a caller's 001 stays 001, and so must the rule's
            number = international
    if not number.digits:
        raise InputError(
            f"{pattern!r} is not a telephone number; for anonymous callers make it a rule of kind anonymous"
        )
    if number.state is NumberState.LOCAL and len(number.digits) > LONGEST_NUMBER:
        raise InputError(f"{pattern!r} is too long for a telephone number ({LONGEST_NUMBER} digits at most)")
    return number.text


def _check_prefix(pattern: str, region: str) -> str:
    text = re.sub(r"[\s()./\-]", "", pattern.removesuffix("*").replace("(0)", ""))
    text = "+" + text[2:] if text.startswith("00") else text
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise InputError(
            f"{pattern!r} is not the beginning of a telephone number: write e.g. +49190 or +49190*"
        )
    if text.startswith("+0"):
        raise InputError(f"{pattern!r}: no country's calling code begins with 0")
    if len(text) > LONGEST_NUMBER:
        raise InputError(f"{pattern!r} is too long for a telephone number ({LONGEST_NUMBER} digits at most)")
    if not text.startswith("+") and region:
        national = phonenumbers.ndd_prefix_for_region(region.upper(), True)
        code = phonenumbers.country_code_for_region(region.upper())
        if national and code and text.startswith(national) and len(text) > len(national):
            return f"+{code}{text.removeprefix(national)}"
    return text


def _check_regex(pattern: str) -> str:
    try:
        re2.compile(pattern, quiet_options())
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise InputError(f"{pattern!r} is no RE2 regular expression: {reason}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{pattern!r} is no RE2 regular expression: it is not valid Unicode") from error
    return pattern


def _check_country(pattern: str) -> str:
    if pattern.isalpha():
        if pattern.upper() not in phonenumbers.SUPPORTED_REGIONS:
            raise InputError(
                f"{pattern!r} is no country: write its ISO code, e.g. RU, or its calling code, e.g. +7"
            )
        return pattern.upper()
    code = re.sub(r"^(\+|00)", "", pattern)
    if not (code.isascii() and code.isdigit()) or int(code) not in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        raise InputError(f"{pattern!r} is no calling code: write e.g. +7, or the country's ISO code, e.g. RU")
    return f"+{int(code)}"
