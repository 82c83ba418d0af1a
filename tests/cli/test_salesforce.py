"""`ostiary salesforce authorise`, and what `ostiary check` says of the org."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from agi_server.errors import SalesforceRefusal
from agi_server.salesforce import authorise as authorisation
from agi_server.salesforce import tokens
from agi_server.salesforce.client import Client
from agi_server.salesforce.examine import examine
from agi_server.settings import Salesforce, Tasks
from agi_server.settings_file import load_settings
from tests.cli.conftest import Ostiary
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.ports import free_port
from tests.salesforce.browser import visit

Configure = Callable[..., None]


@pytest.fixture
def org() -> Iterator[OrgServer]:
    with closing(Org()) as made, running(made) as server:
        yield server


@pytest.fixture
def configure(org: OrgServer, config: Path, tmp_path: Path) -> Configure:
    """Write the settings of a flow into the settings file."""

    def write(flow: str = "client-credentials", **changes: Any) -> None:
        values = org.settings(flow, tmp_path) | changes
        lines = "".join(
            f"{key} = {json.dumps(value, separators=(', ', ' = '))}\n" for key, value in values.items()
        )
        config.write_text(config.read_text() + f"[salesforce]\n{lines}")

    return write


def check(ostiary: Ostiary, code: int = 0) -> tuple[str, str]:
    findings = json.loads(ostiary("check", "--json", code=code).stdout)
    (found,) = [each for each in findings if each["part"] == "Salesforce"]
    return found["verdict"], f"{found['text']} {found['hint']}"


# --- authorise ---


def test_with_a_browser_on_this_machine(
    org: OrgServer, configure: Configure, config: Path, state: Path, ostiary: Ostiary
) -> None:
    configure("web-server", redirect_url=f"http://localhost:{free_port()}/callback")
    command = [sys.executable, "-u", "-m", "agi_server", "--config", str(config), "salesforce", "authorise"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Waiting at"):
                break
        url = re.search(r"^http\S+$", said, re.MULTILINE)
        assert url, said
        from_salesforce = visit(url[0]).replace("//localhost:", "//127.0.0.1:")
        with requests.Session() as browser:
            browser.trust_env = False
            assert browser.get(from_salesforce, timeout=60).status_code == 200
        said += process.stdout.read()
        assert process.wait(60) == 0, said
    assert f"authorised at {org.url}" in said
    assert (state / tokens.FILE).stat().st_mode & 0o777 == 0o600
    stored = tokens.load(state)
    assert stored is not None
    for secret in (stored.refresh_token, org.oauth.client_secret, *org.oauth._valid):
        assert secret not in said
    assert check(ostiary)[0] == "ok"


def test_with_a_code_pasted(
    org: OrgServer, configure: Configure, ostiary: Ostiary, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("web-server")
    begin, attempts = authorisation.begin, []

    def note(settings: Salesforce) -> authorisation.Attempt:
        attempts.append(begin(settings))
        monkeypatch.setattr("typer.prompt", lambda *_: visit(attempts[0].url))
        return attempts[0]

    monkeypatch.setattr(authorisation, "begin", note)
    result = ostiary("salesforce", "authorise", "--paste")
    assert attempts[0].url in result.stdout
    assert f"authorised at {org.url}" in result.stdout
    assert tokens.load(state) is not None


def test_what_was_pasted_is_wrong(configure: Configure, ostiary: Ostiary, state: Path) -> None:
    configure("web-server")
    for typed, problem in (
        ("http://localhost:1717/callback?code=a&state=b\n", "another attempt"),
        ("abc\n", "expired authorization code"),
    ):
        result = ostiary("salesforce", "authorise", "--paste", typed=typed, code=1)
        assert problem in str(result.exception)
    assert tokens.load(state) is None


def test_a_flow_that_needs_nobody(configure: Configure, ostiary: Ostiary) -> None:
    configure()
    assert "only web-server does" in str(ostiary("salesforce", "authorise", code=1).exception)


def test_a_state_directory_that_cannot_be(
    configure: Configure, ostiary: Ostiary, state: Path, tmp_path: Path
) -> None:
    configure("web-server", redirect_url=f"http://localhost:{free_port()}/callback")
    state.rmdir()
    state.write_text("a file is in the way")
    assert "cannot be made" in str(ostiary("salesforce", "authorise", code=1).exception)
    assert tmp_path.exists()


# --- check ---


@pytest.mark.parametrize("flow", ["client-credentials", "jwt-bearer"])
def test_all_is_well(configure: Configure, ostiary: Ostiary, org: OrgServer, flow: str) -> None:
    configure(flow)
    verdict, text = check(ostiary)
    username = org.org.get("User", org.org.user_id)["Username"]
    assert verdict == "ok", text
    assert f"signed in to Stand-in (Developer Edition, sandbox) as {username} ({flow}), API 64.0" in text
    assert re.search(r"; [1-9]\d* of 100000 API calls used", text)


def test_nothing_else_is_printed(configure: Configure, config: Path, org: OrgServer) -> None:
    configure()
    org.oauth.client_secret = "other"
    command = [sys.executable, "-m", "agi_server", "--config", str(config), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "salesforce.client_secret is wrong" in " ".join(done.stdout.split())


def test_the_end_of_the_password_flow(configure: Configure, ostiary: Ostiary) -> None:
    configure("password")
    verdict, text = check(ostiary)
    assert verdict == "warn"
    assert "Summer '27" in text


def test_tasks_that_cannot_be_written(configure: Configure, ostiary: Ostiary, org: OrgServer) -> None:
    configure()
    assert check(ostiary)[0] == "ok"
    org.org.hide("Task", "CallObject")
    assert "may not see and edit Task.CallObject" in check(ostiary)[1]
    org.org.hide("Task")
    assert "cannot see the object Task" in check(ostiary)[1]


def test_what_cannot_be_seen(configure: Configure, ostiary: Ostiary, org: OrgServer) -> None:
    configure(
        number_fields=["Contact.WhatsApp__c"],
        blacklist_field="Nuisance__c",
        vip_field="LastName",
        create=[
            {"object": "Contact", "fields": {"LastName": "[Name]"}},
            {"object": "Lead", "fields": {"LastName": "[Name]", "Company": "[DID]"}},
        ],
    )
    org.org.hide("Account", "Phone")
    org.org.hide("Account", "Fax")
    org.org.hide("Lead")
    org.org.hide("Contact", "Ostiary_Id__c")
    org.org.hide("Task", "CallDisposition")
    verdict, text = check(ostiary)
    assert verdict == "warn"
    for part in (
        "Task.CallDisposition is hidden from the integration user",
        "Lead cannot be seen",
        "no phone field of Account can be seen",
        "Contact has no WhatsApp__c for this user",
        "Contact has no field Ostiary_Id__c: make it (Text, External ID, Unique)",
        "no object has Nuisance__c for this user (salesforce.blacklist_field)",
        "LastName is no checkbox (salesforce.vip_field)",
        "docs/salesforce.md",
    ):
        assert part in text
    assert "Opportunity" not in text
    assert text.count("Lead cannot be seen") == 1


def test_marks_that_are_there(configure: Configure, ostiary: Ostiary) -> None:
    configure(blacklist_field="Blacklisted__c", vip_field="VIP__c")
    assert check(ostiary)[0] == "ok"


def test_an_external_id_that_is_none(configure: Configure, ostiary: Ostiary) -> None:
    configure(external_id_field="Title")
    assert "Contact.Title is not both External ID and Unique" in check(ostiary)[1]


def test_no_external_id(configure: Configure, ostiary: Ostiary) -> None:
    configure(external_id_field="")
    assert "salesforce.external_id_field is empty" in check(ostiary)[1]


def test_few_calls_left(configure: Configure, ostiary: Ostiary, org: OrgServer) -> None:
    configure()
    org.api_calls = 95_000
    assert "few API calls are left" in check(ostiary)[1]


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda server: server.faults.add("login-refused", text="ip restricted"), "IP relaxation"),
        (lambda server: server.faults.add("limit", times=None), "no API calls left"),
        (lambda server: server.faults.add("expired", times=None), "session is refused although it is new"),
        (lambda server: server.faults.add("error", times=None), "status 503"),
        (lambda server: server.close_port(), "Connection refused"),
        (
            lambda server: server.faults.add(
                "refused", times=None, path="/data/", code="API_DISABLED_FOR_ORG"
            ),
            "API Enabled",
        ),
    ],
    ids=["login", "limit", "expired", "down", "closed", "no-api"],
)
def test_what_fails(
    configure: Configure, ostiary: Ostiary, org: OrgServer, prepare: Callable[[OrgServer], object], text: str
) -> None:
    configure()
    prepare(org)
    verdict, said = check(ostiary, code=1)
    assert verdict == "FAIL"
    assert text in said


def test_an_api_version_there_is_not(configure: Configure, ostiary: Ostiary, org: OrgServer) -> None:
    configure(api_version="99.0")
    verdict, text = check(ostiary, code=1)
    assert (verdict, f"{org.url} has no API version 99.0: lower salesforce.api_version" in text) == (
        "FAIL",
        True,
    )


def test_a_missing_secret_is_named(config: Path, ostiary: Ostiary) -> None:
    config.write_text(config.read_text() + "[salesforce]\nenabled = true\n")
    verdict, text = check(ostiary, code=1)
    assert verdict == "FAIL"
    assert "needs salesforce.client_id and salesforce.client_secret" in text


class Rights(Client):
    """An org that tells what a user may see, which the stand-in does not."""

    rights: list[Any]
    objects: list[Any]
    defaults: list[Any]

    def query(self, soql: str, **options: Any) -> Iterator[list[dict[str, Any]]]:
        for start, found in (
            ("SELECT PermissionSet.", self.rights),
            ("SELECT SobjectType", self.objects),
            ("SELECT Default", self.defaults),
        ):
            if soql.startswith(start):
                if not found:
                    raise SalesforceRefusal("no such object", "INVALID_TYPE")
                return iter([found])
        return super().query(soql, **options)


NONE = [{"PermissionSet": {"PermissionsViewAllData": False}}, {"PermissionSet": None}]
ALL = [*NONE, {"PermissionSet": {"PermissionsViewAllData": True}}]
PRIVATE = {f"Default{each}Access": "None" for each in ("Account", "Lead", "Opportunity")} | {
    "DefaultContactAccess": "ControlledByParent"
}


@pytest.mark.parametrize(
    ("rights", "objects", "defaults", "partly"),
    [
        (ALL, [{}], [PRIVATE], ""),
        (NONE, [{}], [PRIVATE], "Contact, Account, Lead, Opportunity"),
        (
            NONE,
            [{"SobjectType": "Lead"}, {"SobjectType": "Task"}],
            [PRIVATE],
            "Contact, Account, Opportunity",
        ),
        (NONE, [{}], [PRIVATE | {"DefaultAccountAccess": "Edit"}], "Lead, Opportunity"),
        (NONE, [{}], [PRIVATE | {"DefaultLeadAccess": "ReadEditTransfer"}], "Contact, Account, Opportunity"),
        (NONE, [], [PRIVATE], ""),  # cannot be told
        (NONE, [{}], [], ""),
        ([], [{}], [PRIVATE], ""),
    ],
)
def test_what_is_seen_in_part_only(
    org: OrgServer, tmp_path: Path, *, rights: list[Any], objects: list[Any], defaults: list[Any], partly: str
) -> None:
    settings = Salesforce.model_validate(org.settings())
    with Rights(settings, tmp_path) as client:
        client.rights, client.objects, client.defaults = rights, objects, defaults
        _, warnings = examine(client, settings, Tasks())
    assert warnings == (
        [f"of {partly} the user sees only records shared with it: give it View All on them"] if partly else []
    )


def test_check_as_root_leaves_the_token_to_the_service(
    configure: Configure, ostiary: Ostiary, state: Path, config: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    configure("web-server")
    settings = load_settings(config, environ={}).salesforce
    attempt = authorisation.begin(settings)
    authorisation.finish(settings, state, attempt, authorisation.code_in(attempt, visit(attempt.url)))
    for file in (state, *state.iterdir()):
        os.chown(file, 4711, 4711)
    before = tokens.load(state)
    assert check(ostiary)[0] == "ok"
    assert tokens.load(state) != before
    assert {each.stat().st_uid for each in state.glob("salesforce.token*")} == {4711}
