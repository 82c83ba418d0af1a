import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agi_server.fastagi.client import ask
from agi_server.settings_file import load_settings, storage_url
from storage import sync
from storage.database import Database
from storage.dids import DidRow, put_did
from tests.house import House, furnish, house, process, until_answering, write_settings
from tests.ports import free_port

SCRIPT = "contacto_insert_salesforce"


async def test_the_same_key_gives_the_same_id(ostiary: House) -> None:
    query = {"data": "31987456", "ani": "+4930111222", "iddatabase": "5"}
    first = await ostiary.ask(SCRIPT, query=query)
    second = await ostiary.ask(SCRIPT, query=query)
    assert first == second
    contact, _, data = first["CLAVESF"].partition("-")
    assert data == "31987456"
    assert first["OSTIARY_CONTACT"] == contact


async def test_positional_arguments_do_too(ostiary: House) -> None:
    by_name = await ostiary.ask(SCRIPT, query={"data": "77", "ani": "+4930111222", "iddatabase": "5"})
    by_place = await ostiary.ask(SCRIPT, args=("77", "+4930111222", "5"))
    assert by_name["CLAVESF"] == by_place["CLAVESF"]


async def test_fifty_at_once_with_one_key_make_one_contact(ostiary: House) -> None:
    asked = [ostiary.ask(SCRIPT, query={"data": "dni-1", "ani": "+4930111222"}) for _ in range(50)]
    told = await asyncio.gather(*asked)
    assert len({each["CLAVESF"] for each in told}) == 1
    assert len(await ostiary.rows("SELECT 1 FROM contacts WHERE key = 'dni-1'")) == 1


async def test_a_private_number_gets_a_contact_of_its_own_each_time(ostiary: House) -> None:
    first = await ostiary.ask(SCRIPT, number="anonymous")
    second = await ostiary.ask(SCRIPT, number="anonymous")
    assert first["CLAVESF"].endswith("-")
    assert first["CLAVESF"] != second["CLAVESF"]


async def test_a_known_number_without_data_is_found(ostiary: House) -> None:
    told = await ostiary.ask(SCRIPT, "03023125010")
    (row,) = await ostiary.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'")
    assert told["CLAVESF"] == f"{row.id}-"


async def test_a_salesforce_id_is_a_name_for_the_contact(ostiary: House) -> None:
    (row,) = await ostiary.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'")
    for data in ("003000000000001AAA", "003000000000001"):
        told = await ostiary.ask(SCRIPT, "+33199001234", query={"data": data, "iddatabase": "5"})
        assert told == {"CLAVESF": f"{row.id}-{data}", "OSTIARY_CONTACT": "003000000000001AAA"}
    assert len(await ostiary.rows("SELECT id FROM contacts")) == 2


async def test_clavesf_stays_when_salesforce_gives_the_contact_an_id(ostiary: House) -> None:
    before = await ostiary.ask(SCRIPT, query={"data": "dni-7"})
    assert before["OSTIARY_CONTACT"] == before["CLAVESF"].partition("-")[0]
    database = await Database.open(storage_url(ostiary.settings))
    try:
        number = int(before["OSTIARY_CONTACT"])
        await database.write(lambda connection: sync.link(connection, number, "003D00000000001IAA"))
    finally:
        await database.close()
    after = await ostiary.ask(SCRIPT, query={"data": "dni-7"})
    assert after == before | {"OSTIARY_CONTACT": "003D00000000001IAA"}


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [
        ("Jörg Weiß", "+33199001234", ("Jörg Weiß", "+33199001234")),
        (r"\"Ana\"", "+33199001234", ('"Ana"', "+33199001234")),
        ("0199001234", "+33199001234", ("+33199001234", "+33199001234")),
        ("Anonymous", "+33199001234", ("+33199001234", "+33199001234")),
        ("Jörg Weiß", "anonymous", ("", "")),
    ],
)
async def test_salesforce_is_told_who_called_and_where(
    ostiary: House, name: str, number: str, told: tuple[str, str]
) -> None:
    query = {"data": "dni-9", "iddatabase": "5"}
    await ostiary.ask(SCRIPT, number, name=name, did="+493099900", query=query)
    await ostiary.ask(SCRIPT, args=("dni-10", number, "5"), did="+493099900")
    rows = [json.loads(row.payload) for row in await ostiary.rows("SELECT payload FROM outbox ORDER BY id")]
    assert [(row["name"], row["phone"], row["did"]) for row in rows] == [
        (*told, "+493099900"),
        (told[1], told[1], "+493099900"),  # the third position is no name here
    ]
    (row,) = await ostiary.rows("SELECT name FROM contacts WHERE key = 'dni-9'")
    assert row.name == told[1]  # our own name for somebody nobody has named


