"""simple-salesforce, a client we did not write, works against the stand-in as it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceError,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from tests.org.oauth import key_pair
from tests.org.records import Org
from tests.org.server import OrgServer


class Loopback(HTTPAdapter):
    """Takes https requests to any host to the stand-in, the Host header kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        request.headers["Host"] = parts.netloc
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self._port}").geturl()
        options["timeout"] = 60
        return super().send(request, *args, **options)


@pytest.fixture
def session(org_server: OrgServer) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", Loopback(org_server.port))
        yield session


@pytest.fixture
def sf(org_server: OrgServer, session: requests.Session) -> Any:
    return Salesforce(
        consumer_key=org_server.oauth.client_id,
        consumer_secret=org_server.oauth.client_secret,
        domain="acme.my",
        session=session,
        version="64.0",
    )


def _works(sf: Any) -> bool:
    return bool(sf.query("SELECT Id FROM Organization")["totalSize"] == 1)


def _code(error: SalesforceError) -> str:
    content: Any = error.content  # JSON, whatever the library declares
    return str(content[0]["errorCode"])


# every flow it knows


def test_client_credentials(sf: Any, org_server: OrgServer) -> None:
    assert _works(sf)
    assert org_server.oauth.given == {"client_credentials": 1}


def test_client_credentials_are_refused_at_the_generic_host(
    org_server: OrgServer, session: requests.Session
) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": org_server.oauth.client_id,
        "client_secret": org_server.oauth.client_secret,
    }
    answer = session.post("https://login.salesforce.com/services/oauth2/token", form)
    assert (answer.status_code, answer.json()["error_description"]) == (
        400,
        "request not supported on this domain",
    )


@pytest.mark.parametrize("domain", ["login", "test", "acme.my"])
def test_jwt_bearer(org_server: OrgServer, session: requests.Session, domain: str) -> None:
    sf = Salesforce(
        username=org_server.oauth.username,
        consumer_key=org_server.oauth.client_id,
        privatekey=key_pair()[0],
        domain=domain,
        session=session,
    )
    assert _works(sf)
    assert org_server.oauth.given == {"jwt-bearer": 1}


def test_password_grant(org_server: OrgServer, session: requests.Session) -> None:
    oauth = org_server.oauth
    sf = Salesforce(
        username=oauth.username,
        password=oauth.password,
        consumer_key=oauth.client_id,
        consumer_secret=oauth.client_secret,
        session=session,
    )
    assert _works(sf)


def test_soap(org_server: OrgServer, session: requests.Session) -> None:
    oauth = org_server.oauth
    sf = Salesforce(
        username=oauth.username,
        password=oauth.password,
        security_token=oauth.security_token,
        session=session,
        version="64.0",
    )
    assert _works(sf)
    assert oauth.given == {"soap": 1}


def test_soap_from_a_trusted_address(org_server: OrgServer, session: requests.Session) -> None:
    oauth = org_server.oauth
    sf = Salesforce(
        username=oauth.username,
        password=oauth.password,
        organizationId=oauth.organization,
        session=session,
    )
    assert _works(sf)


@pytest.mark.parametrize(("token", "version", "code"), [
    ("wrong", "64.0", "INVALID_LOGIN"),
    (None, "65.0", "UNKNOWN_EXCEPTION"),
])  # fmt: skip
def test_soap_refused(
    org_server: OrgServer, session: requests.Session, token: str | None, version: str, code: str
) -> None:
    oauth = org_server.oauth
    with pytest.raises(SalesforceAuthenticationFailed) as caught:
        Salesforce(
            username=oauth.username,
            password=oauth.password,
            security_token=token or oauth.security_token,
            session=session,
            version=version,
        )
    assert caught.value.code == code


def test_direct(org_server: OrgServer, session: requests.Session) -> None:
    token = org_server.oauth.open_session("test")
    assert _works(Salesforce(session_id=token, instance_url=org_server.url, session=session))


def test_it_logs_in_again_after_its_session_has_ended(sf: Any, org_server: OrgServer) -> None:
    org_server.oauth.expire()
    assert _works(sf)
    assert org_server.oauth.given == {"client_credentials": 2}


def test_bulk2_never_logs_in_again(sf: Any, org_server: OrgServer) -> None:
    handler = sf.bulk2.Contact
    org_server.oauth.expire()
    with pytest.raises(SalesforceExpiredSession):
        list(handler.query_all("SELECT Id FROM Contact", wait=0.01))


# queries


@pytest.fixture
def many(org: Org) -> list[str]:
    return org.load(
        "Contact", ({"LastName": f"N{place:04d}", "Phone": f"+4930{place}"} for place in range(4500))
    )


@pytest.mark.usefixtures("many")
def test_query_pages(sf: Any) -> None:
    first = sf.query("SELECT Id, LastName FROM Contact ORDER BY LastName")
    assert (first["totalSize"], first["done"], len(first["records"])) == (4500, False, 2000)
    second = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    third = sf.query_more(second["nextRecordsUrl"].rpartition("/")[2])
    assert (third["done"], len(third["records"])) == (True, 500)
    assert third["records"][-1]["LastName"] == "N4499"
    assert third["records"][0]["attributes"]["url"].startswith("/services/data/v64.0/sobjects/Contact/003")


