from storage import salesforce_state
from storage.database import Database


async def test_a_value_is_replaced_as_a_whole(database: Database) -> None:
    async def put(value: dict[str, object], now: int, name: str = "sync:Contact") -> None:
        await database.write(lambda conn: salesforce_state.put(conn, name, value, now))

    await put({"watermark": "2026-01-01", "job": "750"}, 5)
    await put({"watermark": "2026-02-01"}, 6)
    await put({"used": 1, "parts": [None, {"a": "ü"}]}, 7, "usage")
    assert await database.read(lambda conn: salesforce_state.get(conn, "sync:Contact")) == {
        "watermark": "2026-02-01"
    }
    assert await database.read(salesforce_state.all_states) == {
        "sync:Contact": ({"watermark": "2026-02-01"}, 6),
        "usage": ({"used": 1, "parts": [None, {"a": "ü"}]}, 7),
    }


async def test_what_is_not_there_is_none(database: Database) -> None:
    await database.write(lambda conn: salesforce_state.put(conn, "login", {}, 1))
    await database.write(lambda conn: salesforce_state.remove(conn, "login"))
    await database.write(lambda conn: salesforce_state.remove(conn, "login"))
    assert await database.read(lambda conn: salesforce_state.get(conn, "login")) is None
    assert await database.read(salesforce_state.all_states) == {}
