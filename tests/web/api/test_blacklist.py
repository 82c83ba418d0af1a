import csv
import io
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError
from agi_server.web.access import Scope
from agi_server.web.api import blacklist
from storage.blacklist import add_rules
from storage.calls import record_calls
from tests.web.front import Front

EXPIRES = "2030-01-01T01:00:00+01:00"
TEXT = st.characters(exclude_categories=["Cs"])
ODD = "\u202e<script>\"'&\U0001f600"


@pytest.fixture
async def client(front: Front) -> httpx.AsyncClient:
    opened = await front.client(Scope.READ, Scope.BLACKLIST)
    opened.base_url = httpx.URL("http://127.0.0.1:8080/api/v1")
    return opened


async def add(client: httpx.AsyncClient, pattern: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/blacklist", json={"pattern": pattern, **more})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def patterns(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [item["pattern"] for item in (await client.get("/blacklist", params=query)).json()["items"]]


async def audited(front: Front) -> list[Any]:
    return list(
        await front.rows("SELECT who, what, before, after FROM audit WHERE who LIKE 'token:%' ORDER BY id")
    )


async def test_a_rule_is_added_changed_and_removed(client: httpx.AsyncClient, front: Front) -> None:
    answer = await client.post(
        "/blacklist", json={"pattern": "030 111222", "reason": ODD, "expires_at": "2030-01-01T01:00:00+01:00"}
    )
    rule = answer.json()
    assert (rule["pattern"], rule["reason"], rule["treatment"], rule["hits"]) == (
        "+4930111222",
        ODD,
        "hangup",
        0,
    )
    assert rule["expires_at"] == "2030-01-01T00:00:00Z"
    assert answer.headers["location"] == f"/api/v1/blacklist/{rule['id']}"
    shown = await client.get(f"/blacklist/{rule['id']}")
    assert shown.json() == rule
    assert shown.headers["etag"] == answer.headers["etag"]

    put = await client.put(
        f"/blacklist/{rule['id']}", json={"kind": "prefix", "pattern": "0190", "allow": True}
    )
    assert put.status_code == 200
    assert put.json() | {"created_at": 0} == rule | {
        "kind": "prefix", "pattern": "+49190", "allow": True, "reason": "", "expires_at": None, "created_at": 0,
    }  # fmt: skip
    assert put.headers["etag"] != answer.headers["etag"]

    assert (await client.delete(f"/blacklist/{rule['id']}")).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await client.request(method, f"/blacklist/{rule['id']}")).status_code == 404
    assert (await client.put(f"/blacklist/{rule['id']}", json={"pattern": "+4930111222"})).status_code == 404
    assert [(row.what, row.before == "null", row.after == "null") for row in await audited(front)] == [
        ("blacklist.add", True, False),
        ("blacklist.change", False, False),
        ("blacklist.remove", False, True),
    ]


async def test_nobody_undoes_what_he_did_not_see(client: httpx.AsyncClient) -> None:
    rule = await add(client, "+4930111222")
    seen = {"If-Match": (await client.get(f"/blacklist/{rule['id']}")).headers["etag"]}
    changed = await client.put(
        f"/blacklist/{rule['id']}", json={"pattern": "+4930111222", "reason": "x"}, headers=seen
    )
    assert changed.status_code == 200
    assert (
        await client.put(f"/blacklist/{rule['id']}", json={"pattern": "+4930"}, headers=seen)
    ).status_code == 412
    assert (await client.delete(f"/blacklist/{rule['id']}", headers=seen)).status_code == 412
    assert (await client.get(f"/blacklist/{rule['id']}")).json()["reason"] == "x"
    now = {"If-Match": changed.headers["etag"]}
    assert (await client.delete(f"/blacklist/{rule['id']}", headers=now)).status_code == 204


