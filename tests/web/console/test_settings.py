"""Pages of settings."""

from __future__ import annotations

import pytest

from tests.web.front import Front


async def overrides(front: Front) -> dict[str, object]:
    return {row[0]: row[1] for row in await front.rows("SELECT key, value FROM settings")}


async def test_every_setting_is_shown_and_no_secret(front: Front) -> None:
    shown = (await (await front.client_as("admin")).get("/settings")).text
    for key in ("fastagi.listen", "naming.template", "salesforce.client_secret", "http.session_hours"):
        assert key in shown
    assert 'href="/settings/naming.template"' in shown
    assert 'href="/settings/fastagi.listen"' not in shown


async def test_features_are_switched(front: Front) -> None:
    admin = await front.client_as("admin")
    form = {"naming.enabled": "on", "screening.enabled": "on", "contacts.create": "on"}
    assert (await admin.post("/settings", data=form)).status_code == 303
    assert await overrides(front) == {
        "routing.enabled": "false",
        "contacts.create": "true",
        "reminders.missed_calls": "false",
    }
    policy = front.services.directory.policy()
    assert policy.default.create_contacts
    assert not policy.default.routing
    changes = await front.rows("SELECT count(*) FROM audit WHERE what = 'settings.put'")
    assert changes[0][0] == 3  # what was as wanted is left alone


@pytest.mark.parametrize(
    ("key", "typed", "stored"),
    [
        ("naming.template", "{name}[ ({account})]", '"{name}[ ({account})]"'),
        ("naming.precedence", "trunk", '"trunk"'),
        ("routing.ring_seconds", "33", 33),
        ("screening.known_contacts_bypass", "false", "false"),
        ("routing.holidays", '["12-25"]', '["12-25"]'),
    ],
)
async def test_a_setting_is_changed_and_put_back(front: Front, key: str, typed: str, stored: object) -> None:
    admin = await front.client_as("admin")
    assert key in (await admin.get(f"/settings/{key}")).text
    assert (await admin.post(f"/settings/{key}", data={"value": typed})).status_code == 303
    assert await overrides(front) == {key: stored}
    assert "Back to what the file says" in (await admin.get(f"/settings/{key}")).text
    assert (await admin.post(f"/settings/{key}", data={"do": "back"})).status_code == 303
    assert await overrides(front) == {}


@pytest.mark.parametrize(
    ("key", "typed", "told"),
    [
        ("naming.template", "{nobody}", "unknown field"),
        ("routing.ring_seconds", "soon", "should be a number"),
        ("routing.ring_seconds", "-1", "routing.ring_seconds"),
        ("routing.holidays", "12-25", "should be JSON"),
        ("naming.precedence", "<b>", "naming.precedence"),
    ],
)
async def test_a_mistake_is_told_at_the_field(front: Front, key: str, typed: str, told: str) -> None:
    answer = await (await front.client_as("admin")).post(f"/settings/{key}", data={"value": typed})
    assert answer.status_code == 422
    assert told in answer.text
    assert "<b>" not in answer.text
    assert await overrides(front) == {}


async def test_what_the_file_says_only_is_not_changed_here(front: Front) -> None:
    admin = await front.client_as("admin")
    assert "settings file only" in (await admin.get("/settings/fastagi.listen")).text
    assert (await admin.post("/settings/fastagi.listen", data={"value": ":1"})).status_code == 409
    assert (await admin.get("/settings/no.such")).status_code == 404
    assert (await (await front.client_as("operator")).get("/settings")).status_code == 403
