"""What a telephone number means: a caller's, as a trunk sends it, and a contact's, as people type it.

Invariant: for any text and region `normalise` and `read_field` return and never raise; whatever
`phonenumbers` does not hold possible is LOCAL, bare digits whose country nobody knows. Clean E.164 (`+` and
digits) is read without `phonenumbers`, but only where `phonenumbers.parse` would leave every digit as it is
(`_clean`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import phonenumbers
from phonenumbers import Leniency, NumberParseException, PhoneMetadata, PhoneNumberMatcher, ValidationResult

LONGEST_TEXT = 255  # characters looked at; longer than any number, a bound for hostile ones
LONGEST_DIGITS = 40  # digits kept of what is not a possible number
NOT_ALLOWED = 0x60  # presentation bits: 0x20 restricted, 0x40 not available

# Words that trunks and PBXs send where a number or a name should be.
_WORDS = """
    anonymous unknown unavailable restricted private blocked withheld hidden invalid none null
    anonymouscaller unknowncaller unknownname unknownnumber callerunknown privatecaller privatename
    privatenumber blockedcaller blockednumber numberwithheld withheldnumber noname nonumber nocallerid
    notavailable nameunavailable numberunavailable idunavailable outofarea
    anonym unbekannt unterdrückt anonyme inconnu masqué anonimo anónimo desconocido oculto privado
    s