async def test_a_call_that_counts_is_no_change(client: httpx.AsyncClient, front: Front) -> None:
    rule = await add(client, "+4930111222")
    tag = (await client.get(f"/blacklist/{rule['id']}")).headers["etag"]

    async def hit(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("UPDATE blacklist SET hits = 5, last_hit_at = 1800000000")

    await front.database.write(hit)
    shown = await client.get(f"/blacklist/{rule['id']}")
    assert (shown.json()["hits"], shown.json()["last_hit_at"]) == (5, "2027-01-15T08:00:00Z")
    assert shown.headers["etag"] == tag


async def test_one_rule_for_one_thing(client: httpx.AsyncClient) -> None:
    rule = await add(client, "+4930111222")
    assert (await client.post("/blacklist", json={"pattern": "0049 30 111222"})).status_code == 409
    other = await add(client, "+4930111222", did="100")
    assert (await client.put(f"/blacklist/{other['id']}", json={"pattern": "+4930111222"})).status_code == 409
    assert (
        await client.put(f"/blacklist/{rule['id']}", json={"pattern": "+4930111222", "reason": "y"})
    ).status_code == 200


async def test_a_rule_sent_twice_with_its_key_is_one(client: httpx.AsyncClient) -> None:
    first, again = [
        await client.post("/blacklist", json={"pattern": "+4930111222"}, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert (again.status_code, again.json(), again.headers["etag"]) == (
        201,
        first.json(),
        first.headers["etag"],
    )
    assert "idempotency-replayed" in again.headers


async def test_what_is_no_rule_is_refused(client: httpx.AsyncClient, front: Front) -> None:
    for document in (
        {},
        {"pattern": ""},
        {"pattern": "nobody"},
        {"pattern": "(", "kind": "regex"},
        {"pattern": "XX", "kind": "country"},
        {"pattern": "+4930111222", "kind": "any"},
        {"pattern": "+4930111222", "treatment": "redirect"},
        {"pattern": "+4930111222", "treatment": "redirect", "target": "8000,1"},
        {"pattern": "+4930111222", "treatment": "busy", "target": "1"},
        {"pattern": "+4930111222", "allow": True, "target": "$(x)"},
        {"pattern": "+4930111222", "allow": "yes"},
        {"pattern": "+4930111222", "allow": 1},
        {"pattern": "+4930111222", "reason": "a\nb"},
        {"pattern": "+4930111222", "reason": "a\x00b"},
        {"pattern": "+4930111222", "reason": "\u2028"},
        {"pattern": "+4930111222", "reason": None},
        {"pattern": "+4930111222", "expires_at": 1800000000},
        {"pattern": "+4930111222", "expires_at": "1800000000"},
        {"pattern": "+4930111222", "expires_at": "2030-01-01"},
        {"pattern": "+4930111222", "expires_at": "2030-01-01T00:00:00"},
        {"pattern": "+4930111222", "expires_at": "1969-01-01T00:00:00Z"},
        {"pattern": "+4930111222", "expires_at": "9999-12-31T23:59:59-23:59"},
        {"pattern": "+4930111222", "hits": 1},
        {"pattern": "1" * 20},
        ["+4930111222"],
        None,
    ):
        answer = await client.post("/blacklist", json=document)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert await audited(front) == []
        bulk = await client.post("/blacklist/bulk", json=[{"pattern": "+4930111222"}, document])
        assert bulk.status_code == 422
        assert bulk.json()["errors"][0]["where"].startswith("body.1")
        assert await audited(front) == []


async def test_what_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    for path in (
        "/blacklist",
        "/blacklist/bulk",
        "/blacklist/test",
        "/blacklist/last",
    ):
        for content in (
            b"",
            b"{",
            b'{"pattern": "\\ud800"}',
            b'{"\\ud800": 1}',
            b"\xff",
            b"[" * 5000,
        ):
            answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code in {400, 422}, answer.text


async def test_what_is_no_id_is_refused(client: httpx.AsyncClient) -> None:
    for method in (
        "GET",
        "PUT",
        "DELETE",
    ):
        for rule_id in (
            "0",
            "-1",
            "x",
            "9223372036854775808",
            "1.5",
            "%00",
            "1e3",
            "٣",
        ):
            answer = await client.request(method, f"/blacklist/{rule_id}", json={"pattern": "+4930111222"})
            assert answer.status_code in {404, 422}


async def test_the_list_comes_in_pages_the_newest_first(client: httpx.AsyncClient) -> None:
    added = [(await add(client, f"+49301112{index:02}"))["id"] for index in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        page = (await client.get("/blacklist", params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert found[:5] == added[::-1]
    assert found == sorted(set(found), reverse=True)
    assert len(found) == 6  # with the one of the house


async def test_what_is_no_cursor_is_refused(client: httpx.AsyncClient) -> None:
    for cursor in (
        "x",
        "-1",
        "1" * 40,
        "1.0",
        "٣",
        "\x00",
    ):
        assert (await client.get("/blacklist", params={"cursor": cursor})).status_code == 422


async def test_the_list_is_searched(client: httpx.AsyncClient) -> None:
    await add(client, "+4930111222", reason="100% nuisance_")
    await add(client, "+49190", kind="prefix", did="030 555")
    await add(client, "RU", kind="country", allow=True)
    assert await patterns(client, q="nuis") == ["+4930111222", "+4930900900"]
    assert await patterns(client, q="0%") == ["+4930111222"]
    assert await patterns(client, q="_") == ["+4930111222"]
    assert await patterns(client, q="030 111222") == ["+4930111222"]
    assert await patterns(client, q="030 555") == ["+49190"]
    assert await patterns(client, q="190") == ["+49190"]
    assert await patterns(client, q="nobody's") == []
    assert await patterns(client, kind="country") == ["RU"]
    assert await patterns(client, allow="true") == ["RU"]
    assert await patterns(client, allow="false", kind="prefix") == ["+49190"]
    for query in ({"allow": "1"}, {"kind": "all"}, {"q": "x" * 201}):
        assert (await client.get("/blacklist", params=query)).status_code == 422


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(TEXT, max_size=30))
async def test_any_text_can_be_searched_for(client: httpx.AsyncClient, text: str) -> None:
    assert (await client.get("/blacklist", params={"q": text})).status_code == 200


# --- many at once


async def test_many_rules_are_added_changed_or_left(client: httpx.AsyncClient, front: Front) -> None:
    await add(client, "+4930111000", reason="old")
    await add(client, "+4930111001", reason="same")
    many = [
        {"pattern": "030 111000", "reason": "new"},
        {"pattern": "030 111001", "reason": "same"},
        {"pattern": "+49190", "kind": "prefix", "allow": True},
        {"kind": "anonymous", "treatment": "voicemail", "target": "201"},
    ]
    answer = await client.post("/blacklist/bulk", json=many)
    assert (answer.status_code, answer.json()) == (200, {"added": 2, "changed": 1, "same": 1})
    assert (await client.post("/blacklist/bulk", json=many)).json() == {"added": 0, "changed": 0, "same": 4}
    rows = await front.rows("SELECT pattern, reason, allow, created_by FROM blacklist ORDER BY id")
    assert [row[:3] for row in rows[1:]] == [
        ("+4930111000", "new", 0), ("+4930111001", "same", 0), ("+49190", "", 1), ("", "", 0),
    ]  # fmt: skip
    assert {row.created_by for row in rows[1:]} == {"token:token 0"}
    assert len(await audited(front)) == 2 + 3


async def test_a_list_of_thousands_is_stored_and_can_be_traced(
    client: httpx.AsyncClient, front: Front
) -> None:
    many = [{"pattern": f"+49301{index:05}"} for index in range(1201)]
    assert (await client.post("/blacklist/bulk", json=many)).json() == {
        "added": 1201,
        "changed": 0,
        "same": 0,
    }
    (count,) = (await front.rows("SELECT count(*) FROM blacklist"))[0]
    assert count == 1202
    told = " ".join(row.after for row in await audited(front))
    assert all(each["pattern"] in told for each in many)
    assert len(await audited(front)) < 30


async def test_none_is_stored_where_one_has_a_mistake(client: httpx.AsyncClient) -> None:
    many: list[dict[str, Any]] = [{"pattern": f"+49301{index:05}"} for index in range(700)]
    many[3]["pattern"] = "nobody"
    many[699]["kind"] = "country"
    answer = await client.post("/blacklist/bulk", json=many)
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == ["body.3", "body.699"]
    assert await patterns(client) == ["+4930900900"]


async def test_too_many_are_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"pattern": "+4930111222"}
    assert (await client.post("/blacklist/bulk", json=[rule] * 10_001)).status_code == 422
    monkeypatch.setattr(blacklist, "MOST_RULES", 2)
    lines = b"Pattern\n" + b"+4930111222\n" * 3
    assert (
        await client.post("/blacklist/bulk", content=lines, headers={"Content-Type": "text/csv"})
    ).status_code == 422
    monkeypatch.setattr(blacklist, "MOST_BYTES", 10)
    assert (await client.post("/blacklist/bulk", json=[rule])).status_code == 413


async def test_who_is_stopped_half_way_learns_how_far_it_went(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    async def full(conn: AsyncConnection, rules: Any, **more: Any) -> Any:
        seen.append(len(rules))
        if len(seen) == 2:
            raise DirectoryError("the disk is full")
        return await add_rules(conn, rules, **more)

    monkeypatch.setattr(blacklist, "add_rules", full)
    many = [{"pattern": f"+49301{index:05}"} for index in range(1000)]
    answer = await client.post("/blacklist/bulk", json=many)
    assert (answer.status_code, answer.json()["detail"]) == (
        503, "the disk is full; 500 of 1000 rules are stored: send all of them again",
    )  # fmt: skip
    assert (await client.post("/blacklist/bulk", json=many)).json() == {
        "added": 500,
        "changed": 0,
        "same": 500,
    }


CSV = """\
Pattern;Kind;Did;Treatment;Reason;Expires
030 111222;;;busy;Müller;
+49190*;;;voicemail:201;;2030-01-01T00:00:00Z
RU;country;100;allow;;
"""


async def test_a_table_is_read_as_the_command_line_reads_it(client: httpx.AsyncClient, front: Front) -> None:
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    assert (await client.post("/blacklist/bulk", content=CSV.encode(), headers=headers)).json() == {
        "added": 3,
        "changed": 0,
        "same": 0,
    }
    rows = await front.rows(
        "SELECT kind, pattern, did, allow, treatment, target, reason FROM blacklist ORDER BY id"
    )
    assert [tuple(row) for row in rows[1:]] == [
        ("exact", "+4930111222", "", 0, "busy", "", "Müller"),
        ("prefix", "+49190", "", 0, "voicemail", "201", ""),
        ("country", "RU", "100", 1, "hangup", "", ""),
    ]


async def test_every_mistake_of_a_table_is_told_with_its_line(
    client: httpx.AsyncClient, front: Front
) -> None:
    text = "Pattern,Treatment,Expires\n" + "\n".join(f"nobody{index},," for index in range(1500))
    text += "\n+4930111222,nothing,\n+4930111222,,tomorrow\n+4930111223,,\n"
    answer = await client.post("/blacklist/bulk", content=text.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status_code == 422
    where = [each["where"] for each in answer.json()["errors"]]
    assert where == [f"line {index + 2}, Pattern" for index in range(1500)] + [
        "line 1502, Treatment", "line 1503, Expires",
    ]  # fmt: skip
    assert await audited(front) == []


async def test_what_is_no_table_is_refused(client: httpx.AsyncClient, front: Front) -> None:
    for content in (
        b"",
        b"\xff\xfe",
        b"a,b\n1,2",
        b"\x89PNG\r\n\x1a\n\x00",
    ):
        answer = await client.post("/blacklist/bulk", content=content, headers={"Content-Type": "text/csv"})
        assert answer.status_code == 422
        assert await audited(front) == []


async def test_what_is_exported_can_be_read_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blacklist, "_EXPORT_PAGE", 2)
    await client.post("/blacklist/bulk", content=CSV.encode(), headers={"Content-Type": "text/csv"})
    exported = await client.get("/blacklist/export")
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    rows = [*csv.reader(io.StringIO(exported.text))]
    assert rows[0] == ["Pattern", "Kind", "Did", "Treatment", "Reason", "Expires"]
    assert len(rows) == 1 + 4
    again = await client.post(
        "/blacklist/bulk", content=exported.content, headers={"Content-Type": "text/csv"}
    )
    assert again.json() == {"added": 0, "changed": 0, "same": 4}


# --- try a number


async def test_a_number_is_tried(client: httpx.AsyncClient, front: Front) -> None:
    prefix = await add(client, "+4930", kind="prefix")
    exact = await add(client, "+4930111222", allow=True)
    country = await add(client, "DE", kind="country")
    await add(client, "+4930111222", did="555")
    await add(client, "+493011", kind="prefix", expires_at="2020-01-01T00:00:00Z")
    answer = await client.post("/blacklist/test", json={"number": "030 111222"})
    tried = answer.json()
    assert (tried["number"], tried["verdict"], tried["reason"]) == ("+4930111222", "allow", "allow-list")
    assert [(rule["id"], rule["wins"]) for rule in tried["rules"]] == [
        (exact["id"], True), (prefix["id"], False), (country["id"], False),
    ]  # fmt: skip
    assert "is more specific, before rule" in tried["rules"][0]["why"]
    assert tried["rules"][1]["why"] == f"rule {exact['id']} decides before it"
    assert [step["stage"] for step in tried["trace"]] == ["number", "match", "screen"]
    there = (await client.post("/blacklist/test", json={"number": "+4930111222", "did": "555"})).json()
    assert (there["verdict"], there["rules"][0]["did"]) == ("block", "555")
    assert front.server.decisions == []


async def test_a_known_contact_is_met_by_exact_rules_only(client: httpx.AsyncClient) -> None:
    await add(client, "+4930", kind="prefix")
    tried = (await client.post("/blacklist/test", json={"number": "+493023125010"})).json()
    assert (tried["verdict"], [rule["wins"] for rule in tried["rules"]]) == ("allow", [False])
    assert tried["rules"][0]["why"] == "a known contact is met by exact rules only"


async def test_where_screening_is_off_no_rule_decides(client: httpx.AsyncClient, front: Front) -> None:
    async def off(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT INTO dids (did, screening) VALUES ('555', 0)")

    await front.database.write(off)
    tried = (await client.post("/blacklist/test", json={"number": "+4930900900", "did": "555"})).json()
    assert (tried["verdict"], tried["rules"][0]["why"]) == ("allow", "screening is off for this DID")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.text(TEXT, max_size=255), did=st.text(TEXT, max_size=100))
async def test_any_number_can_be_tried(client: httpx.AsyncClient, number: str, did: str) -> None:
    assert (await client.post("/blacklist/test", json={"number": number, "did": did})).status_code == 200


# --- the last caller


async def called(front: Front, number: int | None, *, ago: int, agent: str = "", rung: str = "none") -> None:
    row = {
        "id": f"c{number}-{ago}", "started_at": int(front.clock()) - ago, "number": number,
        "number_text": f"+{number}" if number else "", "routed_to": agent, "rung": rung,
    }  # fmt: skip
    await front.database.write(lambda conn: record_calls(conn, [row]))


async def test_the_last_caller_is_blocked(client: httpx.AsyncClient, front: Front) -> None:
    assert (await client.post("/blacklist/last", json={})).status_code == 404
    await called(front, 4930111222, ago=20, agent="101")
    await called(front, 4930333444, ago=10)
    await called(front, 4930555666, ago=25 * 3600, agent="102")
    own = await client.post("/blacklist/last", json={"extension": "101", "reason": "rude"})
    assert (own.status_code, own.json()["pattern"], own.json()["reason"]) == (201, "+4930111222", "rude")
    assert (await client.post("/blacklist/last", json={})).json()["pattern"] == "+4930333444"
    assert (await client.post("/blacklist/last", json={"extension": "102"})).status_code == 404


async def test_who_withheld_the_number_cannot_be_blocked(client: httpx.AsyncClient, front: Front) -> None:
    await called(front, None, ago=10, rung="anonymous")
    assert (await client.post("/blacklist/last", json={})).status_code == 422


# --- who may


async def test_who_may_only_see_changes_nothing(front: Front) -> None:
    viewer = await front.client(Scope.READ)
    path = "/api/v1/blacklist"
    assert (await viewer.get(path)).status_code == 200
    assert (await viewer.post(f"{path}/test", json={"number": ""})).status_code == 200
    for method, where in (
        ("POST", ""),
        ("POST", "/bulk"),
        ("POST", "/last"),
        ("PUT", "/1"),
        ("DELETE", "/1"),
    ):
        assert (await viewer.request(method, path + where, json={})).status_code == 403
