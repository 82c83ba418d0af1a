"""What an answer means: the code counts, and what is not Salesforce's own passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.errors import (
    SalesforceDown,
    SalesforceError,
    SalesforceLimitError,
    SalesforceLoginError,
    SalesforceRefusal,
)
from agi_server.salesforce import shapes
from agi_server.salesforce.answers import LONGEST, login_refusal, refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def error(code: str, **more: Any) -> list[dict[str, Any]]:
    return [{"errorCode": code, "message": "it is so", **more}]


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, error("UNABLE_TO_LOCK_ROW"), SalesforceRefusal),
        (400, error("MALFORMED_QUERY"), SalesforceRefusal),
        (404, error("NOT_FOUND"), SalesforceRefusal),
        (403, error("REQUEST_LIMIT_EXCEEDED"), SalesforceLimitError),
        (403, error("INSUFFICIENT_ACCESS"), SalesforceRefusal),
        (403, error("API_DISABLED_FOR_ORG"), SalesforceLoginError),
        (401, error("INVALID_SESSION_ID"), SalesforceLoginError),
        (401, "<html>", SalesforceLoginError),
        (403, "<html>", SalesforceDown),
        (400, error("SERVER_UNAVAILABLE"), SalesforceDown),
        (503, error("SERVER_UNAVAILABLE"), SalesforceDown),
        (500, error("UNKNOWN_EXCEPTION"), SalesforceDown),
        (502, "<html>", SalesforceDown),
        (429, error("TOO_MANY"), SalesforceDown),
        (404, b"<html>", SalesforceDown),
        (414, "<html>", SalesforceRefusal),
        (431, "<html>", SalesforceRefusal),
        (400, [], SalesforceDown),
        (400, [{"errorCode": 7}], SalesforceDown),
        (300, ["/services/data/v64.0/sobjects/Contact/003"], SalesforceDown),
    ],
)
def test_statuses_and_codes(status: int, content: object, kind: type[SalesforceError]) -> None:
    assert type(refusal(status, content, "the query")) is kind


def test_code_fields_and_text_are_kept() -> None:
    found = refusal(400, error("STRING_TOO_LONG", fields=["Phone"]), "the query")
    assert isinstance(found, SalesforceRefusal)
    assert (found.code, found.fields) == ("STRING_TOO_LONG", ("Phone",))
    assert str(found) == "the query: STRING_TOO_LONG: it is so"


def test_what_is_said_is_one_short_line() -> None:
    found = refusal(400, [{"errorCode": "X", "message": "a\n \tb" + "c" * 1000}], "the query")
    assert "\n" not in str(found)
    assert len(str(found)) < LONGEST + 30
    assert len(str(login_refusal("invalid_grant", "x" * 5000))) < LONGEST + 100


@given(status=st.integers(300, 599), content=JSON | st.binary(max_size=5))
def test_no_answer_is_too_strange(status: int, content: object) -> None:
    assert isinstance(refusal(status, content, "the query"), SalesforceError)


@given(code=st.text(), text=st.text())
def test_no_refused_log_in_is_too_strange(code: str, text: str) -> None:
    assert isinstance(login_refusal(code, text), SalesforceError)


@pytest.mark.parametrize("code", ["SERVER_UNAVAILABLE", "temporarily_unavailable"])
def test_a_log_in_that_is_down_is_not_refused(code: str) -> None:
    assert isinstance(login_refusal(code, ""), SalesforceDown)


@pytest.mark.parametrize(
    ("code", "text", "remedy"),
    [
        ("invalid_client_id", "client identifier invalid", "Consumer Key"),
        ("invalid_client", "invalid client credentials", "Consumer Secret"),
        ("OAUTH_APP_ACCESS_DENIED", "", "app's policies"),
        ("access_denied", "end-user denied authorization", "said no"),
        ("LOGIN_MUST_USE_SECURITY_TOKEN", "", "security_token"),
    ],
)
def test_remedies(code: str, text: str, remedy: str) -> None:
    assert remedy in str(login_refusal(code, text))


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"deletedRecords": [{}]},
        {"deletedRecords": [], "earliestDateAvailable": "x", "latestDateCovered": "y"},
    ],
)
def test_a_strange_list_of_deletions(said: object) -> None:
    with pytest.raises(SalesforceDown):
        shapes.deleted(said)


@pytest.mark.parametrize("said", [None, [], {}, {"state": 7}])
def test_a_strange_job(said: object) -> None:
    with pytest.raises(SalesforceDown):
        shapes.job(said)


@pytest.mark.parametrize("said", [None, {}, [], [{}, {}], [7], [{"errors": ["text"]}]])
def test_strange_results(said: object) -> None:
    with pytest.raises(SalesforceDown):
        shapes.row_results(said, 1)
