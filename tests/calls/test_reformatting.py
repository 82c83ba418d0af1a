from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.reformatting import ReformatRule, compile_reformat, reformat
from agi_server.errors import InputError


def rewrite(
    rules: list[ReformatRule], number: str, direction: str = "inbound", trunk: str = "", did: str = ""
) -> str:
    return reformat(rules, number=number, direction=direction, trunk=trunk, did=did)


def test_the_first_rule_that_covers_the_whole_number_wins() -> None:
    rules = [
        compile_reformat(match=r"0([1-9]\d+)", replace=r"+49\1"),
        compile_reformat(match=r"0.*", replace="never"),
    ]
    assert rewrite(rules, "030123456") == "+4930123456"
    assert rewrite(rules, "x030123456") == "x030123456"
    assert rewrite(rules, "030123456x") == "never"
    assert rewrite([], "030") == "030"


def test_direction_trunk_and_did_must_fit() -> None:
    rule = compile_reformat(direction="outbound", trunk="sip-*", did="49301?", match="(.*)", replace=r"9\1")
    assert rewrite([rule], "1", "outbound", "sip-a", "493012") == "91"
    assert rewrite([rule], "1", "inbound", "sip-a", "493012") == "1"
    assert rewrite([rule], "1", "outbound", "iax", "493012") == "1"
    assert rewrite([rule], "1", "outbound", "sip-a", "4930123") == "1"


def test_a_trunk_fits_with_and_without_its_technology() -> None:
    for trunk in ("gsm-*", "PJSIP/gsm-*", "*/gsm-1"):
        rule = compile_reformat(trunk=trunk, match="(.*)", replace=r"9\1")
        assert rewrite([rule], "1", trunk="PJSIP/gsm-1") == "91"
        assert rewrite([rule], "1", trunk="PJSIP/isdn") == "1"


def test_groups_that_did_not_match_are_empty_and_other_backslashes_stay() -> None:
    rule = compile_reformat(match=r"(1)?(2)(3)(4)(5)(6)(7)(8)(9)", replace=r"[\1|\9|\\x]")
    assert rewrite([rule], "23456789") == r"[|9|\\x]"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"match": "(", "replace": ""}, "no RE2 pattern: missing )"),
        ({"match": "", "replace": ""}, "needs `match`"),
        ({"match": "(?=1)", "replace": ""}, "no RE2 pattern"),
        ({"match": "\ud800", "replace": ""}, "no RE2 pattern"),
        ({"match": r"(\d+)", "replace": r"\2"}, "names group 2"),
        ({"match": r"(\d+)", "replace": r"\0"}, "names group 0"),
        ({"match": "1", "replace": "2", "direction": "sideways"}, "write inbound or outbound"),
    ],
)
def test_what_is_wrong_with_a_rule(
    changes: dict[str, str], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        compile_reformat(**changes)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=100)
@given(st.text(), st.text(), st.text())
def test_reformat_never_raises(number: str, trunk: str, did: str) -> None:
    rules = [compile_reformat(match=r"(\d)(.*)", replace=r"\2\1", trunk="[a-", did="*")]
    rules.append(compile_reformat(match=r"(?s)(.).*", replace=r"<\1"))
    result = rewrite(rules, number, trunk=trunk, did=did)
    assert number.startswith(result[1:]) if result.startswith("<") else result == number
