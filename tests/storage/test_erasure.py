"""Nothing of a person is left anywhere, everybody else is as before, and what was counted stays counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.record import Leg, Record, Transfer, Way
from agi_server.errors import ConflictError, NotFoundError
from agi_server.settings import Tasks
from storage import live_calls, tasks
from storage.aliases import absorb
from storage.blacklist import add_rule
from storage.calls import record_calls
from storage.contacts import ContactRow, prepare, store
from storage.database import Database
from storage.erasure import CALLS, Erased, erase, erase_number
from storage.history import assign
from storage.people import NewContact, change_contact, create_contact
from storage.recordings import Recorded
from storage.records import tell
from storage.schema import chats, dials, metadata
from storage.sync import forget
from tests.storage.conftest import NOW, Query, e164, local, log_of

PERSON = NewContact(
    first_name="Zacharina",
    last_name="Quittenbaum",
    email="zq@quitten.example",
    account="Quittenbaum Imkerei",
    phones=(("Phone", "030 23125010"), ("Mobile", "+49 171 5550001"), ("Door", "84517")),
)
OTHER = NewContact(name="Otto Other", account="Acme", phones=(("Phone", "+49 40 7654321"),))
MINE = 493023125010
TRACE = [["number", "e164", "", "Quittenbaum +493023125010"], ["screen", "allow", "no rule", ""]]
SECRETS = (
    "zacharina",
    "quittenbaum",
    "quitten.example",
    "493023125010",
    "23125010",
    "5550001",
    "84517",
    "formerly",
)


def call(call_id: str, **columns: object) -> dict[str, object]:
    return {"id": call_id, "started_at": NOW, "trace": TRACE, "name": "Zacharina Quittenbaum"} | columns


async def furnish(database: Database) -> tuple[int, int]:
    """Put a person and somebody else wherever a person may be; return their ids."""

    async def job(conn: AsyncConnection) -> tuple[int, int]:
        common: dict[str, Any] = {"region": "DE", "who": "user:ana", "now": NOW}
        person = await create_contact(
            conn, NewContact(name="Formerly Called", phones=PERSON.phones), **common, to_salesforce=True
        )
        names = {
            name: getattr(PERSON, name) for name in ("name", "first_name", "last_name", "email", "account")
        }
        await change_contact(conn, person, names, **common)
        other = await create_contact(conn, OTHER, **common, to_salesforce=True)
        twin = await create_contact(
            conn, NewContact(name="Zacharina Quittenbaum"), **common, to_salesforce=False
        )
        await absorb(conn, twin, person)
        about = Rule(id=0, kind=RuleKind.EXACT, pattern="+4930999", reason="sister of Zacharina Quittenbaum")
        await add_rule(conn, about, who="user:ana", now=NOW)
        await record_calls(
            conn,
            [
                call("by-number", number=MINE, number_text="030 23125010", seconds=7, verdict="block"),
                call("by-id", number=None, contact_id=person, number_text="0171/5550001"),
                call("by-alias", number=None, contact_id=twin),
                call("by-digits", number_text="8-45-17"),
                {"id": "other", "started_at": NOW, "number": 49407654321, "name": "Otto", "contact_id": other,
                 "trace": [["number", "e164", "", "Otto"]]},
                {"id": "lent", "started_at": NOW, "number": MINE, "contact_id": other},
                {"id": "nobody", "started_at": NOW, "number_text": "84 51 70", "name": "x"},
            ],
        )  # fmt: skip
        await assign(conn, "by-number", person, who="user:ana", now=NOW)
        await assign(conn, "by-number", None, who="user:ana", now=NOW)
        await conn.exec_driver_sql(
            "INSERT INTO replies (who, key, request, status, headers, body) VALUES "
            "('token:x', 'k1', '', 201, '{}', '{\"name\": \"Zacharina Quittenbaum\"}'), "
            "('token:x', 'k2', '', 201, '{}', '{}')"
        )
        await conn.exec_driver_sql("INSERT INTO flagged_numbers VALUES ('+493023125010', ?)", (person,))
        await conn.exec_driver_sql(
            "INSERT INTO unread_numbers (salesforce_id, field, kind, text) VALUES ('003', 'Fax', "
            "'Contact', 'quittenbaum')"
        )
        await conn.exec_driver_sql("UPDATE contact_aliases SET salesforce_id = '003' WHERE id = ?", (twin,))
        await conn.exec_driver_sql(
            "INSERT INTO switchboards (prefix, contact_id, main) VALUES (4930231250, ?, ?)", (person, MINE)
        )
        await in_touch(conn, person, other)
        return person, other

    return await database.write(job)


async def in_touch(conn: AsyncConnection, person: int, other: int) -> None:
    """Have a person chat, be dialled, be on the line, and have a part in a call of another."""
    mine = {"started_at": NOW, "ended_at": NOW, "messages": [[NOW, "Zacharina Quittenbaum", "buzz"]]}
    lines = [[NOW, "Otto", "ask Zacharina Quittenbaum"], [NOW, "Otto", "hello"]]
    empty: dict[str, Any] = {"number": None, "number_text": "", "email": "", "contact_id": None}
    await conn.execute(
        chats.insert(),
        [
            empty | mine | {"id": "chat-by-id", "contact_id": person},
            empty | mine | {"id": "chat-by-number", "number": MINE},
            empty | mine | {"id": "chat-by-text", "number_text": "030 / 23125010"},
            empty | mine | {"id": "chat-by-email", "email": "ZQ@quitten.example"},
            empty | mine | {"id": "chat-of-other", "contact_id": other, "messages": lines},
        ],
    )
    dial = {"agent": "101", "asked_at": NOW, "who": "user:ana", "state": "ended", "changed_at": NOW}
    none = {"number": None, "contact_id": None}
    await conn.execute(
        dials.insert(),
        [
            dial | none | {"id": "dial-by-id", "number_text": "", "contact_id": person},
            dial | none | {"id": "dial-by-text", "number_text": "+493023125010"},
            dial | none | {"id": "dial-of-other", "number_text": "+49407654321"},
        ],
    )
    states = {
        "1.1": {"caller": "03023125010"},
        "1.2": {"name": "Zacharina Quittenbaum"},
        "1.3": {"caller": "0407654321"},
    }
    await live_calls.keep(conn, "berlin", states)
    common: dict[str, Any] = {"pbx": "berlin", "started_at": NOW, "ended_at": NOW + 9, "way": Way.INBOUND}
    away = Transfer(kind="blind", at=NOW, by="101", to="030 23125010")
    leg = Leg(number="0049 30 23125010", began_at=NOW)
    told = [
        Record(
            **common, linkedid="9.1", number="+493023125010", recording="in-03023125010.wav",
            legs=(leg,), transfers=(away,),
        ),
        Record(
            **common, linkedid="9.2", number="+49407654321", recording="in-0407654321-to-03023125010.wav",
            legs=(Leg(number="+49407654321", began_at=NOW), leg), transfers=(away,),
        ),
    ]  # fmt: skip
    for each in told:
        call_id = await tell(conn, each, tasks=Tasks(), region="DE", decided=None, now=NOW)
        await tasks.made(conn, f"follow-up:{call_id}", f"00T{call_id}", closed=False, now=NOW)
    await conn.exec_driver_sql("UPDATE calls SET contact_id = ? WHERE id = 'berlin-9.2'", (other,))
    await record_calls(conn, [call("part", number=MINE, uniqueid="9.1"), call("named", uniqueid="9.1")])
    await tasks.want(conn, "chat:chat-by-id", due=NOW, now=NOW)


# Tables that never hold anything of a caller or a contact.
IMPERSONAL = {
    "agent_states", "agents", "call_channels", "dids", "invitations", "owners", "pbx_states", "positions", "revisions",
    "salesforce_state", "sessions", "settings", "sync_seen", "tokens", "users",
}  # fmt: skip


def personal(path: Path) -> set[str]:
    """Return the tables that tell of the person, or that exist only for them."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table
            for table in metadata.tables
            for row in connection.execute(f"SELECT * FROM {table}")
            if any(secret in str(row).casefold() for secret in SECRETS)
            or table in {"contact_aliases", "tasks"}
        }


