"""Which number may be dialled for whom, and as which text the PBX gets it.

Invariant: what a `Target` hands the PBX is nothing but digits, `*`, `#` and `+`; an emergency number, a service code
and what `deny` covers never become one, whoever asks. Whether somebody may be called who does not want to be, or whom
we do not want to hear, is a question of its own (`objection`): an answer there is one that an admin may override.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberFormat, PhoneNumberType, shortnumberinfo

from agi_server.calls.call import Call, Direction, Rung, Verdict
from agi_server.calls.decide import decide_outgoing
from agi_server.calls.directory import Contact, Directory
from agi_server.calls.identify import Match, identify, is_named
from agi_server.calls.numbers import Number, calling_code, digits_of, normalise
from agi_server.calls.policy import Policy
from agi_server.calls.screening import screen

_DIALLABLE: Final = re.compile(r"[0-9*#+]+", re.ASCII)
_COSTLY: Final = frozenset({PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST})
_CHEAP: Final = frozenset(
    {shortnumberinfo.ShortNumberCost.TOLL_FREE, shortnumberinfo.ShortNumberCost.STANDARD_RATE}
)
_SHORTEST: Final = 6  # digits, calling code included, that are looked at as the beginning of a costly number
_EMERGENCY: Final = "emergency numbers are dialled on the telephone itself, never by a click"


class Plan(Protocol):
    """What may be dialled, and how the PBX wants it: the settings `dialling`.

    `allow` and `deny` hold beginnings of numbers (`+49`, `+` for all); no `allow` at all: numbers of the own country.
    """

    allow: tuple[str, ...]
    deny: tuple[str, ...]
    premium: bool
    format: Literal["e164", "international", "national"]
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is to be called: `text` is `+E164` or an own extension, `dial` is what the PBX is to dial for it."""

    number: Number
    text: str
    dial: str
    name: str  # as the agent's phone shows it; '': nobody is known
    match: Match

    @property
    def contact(self) -> Contact | None:
        """Return whom we know under the number."""
        return self.match.contact


class Refusal(NamedTuple):
    """Why a number is not dialled: one token, and a sentence that says what could be changed."""

    reason: str
    text: str


def target_of(
    text: str, *, agent: str, plan: Plan, policy: Policy, directory: Directory, now: float
) -> Target | Refusal:
    """Return whom `text` (any spelling of a number, a tel: link, an extension) means to the agent's extension.

    Raises DirectoryError where the directory cannot be read.
    """
    text = re.sub(r"^(?:web\+)?tel:", "", text.strip(), flags=re.IGNORECASE)
    region = policy.default.region
    if "*" in text or "#" in text:
        return Refusal("code", f"{text!r} holds a service code; those are dialled on the telephone itself")
    number = normalise(text, region)
    if _is_emergency(text, number, region):
        return Refusal("emergency", f"{text!r} is an emergency number; {_EMERGENCY}")
    match = identify(number, 0, policy, directory)
    if match.rung is Rung.EXTENSION:
        extension = match.step.personal
        if _DIALLABLE.fullmatch(extension) is None:
            return Refusal(
                "no-number", f"the extension {extension!r} cannot be dialled: it has more than digits"
            )
        if extension == agent:
            return Refusal("self", f"{extension} is the agent's own extension")
        return _target(number, extension, extension, match, agent=agent, directory=directory, now=now)
    if not number.e164:
        return Refusal(
            "no-number",
            f"{text!r} is no telephone number and no extension of ours; write it as +49301234567 "
            "(numbers.region is the country of numbers that name none)",
        )
    refusal = _not_allowed(number.e164, plan, region)
    if refusal is not None:
        return refusal
    dial = plan.prefix + _as_dialled(number.e164, plan.format, region)
    if _DIALLABLE.fullmatch(dial) is None:
        return Refusal("no-number", f"{dial!r} cannot be dialled: see dialling.prefix and dialling.format")
    return _target(number, number.text, dial, match, agent=agent, directory=directory, now=now)


def objection(
    target: Target, *, do_not_call: bool, policy: Policy, directory: Directory, now: float
) -> Refusal | None:
    """Return why this person or company should not be called, None where nothing is known against it.

    `do_not_call`: somebody with this number said so. Rules count that hold for all of our numbers, whether callers
    are screened or not. Raises DirectoryError where the rules cannot be read.
    """
    if target.match.rung is Rung.EXTENSION:
        return None
    if do_not_call:
        return Refusal(
            "do-not-call", f"{target.text} does not want to be called (a contact has DoNotCall set)"
        )
    shown = target.match.shown
    known = policy.known_bypass and shown is not None and is_named(shown, target.number)
    screened = screen(target.number, "", directory, book=policy.rules, now=now, known=known)
    if screened.verdict is Verdict.BLOCK and screened.rule is not None:
        return Refusal(
            "blacklisted", f"{target.text} is blacklisted (rule {screened.rule.id}); remove that rule first"
        )
    return None


