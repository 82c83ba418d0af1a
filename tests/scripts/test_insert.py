import asyncio
from pathlib import Path

import pytest

from agi_server.fastagi.client import ask
from agi_server.settings_file import load_settings
from tests.house import House, free_port, furnish, process, until_answering, write_settings

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
