from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import storage.directory
from agi_server.calls.directory import Contact, Directory, Rule, RuleKind, Treatment
from agi_server.calls.numbers import Switchboard
from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from storage.backup import backup
from storage.directory import SqliteDirectory
from tests.storage.conftest import Query, overwrite, replace


@pytest.fixture
def people(query: Query) -> None:
    query("INSERT INTO accounts (id, salesforce_id, name) VALUES (5, '001A', 'Firm')")
    query("INSERT INTO owners (id, salesforce_id, email, name) VALUES (7, '005A', 'o@example.com', 'Olga')")
    query(
        "INSERT INTO contacts (id, salesforce_id, kind, name, first_name, last_name, account_id, owner_id, vip, "
        "active_at) VALUES (1, '003A', 'Lead', 'Ana B', 'Ana', 'B', 5, 7, 1, 99), "
        "(2, NULL, 'Account', 'Firm', '', '', NULL, NULL, 0, 0)"
    )
    query(
        "INSERT INTO phones (number, contact_id) VALUES (493012345670, 1), (493012345670, 2), (351210000001, 2)"
    )
    query(
        "INSERT INTO local_phones (digits, contact_id, tail) VALUES ('12345670', 2, 345670), ('0000000', 1, 0)"
    )
    query(
        "INSERT INTO switchboards (prefix, contact_id, main, explicit) VALUES (493012345, 2, 4930123450, 1)"
    )
    query("INSERT INTO switchboards (prefix, contact_id, main, explicit) VALUES (4930123, 1, 49301230, 0)")


ANA = Contact(
    id=1, kind="Lead", name="Ana B", first_name="Ana", last_name="B", salesforce_id="003A", account_id=5,
    account="Firm", owner_id=7, owner_salesforce_id="005A", owner_email="o@example.com", owner="Olga", vip=True,
    active_at=99,
)  # fmt: skip
FIRM = Contact(id=2, kind="Account", name="Firm")


@pytest.mark.usefixtures("people")
def test_contacts_by_number(directory: SqliteDirectory) -> None:
    asked: Directory = directory
    assert asked.contacts_by_number(493012345670) == [ANA, FIRM]
    assert asked.contacts_by_number(351210000001) == [FIRM]
    assert asked.contacts_by_number(351210000002) == []


@pytest.mark.usefixtures("people")
def test_contacts_by_switchboard(directory: SqliteDirectory) -> None:
    found = directory.contacts_by_switchboard([493012345, 49301234, 4930123])
    assert found == [
        (FIRM, Switchboard(493012345, 4930123450, explicit=True)),
        (ANA, Switchboard(4930123, 49301230, explicit=False)),
    ]
    assert directory.contacts_by_switchboard([49301234]) == []
    assert directory.contacts_by_switchboard([]) == []


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("digits", "length", "with_country", "ids"),
    [
        ("345670", 6, False, [2, 1]),  # each once: 2 has it with a country, too
        ("345670", 6, True, [2]),  # the stored side has no country
        ("12345670", 8, True, [2]),
        ("92345670", 8, False, []),
        ("4912345670", 8, True, [2]),
        ("12345670", 9, False, []),  # fewer digits than asked for
        ("45670", 5, False, []),  # too few to mean anyone
        ("000000", 6, True, [1]),
        ("0351210000001", 13, False, []),  # a number does not begin with zeros that it has not
        ("351210000001", 12, False, [2]),
    ],
)
def test_contacts_by_tail(
    directory: SqliteDirectory, digits: str, length: int, ids: list[int], *, with_country: bool
) -> None:
    found = directory.contacts_by_tail(digits, length, with_country=with_country)
    assert [contact.id for contact in found] == ids