async def test_the_caller_is_whom_incoming_finds(tmp_path: Path) -> None:
    """The same reformatting, the same region, the same idea of a withheld number."""
    more = "reformat = [{trunk = 'gsm-*', match = '7(.*)', replace = '+4930\\1'}]\n"
    async with house(tmp_path, more) as ostiary:
        await _put_did(ostiary, DidRow(did="351210", region="PT"))
        for number, did, env in (
            ("723125010", "", {"channel": "PJSIP/gsm-1-00000012"}),
            ("912345678", "351210", {}),
        ):
            made = await ostiary.ask(SCRIPT, number, did=did, env=env)
            told = await ostiary.ask("incoming", number, did=did, env=env)
            assert made["CLAVESF"].partition("-")[0] == told["CLAVESF"].partition("-")[0] != ""
        known = await ostiary.ask(SCRIPT, "+493023125010")
        withheld = await ostiary.ask(SCRIPT, "+493023125010", env={"callingpres": "32"})
        assert withheld["CLAVESF"] != known["CLAVESF"]
        assert not await ostiary.rows("SELECT 1 FROM contacts WHERE id > 3 AND name <> ''")


async def _put_did(ostiary: House, row: DidRow) -> None:
    database = await Database.open(storage_url(ostiary.settings))
    try:
        await database.write(lambda connection: put_did(connection, row, who="test", now=0))
    finally:
        await database.close()


async def test_a_locked_database_costs_the_contact_and_not_the_answer(tmp_path: Path) -> None:
    async with house(tmp_path, "[contacts]\ncreate = true\n[routing]\ndefault_agent = '200'\n") as ostiary:
        with closing(sqlite3.connect(tmp_path / "ostiary.db", isolation_level=None)) as locker:
            locker.execute("BEGIN IMMEDIATE")
            told, made = await asyncio.gather(
                ostiary.ask("incoming", "+33199001234"), ostiary.ask(SCRIPT, query={"data": "1"})
            )
        assert (told["OSTIARY_ACTION"], told["OSTIARY_ROUTE"], told["CLAVESF"]) == ("allow", "200", "")
        assert made == {"OSTIARY_CONTACT": "", "CLAVESF": ""}


@pytest.mark.slow
async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """Five rounds: insert as fast as it goes, kill the server in the middle, look what is there."""
    port = free_port()
    config = write_settings(tmp_path, port=port)
    settings = load_settings(config, environ={})
    await furnish(settings)
    answered: dict[str, str] = {}

    async def insert_until_gone(key: str) -> None:
        for number in range(1000):
            data = f"{key}.{number}"
            try:
                told = (await ask("127.0.0.1", port, SCRIPT, query={"data": data})).variables
            except OSError:
                return
            if told.get("CLAVESF"):
                answered[data] = told["CLAVESF"]

    for turn in range(5):
        with process(config) as server:
            await until_answering(port)
            asking = [asyncio.create_task(insert_until_gone(f"{turn}.{each}")) for each in range(4)]
            before = len(answered)
            while len(answered) < before + 20 + 7 * turn:
                await asyncio.sleep(0.001)
            server.kill()
            await asyncio.gather(*asking)
    rows = await House(settings, "", port).rows("SELECT id, key FROM contacts WHERE source = 'insert'")
    stored = {row.key: f"{row.id}-{row.key}" for row in rows}
    assert len(answered) >= 100
    assert {data: stored.get(data) for data in answered} == answered
