"""What the REST API says over HTTP beyond what test_simple_salesforce asks: pages, limits, refusals, batches."""

from __future__ import annotations

import socket
import struct
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from tests.org.conftest import Api
from tests.org.records import Org
from tests.org.server import OrgServer, running


def contact(name: str = "Silva", **more: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Contact"}, "LastName": name, **more}


def error_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


def test_versions_need_no_login(org_server: OrgServer) -> None:
    answer = requests.get(f"{org_server.url}/services/data", timeout=60)
    assert {"label": "64.0", "url": "/services/data/v64.0", "version": "64.0"} in answer.json()
    answer = requests.get(f"{org_server.url}/services/data/v64.0/limits", timeout=60)
    assert error_of(answer) == (401, "INVALID_SESSION_ID")


@pytest.mark.parametrize(
    "path", ["nonsense", "/services/data/v99.0/limits", "/services/data/v64.5/limits", "/"]
)
def test_nothing_there(api: Api, path: str) -> None:
    assert error_of(api.get(path)) == (404, "NOT_FOUND")


def test_methods_that_are_not_there(api: Api) -> None:
    assert error_of(api.put("sobjects/Contact", json={})) == (405, "METHOD_NOT_ALLOWED")


def test_bodies_that_are_no_json(api: Api) -> None:
    assert error_of(api.post("sobjects/Contact", data="{")) == (400, "JSON_PARSER_ERROR")
    assert error_of(api.post("sobjects/Contact", json=[])) == (400, "JSON_PARSER_ERROR")


def test_half_a_request_is_none(org_server: OrgServer) -> None:
    with socket.create_connection(("127.0.0.1", org_server.port), timeout=60) as wire:
        wire.sendall(b"POST /services/oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhalf")
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1) == b""
    assert org_server.requests == []


