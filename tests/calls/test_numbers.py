from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ValidationResult

from agi_server.calls.numbers import (
    Number,
    NumberState,
    StoredNumber,
    Switchboard,
    _clean,
    _plan,
    country_of,
    is_placeholder,
    normalise,
    read_field,
    switchboard_prefixes,
)

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def by_the_book(text: str, region: str) -> int:
    """What `phonenumbers` alone makes of a number; 0 where it is not possible."""
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return 0
    if phonenumbers.is_possible_number_with_reason(parsed) != ValidationResult.IS_POSSIBLE:
        return 0
    return int(phonenumbers.format_number(parsed, PhoneNumberFormat.E164))


def examples(region: str) -> set[str]:
    numbers = [
        phonenumbers.example_number_for_type(region, kind) for kind in PhoneNumberType.values() if kind < 27
    ]
    return {phonenumbers.format_number(number, PhoneNumberFormat.E164) for number in numbers if number}


@pytest.mark.parametrize("region", REGIONS)
def test_fast_path_reads_examples_of_every_region_as_the_book_does(region: str) -> None:
    for text in examples(region):
        expected = by_the_book(text, "US")
        assert _clean(text) in {0, expected}
        for home in ("US", "DE", region):
            assert normalise(text, home).e164 == expected
            assert [number.e164 for number in read_field(text, home)] == [expected]


def test_fast_path_is_taken_for_nearly_every_example() -> None:
    texts = {text for region in REGIONS for text in examples(region)}
    assert sum(_clean(text) != 0 for text in texts) > 0.97 * len(texts)


@pytest.mark.parametrize("code", CODES)
def test_fast_path_reads_national_prefixes_as_the_book_does(code: int) -> None:
    for start in ("0", "1", "8", "00", "01", "06", "15", "180020", "90", "1001", "183", "900", "020"):
        for length in range(4, 18):
            text = f"+{code}{start}{'23456789123456789'[: length - len(start)]}"
            assert _clean(text) in {0, by_the_book(text, "US")}, text


@settings(max_examples=1500)
@given(st.sampled_from(CODES), st.text("0123456789", min_size=1, max_size=18), st.sampled_from(REGIONS))
@example(7, "8001234567", "RU")
@example(54, "1115123456789", "AR")
@example(52, "15512345678", "MX")
@example(39, "0612345678", "IT")
def test_fast_path_reads_any_digits_as_the_book_does(code: int, national: str, region: str) -> None:
    text = f"+{code}{national}"
    expected = by_the_book(text, region)
    assert _clean(text) in {0, expected}
    number = normalise(text, region)
    assert number.e164 == expected
    if not expected:
        assert number.state is not NumberState.E164


def test_every_possible_number_fits_a_signed_64_bit_integer() -> None:
    for code in CODES:
        plan = _plan(str(code).ljust(3, "0"))
        assert plan is not None
        assert int(plan.code.ljust(max(plan.lengths), "9")) < 2**63


