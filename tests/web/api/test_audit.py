"""The audit log over HTTP."""

from __future__ import annotations

import pytest

from agi_server.web.access import Scope
from storage.audit import note
from tests.web.front import Front

ADDRESS = "/api/v1/audit"


@pytest.fixture
async def noted(front: Front) -> Front:
    """Return a front with three changes of ana's, the last at 2026-09-21T14:13:22Z."""
    for number in range(3):
        await front.database.write(
            lambda conn, number=number: note(  # type: ignore[misc]
                conn, who="user:ana", what="agents.put", before=None, after={"name": f"<{number}>"},
                now=1_790_000_000 + number,
            )
        )  # fmt: skip
    return front


async def test_changes_are_listed_in_pages(noted: Front) -> None:
    client = await noted.client(Scope.ADMIN)
    first = (await client.get(ADDRESS, params={"who": "user:ana", "limit": 2})).json()
    newest = first["items"][0]
    assert newest.pop("id") > 0
    assert newest == {
        "at": "2026-09-21T14:13:22Z",
        "who": "user:ana",
        "what": "agents.put",
        "before": None,
        "after": {"name": "<2>"},
    }
    rest = (await client.get(ADDRESS, params={"who": "user:ana", "cursor": first["next"]})).json()
    assert ([each["after"] for each in rest["items"]], rest["next"]) == ([{"name": "<0>"}], None)


async def test_filters(noted: Front) -> None:
    client = await noted.client(Scope.ADMIN)
    within = {"since": "2026-09-21T14:13:21Z", "until": "2026-09-21T14:13:22Z", "what": "agents"}
    found = (await client.get(ADDRESS, params=within)).json()["items"]
    assert [each["after"] for each in found] == [{"name": "<1>"}]
    for wrong in ({"since": "yesterday"}, {"until": "1"}, {"cursor": "x"}, {"since": "2026-09-21T14:13:21"}):
        assert (await client.get(ADDRESS, params=wrong)).status_code == 422


async def test_it_is_for_admins(front: Front) -> None:
    client = await front.client(*(set(Scope) - {Scope.ADMIN}))
    assert (await client.get(ADDRESS)).status_code == 403
