"""The client against the stand-in: what it reads and writes, and what it says when it cannot."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import (
    SalesforceDown,
    SalesforceLimitError,
    SalesforceLoginError,
    SalesforceRefusal,
)
from agi_server.salesforce import transport
from agi_server.salesforce.client import Client, Job
from agi_server.salesforce.pages import open_page
from tests.org.records import Org
from tests.org.server import OrgServer
from tests.salesforce.conftest import Section


def people(org: Org, count: int) -> list[str]:
    return [
        org.create("Contact", {"LastName": f"Müller {n}", "Phone": f"+4930{n:07d}"}) for n in range(count)
    ]


def records(pages: Iterator[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [record for page in pages for record in page]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.001)


# --- reading ---


def test_a_query_comes_in_pages_with_parents(org: Org, section: Section, tmp_path: Path) -> None:
    account = org.create("Account", {"Name": "Acme"})
    ids = [org.create("Contact", {"LastName": str(n), "AccountId": account}) for n in range(450)]
    with Client(section(page_size=200), tmp_path) as client:
        pages = list(client.query("SELECT Id, LastName, Account.Name, Owner.Email FROM Contact ORDER BY Id"))
        assert [len(page) for page in pages] == [200, 200, 50]
        assert [each["Id"] for page in pages for each in page] == sorted(ids)
        assert pages[0][0]["Account"]["Name"] == "Acme"
        assert type(pages[0][0]["Account"]) is dict
        assert pages[0][0]["attributes"]["type"] == "Contact"
        assert client.calls == 3


def test_deleted_records_are_seen_when_asked_for(org: Org, client: Client) -> None:
    kept, gone = people(org, 2)
    org.delete("Contact", gone)
    soql = "SELECT Id, IsDeleted FROM Contact ORDER BY Id"
    assert [each["Id"] for each in records(client.query(soql))] == [kept]
    assert {each["Id"]: each["IsDeleted"] for each in records(client.query(soql, deleted=True))} == {
        kept: False,
        gone: True,
    }


@pytest.mark.parametrize("deleted", [False, True])
def test_a_query_too_long_for_an_address(
    org: Org, org_server: OrgServer, section: Section, tmp_path: Path, deleted: bool
) -> None:
    ids = people(org, 300)
    names = ", ".join(f"'Müller {n}'" for n in range(1000))
    with Client(section(page_size=200), tmp_path) as client:
        found = records(client.query(f"SELECT Id FROM Contact WHERE LastName IN ({names})", deleted=deleted))
        assert sorted(each["Id"] for each in found) == sorted(ids)
        with pytest.raises(SalesforceRefusal, match="MALFORMED_QUERY") as caught:
            list(client.query(f"SELEKT {names}"))
        assert caught.value.code == "MALFORMED_QUERY"
    org_server.wait_for(r"^POST /services/data/v64.0/composite$", 2)


def test_a_count(org: Org, client: Client) -> None:
    people(org, 3)
    assert client.count("SELECT COUNT() FROM Contact") == 3


def test_a_description(org: Org, client: Client) -> None:
    org.hide("Contact", "MobilePhone")
    described = client.describe("Contact")
    assert described is not None
    fields = {each["name"]: each["type"] for each in described["fields"]}
    assert fields["Phone"] == "phone"
    assert "MobilePhone" not in fields


def test_no_such_object(org: Org, client: Client) -> None:
    org.hide("Lead")
    assert client.describe("Lead") is None
    assert client.describe("Nothing__c") is None
    assert client.describe("../../x?y") is None


def test_what_was_deleted(org: Org, client: Client) -> None:
    _, gone = people(org, 2)
    org.delete("Contact", gone)
    now = client.server_time()
    found = client.deleted("Contact", now - timedelta(days=1), now + timedelta(minutes=2))
    assert found.ids == [gone]
    assert found.earliest.tzinfo is not None
    assert found.earliest < found.latest
    with pytest.raises(ValueError, match="zone"):
        client.deleted("Contact", datetime(2026, 1, 1), now)  # noqa: DTZ001  # that is the point
    with pytest.raises(SalesforceRefusal) as caught:
        client.deleted("Contact", now, now - timedelta(days=1))
    assert caught.value.code == "INVALID_REPLICATION_DATE"


def test_a_search(org: Org, client: Client) -> None:
    org.create("Contact", {"LastName": "Müller", "Phone": "030 1234567"})
    found = client.search("FIND {1234567} IN PHONE FIELDS RETURNING Contact(Id, LastName)", deadline=30)
    assert [each["LastName"] for each in found] == ["Müller"]
    assert client.search("FIND {7654321} IN PHONE FIELDS RETURNING Contact(Id)") == []


def test_the_time_is_that_of_salesforce(section: Section, org_server: OrgServer, tmp_path: Path) -> None:
    there = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)
    org_server.org.now = lambda: there
    with Client(section(), tmp_path) as client:
        assert client.server_time() == there
        assert client.server_time().tzinfo is UTC
        assert client.calls == 1


def test_usage_is_what_the_last_answer_says(client: Client, org_server: OrgServer) -> None:
    assert client.usage is None
    client.count("SELECT COUNT() FROM Contact")
    assert client.usage == (1, 100_000)
    org_server.api_calls = 500
    client.count("SELECT COUNT() FROM Contact")
    assert client.usage == (501, 100_000)
    assert client.calls == 2


# --- Bulk 2.0 ---


def done(client: Client, soql: str) -> str:
    job_id = client.start_job(soql)
    until = time.monotonic() + 60
    while client.job(job_id).state != "JobComplete":
        assert time.monotonic() < until
    return job_id


def test_results_of_a_job_page_by_page(org: Org, client: Client) -> None:
    account = org.create("Account", {"Name": 'Acme "Nord",\n\u2028 GmbH'})
    ids = [org.create("Contact", {"LastName": str(n), "AccountId": account}) for n in range(25)]
    org.create("Contact", {"LastName": "of nobody"})
    job_id = done(client, "SELECT Id, LastName, Account.Name, Phone FROM Contact")
    assert client.job(job_id) == Job("JobComplete", 26, "")
    rows, locator, pages = [], "", 0
    while pages == 0 or locator:
        with client.results(job_id, locator, 10) as results:
            rows += list(results.rows)
            locator = results.next
        pages += 1
    assert pages == 3
    assert {row["Id"] for row in rows if row["Account.Name"] == 'Acme "Nord",\n\u2028 GmbH'} == set(ids)
    assert [row for row in rows if not row["Account.Name"]] == [
        {
            "Id": next(row["Id"] for row in rows if row["LastName"] == "of nobody"),
            "LastName": "of nobody",
            "Account.Name": "",
            "Phone": "",
        }
    ]


def test_a_job_without_results(client: Client) -> None:
    with client.results(done(client, "SELECT Id FROM Contact"), "", 10) as results:
        assert list(results.rows) == []
        assert results.next == ""


def test_results_that_are_not_read_to_their_end(org: Org, client: Client) -> None:
    people(org, 50)
    job_id = done(client, "SELECT Id, LastName FROM Contact")
    with client.results(job_id, "", 50) as results:
        next(results.rows)
    with client.results(job_id, "", 50) as results:
        assert len(list(results.rows)) == 50


def test_a_failed_job_says_why(client: Client, org_server: OrgServer) -> None:
    org_server.bulk.failing = ["InvalidBatch : it is so"]
    job_id = client.start_job("SELECT Id FROM Contact")
    until = time.monotonic() + 60
    while (job := client.job(job_id)).state != "Failed":
        assert time.monotonic() < until
    assert job.error == "InvalidBatch : it is so"


def test_a_job_is_stopped(client: Client, org_server: OrgServer) -> None:
    org_server.bulk.polls = 1000
    job_id = client.start_job("SELECT Id FROM Contact")
    client.abort_job(job_id)
    assert client.job(job_id).state == "Aborted"
    with pytest.raises(SalesforceRefusal) as caught, client.results(job_id, "", 10):
        pass
    assert caught.value.code == "INVALIDJOBSTATE"


def test_where_bulk_is_not_to_be_had(client: Client, org_server: OrgServer) -> None:
    """In each case the caller may go on with REST."""
    org_server.bulk.unsupported = {"Contact"}
    with pytest.raises(SalesforceRefusal, match="not supported by the Bulk API") as caught:
        client.start_job("SELECT Id FROM Contact")
    assert caught.value.code == "INVALIDENTITY"
    org_server.bulk.enabled = False
    with pytest.raises(SalesforceRefusal) as caught:
        client.start_job("SELECT Id FROM Lead")
    assert caught.value.code == "API_DISABLED_FOR_ORG"


def test_a_page_that_is_cut(org: Org, client: Client, org_server: OrgServer) -> None:
    people(org, 50)
    job_id = done(client, "SELECT Id, LastName FROM Contact")
    org_server.faults.add("cut-answer", path="/results")
    with pytest.raises(SalesforceDown, match="cut"), client.results(job_id, "", 50) as results:
        list(results.rows)
    with client.results(job_id, "", 50) as results:
        assert len(list(results.rows)) == 50


class Canned(requests.Response):
    """An answer whose body is given in chunks, the last of which may be an exception."""

    def __init__(self, *chunks: bytes | Exception, **headers: str) -> None:
        super().__init__()
        self.chunks = chunks
        self.headers.update({name.replace("_", "-"): value for name, value in headers.items()})

    def iter_content(self, *_: object, **__: object) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


def taken(rows: Iterator[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Return the rows that came, and what was said at the end."""
    found = []
    try:
        for row in rows:
            found.append(row)  # noqa: PERF402  # what came before an error counts
    except SalesforceDown as error:
        return found, str(error)
    return found, ""


