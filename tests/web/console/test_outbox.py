"""The page of the outbox."""

from __future__ import annotations

from typing import Any

from storage.outbox import park
from storage.schema import outbox
from tests.web.front import Front

HOSTILE = '<b>"Ana"</b>'


async def rows(front: Front) -> list[int]:
    """Put three rows into the outbox, the second one parked; return their ids."""

    async def job(conn: Any) -> list[int]:
        ids = []
        for _ in range(3):
            values = {"kind": "contact", "payload": {"name": HOSTILE}, "created_at": 1000}
            result = await conn.execute(outbox.insert().values(values))
            ids.append(int(result.inserted_primary_key[0]))
        await park(conn, ids[1], "REQUIRED_FIELD_MISSING: <i>LastName</i>")
        return ids

    return await front.database.write(job)


async def ids_of(front: Front, where: str = "1") -> list[int]:
    return [row[0] for row in await front.rows(f"SELECT id FROM outbox WHERE {where} ORDER BY id")]


async def test_what_waits_is_shown_as_text(front: Front) -> None:
    await rows(front)
    viewer = await front.client_as("viewer")
    shown = (await viewer.get("/outbox")).text
    assert shown.count("&lt;b&gt;") == 3
    assert "<b>" not in shown
    assert "<i>LastName" not in shown
    assert '<form class="post" method="post" action="/outbox"' not in shown
    assert (await viewer.get("/outbox?show=parked")).text.count("&lt;b&gt;") == 1
    assert (await viewer.get("/outbox?show=waiting")).text.count("&lt;b&gt;") == 2
    assert (await viewer.post("/outbox", data={"do": "retry"})).status_code == 403


async def test_a_row_is_tried_again_or_dropped(front: Front) -> None:
    first, parked, last = await rows(front)
    admin = await front.client_as("admin")
    assert (await admin.post("/outbox", data={"do": "retry", "row": str(parked)})).status_code == 303
    assert await ids_of(front, "parked") == []
    assert (await admin.post("/outbox", data={"do": "drop", "row": str(last)})).status_code == 303
    assert await ids_of(front) == [first, parked]
    dropped = await front.rows("SELECT who FROM audit WHERE what = 'outbox.drop'")
    assert [row[0] for row in dropped] == ["user:admin"]


async def test_nothing_is_dropped_where_no_row_is_named(front: Front) -> None:
    ids = await rows(front)
    admin = await front.client_as("admin")
    for named in ("", "x", "9" * 30):
        assert (await admin.post("/outbox", data={"do": "drop", "row": named})).status_code == 303
    assert await ids_of(front) == ids


async def test_all_that_are_parked_are_tried_again(front: Front) -> None:
    await rows(front)
    admin = await front.client_as("admin")
    await admin.post("/outbox", data={"do": "retry"})
    assert await ids_of(front, "parked") == []
