from __future__ import annotations

from storage.database import Database
from storage.live_calls import keep, kept


async def test_conversations_are_kept_while_they_go_on(database: Database) -> None:
    async def put(pbx: str, **states: dict[str, object] | None) -> None:
        await database.write(lambda conn: keep(conn, pbx, states))

    async def there(pbx: str) -> list[dict[str, object]]:
        return await database.read(lambda conn: kept(conn, pbx))

    await put("berlin", a={"x": [1, None, "\u2028"]}, b={"x": 2})
    await put("madrid", a={"x": 3})
    assert await there("berlin") == [{"x": [1, None, "\u2028"]}, {"x": 2}]
    await put("berlin", a={"x": 4}, b=None, c=None)
    assert await there("berlin") == [{"x": 4}]
    assert await there("madrid") == [{"x": 3}]
    await put("berlin", a=None)
    await put("berlin")
    assert await there("berlin") == await there("lima") == []