@pytest.mark.parametrize(
    ("raw", "region", "text"),
    [
        ("+4930123456", "US", "+4930123456"),
        ("004930123456", "DE", "+4930123456"),
        ("0114930123456", "US", "+4930123456"),
        ("004930123456", "US", "+4930123456"),
        ("+49 (0)30 12 34 56", "US", "+4930123456"),
        ("030123456", "DE", "+4930123456"),
        ("030 / 123-456", "de", "+4930123456"),
        ("tel:+49-30-123456", "US", "+4930123456"),
        ("tel:+49-30-123456;ext=12", "US", "+4930123456"),
        ("tel:7042;phone-context=+1-201-555", "DE", "+12015557042"),
        ("sip:+4930123456@192.0.2.1;user=phone", "US", "+4930123456"),
        ("SIPS:030123456;ext=9@pbx.example.com:5061", "DE", "+4930123456"),
        ("sip:+4930123456:secret@192.0.2.1", "US", "+4930123456"),
        ('"Erika" <sip:+4930123456@192.0.2.1>;tag=1', "US", "+4930123456"),
        ("%2B4930123456", "US", "+4930123456"),
        ('"+4930123456"', "US", "+4930123456"),
        ("+4930123456\x00\r\n", "US", "+4930123456"),
        ("+4930123456@192.0.2.1", "US", "+4930123456"),
        ("030123456 ext 5", "DE", "+4930123456"),
        ("+1-800-FLOWERS", "DE", "+18003569377"),
        ("٠٣٠١٢٣٤٥٦", "DE", "+4930123456"),
        ("+39 06 1234567", "DE", "+39061234567"),
        ("204", "DE", "204"),
        ("204", "US", "204"),
        ("2041", "DE", "2041"),
        ("12", "DE", "12"),
        ("sip:204@pbx", "US", "204"),
        ("555-2671", "US", "5552671"),
        ("+4912", "DE", "4912"),
        ("bob4930123456", "DE", "4930123456"),
        ("030123456", "", "030123456"),
        ("030123456", "XX", "030123456"),
    ],
)
def test_numbers_as_trunks_send_them(raw: str, region: str, text: str) -> None:
    number = normalise(raw, region)
    assert number.text == text
    assert number.state is (NumberState.E164 if text.startswith("+") else NumberState.LOCAL)
    assert number.raw == raw
    assert number.digits == text.removeprefix("+")


@pytest.mark.parametrize(
    "raw",
    [
        *("anonymous", "Anonymous", "unknown", "unavailable", "restricted", "private", "blocked", "withheld"),
        *("s", "S", "0", "00", "+", "", " ", '""', "Number withheld", "\x00", "%00", "alice", "tel:"),
        *("sip:anonymous@anonymous.invalid", "<sip:unknown@192.0.2.1>", "sip:192.0.2.1:5060"),
        "sip:pbx4.example.com",
    ],
)
def test_anonymous_in_all_its_spellings(raw: str) -> None:
    assert normalise(raw, "DE") == Number(NumberState.ANONYMOUS, 0, "", raw)


@pytest.mark.parametrize("presentation", [32, 33, 34, 35, 64, 67])
def test_a_number_that_may_not_be_shown_is_anonymous_unless_it_may_be_used(presentation: int) -> None:
    number = normalise("+4930123456", "DE", presentation=presentation)
    assert number.state is NumberState.ANONYMOUS
    assert number.digits == ""
    used = normalise("+4930123456", "DE", presentation=presentation, use_restricted=True)
    assert used.e164 == 4930123456


@pytest.mark.parametrize("presentation", [0, 1, 2, 3])
def test_an_allowed_number_is_a_number(presentation: int) -> None:
    assert normalise("+4930123456", "DE", presentation=presentation).e164 == 4930123456


def test_the_name_anonymous_hides_no_number() -> None:
    assert normalise("+4930123456", "DE", name="Anonymous").e164 == 4930123456
    assert normalise("204", "DE", name="Anonymous").digits == "204"
    assert normalise("1", "DE", name="Anonymous").state is NumberState.ANONYMOUS
    assert normalise("1", "DE", name="Anna").digits == "1"


ANY_REGION = st.one_of(st.sampled_from(REGIONS), st.sampled_from(["", "de", "XX", "001", "ü"]))
NUMBERISH = st.text("0123456789+-/()., xX\n\u200e٣０ewtsipl:@;=<>%\"'#*", max_size=50)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=300), NUMBERISH), ANY_REGION, st.integers(-5, 255), st.text(max_size=20))
@example("tel:1;phone-context=", "DE", 0, "")
@example("\ud800+49", "DE", 0, "")
@example("²³", "DE", 0, "")
def test_normalise_never_raises(raw: str, region: str, presentation: int, name: str) -> None:
    number = normalise(raw, region, presentation=presentation, name=name)
    assert number.digits.isascii()
    assert not number.digits or number.digits.isdigit()
    assert (number.state is NumberState.E164) == (number.e164 != 0)
    assert (number.state is NumberState.ANONYMOUS) == (number.digits == "")
    if number.e164:
        assert number.digits == str(number.e164)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=300), NUMBERISH), ANY_REGION)
