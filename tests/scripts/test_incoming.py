import sqlite3
from contextlib import closing
from pathlib import Path

import orjson

from agi_server.scripts.trace import MARK
from tests.house import House, house

ALWAYS = {
    "CLAVESF", "OSTIARY_REASON", "OSTIARY_TREATMENT", "OSTIARY_ROUTE", "OSTIARY_ROUTE_TYPE", "OSTIARY_RING_SECONDS",
    "OSTIARY_FALLBACK", "OSTIARY_AGENT", "OSTIARY_CONTACT", "OSTIARY_CALL", "OSTIARY_ACTION",
}  # fmt: skip


async def test_a_known_caller_gets_name_agent_and_key(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010", did="+493099900")
    assert told["CALLERID(name)"] == "Ana Muñoz"
    assert (told["OSTIARY_ACTION"], told["OSTIARY_REASON"]) == ("allow", "known")
    assert (told["OSTIARY_ROUTE"], told["OSTIARY_ROUTE_TYPE"]) == ("101", "extension")
    assert told["OSTIARY_RING_SECONDS"] == "20"
    assert told["OSTIARY_CONTACT"] == "003000000000001AAA"
    local_id = (await ostiary.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'"))[0][0]
    assert told["CLAVESF"] == f"{local_id}-+493023125010"


async def test_every_variable_is_set_for_everybody_and_the_action_last(ostiary: House) -> None:
    for number in ("03023125010", "030999", "anonymous", "+4930900900", "\x00", "x" * 300):
        outcome = await ostiary.outcome("incoming", number)
        assert set(outcome.variables) - {"CALLERID(name)"} == ALWAYS
        assert list(outcome.variables)[-1] == "OSTIARY_ACTION"
        assert len(outcome.commands) == 1


async def test_a_name_is_kept_when_we_have_none(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+33199001234", name="Paris")
    assert told.get("CALLERID(name)", "Paris") == "Paris"


async def test_a_blocked_caller(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+4930900900")
    assert (told["OSTIARY_ACTION"], told["OSTIARY_TREATMENT"]) == ("block", "busy")
    assert told["OSTIARY_ROUTE"] == ""


async def test_a_company_answers_for_its_extensions(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+493023125777")
    assert (told["CALLERID(name)"], told["OSTIARY_REASON"]) == ("Acme", "switchboard")


async def test_every_call_is_journaled_with_its_trace(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010")
    row = await ostiary.until_row(f"SELECT * FROM calls WHERE id = '{told['OSTIARY_CALL']}'")
    assert (row.number, row.name, row.routed_to) == (493023125010, "Ana Muñoz", "101")
    assert ["match", "exact"] in [step[:2] for step in orjson.loads(row.trace)]


async def test_the_trace_comes_along_when_asked_for(ostiary: House) -> None:
    outcome = await ostiary.outcome("incoming", "03023125010", query={"trace": "1"})
    assert len(outcome.verbose) >= 4
    assert outcome.variables["OSTIARY_ACTION"] == "allow"
    assert (await ostiary.outcome("incoming", "03023125010")).verbose == []


async def test_a_step_of_the_trace_is_json_however_long_a_name_is(ostiary: House) -> None:
    with closing(sqlite3.connect(ostiary.settings.storage.state_directory / "ostiary.db")) as database:
        database.execute("UPDATE contacts SET name = ?", ('"\\ñ' * 1000,))
        database.commit()
    outcome = await ostiary.outcome("incoming", "03023125010", query={"trace": "1"})
    steps = [orjson.loads(line.removeprefix(MARK)) for line in outcome.verbose]
    assert ["match", "exact"] in [step[:2] for step in steps]


async def test_an_unknown_caller_becomes_a_contact_where_that_is_wanted(tmp_path: Path) -> None:
    async with house(tmp_path, "[contacts]\ncreate = true\n") as ostiary:
        first = await ostiary.ask("incoming", "+33199001234")
        second = await ostiary.ask("incoming", "+33199001234")
        rows = await ostiary.rows("SELECT id FROM contacts WHERE source = 'insert'")
        assert [first["CLAVESF"]] == [f"{row.id}-+33199001234" for row in rows]
        assert second["CLAVESF"] == first["CLAVESF"]
        assert list(first)[-1] == "OSTIARY_ACTION"