def test_rows_before_a_cut_are_given() -> None:
    page = Canned(b'"Id","Name"\n"1","A"\n"2",', requests.exceptions.ChunkedEncodingError("cut"))
    rows, said = taken(open_page(page, list).rows)
    assert rows == [{"Id": "1", "Name": "A"}]
    assert "the connection was cut" in said


def test_a_short_page_is_no_page() -> None:
    page = Canned(b'"Id"\n"1"\n"2"\n', Sforce_NumberOfRecords="3", Sforce_Locator="abc")
    results = open_page(page, list)
    rows, said = taken(results.rows)
    assert [row["Id"] for row in rows] == ["1", "2"]
    assert "2 records came, 3 were announced" in said
    assert results.next == "abc"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'"Id","Name"\n"1"\n', "1 columns, not 2"),
        (b'"Id"\n"1', "no CSV"),
        (b'"Id"\n"\xc3', "no CSV"),
        (b'"Id"\n"1"x"\n', "no CSV"),
    ],
)
def test_what_is_no_csv(body: bytes, problem: str) -> None:
    with pytest.raises(SalesforceDown, match=problem):
        list(open_page(Canned(body), list).rows)


def test_half_a_character_spoils_no_page() -> None:
    page = Canned(b'"Id","Name"\n"1","Ana \xed\xa0\xbd"\n"2","B\xff"\n')
    assert [row["Name"].rstrip("\ufffd") for row in open_page(page, list).rows] == ["Ana ", "B"]


