import pytest
from starlette.exceptions import HTTPException

from agi_server.web.etags import etag, require

TAG = etag({"a": 1})


def test_a_tag_is_strong_and_changes_with_the_document() -> None:
    assert TAG.startswith('"')
    assert TAG.endswith('"')
    assert etag({"a": 1}) == TAG
    assert len({TAG, etag({"a": 2}), etag({"b": 1}), etag([1]), etag("1"), etag(1)}) == 6


def test_the_order_of_members_is_no_change() -> None:
    assert etag({"a": 1, "b": 2}) == etag({"b": 2, "a": 1})


@pytest.mark.parametrize("header", [None, "*", " * ", TAG, f'"other", {TAG}', f'W/"x" , {TAG}'])
def test_the_version_that_was_seen_may_be_changed(header: str | None) -> None:
    require(header, TAG)


@pytest.mark.parametrize("header", ["", '"other"', f"W/{TAG}", TAG.strip('"'), '"', TAG[:-2] + '"', "**"])
def test_any_other_is_refused(header: str) -> None:
    with pytest.raises(HTTPException) as refused:
        require(header, TAG)
    assert refused.value.status_code == 412
