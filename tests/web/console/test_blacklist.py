"""Pages of the blacklist and the allow-list."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind
from agi_server.web.access import Scope
from storage.blacklist import add_rule, list_rules
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front

NUISANCE = 1  # the rule that every front has: +4930900900, exact, busy, nuisance


async def add(front: Front, pattern: str, kind: RuleKind = RuleKind.EXACT, **more: object) -> int:
    async def job(conn: AsyncConnection) -> int:
        return await add_rule(conn, Rule(id=0, kind=kind, pattern=pattern, **more), who="test", now=1)  # type: ignore[arg-type]

    return await front.database.write(job)


async def patterns(front: Front) -> list[str]:
    return [rule.pattern for rule in await front.database.read(list_rules)]


async def test_both_lists_are_shown_apart_with_search_and_kind(front: Front) -> None:
    await add(front, "+49190", RuleKind.PREFIX, reason="dear")
    await add(front, "+4915", RuleKind.PREFIX, allow=True)
    client = await front.client_as("viewer")
    blocked, allowed = await client.get("/blacklist"), await client.get("/blacklist?list=allow")
    assert "+49 30 900900" in shown(blocked)
    assert "+49190…" in shown(blocked)
    assert "+4915…" not in shown(blocked)
    assert "+4915…" in shown(allowed)
    assert "+49190…" not in shown(allowed)
    found = shown(await client.get("/blacklist", params={"text": "030 900900"}))
    assert "+49 30 900900" in found
    assert "+49190…" not in found
    assert "+49190…" in shown(await client.get("/blacklist", params={"text": "DEAR"}))
    assert "+49 30 900900" not in shown(await client.get("/blacklist?kind=prefix"))
    assert "No rule fits." in shown(await client.get("/blacklist?text=nothing"))


async def test_pages_follow_each_other(front: Front) -> None:
    for number in range(60):
        await add(front, f"+49302222{number:02}")
    client = await front.client_as("viewer")
    first = await client.get("/blacklist?text=%2B49302222")
    (way_on,) = hidden(
        first.text.replace('<a class="button" href=', '<input type="hidden" name="next" value='), "next"
    )
    second = await client.get(way_on)
    assert "+49 30 222259" in shown(first)
    assert "+49 30 222209" not in shown(first)
    assert "+49 30 222209" in shown(second)
    assert "First page" in shown(second)
    assert (await client.get("/blacklist?cursor=rubbish")).status_code == 303


async def test_a_viewer_sees_without_buttons_and_changes_nothing(front: Front) -> None:
    client = await front.client_as("viewer")
    for path in ("/blacklist", f"/blacklist/{NUISANCE}"):
        page = await client.get(path)
        assert page.status_code == 200
        assert "Save" not in shown(page)
        assert "Remove" not in shown(page)
    assert (await client.get("/blacklist/new")).status_code == 403
    assert (await client.post("/blacklist/remove", data={"rule": "1", "sure": "yes"})).status_code == 403
    assert (await client.post(f"/blacklist/{NUISANCE}", data={})).status_code == 403
    assert await patterns(front) == ["+4930900900"]


async def test_a_rule_is_added_as_it_is_stored(front: Front) -> None:
    client = await front.client_as("operator")
    typed = {
        "list": "block",
        "kind": "exact",
        "pattern": "030 555 66",
        "treatment": "redirect",
        "target": "8000",
        "reason": HOSTILE,
        "expires": "2037-12-31",
        "did": "+49 30 1",
    }
    answer = await client.post("/blacklist/new", data=typed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/blacklist")
    rule = (await front.database.read(list_rules))[-1]
    assert (rule.pattern, rule.treatment, rule.target, rule.did) == (
        "+493055566",
        "redirect",
        "8000",
        "+49 30 1",
    )
    assert rule.expires_at == 2_145_916_800  # the end of that day in UTC
    assert rule.created_by == "user:operator"
    for path in ("/blacklist", f"/blacklist/{rule.id}"):
        page = await client.get(path)
        assert is_text_only(page)
        assert "&lt;script&gt;alert(1)" in page.text


async def test_a_mistake_is_shown_at_its_field_with_what_was_typed(front: Front) -> None:
    client = await front.client_as("operator")
    good = {"list": "block", "kind": "exact", "pattern": "+4930123", "treatment": "hangup", "reason": "kept"}
    wrong = {
        "pattern": ["hello", "+49190*", ""],
        "kind": ["none"],
        "treatment": ["shout"],
        "target": ["8000"],
        "expires": ["yesterday", "2001-01-01"],
        "reason": ["x" * 1001],
    }
    for field, values in wrong.items():
        for typed in values:
            page = await client.post("/blacklist/new", data=good | {field: typed})
            assert page.status_code == 422, (field, typed)
            assert f'id="e-{field}"' in page.text, (field, typed)
            assert f'value="{typed}"' in page.text or field in {"kind", "treatment"}, (field, typed)
            assert 'value="kept"' in page.text or field == "reason"
    assert await patterns(front) == ["+4930900900"]


async def test_a_rule_that_is_there_already_is_not_overwritten(front: Front) -> None:
    client = await front.client_as("operator")
    typed = {"list": "block", "kind": "exact", "pattern": "030 900900", "treatment": "hangup"}
    page = await client.post("/blacklist/new", data=typed)
    assert page.status_code == 409
    assert f'href="/blacklist/{NUISANCE}"' in page.text
    assert (await front.database.read(list_rules))[0].treatment == "busy"


async def test_a_rule_is_changed(front: Front) -> None:
    client = await front.client_as("operator")
    page = await client.get(f"/blacklist/{NUISANCE}")
    typed = {
        "version": hidden(page, "version")[0],
        "list": "allow",
        "kind": "exact",
        "pattern": "+4930900900",
    }
    answer = await client.post(f"/blacklist/{NUISANCE}", data=typed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/blacklist?list=allow")
    (rule,) = await front.database.read(list_rules)
    assert rule.allow
    assert rule.id == NUISANCE


async def test_who_saves_second_is_shown_both(front: Front) -> None:
    client = await front.client_as("operator")
    page = await client.get(f"/blacklist/{NUISANCE}")
    typed = {
        "version": hidden(page, "version")[0],
        "list": "block",
        "kind": "exact",
        "pattern": "+4930900900",
    }
    await client.post(f"/blacklist/{NUISANCE}", data=typed | {"treatment": "busy", "reason": "theirs"})
    both = await client.post(f"/blacklist/{NUISANCE}", data=typed | {"treatment": "busy", "reason": "mine"})
    assert both.status_code == 409
    assert "theirs" in shown(both)
    assert "mine" in shown(both)
    assert [rule.reason for rule in await front.database.read(list_rules)] == ["theirs"]
    again = typed | {"treatment": "busy", "reason": "mine", "version": hidden(both, "version")[0]}
    assert (await client.post(f"/blacklist/{NUISANCE}", data=again)).status_code == 303
    assert [rule.reason for rule in await front.database.read(list_rules)] == ["mine"]


async def test_a_rule_that_has_ended_can_be_changed_without_a_new_end(front: Front) -> None:
    rule_id = await add(front, "+4930777", expires_at=1_000_000_000)
    client = await front.client_as("operator")
    page = await client.get(f"/blacklist/{rule_id}")
    typed = {"version": hidden(page, "version")[0], "kind": "exact", "pattern": "+4930777", "reason": "new"}
    typed |= {"treatment": "hangup", "expires": "2001-09-09T01:46:40"}
    assert typed["expires"] in page.text
    assert (await client.post(f"/blacklist/{rule_id}", data=typed)).status_code == 303
    rule = (await front.database.read(list_rules))[-1]
    assert (rule.reason, rule.expires_at) == ("new", 1_000_000_000)


async def test_rules_are_removed_after_a_question(front: Front) -> None:
    other = await add(front, "+4930777")
    await add(front, "+4930888")
    client = await front.client_as("operator")
    chosen = {"rule": [str(NUISANCE), str(other)], "list": "block"}
    question = await client.post("/blacklist/remove", data=chosen)
    assert question.status_code == 200
    assert "Remove these 2 rules?" in shown(question)
    assert len(await patterns(front)) == 3
    answer = await client.post("/blacklist/remove", data={"rule": hidden(question, "rule"), "sure": "yes"})
    assert answer.status_code == 303
    assert await patterns(front) == ["+4930888"]
    assert "Rules removed: 2" in shown(await client.get("/blacklist"))


async def test_nothing_chosen_removes_nothing(front: Front) -> None:
    client = await front.client_as("operator")
    for rule in ("", "x", "-1", str(2**63), "9" * 30):
        assert (await client.post("/blacklist/remove", data={"rule": rule, "sure": "yes"})).status_code == 303
    assert await patterns(front) == ["+4930900900"]


async def test_a_rule_that_is_not_there_is_not_found(front: Front) -> None:
    client = await front.client_as("admin")
    for rule_id in ("7", str(2**63), "9" * 30):
        assert (await client.get(f"/blacklist/{rule_id}")).status_code in {404, 422}


async def test_the_box_says_which_rule_decides(front: Front) -> None:
    client = await front.client_as("viewer")
    page = shown(await client.get("/blacklist", params={"number": "030 900900"}))
    assert "+49 30 900900 : blocked rule 1 (exact number), nuisance" in page
    assert "No rule decides." in shown(await client.get("/blacklist?number=+4930111"))
    assert "withheld : let in No rule decides." in shown(await client.get("/blacklist?number="))


async def test_a_file_is_taken_line_by_line(front: Front) -> None:
    client = await front.client_as("operator")
    text = (
        "Pattern;Kind;Reason\n+4930900900;exact;again\n030 777;;new\nhello;exact;no number\n+49190*;;dear\n"
    )
    page = await client.post("/blacklist/import", files={"file": ("rules.csv", text.encode("utf-16"))})
    assert page.status_code == 200
    assert "Rules added: 2. Changed: 1. There already: 0. Lines not taken: 1." in shown(page)
    assert "hello" in shown(page)
    assert await patterns(front) == ["+4930900900", "+4930777", "+49190"]


async def test_a_file_comes_back_as_it_went(front: Front) -> None:
    await add(front, "+49190", RuleKind.PREFIX, reason='a "quoted", reason', did="+49 30 1")
    client = await front.client_as("operator")
    answer = await client.get("/blacklist/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    page = await client.post("/blacklist/import", files={"file": ("rules.csv", answer.content)})
    assert "Rules added: 0. Changed: 0. There already: 2." in shown(page)


async def test_what_is_no_file_of_rules_is_refused(front: Front) -> None:
    client = await front.client_as("operator")
    for file in (None, ("", b""), ("x.csv", b""), ("x", b"PK\x03\x04")):
        files = {"file": file} if file is not None else None
        page = await client.post("/blacklist/import", files=files, data={"other": "x"})
        assert page.status_code == 422
        assert 'role="alert"' in page.text


async def test_a_file_that_is_too_large_is_refused_before_it_is_read(front: Front) -> None:
    client = await front.client_as("operator")

    async def endless() -> object:
        raise AssertionError("it was read")
        yield b""

    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": "10010001"}
    answer = await client.post("/blacklist/import", content=endless(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 413


async def test_without_the_token_of_the_session_nothing_is_changed(front: Front) -> None:
    client = await front.client_as("operator")
    del client.headers["X-CSRF-Token"]
    answer = await client.post("/blacklist/remove", data={"rule": "1", "sure": "yes"})
    assert answer.status_code == 403
    page = await client.get("/blacklist/1")
    sent = {"rule": "1", "sure": "yes", "csrf": hidden(page, "csrf")[0]}
    assert (await client.post("/blacklist/remove", data=sent)).status_code == 303


async def test_tokens_of_programs_open_no_page(front: Front) -> None:
    client = await front.client(Scope.READ, Scope.BLACKLIST)
    assert (await client.get("/blacklist")).status_code in {303, 401}