def test_a_page_without_column_names() -> None:
    page = Canned(b'"0031","A B"\n"0032","C"\n', Sforce_NumberOfRecords="2", Sforce_Locator="null")
    results = open_page(page, lambda: ["Id", "Name"])
    assert list(results.rows) == [{"Id": "0031", "Name": "A B"}, {"Id": "0032", "Name": "C"}]
    assert results.next == ""


def test_the_names_come_from_the_first_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get(url: str, params: dict[str, str | int], **_: object) -> Canned:
        asked.append(params)
        head = b"" if "locator" in params else b'"Id","Name"\n'
        page = Canned(head + b'"1","x"\n', Sforce_NumberOfRecords="1", Sforce_Locator="more")
        page.status_code, page.url, page.raw = 200, url, io.BytesIO()
        return page

    monkeypatch.setattr(client._session, "get", get)
    for _ in range(2):
        with client.results("750", "more", 10) as results:
            assert list(results.rows) == [{"Id": "1", "Name": "x"}]
    assert asked == [
        {"maxRecords": 10, "locator": "more"},
        {"maxRecords": 1},
        {"maxRecords": 10, "locator": "more"},
    ]


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=8)] * 3), max_size=6
    ),
    size=st.integers(1, 20),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_any_text_in_any_chunks(rows: list[tuple[str, ...]], size: int, quoting: Any) -> None:
    rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]  # LF is what we ask for
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator="\n")
    writer.writerow(["Id", "Account.Name", "Phone"])
    writer.writerows(rows)
    data = text.getvalue().encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    page = Canned(*chunks, Sforce_NumberOfRecords=str(len(rows)))
    assert [tuple(row.values()) for row in open_page(page, list).rows] == rows


