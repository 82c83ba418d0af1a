"""Query jobs: their states, their pages, what they refuse."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.org.conftest import Api
from tests.org.records import Org
from tests.org.server import OrgServer

SOQL = "SELECT Id, LastName, Phone, VIP__c, SystemModstamp FROM Contact"


def start(api: Api, soql: str = SOQL, **more: str) -> Any:
    answer = api.post("jobs/query", json={"operation": "query", "query": soql, **more})
    assert answer.ok, answer.text
    return answer.json()


def complete(api: Api, job: str) -> Any:
    while (told := api.get(f"jobs/query/{job}").json())["state"] in {"UploadComplete", "InProgress"}:
        pass
    return told


def rows(text: str, **form: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), **form))


@pytest.fixture(autouse=True)
def contacts(org: Org) -> list[str]:
    return [
        org.create("Contact", {"LastName": f'"N" {place},\n{"ß" * place}', "VIP__c": place % 2 == 0})
        for place in range(7)
    ]


def test_states(api: Api, org_server: OrgServer) -> None:
    org_server.bulk.polls = 2
    job = start(api)
    assert job["state"] == "UploadComplete"
    states = [api.get(f"jobs/query/{job['id']}").json()["state"] for _ in range(3)]
    assert states == ["InProgress", "InProgress", "JobComplete"]
    told = api.get(f"jobs/query/{job['id']}").json()
    assert (told["numberRecordsProcessed"], told["object"], told["apiVersion"]) == (7, "Contact", 64.0)
    assert [item["id"] for item in api.get("jobs/query").json()["records"]] == [job["id"]]
    assert org_server.bulk.started == 1


def test_pages(api: Api, contacts: list[str]) -> None:
    job = start(api)["id"]
    complete(api, job)
    found: list[dict[str, str]] = []
    sizes = []
    locator = ""
    while locator != "null":
        params = {"maxRecords": "3"} | ({"locator": locator} if locator else {})
        answer = api.get(f"jobs/query/{job}/results", params=params)
        page = rows(answer.content.decode())
        assert int(answer.headers["Sforce-NumberOfRecords"]) == len(page)
        assert answer.headers["Content-Type"].startswith("text/csv")
        sizes.append(len(page))
        found += page
        locator = answer.headers["Sforce-Locator"]
    assert sizes == [3, 3, 1]
    assert sorted(row["Id"] for row in found) == sorted(contacts)
    by_id = {row["Id"]: row for row in found}
    assert by_id[contacts[3]]["LastName"] == '"N" 3,\nßßß'
    assert (by_id[contacts[3]]["VIP__c"], by_id[contacts[3]]["Phone"]) == ("false", "")
    assert by_id[contacts[3]]["SystemModstamp"].endswith(".000Z")


def test_a_page_can_be_read_again_although_records_changed(api: Api, org: Org, contacts: list[str]) -> None:
    job = start(api)["id"]
    complete(api, job)
    first = api.get(f"jobs/query/{job}/results").content
    org.delete("Contact", contacts[0])
    assert api.get(f"jobs/query/{job}/results").content == first


def test_the_server_may_make_smaller_pages(api: Api, org_server: OrgServer) -> None:
    org_server.bulk.page = 2
    job = start(api)["id"]
    complete(api, job)
    answer = api.get(f"jobs/query/{job}/results", params={"maxRecords": "50000"})
    assert answer.headers["Sforce-NumberOfRecords"] == "2"


def test_an_empty_result(api: Api) -> None:
    job = start(api, SOQL + " WHERE LastName = 'nobody'")["id"]
    complete(api, job)
    answer = api.get(f"jobs/query/{job}/results")
    assert (answer.headers["Sforce-Locator"], answer.headers["Sforce-NumberOfRecords"]) == ("null", "0")
    assert answer.text == '"Id","LastName","Phone","VIP__c","SystemModstamp"\n'


@pytest.mark.parametrize("delimiter", ["TAB", "PIPE"])
@pytest.mark.parametrize("end", ["LF", "CRLF"])
def test_delimiters(api: Api, delimiter: str, end: str) -> None:
    job = start(api, columnDelimiter=delimiter, lineEnding=end)["id"]
    complete(api, job)
    text = api.get(f"jobs/query/{job}/results").content.decode()
    assert len(rows(text, delimiter={"TAB": "\t", "PIPE": "|"}[delimiter])) == 7
    assert text.endswith('"\r\n') == (end == "CRLF")


def test_query_all(api: Api, org: Org, contacts: list[str]) -> None:
    org.delete("Contact", contacts[0])
    for operation, count in (("query", 6), ("queryAll", 7)):
        job = start(api, "SELECT Id, IsDeleted FROM Contact", operation=operation)["id"]
        assert complete(api, job)["numberRecordsProcessed"] == count


def test_failing_on_command(api: Api, org_server: OrgServer) -> None:
    org_server.bulk.failing.append("InvalidBatch : something broke")
    job = start(api)["id"]
    told = complete(api, job)
    assert (told["state"], told["errorMessage"]) == ("Failed", "InvalidBatch : something broke")
    answer = api.get(f"jobs/query/{job}/results")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")


def test_abort_and_delete(api: Api, org_server: OrgServer) -> None:
    org_server.bulk.polls = 1000
    job = start(api)["id"]
    assert api.delete(f"jobs/query/{job}").status_code == 400  # not while it runs
    assert api.patch(f"jobs/query/{job}", json={"state": "Aborted"}).json()["state"] == "Aborted"
    assert api.get(f"jobs/query/{job}").json()["state"] == "Aborted"
    assert api.patch(f"jobs/query/{job}", json={"state": "Aborted"}).status_code == 400
    assert api.delete(f"jobs/query/{job}").status_code == 204
    assert api.get(f"jobs/query/{job}").status_code == 404


@pytest.mark.parametrize(("soql", "code"), [
    ("SELECT Id FROM Lead", "INVALIDENTITY"),
    ("SELECT Id FROM", "MALFORMED_QUERY"),
    ("SELECT Nonsense FROM Contact", "INVALID_FIELD"),
    ("SELECT Id FROM Nonsense", "INVALID_TYPE"),
])  # fmt: skip
def test_refused_at_the_start(api: Api, org_server: OrgServer, soql: str, code: str) -> None:
    org_server.bulk.unsupported.add("Lead")
    answer = api.post("jobs/query", json={"operation": "query", "query": soql})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)
    assert org_server.bulk.started == 0


def test_compound_fields_are_refused(api: Api) -> None:
    answer = api.post(
        "jobs/query", json={"operation": "query", "query": "SELECT MailingAddress FROM Contact"}
    )
    assert answer.status_code == 400
    assert "Selecting compound data not supported in Bulk Query" in answer.json()[0]["message"]


def test_no_bulk_api_at_all(api: Api, org_server: OrgServer) -> None:
    org_server.bulk.enabled = False
    answer = api.post("jobs/query", json={"operation": "query", "query": SOQL})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "API_DISABLED_FOR_ORG")


def test_bad_locator_and_no_such_job(api: Api) -> None:
    job = start(api)["id"]
    complete(api, job)
    for locator in ("nonsense", "OTk5"):
        answer = api.get(f"jobs/query/{job}/results", params={"locator": locator})
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")
    assert api.get("jobs/query/7505g0000000999AAA").status_code == 404
