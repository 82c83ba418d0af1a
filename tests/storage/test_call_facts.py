"""Calls and chats with what a Task says of them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Agent
from storage import call_facts, sync
from storage.agents import put_agent
from storage.call_facts import AgentFacts
from storage.contacts import ContactRow, prepare, store
from storage.database import Database
from storage.schema import calls, chats

NOW = 1_800_000_000
MASTER, LOSER, ACCOUNT = "003000000000001AAA", "003000000000002AAA", "001000000000001AAA"
USER, OTHER, QUEUE = "005000000000001AAA", "005000000000002AAA", "00G000000000001AAA"


def people(*rows: dict[str, Any]) -> Any:
    prepared = prepare([ContactRow(**row) for row in rows], "DE")
    return lambda conn: store(conn, prepared, source="salesforce", now=NOW)


async def ids(conn: AsyncConnection) -> dict[str, int]:
    rows = await conn.exec_driver_sql("SELECT salesforce_id, id FROM contacts")
    return {row.salesforce_id: row.id for row in rows}


async def test_a_call_knows_its_contact_by_the_name_it_has_now(database: Database) -> None:
    await database.write(
        people(
            {
                "salesforce_id": MASTER,
                "name": "Ana Bell",
                "account_salesforce_id": ACCOUNT,
                "account": "ACME",
            },
            {"salesforce_id": LOSER, "name": "A. Bell"},
        )
    )
    known = await database.read(ids)
    legs = json.dumps([{"extension": "101"}, "none"])

    async def put(conn: AsyncConnection) -> None:
        values = {"started_at": NOW, "contact_id": known[LOSER], "transfers": None, "number": None}
        await conn.execute(calls.insert().values(id="c-1", legs=json.loads(legs), **values))
        await conn.execute(calls.insert().values(id="c-2", started_at=NOW, contact_id=4711))
        await conn.execute(
            chats.insert().values(
                id="t-1", started_at=NOW, ended_at=NOW, contact_id=known[LOSER], messages=[[1, "a", "b"], 7]
            )
        )
        await sync.become(conn, [(LOSER, MASTER)])

    await database.write(put)
    found = await database.read(lambda conn: call_facts.calls(conn, ["c-1", "c-2", "c-3"]))
    assert set(found) == {"c-1", "c-2"}
    person = found["c-1"].person
    assert person is not None
    assert (person.id, person.salesforce_id, person.name, person.company, person.account) == (
        known[MASTER],
        MASTER,
        "Ana Bell",
        "ACME",
        ACCOUNT,
    )
    assert found["c-1"].legs == [{"extension": "101"}]
    assert (found["c-1"].number, found["c-1"].seconds, found["c-1"].transfers) == (0, 0, [])
    assert found["c-2"].person is None
    said = await database.read(lambda conn: call_facts.chats(conn, ["t-1"]))
    assert (said["t-1"].person, said["t-1"].messages) == (person, [[1, "a", "b"]])


async def test_an_id_that_is_none_is_not_there(database: Database) -> None:
    await database.write(people({"salesforce_id": "no id at all", "name": "x"}))
    known = await database.read(ids)

    async def put(conn: AsyncConnection) -> None:
        await conn.execute(calls.insert().values(id="c-1", started_at=NOW, contact_id=known["no id at all"]))

    await database.write(put)
    found = await database.read(lambda conn: call_facts.calls(conn, ["c-1"]))
    assert found["c-1"].person is not None
    assert found["c-1"].person.salesforce_id == ""


async def test_agents_have_the_user_that_they_name_or_that_has_their_e_mail(database: Database) -> None:
    async def put(conn: AsyncConnection) -> None:
        for agent in (
            Agent(id=0, name="Ana", extension="101", email="ana@x.example", salesforce_user_id=OTHER[:15]),
            Agent(id=0, name="Ben", extension="102", email="Ben@x.example"),
            Agent(id=0, name="Cem", extension="103", email="sales@x.example"),
            Agent(id=0, name="Dora", extension="104"),
        ):
            await put_agent(conn, agent, who="cli:eva", now=NOW)
        owners = [
            sync.OwnerRow(QUEUE, "Sales", "sales@x.example"),
            sync.OwnerRow(USER, "Ana", "ana@x.example"),
            sync.OwnerRow("005000000000003AAA", "Ben", "ben@x.example"),
            sync.OwnerRow("005000000000004AAA", "Nobody", ""),
        ]
        await sync.store_owners(conn, owners)

    await database.write(put)
    found = await database.read(lambda conn: call_facts.agents(conn, ["101", "102", "103", "104", "105", ""]))
    assert found == {
        "101": AgentFacts("101", "Ana", "ana@x.example", OTHER),
        "102": AgentFacts("102", "Ben", "ben@x.example", "005000000000003AAA"),
        "103": AgentFacts("103", "Cem", "sales@x.example", ""),
        "104": AgentFacts("104", "Dora", "", ""),
    }
