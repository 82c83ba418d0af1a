"""The page of Salesforce."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from agi_server.salesforce import tokens
from agi_server.salesforce.report import STATE
from storage import salesforce_state
from storage.sync import note_unread
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.web.front import Front, open_front

LAST = {
    "ok_at": 1000,
    "kind": "login",
    "error": "<b>invalid_grant</b>",
    "since": 1100,
    "usage": [17, 1000],
    "day": "",
    "calls": 3,
    "notes": ["Lead: <i>hidden</i>"],
}


def settings_of(server: OrgServer, tmp_path: Path, flow: str = "client-credentials", **more: str) -> str:
    values = {**server.settings(flow, tmp_path), **more}
    return "[salesforce]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


async def test_how_it_stands_is_shown_as_text(front: Front) -> None:
    async def job(conn: Any) -> None:
        await salesforce_state.put(conn, STATE, LAST, 1000)

    await front.database.write(job)
    front.server.salesforce = {"records": {"Contact": {"read": 5, "inserted": 4, "updated": 1, "removed": 0}}}
    viewer = await front.client_as("viewer")
    shown = (await viewer.get("/salesforce")).text
    assert "&lt;b&gt;invalid_grant" in shown
    assert "&lt;i&gt;hidden" in shown
    assert "<b>" not in shown
    assert "<form" not in shown.split("<main")[1].split("</main>")[0]
    assert (await viewer.post("/salesforce", data={"do": "sync"})).status_code == 403


async def test_it_synchronises_at_once_where_it_is_switched_on(tmp_path: Path) -> None:
    with closing(Org()) as org, running(org) as server:
        async with open_front(tmp_path, more=settings_of(server, tmp_path)) as front:
            admin = await front.client_as("admin")
            for what in ("sync", "full", "accept_removals"):
                assert (await admin.post("/salesforce", data={"do": what})).status_code == 303
            assert front.server.syncs == [
                {"full": False, "accept_removals": False},
                {"full": True, "accept_removals": False},
                {"full": True, "accept_removals": True},
            ]
            tried = (await admin.post("/salesforce", data={"do": "test"})).text
            assert "Read everything anew" in tried
            assert 'class="notice"' in tried


async def test_it_says_so_where_it_is_switched_off(front: Front) -> None:
    admin = await front.client_as("admin")
    answer = await admin.post("/salesforce", data={"do": "sync"})
    assert answer.status_code == 422
    assert "salesforce.enabled" in answer.text
    assert front.server.syncs == []


async def test_a_code_without_an_attempt_is_none(front: Front) -> None:
    admin = await front.client_as("admin")
    answer = await admin.post("/salesforce", data={"do": "code", "code": "abc"})
    assert answer.status_code == 422
    assert "No authorisation is under way" in answer.text
    assert (await (await front.client_as("operator")).get("/salesforce/callback?code=x")).status_code == 403


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_browser_authorises_it(tmp_path: Path, by_itself: bool) -> None:
    """The person signs in at Salesforce; the browser comes back by itself, or its address is pasted."""
    redirect_url = "http://127.0.0.1:8080/salesforce/callback" if by_itself else "http://localhost:1/callback"
    with closing(Org()) as org, running(org) as server:
        more = settings_of(server, tmp_path, "web-server", redirect_url=redirect_url)
        async with open_front(tmp_path, more=more) as front:
            admin = await front.client_as("admin")
            shown = (await admin.post("/salesforce", data={"do": "authorise"})).text
            found = re.search(r'href="([^"]*/authorize\?[^"]*)"', shown)
            assert found is not None
            address = found[1].replace("&amp;", "&")
            assert parse_qs(urlsplit(address).query)["redirect_uri"] == [redirect_url]
            async with httpx.AsyncClient(trust_env=False, timeout=60) as person:
                back = (await person.get(address)).headers["Location"]
            if by_itself:
                answer = await admin.get(f"/salesforce/callback?{urlsplit(back).query}")
            else:
                answer = await admin.post("/salesforce", data={"do": "code", "code": back})
            assert answer.status_code == 303
            assert tokens.load(front.settings.storage.state_directory) is not None
            assert front.server.syncs == [{"full": False, "accept_removals": False}]
            again = await admin.post("/salesforce", data={"do": "code", "code": back})
            assert again.status_code == 422  # once


async def test_numbers_nobody_can_dial_are_listed(front: Front) -> None:
    async def job(conn: Any) -> None:
        row = ("003000000000001AAA", "Contact", "Phone", "<b>ask</b>")
        await note_unread(conn, [row[0]], [row])

    await front.database.write(job)
    shown = (await (await front.client_as("viewer")).get("/salesforce")).text
    assert "&lt;b&gt;ask" in shown
    assert "003000000000001AAA" in shown