@example("\ud800", "DE")
@example("+49 30 1234 XX", "DE")
def test_read_field_never_raises(text: str, region: str) -> None:
    for number in read_field(text, region):
        assert (number.e164 == 0) == (number.digits != "")
        assert number.digits.isascii()
        if number.switchboard is not None:
            assert str(number.e164).startswith(str(number.switchboard.prefix))


@pytest.mark.parametrize(
    ("text", "region", "numbers"),
    [
        ("", "DE", []),
        ("n/a", "US", []),
        ("call me", "US", []),
        ("see notes 2", "US", []),
        ("---", "US", []),
        ("+4930123456", "US", [4930123456]),
        (" +4930123456 ", "US", [4930123456]),
        ("+49 (0)30 123456", "US", [4930123456]),
        ("0049 (0)30 / 123456", "DE", [4930123456]),
        ("030.123.45.67", "DE", [49301234567]),
        ("030 / 1234567", "DE", [49301234567]),
        ("+49 4421 / 1234567", "DE", [4944211234567]),
        ("+7 (8) 495 123 45 67", "RU", [74951234567]),
        ("8 951 418 6482", "RU", [79514186482]),
        ("+39 06 1234567", "DE", [39061234567]),
        ("tel:+49-30-1234567", "US", [49301234567]),
        ("Tel.: 030 1234567", "DE", [49301234567]),
        ("(415) 555-2671 cell", "US", [14155552671]),
        ("0171 1234567 privat", "DE", [491711234567]),
        ("030 1234567 Durchwahl 12", "DE", [49301234567]),
        ("+1-210-343-3218x1960", "DE", [12103433218]),
        ("(210) 343-3218 ext. 5", "US", [12103433218]),
        ("1-800-FLOWERS", "US", [18003569377]),
        ("1-800-MICROSOFT", "US", [18006427676]),
        ("1-800-555-CALL", "US", [18005552255]),
        ("(212) 555-CALL", "US", [12125552255]),
        ("٠٣٠١٢٣٤٥٦", "DE", [4930123456]),
        ("030 1234567 / 0171 1234567", "DE", [49301234567, 491711234567]),
        ("030 12345/030 12346", "DE", [493012345, 493012346]),
        ("+49 30 1234567 +49 171 1234567", "US", [49301234567, 491711234567]),
        ("030 1234567, 0171 1234567", "DE", [49301234567, 491711234567]),
        ("030 1234567; mobil 0171 1234567", "DE", [49301234567, 491711234567]),
        ("030 1234567\n030 1234568", "DE", [49301234567, 49301234568]),
        ("030 1234567 / +49 30 1234567", "DE", [49301234567]),
        ("\u202a030 1234567\u202c", "DE", [49301234567]),
        ("204", "US", ["204"]),
        ("204", "DE", ["204"]),
        ("ext. 204", "US", ["204"]),
        ("204 office", "DE", ["204"]),
        ("555-2671", "US", ["5552671"]),
        ("+49 1", "DE", ["491"]),
    ],
)
def test_numbers_as_people_type_them(text: str, region: str, numbers: list[int | str]) -> None:
    expected = [StoredNumber(n, "") if isinstance(n, int) else StoredNumber(0, n) for n in numbers]
    assert read_field(text, region) == expected