def test_tails_are_found_as_a_plain_scan_finds_them(directory: SqliteDirectory, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO contacts (id) VALUES (1), (2)")

        @given(
            stored=st.text("012", min_size=4, max_size=12).filter(lambda text: int(text) > 0),
            country=st.sampled_from(["", "49", "351", "1"]),
            before=st.text("012", max_size=4),
            cut=st.integers(0, 4),
            length=st.integers(6, 12),
        )
        def check(stored: str, country: str, before: str, cut: int, length: int) -> None:
            e164, asked = (country + stored).lstrip("0"), before + stored[cut:]
            writer.execute("DELETE FROM phones")
            writer.execute("DELETE FROM local_phones")
            writer.execute("INSERT INTO phones (number, contact_id) VALUES (?, 1)", (int(e164),))
            writer.execute(
                "INSERT INTO local_phones (digits, contact_id, tail) VALUES (?, 2, ?)",
                (stored, int(stored[-6:])),
            )
            expected = {
                number
                for number, digits in ((1, e164), (2, stored))
                if len(asked) >= length and len(digits) >= length and digits.endswith(asked[-length:])
            }
            found = directory.contacts_by_tail(asked, length, with_country=False)
            assert {contact.id for contact in found} == expected

        check()


def test_exact_rules(directory: SqliteDirectory, query: Query) -> None:
    query(
        "INSERT INTO blacklist (id, kind, pattern, allow, did, treatment, target, reason, expires_at) VALUES "
        "(3, 'exact', '+4930', 1, '100', 'voicemail', '201', 'why', 5), "
        "(4, 'prefix', '+4930', 0, '', 'busy', '', '', 0), "
        "(5, 'exact', '+4930', 0, '', 'nonsense', '', '', 0)"
    )
    assert directory.exact_rules("+4930") == [
        Rule(
            id=3, kind=RuleKind.EXACT, pattern="+4930", allow=True, did="100", treatment=Treatment.VOICEMAIL,
            target="201", reason="why", expires_at=5,
        )
    ]  # fmt: skip
    assert directory.exact_rules("4930") == []


def test_last_agent(directory: SqliteDirectory, query: Query) -> None:
    query(
        "INSERT INTO calls (id, started_at, number, answered_by) VALUES "
        "('a', 10, 4930, '201'), ('b', 20, 4930, '202'), ('c', 30, 4930, ''), ('d', 40, 4931, '203')"
    )
    assert directory.last_agent(4930, 5) == "202"
    assert directory.last_agent(4930, 20) == ""


def test_the_last_agent_of_an_outgoing_call_is_who_dialled(directory: SqliteDirectory, query: Query) -> None:
    query(
        "INSERT INTO calls (id, started_at, number, direction, routed_to, answered_by) VALUES "
        "('a', 10, 4930, 'inbound', '201', '202'), ('b', 20, 4930, 'outbound', '203', 'trunk'), "
        "('c', 30, 4930, 'outbound', '', 'trunk'), ('d', 40, 4930, 'outbound', '204', '')"
    )
    assert directory.last_agent(4930, 5) == "203"


INDEXES = {
    storage.directory.BY_NUMBER: "p USING COVERING INDEX phones_number (<expr>=?)",
    **dict.fromkeys(storage.directory.BY_SWITCHBOARD[1:9], "p USING PRIMARY KEY (prefix=?)"),
    storage.directory.BY_TAIL: "p USING COVERING INDEX phones_number (<expr>=? AND number>?)",
    storage.directory.BY_LOCAL_TAIL: "p USING COVERING INDEX local_phones_tail (tail=?)",
    storage.directory.EXACT_RULES: "blacklist USING INDEX sqlite_autoindex_blacklist_1 (kind=? AND pattern=?)",
    storage.directory.LAST_AGENT: "calls USING INDEX calls_last_agent (number=? AND started_at>?)",
}


@pytest.mark.parametrize("statement", INDEXES)
def test_every_question_of_a_call_uses_an_index(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        values = ["1"] * (1 if "?1" in statement else statement.count("?"))
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan[0].startswith(f"SEARCH {INDEXES[statement]}")
    assert not [step for step in plan if re.match("SCAN|.*TEMP B-TREE", step)], plan


def test_what_a_phone_does_is_found_by_keys(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {storage.directory.AGENT_STATE}", ("101", 5))
        plan = [row[3] for row in rows]
    assert plan[:2] == [
        "SEARCH s USING PRIMARY KEY (extension=?)",
        "SEARCH p USING PRIMARY KEY (pbx=?)",
    ]


# --- policy


def test_the_policy_is_compiled_only_when_a_small_table_changed(
    directory: SqliteDirectory, query: Query
) -> None:
    first = directory.policy()
    assert directory.policy() is first
    query("INSERT INTO contacts (name) VALUES ('x')")  # another process wrote, but nothing of this
    assert directory.policy() is first
    query("INSERT INTO agents (extension, name) VALUES ('201', 'Ana')")
    second = directory.policy()
    assert second is not first
    assert second.by_extension["201"].name == "Ana"
    query("INSERT INTO blacklist (kind, pattern) VALUES ('prefix', '+49')")
    third = directory.policy()
    assert len(third.rules) == 1
    query("UPDATE blacklist SET hits = 7")
    assert directory.policy() is third
    asked: list[str] = []
    assert directory._connection is not None
    directory._connection.set_trace_callback(asked.append)
    assert directory.policy() is third
    assert asked == ["PRAGMA data_version"]


def test_text_that_is_no_text_hides_nothing_else(directory: SqliteDirectory, query: Query) -> None:
    query("INSERT INTO agents (extension, name) VALUES ('201', CAST(x'ff' AS TEXT)), ('202', 'Ben')")
    assert set(directory.policy().by_extension) == {"201", "202"}
    query("INSERT INTO contacts (id, name) VALUES (1, CAST(x'ff' AS TEXT)), (2, 'good')")
    query("INSERT INTO phones (number, contact_id) VALUES (49301, 1), (49302, 2)")
    with pytest.raises(DirectoryError):
        directory.contacts_by_number(49301)
    assert [contact.name for contact in directory.contacts_by_number(49302)] == ["good"]


# --- a file that is not what it should be


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that moves the clock of the directory."""
    moment = [1000.0]
    monkeypatch.setattr("storage.directory.time.monotonic", lambda: moment[0])

    def move(seconds: float) -> None:
        moment[0] += seconds

    return move


QUESTIONS: list[Callable[[SqliteDirectory], object]] = [
    lambda d: d.contacts_by_number(4930),
    lambda d: d.contacts_by_switchboard([493]),
    lambda d: d.contacts_by_tail("1234567", 7, with_country=False),
    lambda d: d.exact_rules("+49"),
    lambda d: d.last_agent(49, 0),
]


@pytest.mark.parametrize("content", [None, b"", b"no database " * 1000])
def test_without_a_sound_file_questions_fail_and_the_policy_is_that_of_the_settings(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ostiary.db"
    if content is not None:
        path.write_bytes(content)
    directory = SqliteDirectory(path, Settings.model_validate({"naming": {"template": "mine"}}))
    for question in QUESTIONS:
        with pytest.raises(DirectoryError, match=re.escape(str(path))):
            question(directory)
    assert directory.policy().default.template == "mine"
    assert directory.policy() is directory.policy()
    assert directory.state() != "ok"
    directory.close()


def test_a_file_that_appears_is_opened_within_a_second(
    template: Path, tmp_path: Path, pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    real = os.stat

    def count(path: Path) -> os.stat_result:
        looks.append(path)
        return real(path)

    monkeypatch.setattr("storage.directory.os.stat", count)
    path = tmp_path / "later.db"
    directory = SqliteDirectory(path, Settings())
    for _ in range(10):
        with pytest.raises(DirectoryError):
            directory.contacts_by_number(1)
        directory.policy()
    assert len(looks) == 1  # at most once a second
    path.write_bytes(template.read_bytes())
    pass_time(1.0)
    assert directory.contacts_by_number(1) == []
    assert directory.state() == "ok"
    directory.close()


def test_a_file_that_was_replaced_is_noticed(
    pass_time: Callable[[float], None], directory: SqliteDirectory, path: Path, tmp_path: Path, query: Query
) -> None:
    query("INSERT INTO agents (extension) VALUES ('old')")
    assert set(directory.policy().by_extension) == {"old"}
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with closing(sqlite3.connect(copy)) as other:  # as many changes as the old one had
        other.execute("UPDATE agents SET extension = 'new'")
        other.execute("UPDATE revisions SET value = 1 WHERE name = 'agents'")
        other.execute("INSERT INTO contacts (id, name) VALUES (1, 'new')")
        other.execute("INSERT INTO phones (number, contact_id) VALUES (49, 1)")
        other.commit()
    replace(path, copy)
    pass_time(1.0)
    assert set(directory.policy().by_extension) == {"new"}
    assert [contact.name for contact in directory.contacts_by_number(49)] == ["new"]


def test_a_file_that_vanishes_leaves_the_last_policy(
    pass_time: Callable[[float], None], directory: SqliteDirectory, path: Path, query: Query
) -> None:
    query("INSERT INTO agents (extension) VALUES ('201')")
    policy = directory.policy()
    path.unlink()
    pass_time(1.0)
    assert directory.policy() is policy
    with pytest.raises(DirectoryError):
        directory.contacts_by_number(49)


def test_a_damaged_page_is_an_error_not_an_answer(
    path: Path, query: Query, pass_time: Callable[[float], None]
) -> None:
    query("INSERT INTO contacts (id) VALUES (1)")
    query("INSERT INTO phones (number, contact_id) VALUES (49, 1)")
    query("INSERT INTO agents (extension) VALUES ('201')")
    ((page,),) = query("SELECT rootpage FROM sqlite_master WHERE name = 'phones_number'")
    good = path.read_bytes()
    overwrite(path, 4096 * (page - 1), b"\xff" * 4096)
    directory = SqliteDirectory(path, Settings())
    policy = directory.policy()
    assert "201" in policy.by_extension
    for _ in range(3):
        with pytest.raises(DirectoryError, match="restore a backup"):
            directory.contacts_by_number(49)
        assert directory.policy() is policy
    path.write_bytes(good)
    pass_time(1.0)
    assert [contact.id for contact in directory.contacts_by_number(49)] == [1]
    assert "201" in directory.policy().by_extension
    directory.close()


def test_a_fault_is_logged_once(tmp_path: Path, pass_time: Callable[[float], None]) -> None:
    with structlog.testing.capture_logs() as logs:
        directory = SqliteDirectory(tmp_path / "none.db", Settings())
        for _ in range(5):
            pass_time(1.0)
            directory.policy()
    assert [entry["event"] for entry in logs] == ["directory cannot be read"]


def test_no_question_holds_a_read_transaction(directory: SqliteDirectory, path: Path, query: Query) -> None:
    query("INSERT INTO contacts (id) VALUES (1), (2)")
    query("INSERT INTO phones (number, contact_id) VALUES (49, 1), (49, 2)")
    query(
        "INSERT INTO calls (id, started_at, number, answered_by) VALUES ('a', 1, 49, '2'), ('b', 2, 49, '3')"
    )
    for question in (
        lambda d: d.contacts_by_number(49),
        lambda d: d.last_agent(49, 0),
        SqliteDirectory.policy,
        *QUESTIONS,
    ):
        query("INSERT INTO audit (at, who, what) VALUES (1, '', '')")
        question(directory)
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def test_a_path_with_odd_characters(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20é.db"
    path.write_bytes(template.read_bytes())
    directory = SqliteDirectory(path, Settings())
    assert directory.state() == "ok"
    directory.close()
    with pytest.raises(DirectoryError, match="closed"):
        directory.contacts_by_number(1)