"""
PLACEHOLDERS = frozenset(_WORDS.split())


class NumberState(StrEnum):
    """What is known of a number."""

    E164 = "e164"
    LOCAL = "local"  # digits whose country is not known, or not a possible number
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Number:
    """A caller's number.

    `digits` are the E.164 digits without plus (E164), the bare digits as dialled (LOCAL) or '' (ANONYMOUS);
    `e164` is the same as an integer (0 unless E164); `raw` is the text as it was sent.
    """

    state: NumberState
    e164: int = 0
    digits: str = ""
    raw: str = ""

    @property
    def text(self) -> str:
        """Return `+4930…`, the bare digits, or '' when anonymous."""
        return "+" + self.digits if self.e164 else self.digits


@dataclass(frozen=True, slots=True)
class Switchboard:
    """A company's main number; `prefix` is `main` without the digits that stand for the extension.

    `explicit` says that somebody wrote it as one (`1234-0`, `1XXX`); otherwise it was concluded from a final
    zero in a country with direct dial-in behind open numbers.
    """

    prefix: int
    main: int
    explicit: bool

    def covers(self, e164: int) -> bool:
        """Return whether `e164` may be an extension behind this main number.

        An explicit one covers numbers at least as long as itself; one merely concluded covers longer ones
        only, so that `…1240` never answers for its neighbour `…1241`.
        """
        least = len(str(self.main)) + (0 if self.explicit else 1)
        caller = str(e164)
        return len(caller) >= least and caller.startswith(str(self.prefix))


@dataclass(frozen=True, slots=True)
class StoredNumber:
    """A number in a CRM's phone field.

    Either `e164` is the number (and `digits` is ''), or it is 0: the country is not known, `digits` holds it.
    """

    e164: int
    digits: str
    switchboard: Switchboard | None = None


class _Plan(NamedTuple):
    """How numbers of one calling code are read."""

    code: str
    lengths: frozenset[int]  # of all digits, calling code included
    transform: Callable[..., re.Match[str] | None] | None  # finds a national prefix


_CODES: dict[str, str] = {
    str(code): regions[0] for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
}
_plans: dict[str, _Plan | None] = {}  # by the first three digits; at most 1000 entries


def _plan(head: str) -> _Plan | None:
    """Return the plan of a number that begins with these three digits; None: no such calling code."""
    code = next((head[:n] for n in (1, 2, 3) if head[:n] in _CODES), "")
    plan = None
    if code:
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), _CODES[code])
        assert metadata is not None  # every calling code has metadata
        assert metadata.general_desc is not None
        prefix = metadata.national_prefix_for_parsing
        plan = _Plan(
            code,
            frozenset(len(code) + length for length in metadata.general_desc.possible_length),
            re.compile(prefix).match if prefix else None,
        )
    if len(head) == 3:
        _plans[head] = plan
    return plan


def _clean(text: str) -> int:
    """Return `+digits` as an integer where `phonenumbers` would read every digit as it stands, else 0.

    It would unless the length is not a possible one or a national prefix seems to follow the calling code
    (`national_prefix_for_parsing` is stripped or rewritten behind a plus, too).
    """
    digits = text[1:]
    if text[:1] != "+" or not (digits.isdigit() and digits.isascii()):
        return 0
    head = digits[:3]
    plan = _plans[head] if head in _plans else _plan(head)
    if plan is None or len(digits) not in plan.lengths:
        return 0
    if plan.transform is not None:
        start = len(plan.code)
        match = plan.transform(digits[start:])
        if match is not None and match.end():
            return 0
    return int(digits)


def _parse(text: str, region: str) -> int:
    """Return the E.164 number that `phonenumbers` reads, or 0 where it is not possible."""
    try:
        parsed = phonenumbers.parse(text, region.upper() or None)
    except NumberParseException:
        return 0
    return _possible(parsed, text)


def _possible(parsed: phonenumbers.PhoneNumber, text: str) -> int:
    if phonenumbers.is_possible_number_with_reason(parsed) != ValidationResult.IS_POSSIBLE:
        return 0
    national = phonenumbers.national_significant_number(parsed)
    # Germany holds four digits possible; as dialled they are an extension or a number of the same town.
    if len(national) <= 6 and national == digits_of(text) and not phonenumbers.is_valid_number(parsed):
        return 0
    return int(f"{parsed.country_code}{national}")


def digits_of(text: str) -> str:
    """Return the decimal digits of any script in `text` as 0 … 9."""
    if text.isdigit() and text.isascii():
        return text
    if text.isascii():
        return "".join(filter(str.isdigit, text))
    return "".join(str(value) for char in text if (value := unicodedata.decimal(char, None)) is not None)


def normalise(
    raw: str, region: str, *, name: str = "", presentation: int = 0, use_restricted: bool = False
) -> Number:
    """Return what a caller's number means to a trunk in `region` (ISO country); never raises.

    `presentation` is Asterisk's (`agi_callingpres`): a restricted number is anonymous, unless
    `use_restricted`.
    `name` decides only where there is next to no number: one or two digits of somebody `Anonymous`.
    """
    if presentation & NOT_ALLOWED and not use_restricted:
        return Number(NumberState.ANONYMOUS, 0, "", raw)
    e164 = _clean(raw)
    if e164:
        return Number(NumberState.E164, e164, raw[1:], raw)
    e164, digits = _read(raw[:LONGEST_TEXT], region)
    if e164:
        return Number(NumberState.E164, e164, digits, raw)
    if not digits.strip("0") or (len(digits) < 3 and is_placeholder(name)):
        return Number(NumberState.ANONYMOUS, 0, "", raw)
    return Number(NumberState.LOCAL, 0, digits, raw)


def is_placeholder(name: str) -> bool:
    """Return whether a name or number only says that there is none (empty is not a placeholder)."""
    return "".join(filter(str.isalpha, name)).lower() in PLACEHOLDERS


@lru_cache(maxsize=16_384)
def _read(raw: str, region: str) -> tuple[int, str]:
    """Return E.164 number and digits of what a trunk sent; 0 and bare digits: country not known."""
    text = _user_part(raw)
    e164 = 0
    first = re.search(r"[+\uff0b\d]", text)
    if first is None:
        return 0, ""
    is_identity = text[: first.start()][-1:].isalpha()  # `bob4930`: a name, not a number
    text = without_trunk_zero(text[first.start() :])
    letter = re.search(r"[^\W\d_]", text)
    if letter is not None and len(digits_of(text[: letter.start()])) >= 7:
        text = text[: letter.start()]  # what follows a whole number is no vanity number
    if not is_identity:
        e164 = _parse(text, region)
    digits = digits_of(text)
    for prefix in ("00", "011"):  # an international prefix of another country than the trunk's
        if not e164 and not is_identity and digits.startswith(prefix):
            e164 = _parse("+" + digits.removeprefix(prefix), region)
    return e164, str(e164) if e164 else digits[:LONGEST_DIGITS]


def _user_part(text: str) -> str:
    """Return the number within a `tel:`, `sip:` or `sips:` URI or a name-addr; other text as it is.

    RFC 3966 parameters go (`;ext=`, `;isub=`), but a global `;phone-context=` goes in front of the number.
    """
    if "<" in text:
        text = text.rpartition("<")[2].partition(">")[0]
    text = "".join(filter(str.isprintable, text)).strip(" \"'")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.strip().lower() if colon else ""
    if scheme in {"tel", "sip", "sips"}:
        text = rest.strip().removeprefix("//")
    if "%" in text:
        text = unquote(text)
    user, at, _ = text.partition("@")
    user, _, parameters = user.partition(";")
    user = user.partition(":")[0] if at or scheme else user
    if scheme in {"sip", "sips"} and not at and not re.fullmatch(r"\+?[\d-]+", user):
        return ""  # a host without a user
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "phone-context" and value.startswith("+") and not user.startswith("+"):
            return value + user
    return user


_DASH = r"\-\u2010-\u2015\u2212"
_PLAIN = re.compile(rf"[\d+\uff0b()\[\].{_DASH}/\s]+")  # nothing but digits and punctuation
_BLOCK = re.compile(rf"(.*\d[\s().{_DASH}/]*)([xX]{{2,}})")  # +1 212 555 1XXX
_MAIN = re.compile(rf"\d\s*(?:[{_DASH}/.]\s*|\s)\(?0\)?$")  # 1234-0, 1234/0, 1234 0
_TOLL_FREE_WORD = re.compile(rf"[+\d\s().{_DASH}]*[89]\d\d[\s().{_DASH}\d]*[A-Za-z][A-Za-z\d\s{_DASH}]*")
_TRUNK_ZERO = re.compile(
    rf"((?:[+\uff0b]|\b00)[\s{_DASH}]*(?!39)[1-9]\d{{0,2}}\)?)[\s.{_DASH}]*\(0\)[\s.{_DASH}]*"
)
_GROUP = re.compile(rf"\d[\d\s().{_DASH}/]*\d")


def read_field(text: str, region: str) -> list[StoredNumber]:
    """Return the numbers in a CRM's phone field, each once, in the order written; never raises.

    People type two numbers into one field, words behind them, vanity letters and extensions (which are left
    out).
    """
    e164 = _clean(text)
    if e164:
        return [_stored(e164)]
    text = "; ".join(text[:LONGEST_TEXT].splitlines()) if not text.isprintable() else text[:LONGEST_TEXT]
    text = "".join(char for char in " ".join(text.split()) if char.isprintable()).strip(" ,;:'\"")
    text = without_trunk_zero(text)
    if not text:
        return []
    block = _BLOCK.fullmatch(text)
    if block is not None:
        main = _parse(block[1] + "0" * len(block[2]), region)
        if main:
            return [StoredNumber(main, "", Switchboard(main // 10 ** len(block[2]), main, explicit=True))]
        text = block[1]
    found = dict.fromkeys(_numbers(text, region))
    return list(found) or _without_country(text)


def without_trunk_zero(text: str) -> str:
    """Return `+34 (0) 612 …` as `+34 612 …`: the zero is for callers inside, and some countries have none.

    phonenumbers drops it where the country's trunk prefix is 0; elsewhere it finds no number and what stands behind
    would pass for one of our own country. In Italy's plan the zero belongs to the number.
    """
    return _TRUNK_ZERO.sub(r"\1 ", text)


def _numbers(text: str, region: str) -> Iterator[StoredNumber]:
    """Yield the numbers of `text` whose country is known."""
    if _PLAIN.fullmatch(text) is not None:
        parts = _parts(text)
        numbers = [_parse(part, region) for part in parts]
        if all(numbers):
            yield from map(_stored, numbers, parts)
            return
    found = False
    for match in PhoneNumberMatcher(text, region.upper() or None, Leniency.POSSIBLE):
        e164 = _possible(match.number, match.raw_string)
        if e164:
            found = True
            yield _stored(e164, match.raw_string)
    if not found and (e164 := _vanity(text, region)):
        yield _stored(e164)


def _parts(text: str) -> list[str]:
    """Split digits and punctuation where a second number begins: a slash between whole numbers, a plus."""
    parts = [part for part in text.split("/") if part.strip()]
    if any(len(digits_of(part)) < 7 for part in parts):
        parts = [text]  # 030/1234567, 1234/0
    return [piece for part in parts for piece in re.split(r"(?<=\d)\D*(?=\+)", part) if piece.strip()]


def _vanity(text: str, region: str) -> int:
    """Return the number of `1-800-FLOWERS`, or 0; letters beyond a whole number do not count."""
    if sum(map(str.isalpha, text)) < 3 or text[0] not in "+(0123456789":
        return 0
    try:
        parsed = phonenumbers.parse(text, region.upper() or None)
    except NumberParseException:
        return 0
    if _TOLL_FREE_WORD.fullmatch(text) is not None:
        phonenumbers.truncate_too_long_number(parsed)
        return _possible(parsed, text)
    # Any other word is read as digits only where it cannot well be anything else.
    return _possible(parsed, text) if text.isupper() and phonenumbers.is_valid_number(parsed) else 0


def _without_country(text: str) -> list[StoredNumber]:
    if _PLAIN.fullmatch(text) is None:
        group = _GROUP.search(text)
        text = group[0] if group is not None else ""
    digits = digits_of(text)
    return [StoredNumber(0, digits[:LONGEST_DIGITS])] if digits.strip("0") else []


# Mobile, toll-free, shared-cost and premium numbers of these countries end in a zero for no reason.
_OPEN_NUMBERING = ("49", "43")
_NO_SWITCHBOARD = (
    *("4915", "4916", "4917", "49180", "49137", "49700", "49800", "49900"),
    *("4365", "4366", "4367", "4368", "4369", "43720", "43800", "43810", "43820", "43900", "43930"),
)


def _stored(e164: int, written: str = "") -> StoredNumber:
    """Return the number, with its switchboard where it was written as one or is one by the look of it."""
    if e164 % 10:
        return StoredNumber(e164, "")
    if written and _MAIN.search(written) is not None:
        return StoredNumber(e164, "", Switchboard(e164 // 10, e164, explicit=True))
    digits = str(e164)
    if digits.startswith(_OPEN_NUMBERING) and not digits.startswith(_NO_SWITCHBOARD):
        return StoredNumber(e164, "", Switchboard(e164 // 10, e164, explicit=False))
    return StoredNumber(e164, "")


def switchboard_prefixes(e164: int, at_most: int) -> list[int]:
    """Return `e164` without its last 1 … `at_most` digits, longest first, none shorter than five digits."""
    prefixes = []
    for _ in range(at_most):
        e164 //= 10
        if e164 < 10_000:
            break
        prefixes.append(e164)
    return prefixes


def calling_code(e164: int) -> str:
    """Return the calling code an E.164 number begins with, or ''."""
    head = str(e164)[:3]
    return next((head[:n] for n in (1, 2, 3) if head[:n] in _CODES), "")


@lru_cache(maxsize=16_384)
def country_of(e164: int) -> str:
    """Return the ISO 3166 alpha-2 code of an E.164 number, '' where it has none (+800) or is not known.

    Several countries share a calling code (+1, +7, +44): a number that is valid in none of them counts as its
    main country's.
    """
    code = calling_code(e164)
    if not code:
        return ""
    try:
        parsed = phonenumbers.parse(f"+{e164}", None)
    except NumberParseException:
        region = _CODES[code]
    else:
        region = phonenumbers.region_code_for_number(parsed) or _CODES[code]
    return region if region.isalpha() else ""