@pytest.mark.usefixtures("many")
def test_query_all_with_small_pages(sf: Any, org_server: OrgServer) -> None:
    found = sf.query_all(
        "SELECT LastName FROM Contact ORDER BY LastName", headers={"Sforce-Query-Options": "batchSize=900"}
    )
    assert [row["LastName"] for row in found["records"]] == [f"N{place:04d}" for place in range(4500)]
    assert sum(count for path, count in org_server.paths().items() if "/query" in path) == 5


def test_query_all_iter_include_deleted(sf: Any, org: Org, many: list[str]) -> None:
    org.delete("Contact", many[7])
    soql = "SELECT Id, IsDeleted FROM Contact"
    assert len(list(sf.query_all_iter(soql))) == 4499
    everything = list(sf.query_all_iter(soql, include_deleted=True))
    assert [row["Id"] for row in everything if row["IsDeleted"]] == [many[7]]


@pytest.mark.usefixtures("many")
def test_count(sf: Any) -> None:
    found = sf.query("SELECT COUNT() FROM Contact WHERE LastName LIKE 'N00%'")
    assert (found["totalSize"], found["records"]) == (100, [])


def test_format_soql_and_strange_text(sf: Any, org: Org) -> None:
    name = 'O\'Brien \\ "%_" +&=#\n Ωß'
    record_id = org.create("Contact", {"LastName": name.replace("\n", " ")})
    found = sf.query(format_soql("SELECT Id FROM Contact WHERE LastName = {}", name.replace("\n", " ")))
    assert [row["Id"] for row in found["records"]] == [record_id]


def test_bad_query(sf: Any) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        sf.query("SELECT Id FROM Contact WHERE (LastName = 'x'")
    assert _code(caught.value) == "MALFORMED_QUERY"
    with pytest.raises(SalesforceMalformedRequest) as caught:
        sf.query("SELECT Nonsense FROM Contact")
    assert _code(caught.value) == "INVALID_FIELD"


# single records


def test_life_of_a_record(sf: Any) -> None:
    contact = sf.Contact
    made = contact.create({"LastName": "Silva", "Phone": "+351210000001"})
    assert made["success"] is True
    record_id = made["id"]
    assert contact.get(record_id)["Phone"] == "+351210000001"
    assert contact.update(record_id, {"Phone": "+351210000002"}) == 204
    assert contact.get(record_id, params={"fields": "Phone"})["Phone"] == "+351210000002"
    assert contact.delete(record_id) == 204
    with pytest.raises(SalesforceResourceNotFound):
        contact.get(record_id)


def test_required_field(sf: Any) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        sf.Lead.create({"LastName": "Silva"})
    error: Any = caught.value.content
    assert (error[0]["errorCode"], error[0]["fields"]) == ("REQUIRED_FIELD_MISSING", ["Company"])


def test_upsert(sf: Any, org: Org) -> None:
    contact = sf.Contact
    first = contact.upsert("Ostiary_Id__c/a-b%2F1", {"LastName": "Silva"}, raw_response=True)
    assert (first.status_code, first.json()["created"]) == (201, True)
    again = contact.upsert("Ostiary_Id__c/a-b%2F1", {"LastName": "Souza"}, raw_response=True)
    assert (again.status_code, again.json()["created"], again.json()["id"]) == (
        200,
        False,
        first.json()["id"],
    )
    assert org.get("Contact", first.json()["id"])["Ostiary_Id__c"] == "a-b/1"
    assert contact.get_by_custom_id("Ostiary_Id__c", "a-b/1")["LastName"] == "Souza"


def test_upsert_before_version_46(org_server: OrgServer, session: requests.Session) -> None:
    token = org_server.oauth.open_session("test")
    sf: Any = Salesforce(session_id=token, instance_url=org_server.url, session=session, version="45.0")
    contact = sf.Contact
    assert contact.upsert("Ostiary_Id__c/1", {"LastName": "Silva"}) == 201
    assert contact.upsert("Ostiary_Id__c/1", {"LastName": "Silva"}) == 204


def test_several_records_with_one_external_id(sf: Any, org: Org) -> None:
    org.add_field("Contact", "Loose__c", "string", length=20, external_id=True)
    ids = [org.create("Contact", {"LastName": name, "Loose__c": "1"}) for name in "ab"]
    contact = sf.Contact
    calls: list[Callable[[], Any]] = [
        lambda: contact.upsert("Loose__c/1", {"LastName": "c"}),
        lambda: contact.get_by_custom_id("Loose__c", "1"),
    ]
    for call in calls:
        with pytest.raises(SalesforceMoreThanOneRecord) as caught:
            call()
        addresses: Any = caught.value.content
        assert sorted(addresses) == [
            f"/services/data/v64.0/sobjects/Contact/{record_id}" for record_id in ids
        ]


