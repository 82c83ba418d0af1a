"""Whose phone is at the end of a channel?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.calls.extensions import endpoint_of, matches, own_extension


@pytest.mark.parametrize(
    ("channel", "endpoint"),
    [
        ("PJSIP/101-0000001a", "101"),
        ("PJSIP/101-1a2b3c4d5", "101"),
        ("PJSIP/voip-provider-0000001a", "voip-provider"),
        ("PJSIP/101", "101"),
        ("SIP/anna-mobile-0000001a", "anna-mobile"),
        ("DAHDI/i1/030200001-7", "i1/030200001-7"),
        ("Local/101@from-queue-0000001a;1", ""),
        ("local/101@x-0000001a;2", ""),
        ("Message/ast_msg_queue", "ast_msg_queue"),
        ("101", ""),
        ("", ""),
    ],
)
def test_the_endpoint_of_a_channel(channel: str, endpoint: str) -> None:
    assert endpoint_of(channel) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "pattern", "trunks", "ours"),
    [
        ("101", "", (), True),
        ("1", "", (), False),
        ("1234567", "", (), False),
        ("trunk", "", (), False),
        ("anna", "", (), True),  # an agent's
        ("anna", "", ("a*",), False),
        ("5000", "", ("trunk*",), False),  # somebody said what the trunks are: not everything else is a phone
        ("5000", "[5-8]000", ("trunk*",), True),
        ("5000x", "[5-8]000", (), False),
        ("250", "", ("2??",), False),
        ("", "", (), False),
        ("101\n", "", (), False),
        ("١٠١", "\\d+", (), False),
        ("101", "(", (), True),
    ],
)
def test_whose_it_is(endpoint: str, pattern: str, trunks: tuple[str, ...], ours: bool) -> None:
    assert own_extension(endpoint, {"anna"}, pattern, trunks) == (endpoint if ours else "")


@given(st.text(), st.text())
def test_any_pattern_and_any_text_can_be_asked_about(pattern: str, text: str) -> None:
    assert matches(pattern, text) in {True, False}
