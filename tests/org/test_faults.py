"""What goes wrong on command does, as often as said and only where said."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.org.conftest import Api
from tests.org.control import steer
from tests.org.records import Org
from tests.org.server import OrgServer, running

CONTACT = {"LastName": "Silva"}


def test_expired_once(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("expired")
    answer = api.get("limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
    assert api.get("limits").ok


def test_lasting_until_cleared(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("expired", times=None)
    assert [api.get("limits").status_code for _ in range(4)] == [401] * 4
    org_server.faults.clear("limit")  # another one
    assert api.get("limits").status_code == 401
    org_server.faults.clear()
    assert api.get("limits").ok


def test_counted_after_some_and_only_where_said(api: Api, org_server: OrgServer) -> None:
    fault = org_server.faults.add("error", times=2, after=1, path="/sobjects/", method="GET", status=500)
    target = "sobjects/Contact/describe"
    assert api.post("sobjects/Contact", json=CONTACT).status_code == 201
    assert [api.get(path).status_code for path in (target, "limits", target, target, target)] == [
        200, 200, 500, 500, 200,
    ]  # fmt: skip
    assert fault.taken == 2


@pytest.mark.parametrize(("kind", "status"), [("unauthorized-html", 401), ("error", 503)])
def test_pages_instead_of_json(api: Api, org_server: OrgServer, kind: str, status: int) -> None:
    steer(org_server.url, "fault", kind)
    answer = api.get("limits")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html;charset=UTF-8")
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_limit(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("limit")
    answer = api.get("limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")


def test_refused(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("refused", status=403, code="API_DISABLED_FOR_ORG", text="no API for you")
    answer = api.get("limits")
    assert (answer.status_code, answer.json()) == (
        403,
        [{"message": "no API for you", "errorCode": "API_DISABLED_FOR_ORG"}],
    )


def test_login_refused(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("login-refused", times=None, text="user hasn't approved this consumer")
    form = {"grant_type": "client_credentials"}
    answer = api.post(f"{org_server.url}/services/oauth2/token", form)
    assert (answer.status_code, answer.json()["error_description"]) == (
        400,
        "user hasn't approved this consumer",
    )
    answer = api.post(f"{org_server.url}/services/Soap/u/64.0", "<x/>")
    assert (answer.status_code, "user hasn&#x27;t approved" in answer.text) == (500, True)
    assert api.get("limits").ok  # those who are in stay in


def test_cut_before_and_after_the_work(api: Api, org_server: OrgServer, org: Org) -> None:
    for kind, made in (("cut", 0), ("done-cut", 1)):
        steer(org_server.url, "fault", kind, method="POST")
        with pytest.raises(requests.ConnectionError):
            api.post("sobjects/Contact", json=CONTACT)
        assert len(list(org.query("SELECT Id FROM Contact"))) == made
    assert org_server.requests[-1][2] == 0


def test_cut_in_the_middle_of_an_answer(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("cut-answer")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        api.get("sobjects/Contact/describe")
    assert api.get("sobjects/Contact/describe").ok


def test_cut_in_the_middle_of_a_bulk_page(api: Api, org_server: OrgServer, org: Org) -> None:
    org.load("Contact", ({"LastName": f"{place:080d}"} for place in range(2000)))
    org_server.bulk.polls = 0
    job = api.post("jobs/query", json={"operation": "query", "query": "SELECT LastName FROM Contact"}).json()[
        "id"
    ]
    while api.get(f"jobs/query/{job}").json()["state"] != "JobComplete":
        pass
    org_server.faults.add("cut-answer", path="/results")
    with api.get(f"jobs/query/{job}/results", stream=True) as answer:
        assert answer.ok
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            b"".join(answer.iter_content(1000))
    whole = api.get(f"jobs/query/{job}/results")
    assert len(whole.text.splitlines()) == 2001


def test_slow_adds_to_others(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("slow", seconds=600)
    org_server.faults.add("error")
    done: list[int] = []
    asking = threading.Thread(target=lambda: done.append(api.get("limits").status_code))
    asking.start()
    org_server.wait_for("GET .*/limits")
    assert done == []
    org_server.faults.clear("slow")
    asking.join(60)
    assert done == [503]


def test_mute(api: Api, org_server: OrgServer) -> None:
    org_server.faults.add("mute")
    with pytest.raises(requests.ReadTimeout):
        api.get("limits", timeout=0.2)
    assert api.get("limits").ok


def test_stop_lets_go_of_who_waits(org: Org) -> None:
    with running(org) as server, Api(server) as api:
        server.faults.add("mute")
        broken: list[BaseException] = []

        def ask() -> None:
            try:
                api.get("limits")
            except requests.ConnectionError as error:
                broken.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        server.wait_for("GET .*/limits")
        server.stop()
        asking.join(60)
        assert len(broken) == 1


def test_a_closed_port_refuses_and_opens_again(api: Api, org_server: OrgServer) -> None:
    assert api.get("limits").ok
    org_server.close_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", org_server.port), timeout=60)
    org_server.open_port()
    assert api.get("limits").ok


def test_row_locks_and_duplicates(api: Api, org: Org) -> None:
    record = {"attributes": {"type": "Contact"}, **CONTACT}
    org.lock_rows(1)
    results = api.post("composite/sobjects", json={"records": [record, record]}).json()
    assert [result["success"] for result in results] == [False, True]
    assert results[0]["errors"] == [
        {
            "statusCode": "UNABLE_TO_LOCK_ROW",
            "message": "unable to obtain exclusive access to this record",
            "fields": [],
        }
    ]


@pytest.fixture
def process() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.org", "--port", "0", "--people", "40", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running_org:
        try:
            assert running_org.stdout
            yield json.loads(running_org.stdout.readline())["url"]
        finally:
            running_org.terminate()
            assert running_org.wait(60) == 0


def test_a_process_is_steered_from_outside(process: str) -> None:
    record_id = steer(process, "create", "Contact", CONTACT)
    steer(process, "update", "Contact", record_id, {"Phone": "+4930123"})
    [row] = steer(process, "query", f"SELECT Phone FROM Contact WHERE Id = '{record_id}'")
    assert row["Phone"] == "+4930123"
    settings = steer(process, "settings")
    steer(process, "set", **{"oauth.client_credentials": False, "api_limit": 7, "bulk.polls": 3})
    form = {name: settings[name] for name in ("client_id", "client_secret")} | {
        "grant_type": "client_credentials"
    }
    assert requests.post(f"{process}/services/oauth2/token", form, timeout=60).status_code == 400
    told = steer(process, "statistics")
    assert (told["api_limit"], told["refusals"]) == (7, {"invalid_grant": 1})
    assert told["requests"]["POST /services/oauth2/token"] == 1
    with pytest.raises(RuntimeError, match="LastName"):
        steer(process, "create", "Contact", {"FirstName": "x"})
    with pytest.raises(RuntimeError, match="no such verb"):
        steer(process, "close")


def test_a_process_goes_away_for_a_while(process: str) -> None:
    port = int(process.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as idle:
        steer(process, "close_port", seconds=0.1)
        assert idle.recv(1) == b""  # cut
    assert len(eventually(process)) == 40


def eventually(url: str) -> list[Any]:
    """Ask until there is an answer: the other process opens its port when it likes."""
    for _ in range(600):
        with suppress(urllib.error.URLError, ConnectionError):
            return list(steer(url, "query", "SELECT Id FROM Contact"))
        time.sleep(0.1)
    raise TimeoutError(url)