def test_describe(sf: Any) -> None:
    contact = sf.Contact
    fields = {item["name"]: item for item in contact.describe()["fields"]}
    assert (fields["Phone"]["type"], fields["Phone"]["length"]) == ("phone", 40)
    assert contact.metadata()["objectDescribe"]["name"] == "Contact"
    everything = sf.describe()
    assert {"Contact", "Account", "Lead"} <= {item["name"] for item in everything["sobjects"]}


def test_unknown_object(sf: Any) -> None:
    with pytest.raises(SalesforceResourceNotFound):
        sf.Nonsense.describe()


def test_deleted_and_updated(sf: Any, org: Org) -> None:
    gone, stays = (org.create("Contact", {"LastName": name}) for name in ("gone", "stays"))
    org.delete("Contact", gone)
    start, end = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=5)
    contact = sf.Contact
    deleted = contact.deleted(start, end)
    assert [record["id"] for record in deleted["deletedRecords"]] == [gone]
    assert {"earliestDateAvailable", "latestDateCovered"} < set(deleted)
    assert stays in contact.updated(start, end)["ids"]


# the rest of REST


def test_search(sf: Any, org: Org) -> None:
    record_id = org.create("Contact", {"LastName": "Silva", "Phone": "+351 210 000 001"})
    found = sf.search("FIND {210000001} IN PHONE FIELDS RETURNING Contact(Id, LastName)")
    assert [(row["Id"], row["LastName"]) for row in found["searchRecords"]] == [(record_id, "Silva")]
    assert sf.search("FIND {999999} IN PHONE FIELDS RETURNING Contact(Id)")["searchRecords"] == []


def test_limits_and_usage(sf: Any, org_server: OrgServer) -> None:
    limits = sf.limits()
    assert limits["DailyApiRequests"] == {"Max": org_server.api_limit, "Remaining": org_server.api_limit - 1}
    used = sf.api_usage["api-usage"]
    assert (used.used, used.total) == (1, org_server.api_limit)
    org_server.api_limit = 1
    with pytest.raises(SalesforceRefusedRequest) as caught:
        sf.limits()
    assert _code(caught.value) == "REQUEST_LIMIT_EXCEEDED"


def test_collections(sf: Any, org: Org) -> None:
    rows = [
        {"attributes": {"type": "Contact"}, "LastName": "a"},
        {"attributes": {"type": "Contact"}, "FirstName": "no last name"},
        {"attributes": {"type": "Account"}, "Name": "c"},
    ]
    body = json.dumps({"allOrNone": False, "records": rows})
    results = sf.restful("composite/sobjects", method="POST", data=body)
    assert [result["success"] for result in results] == [True, False, True]
    assert results[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert org.get("Account", results[2]["id"])["Name"] == "c"


# Bulk 2.0


@pytest.mark.usefixtures("many")
def test_bulk_query(sf: Any, org_server: OrgServer) -> None:
    org_server.bulk.polls = 2
    pages = list(sf.bulk2.Contact.query("SELECT Id, LastName FROM Contact", max_records=2000, wait=0.01))
    rows = [row for page in pages for row in csv.DictReader(io.StringIO(page))]
    assert len(pages) == 3
    assert sorted(row["LastName"] for row in rows) == [f"N{place:04d}" for place in range(4500)]


def test_bulk_insert(sf: Any, org: Org) -> None:
    records = [{"LastName": f'Line\nbreak, "quoted" {place}', "Email": "x@example.com"} for place in range(3)]
    records.append({"LastName": "", "Email": "no@example.com"})
    contact = sf.bulk2.Contact
    [told] = contact.insert(records=records, wait=0.01)
    assert (told["numberRecordsProcessed"], told["numberRecordsFailed"]) == (4, 1)
    made = list(csv.DictReader(io.StringIO(contact.get_successful_records(told["job_id"]), newline="")))
    assert [org.get("Contact", row["sf__Id"])["LastName"] for row in made] == [
        record["LastName"] for record in records[:3]
    ]
    [failed] = csv.DictReader(io.StringIO(contact.get_failed_records(told["job_id"]), newline=""))
    assert failed["sf__Error"].startswith("REQUIRED_FIELD_MISSING")


@pytest.mark.parametrize("change", ["update", "upsert", "delete"])
def test_bulk_changes(sf: Any, org: Org, change: str) -> None:
    record_id = org.create("Contact", {"LastName": "a", "Ostiary_Id__c": "1"})
    contact = sf.bulk2.Contact
    calls: dict[str, Callable[[], Any]] = {
        "update": lambda: contact.update(
            records=[{"Id": record_id, "LastName": "b", "VIP__c": "true"}], wait=0.01
        ),
        "upsert": lambda: contact.upsert(
            records=[{"Ostiary_Id__c": "1", "LastName": "b", "VIP__c": "true"}],
            external_id_field="Ostiary_Id__c",
            wait=0.01,
        ),
        "delete": lambda: contact.delete(records=[{"Id": record_id}], wait=0.01),
    }
    [told] = calls[change]()
    assert told["numberRecordsFailed"] == 0
    rows = list(org.query("SELECT LastName, VIP__c FROM Contact"))
    assert [(row["LastName"], row["VIP__c"]) for row in rows] == ([] if change == "delete" else [("b", True)])