def _target(
    number: Number, text: str, dial: str, match: Match, *, agent: str, directory: Directory, now: float
) -> Target:
    call = Call(id="", number=text, direction=Direction.OUTBOUND, extension=agent)
    name = decide_outgoing(call, directory, now).display_name
    return Target(number=number, text=text, dial=dial, name=name, match=match)


def _is_emergency(text: str, number: Number, region: str) -> bool:
    """Return whether this would ring the police or an ambulance, dialled here or as a number of its country."""
    if any(
        phonenumbers.is_emergency_number(digits, region) for digits in {digits_of(text), number.digits} - {""}
    ):
        return True
    if not number.e164:
        return False
    parsed = _parsed(number.e164)
    if phonenumbers.is_valid_number(parsed):
        return False
    country = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return bool(
        phonenumbers.connects_to_emergency_number(phonenumbers.national_significant_number(parsed), country)
    )


def _not_allowed(e164: int, plan: Plan, region: str) -> Refusal | None:
    """Return why the plan does not let this number be dialled, None where it does."""
    text = f"+{e164}"
    denied = next((beginning for beginning in plan.deny if text.startswith(beginning)), None)
    if denied is not None:
        return Refusal("denied", f"{text} is not dialled: the setting dialling.deny has {denied}")
    if plan.allow:
        if not text.startswith(tuple(plan.allow)):
            return Refusal(
                "not-allowed", f"{text} is not dialled: the setting dialling.allow does not cover it"
            )
    elif not _is_of(e164, region):
        return Refusal(
            "not-allowed",
            f"{text} is not dialled: it is no number of {region}; the setting dialling.allow says which others may be",
        )
    if not plan.premium and _is_costly(e164):
        return Refusal(
            "premium",
            f"{text} is not dialled: calls there cost extra; the setting dialling.premium allows them",
        )
    return None


def _is_of(e164: int, region: str) -> bool:
    """Return whether a number is one of the country; where several share a calling code, it must be surely."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(calling_code(e164))]
    if regions == (region,):
        return True
    return bool(phonenumbers.region_code_for_number(_parsed(e164)) == region)


def _is_costly(e164: int) -> bool:
    """Return whether a number, or one that it is too long a form of, costs extra."""
    parsed = _parsed(e164)
    if phonenumbers.is_valid_number(parsed):
        return phonenumbers.number_type(parsed) in _COSTLY
    digits = str(e164)
    if any(
        phonenumbers.number_type(_parsed(int(digits[:length]))) in _COSTLY
        for length in range(_SHORTEST, len(digits) + 1)
    ):
        return True
    # Networks take +49 11880… for the inquiries of that country.
    national = phonenumbers.national_significant_number(parsed)
    region = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return any(_is_costly_service(national[:length], parsed, region) for length in range(3, 7))


def _is_costly_service(digits: str, number: PhoneNumber, region: str) -> bool:
    short = PhoneNumber(country_code=number.country_code, national_number=int(digits))
    return (
        shortnumberinfo.is_valid_short_number_for_region(short, region)
        and shortnumberinfo.expected_cost_for_region(short, region) not in _CHEAP
    )


def _as_dialled(e164: int, style: str, region: str) -> str:
    """Return a number as +4930…, 004930… (`international`), or 030… (`national`, of the own calling code)."""
    parsed = _parsed(e164)
    if style == "national" and parsed.country_code == phonenumbers.country_code_for_region(region):
        return digits_of(phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL))
    return f"+{e164}" if style == "e164" else f"{_international_prefix(region)}{e164}"


def _international_prefix(region: str) -> str:
    """Return what a country dials before another country's number; 00 where that is not plain digits."""
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None:
        return "00"
    prefix = (metadata.preferred_international_prefix or metadata.international_prefix or "").replace("~", "")
    return prefix if prefix.isascii() and prefix.isdigit() else "00"


def _parsed(e164: int) -> PhoneNumber:
    """Return the number for `phonenumbers`, without its guesses at national prefixes.

    A zero that belongs to the number (Italy) is kept apart there.
    """
    code = calling_code(e164)
    national = str(e164)[len(code) :]
    zeros = len(national) - len(national.lstrip("0"))
    return PhoneNumber(
        country_code=int(code or 0),
        national_number=int(national or 0),
        italian_leading_zero=True if zeros else None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )
