"""Try before you trust."""

from __future__ import annotations

from typing import Any

import pytest

from agi_server.web.access import Scope
from agi_server.web.api import trials
from storage.calls import record_calls
from tests.web.front import Front

TRY, REPLAY = "/api/v1/trials", "/api/v1/trials/replay"
ANA, SPAM, NOBODY = "+493023125010", "+4930900900", "+33140000000"


async def journal(front: Front, *numbers: str, ago: int = 3600, **more: object) -> None:
    rows = [
        {
            "id": f"{number} {ago} {more}",
            "started_at": int(front.clock()) - ago,
            "number_text": number,
            "did": "100",
            **more,
        }
        for number in numbers
    ]
    await front.database.write(lambda conn: record_calls(conn, rows))


async def tried(front: Front, **body: Any) -> dict[str, Any]:
    client = await front.client(Scope.READ)
    answer = await client.post(TRY, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def replayed(front: Front, **body: Any) -> dict[str, Any]:
    client = await front.client(Scope.READ)
    answer = await client.post(REPLAY, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_a_call_as_it_would_be_now(front: Front) -> None:
    decision = await tried(front, number="030 23125010", did="100")
    assert (decision["number"], decision["contact"]["name"], decision["route"]) == (ANA, "Ana Muñoz", "101")
    assert [step["stage"] for step in decision["trace"]] == ["number", "match", "screen", "name", "route"]
    assert (await tried(front, number=ANA, presentation=32))["number_state"] == "anonymous"
    assert front.server.decisions == []
    assert await front.rows("SELECT 1 FROM calls") == []


async def test_a_call_by_edited_rules_and_settings(front: Front) -> None:
    (rule,) = await front.rows("SELECT id FROM blacklist")
    assert (await tried(front, number=SPAM))["verdict"] == "block"
    assert (await tried(front, number=SPAM, rules={"remove": [rule.id]}))["verdict"] == "allow"
    added = {"add": [{"kind": "country", "pattern": "fr", "treatment": "voicemail"}]}
    decision = await tried(front, number=NOBODY, rules=added)
    assert (decision["verdict"], decision["treatment"], decision["reason"]) == (
        "block",
        "voicemail",
        "blacklist-country",
    )
    assert decision["rule"]["id"] == rule.id + 1
    decision = await tried(
        front, number=ANA, settings={"routing.ring_seconds": 44, "naming.template": "{last}"}
    )
    assert (decision["ring_seconds"], decision["display_name"]) == (44, "Muñoz")
    assert (await tried(front, number=ANA, settings={"routing.enabled": False}))["route"] == ""
    assert (await tried(front, number=ANA))["ring_seconds"] == 20
    assert await front.rows("SELECT 1 FROM settings") == []


async def test_what_is_tried_wins_over_what_was_changed(front: Front) -> None:
    client = await front.client(Scope.ADMIN)
    for key, value in (("ring_seconds", 33), ("default_agent", "200")):
        await client.put(f"/api/v1/settings/routing.{key}", json={"value": value})
    decision = await tried(front, number=NOBODY, settings={"routing.ring_seconds": 44})
    assert (decision["ring_seconds"], decision["route"]) == (44, "200")


async def test_the_last_day_by_other_rules(front: Front) -> None:
    await journal(front, ANA, SPAM, NOBODY)
    await journal(front, NOBODY, direction="outbound")
    await journal(front, NOBODY, ago=90_000)
    (rule,) = await front.rows("SELECT id FROM blacklist")
    edit = {"add": [{"kind": "prefix", "pattern": "+33", "did": "100"}], "remove": [rule.id]}
    done = await replayed(front, rules=edit)
    items = {each["number"]: each for each in done.pop("items")}
    assert set(items) == {SPAM, NOBODY}
    blocked = items[NOBODY]
    assert (blocked["was"]["verdict"], blocked["would_be"]["verdict"]) == ("allow", "block")
    assert blocked["what"] == ["verdict", "treatment"]
    assert [step["detail"] for step in blocked["was"]["why"] if step["stage"] == "screen"] == [
        "no rule meets the caller"
    ]
    assert any(f"block rule {rule.id + 1} (prefix)" in step["detail"] for step in blocked["would_be"]["why"])
    assert done.pop("since").endswith("Z")
    assert "the edit" in done.pop("compared")
    assert done == {
        "calls": 3,
        "complete": True,
        "otherwise": 2,
        "newly_blocked": 1,
        "no_longer_blocked": 1,
    }
    assert (await replayed(front, rules=edit, since="2020-01-01T00:00:00Z"))["calls"] == 4
    assert (await replayed(front))["otherwise"] == 0


async def test_the_last_day_by_other_settings(front: Front) -> None:
    await journal(front, ANA, SPAM, NOBODY)
    done = await replayed(front, settings={"routing.default_agent": "200"})
    (item,) = done["items"]
    assert (item["number"], item["was"]["route"], item["would_be"]["route"]) == (NOBODY, "", "200")


async def test_so_many_calls_at_most_are_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "SHOWN", 2)
    await journal(front, "+33140000001", "+33140000002", "+33140000003")
    done = await replayed(front, rules={"add": [{"kind": "country", "pattern": "+33"}]})
    assert (done["otherwise"], len(done["items"])) == (3, 2)


async def test_so_many_calls_at_most_are_replayed(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agi_server.trials.MOST_CALLS", 2)
    monkeypatch.setattr(trials, "MOST_CALLS", 2)
    for ago in (30, 20, 10):
        await journal(front, f"+331400000{ago}", ago=ago)
    done = await replayed(front, rules={"add": [{"kind": "country", "pattern": "+33"}]})
    assert ([each["number"][-2:] for each in done["items"]], done["complete"]) == (["10", "20"], False)


@pytest.mark.parametrize(
    ("edit", "status", "told"),
    [
        ({"rules": {"add": [{"kind": "regex", "pattern": "("}]}}, 422, "RE2"),
        ({"rules": {"add": [{"pattern": "x"}]}}, 422, "is not a telephone number"),
        ({"rules": {"remove": ["x"]}}, 422, "remove"),
        ({"rules": {"change": []}}, 422, "change"),
        ({"settings": {"routing.ring_seconds": 0}}, 422, "greater than or equal to 1"),
        ({"settings": {"http.listen": ":80"}}, 409, "settings file"),
        ({"settings": {"routing.nonsense": 1}}, 404, "no setting"),
        ({"settings": []}, 422, "settings"),
    ],
)
async def test_what_cannot_be_tried(front: Front, edit: dict[str, Any], status: int, told: str) -> None:
    client = await front.client(Scope.READ)
    for address, body in ((TRY, {"number": ANA} | edit), (REPLAY, edit)):
        answer = await client.post(address, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert told in answer.json()["detail"]


async def test_it_needs_the_right_to_read(front: Front) -> None:
    client = await front.client(Scope.DECIDE)
    assert (await client.post(TRY, json={"number": ANA})).status_code == 403
    assert (await client.post(REPLAY, json={})).status_code == 403
