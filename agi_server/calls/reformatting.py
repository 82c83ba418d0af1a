r"""Caller-ID reformatting: ordered rules rewrite a number before it is read, the first that matches wins.

A rule matches when its RE2 pattern covers the whole number and its globs fit trunk and DID. RE2 runs in
linear time, so that no rule can hang a call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

import re2

from agi_server.errors import InputError

_REFERENCE = re.compile(r"\\(\d)")


def quiet_options() -> re2.Options:
    """Return RE2 options that raise for a bad pattern without writing to standard error, too."""
    options = re2.Options()
    options.log_errors = False
    return options


@dataclass(frozen=True, slots=True)
class ReformatRule:
    r"""One rule, made by `compile_reformat`.

    `direction` is `inbound` or `outbound`; `trunk` and `did` are globs with `*` and `?` (empty: any), that of a
    trunk fits with or without its technology (`PJSIP/gsm-1`, `gsm-1`);
    `replace` holds `\1` … `\9` for the groups of `match`.
    """

    direction: str
    trunk: str
    did: str
    match: str
    replace: str
    pattern: Any = field(compare=False, repr=False)
    trunk_pattern: re.Pattern[str] = field(compare=False, repr=False)
    did_pattern: re.Pattern[str] = field(compare=False, repr=False)


def compile_reformat(
    *, direction: str = "inbound", trunk: str = "", did: str = "", match: str, replace: str
) -> ReformatRule:
    """Return the rule ready for use, or raise InputError saying what is wrong with it."""
    direction = str(direction)
    if direction not in {"inbound", "outbound"}:
        raise InputError(f"direction {direction!r} of a reformatting rule: write inbound or outbound")
    if not match:
        raise InputError("a reformatting rule needs `match`, an RE2 pattern for the whole number")
    try:
        pattern = re2.compile(match, quiet_options())
    except (re2.error, UnicodeEncodeError) as error:
        raise InputError(
            f"match {match!r} of a reformatting rule is no RE2 pattern: {_reason(error)}"
        ) from error
    for reference in _REFERENCE.findall(replace):
        if not 1 <= int(reference) <= pattern.groups:
            raise InputError(
                f"replace {replace!r} of a reformatting rule names group {reference}, but match {match!r} "
                f"has {pattern.groups}: put brackets around what it should hold"
            )
    return ReformatRule(
        direction,
        trunk,
        did,
        match,
        replace,
        pattern,
        re.compile(translate(trunk or "*")),
        re.compile(translate(did or "*")),
    )


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def reformat(rules: Sequence[ReformatRule], *, number: str, direction: str, trunk: str, did: str) -> str:
    """Return `number` as the first matching rule writes it, or as it is."""
    for rule in rules:
        if (
            rule.direction == direction
            and _fits(rule.trunk_pattern, trunk)
            and rule.did_pattern.match(did) is not None
        ):
            rewritten = _rewrite(rule, number)
            if rewritten is not None:
                return rewritten
    return number


def _fits(pattern: re.Pattern[str], trunk: str) -> bool:
    return pattern.match(trunk) is not None or pattern.match(trunk.partition("/")[2] or trunk) is not None


def _rewrite(rule: ReformatRule, number: str) -> str | None:
    try:
        match = rule.pattern.fullmatch(number)
    except UnicodeEncodeError:  # half a surrogate pair is in no telephone number
        return None
    if match is None:
        return None
    return _REFERENCE.sub(lambda reference: match[int(reference[1])] or "", rule.replace)