async def count(recordings: Sequence[Recorded]) -> int:
    return len(recordings)


async def test_nothing_is_left_of_a_person(database: Database, path: Path, query: Query) -> None:
    person, other = await furnish(database)
    assert personal(path) | IMPERSONAL == {*metadata.tables}, (
        "put a person into the new table, or say why not"
    )
    assert not personal(path) & IMPERSONAL
    erased = await erase(database, person, who="user:ana", now=NOW + 9, delete=count)
    assert erased == Erased(contacts=1, calls=7, audit=6, outbox=1, rules=1, chats=4, dials=2, recordings=2)
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        found = {
            (table, secret)
            for table in tables
            for row in connection.execute(f"SELECT * FROM {table}")
            for value in row
            for secret in SECRETS
            if secret in (value.decode("latin-1") if isinstance(value, bytes) else str(value)).casefold()
        }
        # Whoever it is of whom that call was, it is not this person.
        assert found == {("calls", "493023125010"), ("calls", "23125010")}
    assert query("SELECT id, number FROM calls WHERE number = ?", MINE) == [("lent", MINE)]
    assert query("SELECT count(*) FROM contacts") == [(1,)]
    assert query("SELECT count(*) FROM contact_search('other')") == [(1,)]
    query("INSERT INTO contact_search (contact_search) VALUES ('integrity-check')")
    assert query("SELECT name FROM accounts") == [("Acme",)]
    assert query("SELECT contact_id, key FROM outbox ORDER BY id") == [
        (other, None),
        (None, "call:berlin-9.2"),
        (None, "follow-up:berlin-9.2"),
    ]
    assert query("SELECT key FROM tasks") == [("follow-up:berlin-9.2",)]
    assert query("SELECT id, messages ->> '$[0][2]', messages ->> '$[1][2]' FROM chats") == [
        ("chat-of-other", "", "hello")
    ]
    assert query("SELECT id FROM dials") == [("dial-of-other",)]
    assert query("SELECT linkedid FROM live_calls") == [("1.3",)]
    assert query(
        "SELECT legs ->> '$[0].number', legs ->> '$[1].number' FROM calls WHERE id = 'berlin-9.2'"
    ) == [("+49407654321", "")]
    assert query("SELECT key FROM replies") == [("k2",)]
    assert query("SELECT pattern, reason FROM blacklist") == [("+4930999", "")]


