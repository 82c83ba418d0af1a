from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Agent
from agi_server.errors import InputError
from agi_server.exchange.agents import import_agents, read_agents, write_agents
from agi_server.exchange.report import ImportResult, Report
from storage.agents import list_agents, put_agent
from storage.database import Database

SAMPLE = Path(__file__).parents[2].joinpath("agi_server/samples/agents.csv")
HEADINGS = "Name,Email,Extension,SalesforceUserId,Hours,Timezone,AbsentUntil,Delegate,RingSeconds,Fallback"


async def take(database: Database | None, text: str, *, all_or_nothing: bool = False) -> ImportResult:
    file = io.BytesIO(text.encode())
    return await import_agents(
        file, database=database, who="test", timezone="Europe/Berlin", all_or_nothing=all_or_nothing
    )


async def test_agents_are_stored_with_delegates_that_stand_below(database: Database) -> None:
    text = (
        f"{HEADINGS}\n"
        "Ana Núñez,Ana@Example.com,101,0055g00000B1bCd,Mo-Fr 09:00-17:00,Europe/Lisbon,2099-01-01,102,25,9000\n"
        "Ben,,102,,,,,101,,\n"
    )
    result = await take(database, text)
    assert (result.rows, result.inserted, result.updated, result.report.count) == (2, 2, 0, 0)
    ana, ben = await database.read(list_agents)
    assert ana == Agent(
        id=ana.id,
        name="Ana Núñez",
        email="ana@example.com",
        extension="101",
        salesforce_user_id="0055g00000B1bCdAAJ",
        hours="Mo-Fr 09:00-17:00",
        timezone="Europe/Lisbon",
        absent_until=4_070_991_600,  # midnight of 2 January 2099 in Berlin
        delegate=ben.id,
        ring_seconds=25,
        fallback="9000",
    )
    assert ben.delegate == ana.id


async def test_columns_that_a_file_has_not_stay(database: Database) -> None:
    await take(database, f"{HEADINGS}\nAna,a@example.com,101,,Mo 09:00-17:00,Europe/Lisbon,,,25,9000\n")
    before = (await database.read(list_agents))[0]
    result = await take(database, "Extension,Email\n101,ana@example.com\n")
    assert (result.inserted, result.updated) == (0, 1)
    assert await database.read(list_agents) == [replace(before, email="ana@example.com")]
    await take(database, "Extension,Hours\n101,\n")
    assert (await database.read(list_agents))[0].hours == ""


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("Ana,,,,,,,,,", "Extension"),
        ("Ana,,10 1,,,,,,,", "Extension"),
        ("Ana,nobody,101,,,,,,,", "Email"),
        ("Ana,,101,42,,,,,,", "SalesforceUserId"),
        ("Ana,,101,,Someday,,,,,", "Hours"),
        ("Ana,,101,,,Mars/Olympus,,,,", "Timezone"),
        ("Ana,,101,,,,soon,,,", "AbsentUntil"),
        ("Ana,,101,,,,,,601,", "RingSeconds"),
        ("Ana,,101,,,,,,²,", "RingSeconds"),
        ('Ana,,101,,,,,,,"9,0"', "Fallback"),
        ("Ben,b@example.com,101,,,,,,,", "Email"),
        ("Ben,,100,,,,,,,", "Extension"),
    ],
)
def test_rows_that_make_no_agent(row: str, column: str) -> None:
    report = Report()
    text = f"{HEADINGS}\nZoe,b@example.com,100,,,,,,,\n{row}\nYan,,199,,,,,,,\n"
    rows = read_agents(io.BytesIO(text.encode()), report)
    assert [row.extension for row in rows] == ["100", "199"]
    assert [(p.line, p.column, p.row_taken) for p in report.problems] == [(3, column, False)]


async def test_what_is_another_agents_is_refused(database: Database) -> None:
    await take(database, "Name,Extension,Email\nAna,101,ana@example.com\n")
    text = "Name,Extension,Email\nBen,102,ben@example.com\nZoe,103,ana@example.com\n"
    refused = await take(database, text, all_or_nothing=True)
    assert (refused.refused, refused.written, refused.taken, refused.inserted) == (True, False, 0, 0)
    assert len(await database.read(list_agents)) == 1
    result = await take(database, text)
    assert (result.rows, result.taken, result.inserted) == (2, 1, 1)
    assert [(p.line, p.row_taken) for p in result.report.problems] == [(3, False)]
    assert [agent.extension for agent in await database.read(list_agents)] == ["101", "102"]


async def test_all_or_nothing_refuses_before_it_writes(database: Database) -> None:
    result = await take(database, "Name,Extension\nAna,101\nBen,\n", all_or_nothing=True)
    assert (result.refused, result.report.not_taken) == (True, 1)
    assert await database.read(list_agents) == []


@pytest.mark.parametrize("delegate", ["101", "999"])
async def test_a_delegate_who_cannot_be_is_reported(database: Database, delegate: str) -> None:
    result = await take(database, f"Name,Extension,Delegate\nAna,101,{delegate}\n")
    assert (result.inserted, result.report.not_taken) == (1, 0)
    assert [(p.line, p.column, p.value, p.row_taken) for p in result.report.problems] == [
        (2, "Delegate", delegate, True)
    ]


async def test_a_file_without_extensions_is_refused() -> None:
    with pytest.raises(InputError, match="“Who”"):
        await take(None, "Who,Where\nAna,101\n")


async def test_what_is_exported_is_imported_as_it_was(database: Database) -> None:
    await take(database, SAMPLE.read_text(encoding="utf-8"))
    first = io.StringIO(newline="")
    agents = await database.read(list_agents)
    assert any(agent.delegate for agent in agents)
    assert any(agent.hours for agent in agents)
    write_agents(agents, first)

    async def forget(conn: AsyncConnection) -> None:
        for agent in agents:
            await put_agent(conn, Agent(id=0, name="", extension=agent.extension), who="", now=0)

    await database.write(forget)
    result = await take(database, first.getvalue())
    assert (result.updated, result.report.count) == (len(agents), 0)
    assert await database.read(list_agents) == agents