# --- writing ---


def test_records_are_created_and_updated_in_order(org: Org, client: Client) -> None:
    made = client.write("POST", "Contact", [{"LastName": "A"}, {"FirstName": "nameless"}, {"LastName": "C"}])
    assert [(each.success, each.code, each.fields) for each in made] == [
        (True, "", ()),
        (False, "REQUIRED_FIELD_MISSING", ("LastName",)),
        (True, "", ()),
    ]
    assert made[1].message
    assert org.get("Contact", made[2].id)["LastName"] == "C"
    changed = client.write("PATCH", "Contact", [{"Id": made[0].id, "LastName": "B"}])
    assert changed[0].success
    assert org.get("Contact", made[0].id)["LastName"] == "B"


def test_upsert_makes_a_record_once(org: Org, client: Client) -> None:
    record = {"Ostiary_Id__c": "abc", "LastName": "A"}
    first = client.write("PATCH", "Contact", [record], external_id="Ostiary_Id__c")
    second = client.write("PATCH", "Contact", [record], external_id="Ostiary_Id__c")
    assert (first[0].created, second[0].created) == (True, False)
    assert first[0].id == second[0].id
    assert client.count("SELECT COUNT() FROM Contact") == 1
    assert org.get("Contact", first[0].id)["Ostiary_Id__c"] == "abc"


def test_more_than_a_collection_holds(client: Client) -> None:
    with pytest.raises(ValueError, match="200"):
        client.write("POST", "Contact", [{"LastName": "A"}] * 201)
    with pytest.raises(ValueError, match="200"):
        client.write("POST", "Contact", [])
    assert client.calls == 0


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("expired", [True, False])
def test_duplicates(
    org_server: OrgServer, section: Section, tmp_path: Path, *, allow: bool, expired: bool
) -> None:
    """The header is there on the retry after a renewal as well."""
    org = org_server.org
    org.duplicates("Contact", "Phone")
    org.create("Contact", {"LastName": "A", "Phone": "+4930"})
    with Client(section(allow_duplicates=allow), tmp_path) as client:
        client.server_time()
        if expired:
            org_server.oauth.expire()
        (result,) = client.write("POST", "Contact", [{"LastName": "B", "Phone": "+4930"}])
    assert (result.success, result.code) == ((True, "") if allow else (False, "DUPLICATES_DETECTED"))


# --- what goes wrong ---

READS: dict[str, Callable[[Client], object]] = {
    "query": lambda client: list(client.query("SELECT Id FROM Contact")),
    "count": lambda client: client.count("SELECT COUNT() FROM Contact"),
    "describe": lambda client: client.describe("Contact"),
    "search": lambda client: client.search("FIND {1234567} IN PHONE FIELDS RETURNING Contact(Id)"),
    "deleted": lambda client: client.deleted(
        "Contact", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    ),
    "job": lambda client: client.job("750000000000001AAA"),
    "time": lambda client: client.server_time(),
}
WRITES: dict[str, Callable[[Client], object]] = {
    "create": lambda client: client.write("POST", "Contact", [{"LastName": "A"}]),
    "update": lambda client: client.write("PATCH", "Contact", [{"Id": "003", "LastName": "A"}]),
    "start_job": lambda client: client.start_job("SELECT Id FROM Contact"),
    "abort_job": lambda client: client.abort_job("750000000000001AAA"),
}
CALLS = READS | WRITES


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["error", "cut", "cut-answer", "limit", "expired", "unauthorized-html"])
def test_each_fault_is_the_right_error(client: Client, org_server: OrgServer, call: str, fault: Any) -> None:
    org_server.faults.add(fault, times=None, path="/services/data/")
    refused = SalesforceLoginError
    wanted = {"limit": SalesforceLimitError, "expired": refused, "unauthorized-html": refused}
    with pytest.raises(wanted.get(fault, SalesforceDown)):
        CALLS[call](client)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("fault", ["cut", "cut-answer", "error"])