@pytest.mark.parametrize("region", REGIONS)
def test_read_field_reads_every_format_of_an_example(region: str) -> None:
    number = phonenumbers.example_number(region)
    assert number is not None
    e164 = int(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    for style in (PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL, PhoneNumberFormat.RFC3966):
        text = phonenumbers.format_number(number, style)
        assert [found.e164 for found in read_field(text, region)] == [e164], text
        assert normalise(text, region).e164 == e164, text


@pytest.mark.parametrize(
    ("text", "region", "switchboard"),
    [
        ("+49 30 1234-0", "US", Switchboard(49301234, 493012340, explicit=True)),
        ("030 1234 - 0", "DE", Switchboard(49301234, 493012340, explicit=True)),
        ("030 1234/0", "DE", Switchboard(49301234, 493012340, explicit=True)),
        ("030 1234 0", "DE", Switchboard(49301234, 493012340, explicit=True)),
        ("Zentrale: 030 1234–0", "DE", Switchboard(49301234, 493012340, explicit=True)),
        ("+1 212 555 1XXX", "DE", Switchboard(12125551, 12125551000, explicit=True)),
        ("(212) 555-10xx", "US", Switchboard(121255510, 12125551000, explicit=True)),
        ("+49 30 12340", "US", Switchboard(49301234, 493012340, explicit=False)),
        ("+493012340", "US", Switchboard(49301234, 493012340, explicit=False)),
        ("+4312345670", "US", Switchboard(431234567, 4312345670, explicit=False)),
        ("+49 30 12 34 00", "US", Switchboard(493012340, 4930123400, explicit=False)),
        ("+1 212 555 1000", "US", None),
        ("+7 495 123-45-00", "RU", None),
        ("+491711234560", "DE", None),
        ("+436641234560", "AT", None),
        ("+49 30 12345", "DE", None),
    ],
)
def test_main_numbers(text: str, region: str, switchboard: Switchboard | None) -> None:
    (number,) = read_field(text, region)
    assert number.switchboard == switchboard


def test_a_main_number_beside_a_mobile_number() -> None:
    first, second = read_field("+49 30 1234-0, mobil 0171 1234560", "DE")
    assert first.switchboard == Switchboard(49301234, 493012340, explicit=True)
    assert (second.e164, second.switchboard) == (491711234560, None)


@pytest.mark.parametrize(
    ("explicit", "caller", "covered"),
    [
        (True, 493012345, True),
        (True, 4930123456, True),
        (True, 493012340, True),
        (True, 49301234, False),
        (True, 493012355, False),
        (False, 493012345, False),
        (False, 4930123456, True),
    ],
)
def test_whom_a_main_number_covers(explicit: bool, caller: int, covered: bool) -> None:
    assert Switchboard(49301234, 493012340, explicit).covers(caller) is covered


def test_switchboard_prefixes() -> None:
    assert switchboard_prefixes(4930123456, 3) == [493012345, 49301234, 4930123]
    assert switchboard_prefixes(4930123456, 9) == [493012345, 49301234, 4930123, 493012, 49301]
    assert switchboard_prefixes(4930123456, 0) == []


@pytest.mark.parametrize(
    ("e164", "country"),
    [
        (4930123456, "DE"),
        (12125551234, "US"),
        (14165551234, "CA"),
        (77012345678, "KZ"),
        (74951234567, "RU"),
        (15550000000, "US"),
        (80012345678, ""),
        (21012345, ""),
        (0, ""),
    ],
)
def test_country(e164: int, country: str) -> None:
    assert country_of(e164) == country


def test_placeholders() -> None:
    assert is_placeholder("Unknown Caller")
    assert is_placeholder("ANONYMOUS")
    assert not is_placeholder("Anna Nym")
    assert not is_placeholder("")


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("+34 (0) 612 023 757", 34612023757),
        ("+34 (0)612 02 37 57 office", 34612023757),
        ("(+34) (0)612 023 757", 34612023757),
        ("00351 (0) 210 000 011", 351210000011),
        ("+1 (0) 415 555 2671", 14155552671),
        ("+49 (0)30 23125-15", 49302312515),
        ("+39 (0) 6 1234567", 39061234567),  # in Italy's plan the zero belongs to the number
    ],
)
def test_a_zero_in_brackets_never_makes_a_foreigner_one_of_us(text: str, e164: int) -> None:
    assert [stored.e164 for stored in read_field(text, "DE")] == [e164]
    if text.isascii() and not text.endswith("office"):
        assert normalise(text, "DE").e164 == e164
