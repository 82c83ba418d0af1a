"""Settings over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agi_server.calls.call import Call
from agi_server.calls.decide import decide
from agi_server.settings import SECTIONS
from agi_server.web.access import Scope
from tests.web.front import Front, open_front

ADDRESS = "/api/v1/settings"
RING = f"{ADDRESS}/routing.ring_seconds"


async def test_every_setting_is_listed(front: Front) -> None:
    client = await front.client(Scope.READ)
    found, cursor = [], ""
    while True:
        page = (await client.get(ADDRESS, params={"limit": 40, "cursor": cursor})).json()
        found += page["items"]
        if (cursor := page["next"]) is None:
            break
    assert [each["key"] for each in found] == [
        f"{section}.{key}" for section in SECTIONS for key in SECTIONS[section]
    ]
    by_key = {each["key"]: each for each in found}
    assert by_key["routing.ring_seconds"] == {
        "key": "routing.ring_seconds",
        "value": 20,
        "file": 20,
        "default": 20,
        "unit": "s",
        "help": "How long the agent's phone rings.",
        "secret": False,
        "may_change": True,
        "changed_at": None,
        "changed_by": None,
    }
    region, listen = by_key["numbers.region"], by_key["http.listen"]
    assert (region["value"], region["file"], region["default"]) == ("DE", "DE", "US")
    assert (listen["may_change"], listen["value"]) == (False, "127.0.0.1:8080")
    assert by_key["reminders.missed_calls"]["may_change"]


async def test_no_secret_is_shown(tmp_path: Path) -> None:
    secrets = (
        '[salesforce]\nclient_secret = "hush-1"\npassword = "hush-2"\nsecurity_token = "hush-3"\n'
        '[ami]\nsecret = "hush-4"\n[mqtt]\nurl = "mqtt://ana:hush-5@localhost"\n'
    )
    async with open_front(tmp_path, more=secrets) as front:
        client = await front.client(Scope.READ, Scope.ADMIN)
        listed = await client.get(ADDRESS, params={"limit": 200})
        hidden = [each for each in listed.json()["items"] if each["secret"]]
        assert {each["key"] for each in hidden} >= {
            "salesforce.client_secret", "salesforce.password", "salesforce.security_token", "ami.secret", "mqtt.url"
        }  # fmt: skip
        for each in hidden:
            assert (each["value"], each["file"], each["default"], each["may_change"]) == (
                None,
                None,
                None,
                False,
            )
            answer = await client.get(f"{ADDRESS}/{each['key']}")
            assert answer.json() == each
        assert "hush" not in listed.text
        assert "*" not in str(hidden)  # nor how long it is
        refused = await client.put(f"{ADDRESS}/ami.secret", json={"value": "hush-6"})
        assert refused.status_code == 409
        assert "hush" not in refused.text


async def test_a_setting_is_changed_and_given_back(front: Front) -> None:
    client = await front.client(Scope.READ, Scope.ADMIN)
    call = Call(id="1", number="+493023125010")
    assert decide(call, front.services.directory, front.clock()).ring_seconds == 20
    tag = (await client.get(RING)).headers["ETag"]
    changed = await client.put(RING, json={"value": 33}, headers={"If-Match": tag})
    assert changed.status_code == 200, changed.text
    setting = changed.json()
    assert (setting["value"], setting["file"]) == (33, 20)
    assert setting["changed_by"].startswith("token:")
    assert setting["changed_at"].endswith("Z")
    assert decide(call, front.services.directory, front.clock()).ring_seconds == 33  # at the next call
    assert (await client.put(RING, json={"value": 34}, headers={"If-Match": tag})).status_code == 412
    assert (await client.delete(RING, headers={"If-Match": tag})).status_code == 412
    back = await client.delete(RING, headers={"If-Match": changed.headers["ETag"]})
    assert (back.status_code, back.json()["value"], back.json()["changed_by"]) == (200, 20, None)
    assert (await client.delete(RING)).status_code == 404
    assert decide(call, front.services.directory, front.clock()).ring_seconds == 20
    rows = await front.rows("SELECT what FROM audit WHERE what LIKE 'settings.%' ORDER BY id")
    assert [row.what for row in rows] == ["settings.put", "settings.remove"]


@pytest.mark.parametrize(
    ("key", "body", "status", "told"),
    [
        ("routing.ring_seconds", {"value": 0}, 422, "greater than or equal to 1"),
        ("routing.ring_seconds", {}, 422, "value"),
        ("routing.ring_seconds", {"value": 5, "more": 1}, 422, "more"),
        ("routing.ring_second", {"value": 5}, 404, "did you mean routing.ring_seconds?"),
        ("storage.url", {"value": "x"}, 409, "settings file"),
        ("Routing", {"value": 5}, 422, "key"),
    ],
)
async def test_what_cannot_be_is_refused(
    front: Front, key: str, body: dict[str, Any], status: int, told: str
) -> None:
    client = await front.client(Scope.ADMIN)
    answer = await client.put(f"{ADDRESS}/{key}", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert told in answer.json()["detail"]
    assert await front.rows("SELECT 1 FROM settings") == []


async def test_who_only_reads_changes_nothing(front: Front) -> None:
    client = await front.client(Scope.READ)
    assert (await client.put(RING, json={"value": 5})).status_code == 403
    assert (await client.delete(RING)).status_code == 403
    assert (await client.get(f"{ADDRESS}/no.such")).status_code == 404