def test_reads_are_tried_again(client: Client, org_server: OrgServer, call: str, fault: Any) -> None:
    org_server.faults.add(fault, times=2, path="/services/data/")
    if call == "job":
        with pytest.raises(SalesforceRefusal):
            CALLS[call](client)
    else:
        CALLS[call](client)
    assert client.calls == 3


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("fault", ["cut", "done-cut", "cut-answer", "error"])
def test_writes_are_never_tried_again(client: Client, org_server: OrgServer, call: str, fault: Any) -> None:
    org_server.faults.add(fault, times=1, path="/services/data/")
    with pytest.raises((SalesforceDown, SalesforceRefusal)):  # "done" may be a refusal nobody heard
        CALLS[call](client)
    assert client.calls == 1


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "INVALID_FIELD", SalesforceRefusal),
        (403, "INSUFFICIENT_ACCESS", SalesforceRefusal),
        (403, "API_DISABLED_FOR_ORG", SalesforceLoginError),
        (500, "UNKNOWN_EXCEPTION", SalesforceDown),
        (503, "SERVER_UNAVAILABLE", SalesforceDown),
    ],
)
@pytest.mark.usefixtures("quick")
def test_the_code_counts(client: Client, org_server: OrgServer, status: int, code: str, error: Any) -> None:
    org_server.faults.add("refused", times=None, status=status, code=code, text="it is so", path="/query")
    with pytest.raises(error, match=code) as caught:
        list(client.query("SELECT Id FROM Contact"))
    assert "it is so" in str(caught.value)
    if error is not SalesforceDown:
        assert caught.value.code == code


def test_fields_of_a_refusal(client: Client) -> None:
    with pytest.raises(SalesforceRefusal) as caught:
        list(client.query("SELECT Id, Nothing__c FROM Contact"))
    assert caught.value.code == "INVALID_FIELD"


@pytest.mark.parametrize("signed_in", [False, True])
def test_a_deadline_holds_for_all_of_it(client: Client, org_server: OrgServer, signed_in: bool) -> None:
    if signed_in:
        client.server_time()
    org_server.faults.add("mute", times=None)
    for call in (
        lambda: client.search("FIND {1234567} RETURNING Contact(Id)", deadline=0.2),
        lambda: list(client.query("SELECT Id FROM Contact", deadline=0.2)),
    ):
        start = time.monotonic()
        with pytest.raises(SalesforceDown, match="time"):
            call()
        assert time.monotonic() - start < 15  # the default is 30 s
    org_server.faults.clear()


def test_many_threads_at_once(org: Org, client: Client, org_server: OrgServer) -> None:
    people(org, 5)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: client.count("SELECT COUNT() FROM Contact"), range(64))) == {5}
    assert client.calls == 64
    assert org_server.oauth.given.total() == 1


def test_an_api_version_there_is_not(section: Section, tmp_path: Path) -> None:
    with Client(section(api_version="99.0"), tmp_path) as client, pytest.raises(SalesforceRefusal) as caught:
        client.server_time()
    assert caught.value.code == "NOT_FOUND"


def test_what_is_imported_when() -> None:
    """simple-salesforce costs 35 MiB: the package itself and the settings must not load it, nor requests."""
    program = (
        "import agi_server.salesforce, agi_server.cli.parts, agi_server.settings, sys;"
        "print([each for each in ('requests', 'simple_salesforce', 'zeep', 'jwt') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
