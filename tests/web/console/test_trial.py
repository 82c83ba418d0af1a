"""Try before you trust."""

from __future__ import annotations

import json
from typing import Any

from agi_server.calls.directory import RuleKind
from storage.blacklist import RuleRow, list_rules
from storage.schema import calls
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front

NUISANCE = "+4930900900"  # rule 1
CALLER = {"number": NUISANCE, "called": "", "name": ""}
PREFIX = {"list": "block", "kind": "prefix", "pattern": "+4989", "treatment": "busy", "reason": "Munich"}


async def add_call(front: Front, number: str, **values: Any) -> None:
    row = {
        "id": f"c{number}",
        "started_at": int(front.clock()) - 60,
        "number_text": number,
        "number": int(number),
    }
    await front.database.write(lambda conn: conn.execute(calls.insert().values(row | values)))


async def rules(front: Front) -> list[RuleRow]:
    return await front.database.read(list_rules)


async def test_a_caller_is_decided_as_things_are_and_nothing_is_recorded(front: Front) -> None:
    client = await front.client_as("viewer")
    before = [tuple(row) for row in await front.rows("SELECT count(*) FROM audit")]
    page = await client.post("/trial", data=CALLER | {"do": "try"})
    assert "blocked" in shown(page)
    assert "nuisance" in page.text or "block rule 1" in page.text
    page = await client.get("/trial", params={"number": "030 23125010", "name": HOSTILE})
    assert "Ana Muñoz" in shown(page)
    assert is_text_only(page)
    assert "Ana's agent (101)" in shown(page)
    assert front.server.decisions == []
    assert [tuple(row) for row in await front.rows("SELECT count(*) FROM audit")] == before
    assert (await front.rows("SELECT count(*) FROM calls"))[0][0] == 0
    assert (await rules(front))[0].hits == 0


async def test_a_rule_is_tried_before_it_is_saved(front: Front) -> None:
    client = await front.client_as("operator")
    caller = {"number": "+49 89 1234567", "tried": "yes"}
    page = await client.post("/trial", data=caller | PREFIX | {"do": "add"})
    assert "As things are let in" in shown(page)
    assert "With your changes blocked" in shown(page)
    (edit,) = hidden(page.text.split("Replay")[0].rsplit("<form", 1)[1], "edit")
    assert [rule.pattern for rule in await rules(front)] == [NUISANCE]
    saved = await client.post("/trial/save", data={"edit": edit})
    assert (saved.status_code, saved.headers["location"]) == (303, "/blacklist")
    new = (await rules(front))[-1]
    assert (new.kind, new.pattern, new.reason) == (RuleKind.PREFIX, "+4989", "Munich")
    assert new.created_by == "user:operator"


async def test_a_rule_is_left_out_and_the_last_day_is_replayed(front: Front) -> None:
    await add_call(front, NUISANCE[1:], number_text=NUISANCE)
    await add_call(front, "49891234567", number_text="+49891234567", name=HOSTILE)
    await add_call(front, "4940777", number_text="+4940777")
    await add_call(front, "4989777", number_text="+4989777", started_at=int(front.clock()) - 100_000)
    client = await front.client_as("viewer")
    page = await client.post("/trial", data=CALLER | {"tried": "yes", "do": "without", "rule": "1"})
    assert "Rule 1 goes" in shown(page)
    assert "With your changes let in" in shown(page)
    edits = [hidden(page, "edit")[0], json.dumps(PREFIX)]
    page = await client.post("/trial", data={"edit": edits, "do": "replay"})
    assert is_text_only(page)
    text = shown(page)
    assert "Calls looked at: 3. Decided otherwise: 2." in text
    assert "newly blocked: 1" in text
    assert "newly let in: 1" in text
    assert "+49 30 900900" in text
    assert "+49 40 777" not in text
    assert len(await rules(front)) == 1


async def test_a_replay_that_changes_nothing_says_so(front: Front) -> None:
    client = await front.client_as("viewer")
    sent = {"edit": json.dumps(PREFIX), "do": "replay"}
    assert "Nobody called in the last 24 hours." in shown(await client.post("/trial", data=sent))
    await add_call(front, "4940777", number_text="+4940777")
    assert "The one call would have been decided as it was." in shown(await client.post("/trial", data=sent))


async def test_changes_are_taken_back(front: Front) -> None:
    client = await front.client_as("viewer")
    sent = {"edit": [json.dumps(PREFIX), json.dumps({"rule": "1", "remove": "yes"})], "drop": "0"}
    page = await client.post("/trial", data=sent)
    assert {*hidden(page, "edit")} == {sent["edit"][1]}


async def test_a_change_from_the_rules_page_is_tried_and_saved(front: Front) -> None:
    client = await front.client_as("operator")
    version = hidden(await client.get("/blacklist/1"), "version")[0]
    typed = {
        "rule": "1",
        "version": version,
        "list": "allow",
        "kind": "exact",
        "pattern": NUISANCE,
        "do": "change",
    }
    page = await client.post("/trial", data=typed)
    assert "Rule 1 changes" in shown(page)
    edit = hidden(page, "edit")[0]
    assert (await client.post("/trial/save", data={"edit": edit})).status_code == 303
    (rule,) = await rules(front)
    assert (rule.id, rule.allow) == (1, True)
    # The version that was seen is no longer the one that is stored.
    again = await client.post("/trial/save", data={"edit": edit})
    assert again.status_code == 422
    assert "somebody else has changed rule 1" in shown(again)


async def test_mistakes_are_shown_at_their_fields(front: Front) -> None:
    client = await front.client_as("viewer")
    for field, value in (("pattern", "hello"), ("expires", "soon"), ("target", "8000")):
        page = await client.post("/trial", data=PREFIX | {"do": "add", field: value})
        assert page.status_code == 422
        assert f'id="e-{field}"' in page.text
        assert hidden(page, "edit") == []
    for rule in ("", "x", "99", "9" * 30):
        page = await client.post("/trial", data={"do": "without", "rule": rule})
        assert page.status_code == 422
        assert 'id="e-rule"' in page.text


async def test_what_nobody_has_typed_is_left_out(front: Front) -> None:
    client = await front.client_as("operator")
    nonsense = [
        "",
        "x",
        "[]",
        "{}",
        '{"rule": 1}',
        '{"remove": "yes"}',
        '{"rule": "99", "remove": "yes"}',
        "[" * 5000,
    ]
    page = await client.post("/trial", data={"edit": nonsense, "do": "replay"})
    assert page.status_code == 200
    assert hidden(page, "edit") == []
    assert (await client.post("/trial/save", data={"edit": nonsense})).status_code == 303
    assert len(await rules(front)) == 1


async def test_a_rule_that_is_there_already_is_not_saved_again(front: Front) -> None:
    client = await front.client_as("operator")
    there = json.dumps({"list": "block", "kind": "exact", "pattern": NUISANCE, "treatment": "hangup"})
    page = await client.post("/trial/save", data={"edit": [json.dumps(PREFIX), there]})
    assert page.status_code == 422
    assert "rule 1 says so already" in shown(page)
    assert len(await rules(front)) == 1  # all or nothing


async def test_viewers_try_but_do_not_save(front: Front) -> None:
    client = await front.client_as("viewer")
    page = await client.post("/trial", data=PREFIX | {"do": "add"})
    assert "Save these changes" not in page.text
    assert (await client.post("/trial/save", data={"edit": json.dumps(PREFIX)})).status_code == 403
    assert len(await rules(front)) == 1