async def test_not_a_byte_is_left_in_the_file(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.erasure._MERGE_PAGES", 1)  # a large index takes many steps
    person, _ = await furnish(database)
    long = [["match", "exact", "", "Quittenbaum " * 3000]]  # pages of its own, which are set free
    await database.write(lambda conn: record_calls(conn, [call("long", number=MINE) | {"trace": long}]))
    others = prepare([ContactRow(name=f"Person {number}") for number in range(500)], "DE")
    await database.write(lambda conn: store(conn, others, source="import", now=NOW))
    await erase(database, person, who="user:ana", now=NOW + 9)
    await database.close()  # the last one out copies the log into the file
    assert not log_of(path).exists()
    content = path.read_bytes().lower()
    assert [secret for secret in SECRETS if secret.encode() in content] == []


async def test_calls_stay_counted(database: Database, query: Query) -> None:
    person, other = await furnish(database)
    await erase(database, person, who="user:ana", now=NOW + 9)
    assert query(
        "SELECT verdict, seconds, number, number_text, name, contact_id, trace FROM calls WHERE id = 'by-number'"
    ) == [
        ("block", 7, None, "", "", None, '[["number", "e164", "", ""], ["screen", "allow", "no rule", ""]]')
    ]
    assert query("SELECT name, contact_id, trace ->> '$[0][3]' FROM calls WHERE id = 'other'") == [
        ("Otto", other, "Otto")
    ]
    assert query("SELECT name FROM calls WHERE id = 'nobody'") == [("x",)]


async def test_the_audit_says_who_did_what_and_no_more(database: Database, query: Query) -> None:
    person, _ = await furnish(database)
    await erase(database, person, who="user:eva", now=NOW + 9)
    erased = '{"erased": true}'
    rows = query("SELECT who, what, before, after FROM audit ORDER BY id")
    assert [row[1:] for row in rows if row[2] != "null" or row[3]][-1][0] == "contact.erase"
    assert rows[0] == ("user:ana", "contact.add", rows[0][2], erased)
    assert rows[1] == ("user:ana", "contact.change", erased, erased)
    assert "Otto Other" in rows[2][3]
    assert rows[-1][:3] == ("user:eva", "contact.erase", f'{{"id": {person}}}')


async def test_what_comes_from_salesforce_is_deleted_there_first(database: Database, query: Query) -> None:
    row = ContactRow(salesforce_id="003000000000001AAA", name="Zacharina Quittenbaum", phones=PERSON.phones)
    prepared = prepare([row], "DE")
    await database.write(lambda conn: store(conn, prepared, source="salesforce", now=NOW))
    await database.write(
        lambda conn: record_calls(
            conn,
            [
                call("a", number=MINE, contact_id=1, rung="exact"),
                call("b", number=MINE),
                call("c", number=497, contact_id=1, rung="switchboard"),
                call("d", number=497),
            ],
        )
    )
    with pytest.raises(ConflictError, match="delete it there"):
        await erase(database, 1, who="user:ana", now=NOW)
    await database.write(lambda conn: forget(conn, ["003000000000001AAA"]))
    assert (await erase(database, 1, who="user:ana", now=NOW)).calls == 3
    assert query("SELECT id FROM calls WHERE name <> ''") == [("d",)]  # of the company, it may be anybody's
    with pytest.raises(NotFoundError):
        await erase(database, 1, who="user:ana", now=NOW)


async def test_many_calls_go_a_few_at_a_time(
    database: Database, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = Database.write
    person, _ = await furnish(database)
    rows = [call(str(number), number=MINE) for number in range(2 * CALLS)]
    await database.write(lambda conn: record_calls(conn, rows))

    async def counted(self: Database, job: Callable[[AsyncConnection], Awaitable[object]]) -> object:
        before = query("SELECT count(*) FROM calls WHERE name <> ''")[0][0]
        result = await write(self, job)
        writes.append(before - query("SELECT count(*) FROM calls WHERE name <> ''")[0][0])
        return result

    monkeypatch.setattr(Database, "write", counted)
    assert (await erase(database, person, who="user:ana", now=NOW)).calls == 2 * CALLS + 7
    assert max(writes) <= CALLS


async def test_a_number_that_is_nobodys_contact(database: Database, query: Query) -> None:
    await furnish(database)
    with pytest.raises(ConflictError, match="number of contact 1"):
        await erase_number(database, e164(MINE), who="user:ana", now=NOW)
    await database.write(
        lambda conn: record_calls(
            conn, [call("x", number=4930777), call("y", number_text="030-778"), call("z", number=4930779)]
        )
    )
    assert (await erase_number(database, e164(4930777), who="user:ana", now=NOW)).calls == 1
    assert (await erase_number(database, local("030778"), who="user:ana", now=NOW)).calls == 1
    assert query("SELECT id, number, number_text, name FROM calls WHERE id IN ('x', 'y')") == [
        ("x", None, "", ""),
        ("y", None, "", ""),
    ]
    assert query("SELECT number FROM calls WHERE id = 'z'") == [(4930779,)]


async def test_erasing_overwrites_and_others_go_on_as_before(database: Database) -> None:
    person, _ = await furnish(database)
    await erase(database, person, who="user:ana", now=NOW)

    async def setting(conn: AsyncConnection) -> int:
        return int((await conn.exec_driver_sql("PRAGMA secure_delete")).scalar_one())

    assert await database.write(setting) == 2  # FAST
