"""What phones do, as the call path hears of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from storage.agent_states import forget, heard, put
from storage.database import Database
from storage.directory import SqliteDirectory
from tests.storage.conftest import NOW, Query


async def tell(database: Database, pbx: str, states: Mapping[str, str], now: int = NOW) -> None:
    await database.write(lambda conn: put(conn, pbx, states, now))


async def hear(database: Database, pbx: str, now: int) -> None:
    await database.write(lambda conn: heard(conn, pbx, now))


async def test_a_state_counts_while_its_pbx_is_heard_of(
    database: Database, directory: SqliteDirectory
) -> None:
    await tell(database, "berlin", {"101": "busy", "102": "free"})
    assert directory.agent_state("101", NOW) == ""  # it was never heard of
    await hear(database, "berlin", NOW + 20)
    assert directory.agent_state("101", NOW + 20) == "busy"
    assert directory.agent_state("102", NOW + 20) == "free"
    assert directory.agent_state("103", NOW + 20) == ""
    assert directory.agent_state("101", NOW + 21) == ""
    await hear(database, "berlin", NOW + 10)  # late news
    assert directory.agent_state("101", NOW + 20) == "busy"


async def test_free_on_any_pbx_is_free(database: Database, directory: SqliteDirectory) -> None:
    for pbx, state in (("berlin", "unreachable"), ("madrid", "free"), ("lima", "busy")):
        await tell(database, pbx, {"101": state})
        await hear(database, pbx, NOW)
    assert directory.agent_state("101", NOW) == "free"
    await tell(database, "madrid", {"101": "ringing"}, NOW + 5)
    assert directory.agent_state("101", NOW) == "ringing"  # the newest


async def test_when_a_state_changed(database: Database, query: Query) -> None:
    await tell(database, "berlin", {"101": "busy"}, NOW)
    await tell(database, "berlin", {"101": "busy"}, NOW + 5)
    assert query("SELECT state, changed_at FROM agent_states") == [("busy", NOW)]
    await tell(database, "berlin", {"101": "free"}, NOW + 6)
    assert query("SELECT state, changed_at FROM agent_states") == [("free", NOW + 6)]
    with pytest.raises(ValueError, match="ringing"):
        await tell(database, "berlin", {"101": "asleep"})


async def test_what_is_forgotten(database: Database, query: Query) -> None:
    for pbx in ("berlin", "madrid"):
        await tell(database, pbx, {"101": "busy", "102": "free", "103": "paused"})
    await database.write(lambda conn: forget(conn, "berlin", ["101", "109"]))
    assert query("SELECT extension FROM agent_states WHERE pbx = 'berlin' ORDER BY 1") == [("102",), ("103",)]
    await database.write(lambda conn: forget(conn, "berlin"))
    assert query("SELECT pbx, count(*) FROM agent_states GROUP BY 1") == [("madrid", 3)]
