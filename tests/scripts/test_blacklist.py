from pathlib import Path

from agi_server.settings_file import storage_url
from storage.database import Database
from storage.overrides import put_override
from tests.house import House, house


async def test_a_number_is_blocked_and_unblocked(ostiary: House) -> None:
    assert await ostiary.ask("blacklist_add", "100", query={"number": "030111222"}) == {
        "OSTIARY_RESULT": "added"
    }
    told = await ostiary.ask("incoming", "+4930111222")
    assert (told["OSTIARY_ACTION"], told["OSTIARY_REASON"]) == ("block", "blacklist-exact")
    removed = await ostiary.ask("blacklist_remove", "100", query={"number": "+4930111222"})
    assert removed == {"OSTIARY_RESULT": "removed"}
    assert (await ostiary.ask("incoming", "+4930111222"))["OSTIARY_ACTION"] == "allow"


async def test_who_did_it_is_in_the_audit(ostiary: House) -> None:
    await ostiary.ask("blacklist_add", query={"number": "030111222", "extension": "100", "reason": "rude"})
    (row,) = await ostiary.rows("SELECT created_by, reason FROM blacklist WHERE pattern = '+4930111222'")
    assert (row.created_by, row.reason) == ("extension:100", "rude")
    assert await ostiary.rows("SELECT 1 FROM audit WHERE who = 'extension:100'")


async def test_the_last_caller_of_the_extension_is_blocked(ostiary: House) -> None:
    spoke = await ostiary.ask("incoming", "+4930111222", env={"uniqueid": "1.1"})
    await ostiary.ask(
        "ended",
        query={
            "call": spoke["OSTIARY_CALL"],
            "disposition": "ANSWER",
            "seconds": "4",
            "answered_by": "PJSIP/100-0000001a",
        },
    )
    await ostiary.ask("incoming", "+4930333444")  # rang elsewhere, later
    await ostiary.until_row("SELECT 1 FROM calls WHERE answered_by = '100'")
    assert await ostiary.ask("blacklist_last", query={"extension": "100"}) == {"OSTIARY_RESULT": "added"}
    assert (await ostiary.ask("incoming", "+4930111222"))["OSTIARY_ACTION"] == "block"
    assert (await ostiary.ask("incoming", "+4930333444"))["OSTIARY_ACTION"] == "allow"


async def test_without_a_last_caller_nobody_is_blocked(ostiary: House) -> None:
    assert await ostiary.ask("blacklist_last", query={"extension": "100"}) == {"OSTIARY_RESULT": "not-found"}


async def test_anybodys_last_caller_where_that_is_wanted(tmp_path: Path) -> None:
    async with house(tmp_path, '[screening]\nlast_caller = "any"\n') as ostiary:
        told = await ostiary.ask("incoming", "+4930333444")
        await ostiary.until_row(f"SELECT 1 FROM calls WHERE id = '{told['OSTIARY_CALL']}'")
        await ostiary.ask("blacklist_last", query={"extension": "100"})
        assert (await ostiary.ask("incoming", "+4930333444"))["OSTIARY_ACTION"] == "block"


async def test_a_last_caller_who_withheld_the_number_is_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path, '[screening]\nlast_caller = "any"\n') as ostiary:
        told = await ostiary.ask("incoming", "+4930333444", env={"callingpres": "32"})
        await ostiary.until_row(f"SELECT 1 FROM calls WHERE id = '{told['OSTIARY_CALL']}'")
        assert await ostiary.ask("blacklist_last", query={"extension": "100"}) == {
            "OSTIARY_RESULT": "invalid"
        }
        assert len(await ostiary.rows("SELECT 1 FROM blacklist")) == 1


async def test_what_is_no_number_is_not_blocked(ostiary: House) -> None:
    for number in ("", "anonymous", "unknown"):
        assert await ostiary.ask("blacklist_add", query={"number": number}) == {"OSTIARY_RESULT": "invalid"}
        assert await ostiary.ask("blacklist_remove", query={"number": number}) == {
            "OSTIARY_RESULT": "invalid"
        }
    assert len(await ostiary.rows("SELECT 1 FROM blacklist")) == 1


async def test_hits_are_counted(ostiary: House) -> None:
    for _ in range(3):
        await ostiary.ask("incoming", "+4930900900")
    row = await ostiary.until_row("SELECT last_hit_at FROM blacklist WHERE hits = 3")
    assert row.last_hit_at > 0


async def test_what_was_changed_of_the_settings_counts(ostiary: House) -> None:
    database = await Database.open(storage_url(ostiary.settings))
    changes = {"numbers.region": "PT", "screening.default_treatment": "busy", "screening.last_caller": "any"}
    try:
        for key, value in changes.items():
            await database.write(
                lambda conn, key=key, value=value: put_override(  # type: ignore[misc]
                    conn, key, value, settings=ostiary.settings, who="test", now=1
                )
            )
    finally:
        await database.close()
    await ostiary.ask("blacklist_add", "100", query={"number": "210000001"})
    assert (await ostiary.rows("SELECT treatment FROM blacklist WHERE pattern = '+351210000001'"))[0] == (
        "busy",
    )
    told = await ostiary.ask("incoming", "+4930333444")
    await ostiary.until_row(f"SELECT 1 FROM calls WHERE id = '{told['OSTIARY_CALL']}'")
    assert await ostiary.ask("blacklist_last", query={"extension": "100"}) == {"OSTIARY_RESULT": "added"}
    assert (await ostiary.ask("incoming", "+4930333444"))["OSTIARY_TREATMENT"] == "busy"