def test_a_client_that_goes_away_is_no_mistake_of_ours(org: Org) -> None:
    with running(org) as server:
        server.faults.add("slow", seconds=600)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as wire:
            wire.sendall(b"GET /services/data HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            server.wait_for("GET /services/data")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.faults.clear()
    assert server.mistakes == []


def test_long_addresses(api: Api) -> None:
    soql = "SELECT Id FROM Contact WHERE LastName = '" + "x" * 16_384 + "'"
    assert api.get("query", params={"q": soql}).status_code == 414
    assert api.get("limits", headers={"X-Long": "x" * 16_384}).status_code == 431


def test_every_answer_counts_and_tells_the_usage(api: Api, org_server: OrgServer) -> None:
    org_server.api_limit = 3
    said = [api.get(path).headers["Sforce-Limit-Info"] for path in ("limits", "nonsense", "limits")]
    assert said == ["api-usage=1/3", "api-usage=2/3", "api-usage=3/3"]
    answer = api.get("limits")
    assert error_of(answer) == (403, "REQUEST_LIMIT_EXCEEDED")
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=3/3"
    assert org_server.api_calls == 3


def test_the_date_is_the_orgs() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    org = Org(now=lambda: moment)
    with running(org) as server, Api(server) as api:
        assert parsedate_to_datetime(api.get("limits").headers["Date"]) == moment
    org.close()


def test_cursors(api: Api, org: Org, org_server: OrgServer) -> None:
    org.load("Contact", ({"LastName": f"{place}"} for place in range(500)))
    org_server.rest.cursors.most = 2
    header = {"Sforce-Query-Options": "batchSize=1"}  # 200 is the least
    pages = [
        api.get("query", params={"q": "SELECT Id FROM Contact"}, headers=header).json() for _ in range(3)
    ]
    assert [len(page["records"]) for page in pages] == [200] * 3
    assert error_of(api.get(pages[0]["nextRecordsUrl"])) == (400, "INVALID_QUERY_LOCATOR")
    assert api.get(pages[2]["nextRecordsUrl"]).json()["done"] is True
    assert error_of(api.get(pages[2]["nextRecordsUrl"].replace("-200", "-501"))) == (
        400,
        "INVALID_QUERY_LOCATOR",
    )
    org_server.rest.cursors.forget()
    assert error_of(api.get(pages[2]["nextRecordsUrl"])) == (400, "INVALID_QUERY_LOCATOR")


def test_query_needs_a_query(api: Api) -> None:
    assert error_of(api.get("query")) == (400, "MALFORMED_QUERY")


def test_some_fields_of_a_record(api: Api, org: Org) -> None:
    record_id = org.create("Contact", {"LastName": "Silva"})
    record = api.get(f"sobjects/Contact/{record_id}", params={"fields": "lastname"}).json()
    assert (set(record), record["LastName"]) == ({"attributes", "Id", "LastName"}, "Silva")
    answer = api.get(f"sobjects/Contact/{record_id}", params={"fields": "Nonsense"})
    assert error_of(answer) == (400, "INVALID_FIELD")


@pytest.mark.parametrize("moment", ["2026-01-01", "yesterday", "2026-01-01T00:00:00"])
def test_deleted_wants_times_with_an_offset(api: Api, moment: str) -> None:
    answer = api.get("sobjects/Contact/deleted/", params={"start": moment, "end": moment})
    assert error_of(answer) == (400, "INVALID_REPLICATION_DATE")


def test_addresses_carry_the_version_asked(org: Org, org_server: OrgServer) -> None:
    org.create("Contact", {"LastName": "Silva", "Description": '{"url":"/services/data/v1.0/x"}'})
    with Api(org_server, "50.0") as api:
        [row] = api.get("query", params={"q": "SELECT Id, Description FROM Contact"}).json()["records"]
        assert row["attributes"]["url"].startswith("/services/data/v50.0/sobjects/Contact/")
        assert row["Description"] == '{"url":"/services/data/v1.0/x"}'
        assert (
            api.get("sobjects/Contact/describe").json()["urls"]["sobject"].startswith("/services/data/v50.0/")
        )


# collections


def test_collections_keep_the_order(api: Api, org: Org) -> None:
    rows = [contact(f"{place}" if place % 3 else "") for place in range(200)]
    results = api.post("composite/sobjects", json={"records": rows}).json()
    assert [result["success"] for result in results] == [place % 3 != 0 for place in range(200)]
    names = [org.get("Contact", result["id"])["LastName"] for result in results if result["success"]]
    assert names == [f"{place}" for place in range(200) if place % 3]


def test_collections_all_or_none(api: Api, org: Org) -> None:
    answer = api.post("composite/sobjects", json={"allOrNone": True, "records": [contact(), contact("")]})
    assert answer.status_code == 200
    codes = [result["errors"][0]["statusCode"] for result in answer.json()]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    assert list(org.query("SELECT Id FROM Contact")) == []


def test_collections_update_and_delete(api: Api, org: Org) -> None:
    ids = [org.create("Contact", {"LastName": name}) for name in "ab"]
    rows = [contact("c", id=ids[0]), contact("d", id="0035g0000000999AAA")]
    results = api.patch("composite/sobjects", json={"records": rows}).json()
    assert [result["success"] for result in results] == [True, False]
    assert org.get("Contact", ids[0])["LastName"] == "c"
    results = api.delete("composite/sobjects", params={"ids": f"{ids[0]},nonsense,{ids[1]}"}).json()
    assert [result["success"] for result in results] == [True, False, True]
    assert list(org.query("SELECT Id FROM Contact")) == []


def test_collections_upsert(api: Api) -> None:
    rows = [contact("a", Ostiary_Id__c="1"), contact("", Ostiary_Id__c="2"), contact("b", Ostiary_Id__c="1")]
    results = api.patch("composite/sobjects/Contact/Ostiary_Id__c", json={"records": rows}).json()
    assert [(result["success"], result.get("created")) for result in results] == [
        (True, True),
        (False, None),
        (True, False),
    ]
    assert results[0]["id"] == results[2]["id"]
    lead = {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "y"}
    answer = api.patch("composite/sobjects/Contact/Ostiary_Id__c", json={"records": [lead]})
    assert answer.status_code == 400


def test_collections_have_bounds(api: Api) -> None:
    answer = api.post("composite/sobjects", json={"records": [contact()] * 201})
    assert answer.status_code == 400
    account = {"attributes": {"type": "Account"}, "Name": "x"}
    answer = api.post("composite/sobjects", json={"records": [contact(), account] * 6})
    assert error_of(answer) == (400, "LIMIT_EXCEEDED")
    assert api.post("composite/sobjects", json={"records": [contact(), account] * 5}).ok


def test_duplicate_rules(api: Api, org: Org) -> None:
    org.duplicates("Contact", "LastName")
    org.create("Contact", {"LastName": "Silva"})
    save = {"Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=true"}
    answer = api.post("sobjects/Contact", json={"LastName": "Silva"})
    assert answer.status_code == 400
    assert answer.json() == [
        {"message": "Use one of these records?", "errorCode": "DUPLICATES_DETECTED", "fields": []}
    ]
    [result] = api.post("composite/sobjects", json={"records": [contact()]}).json()
    assert result["errors"][0]["statusCode"] == "DUPLICATES_DETECTED"
    assert api.post("sobjects/Contact", json={"LastName": "Silva"}, headers=save).status_code == 201
    [result] = api.post("composite/sobjects", json={"records": [contact()]}, headers=save).json()
    assert result["success"] is True
    target = "sobjects/Contact/Ostiary_Id__c/1"
    assert error_of(api.patch(target, json={"LastName": "Silva"})) == (400, "DUPLICATES_DETECTED")
    assert api.patch(target, json={"LastName": "Silva"}, headers=save).status_code == 201


def test_composite(api: Api, org: Org) -> None:
    org.create("Contact", {"LastName": "Silva"})
    parts = [
        {
            "method": "GET",
            "url": "/services/data/v64.0/query/?q=SELECT LastName FROM Contact",
            "referenceId": "a",
        },
        {"method": "GET", "url": "/services/data/v64.0/query/?q=SELECT Id FROM Nonsense", "referenceId": "b"},
    ]
    first, second = api.post("composite", json={"compositeRequest": parts}).json()["compositeResponse"]
    assert (first["httpStatusCode"], first["body"]["records"][0]["LastName"]) == (200, "Silva")
    assert (second["httpStatusCode"], second["body"][0]["errorCode"]) == (400, "INVALID_TYPE")
