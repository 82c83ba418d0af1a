"""The four flows against the stand-in, what each refusal says, and that no secret is ever told."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from pydantic import SecretStr

from agi_server.errors import SalesforceDown, SalesforceError, SalesforceLoginError
from agi_server.salesforce import flows, tokens, transport
from agi_server.salesforce.authorise import begin, code_in, finish
from agi_server.salesforce.client import Client
from agi_server.salesforce.flows import sign_in
from agi_server.settings import Salesforce
from tests.org.oauth import key_pair
from tests.org.server import OrgServer
from tests.ports import free_port
from tests.salesforce.browser import visit
from tests.salesforce.conftest import Section

FLOWS = ["client-credentials", "jwt-bearer", "web-server", "password"]


def authorised(settings: Salesforce, directory: Path) -> Salesforce:
    """Let the person at the browser say yes."""
    attempt = begin(settings)
    finish(settings, directory, attempt, code_in(attempt, visit(attempt.url)))
    return settings


@pytest.fixture
def ready(section: Section, tmp_path: Path) -> Callable[..., Salesforce]:
    def make(flow: str, **changes: Any) -> Salesforce:
        settings = section(flow, **changes)
        return authorised(settings, tmp_path) if flow == "web-server" else settings

    return make


@pytest.mark.parametrize("flow", FLOWS)
def test_each_flow_signs_in(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path, flow: str
) -> None:
    settings = ready(flow)
    token = sign_in(settings, tmp_path)
    assert org_server.oauth.knows(token.access_token)
    assert token.instance_url == org_server.url
    assert token.user_id == org_server.org.user_id
    assert token.org_id == org_server.org.organization_id[:15]
    with Client(settings, tmp_path) as client:
        assert client.count("SELECT COUNT() FROM User") == 1


def test_the_password_flow_uses_the_last_version_that_has_it(
    section: Section, org_server: OrgServer, tmp_path: Path
) -> None:
    with Client(section("password", api_version="66.0"), tmp_path) as client:
        client.server_time()
    org_server.wait_for(r"^POST /services/Soap/u/64\.0$")
    org_server.wait_for(r"^GET /services/data/v66\.0/$")


def test_special_characters_in_the_password(section: Section, org_server: OrgServer, tmp_path: Path) -> None:
    org_server.oauth.password = "a<b>&\"'ä€"
    sign_in(section("password"), tmp_path)


def test_special_characters_in_the_client_secret(
    section: Section, org_server: OrgServer, tmp_path: Path
) -> None:
    org_server.oauth.client_secret = "a+b&c=d%ä€:"
    sign_in(section("client-credentials"), tmp_path)


def test_the_environment_does_not_change_who_signs_in(
    section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    sign_in(section("client-credentials"), tmp_path)


@pytest.mark.parametrize("flow", FLOWS)
def test_what_is_missing_is_named(section: Section, org_server: OrgServer, tmp_path: Path, flow: str) -> None:
    for name in flows.NEEDS[flow]:
        settings = section(flow).model_copy(update={name: None if name.endswith("_file") else ""})
        if name in {"client_secret", "password"}:
            settings = settings.model_copy(update={name: SecretStr("")})
        with pytest.raises(SalesforceLoginError, match=rf"{flow} needs salesforce\.{name};") as caught:
            sign_in(settings, tmp_path)
        assert caught.value.code == "settings"
    assert org_server.requests == []


# --- refusals ---

Prepare = Callable[[OrgServer], None]


def _change(**policies: Any) -> Prepare:
    def prepare(server: OrgServer) -> None:
        for name, value in policies.items():
            setattr(server.oauth, name, value)

    return prepare


REFUSALS: list[tuple[str, Prepare, dict[str, Any], str, str]] = [
    (
        "client-credentials",
        _change(client_secret="other"),
        {},
        "invalid_client",
        "salesforce.client_secret is wrong",
    ),
    ("client-credentials", _change(client_id="other"), {}, "invalid_client_id", "copy the Consumer Key"),
    ("client-credentials", _change(client_credentials=False), {}, "invalid_grant", "Run As"),
    ("client-credentials", _change(logins_per_hour=0), {}, "invalid_grant", "too many log-ins"),
    ("jwt-bearer", _change(approved=False), {}, "invalid_grant", "pre-authorise the user"),
    ("jwt-bearer", _change(username="other"), {}, "invalid_grant", "pre-authorise the user"),
    ("password", _change(password="other"), {}, "INVALID_LOGIN", "security_token"),
    ("password", _change(soap_login=False), {}, "INVALID_OPERATION", "Summer '27"),
    ("password", _change(logins_per_hour=0), {}, "LOGIN_RATE_EXCEEDED", "too many log-ins"),
]


@pytest.mark.parametrize(("flow", "prepare", "changes", "code", "remedy"), REFUSALS)
def test_a_refusal_says_how_to_mend_it(
    ready: Callable[..., Salesforce],
    org_server: OrgServer,
    tmp_path: Path,
    *,
    flow: str,
    prepare: Prepare,
    changes: dict[str, Any],
    code: str,
    remedy: str,
) -> None:
    settings = ready(flow, **changes)
    prepare(org_server)
    with pytest.raises(SalesforceLoginError) as caught:
        sign_in(settings, tmp_path)
    assert caught.value.code == code
    assert remedy in str(caught.value)
    assert "docs/salesforce.md" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("request not supported on this domain", "salesforce.login_url"),
        ("ip restricted", "IP relaxation"),
        ("audience is invalid", "My Domain"),
        ("invalid assertion", "certificate"),
        ("inactive user", "activate"),
        ("something new", "something new"),
    ],
)
def test_what_salesforce_says_is_explained(
    section: Section, org_server: OrgServer, tmp_path: Path, text: str, remedy: str
) -> None:
    org_server.faults.add("login-refused", text=text)
    with pytest.raises(SalesforceLoginError, match=remedy):
        sign_in(section(), tmp_path)


@pytest.mark.parametrize("content", [None, "", "no key", key_pair()[1]])
def test_a_private_key_that_is_none(section: Section, tmp_path: Path, content: str | None) -> None:
    settings = section("jwt-bearer")
    assert settings.private_key_file is not None
    if content is None:
        settings.private_key_file.unlink()
    else:
        settings.private_key_file.write_text(content)
    with pytest.raises(SalesforceLoginError, match=r"private_key_file .*salesforce-key\.pem") as caught:
        sign_in(settings, tmp_path)
    assert caught.value.code == "settings"


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("fault", ["error", "cut", "cut-answer"])
def test_nobody_who_is_salesforce(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path, flow: str, fault: Any
) -> None:
    settings = ready(flow)
    org_server.faults.add(fault)
    with pytest.raises(SalesforceDown):
        sign_in(settings, tmp_path)


# --- what is not to be trusted ---


@contextmanager
def says(body: str | Callable[[bytes], str], status: int = 200) -> Iterator[str]:
    """Answer everything so; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            sent += b" " + self.headers.get("Authorization", "").encode()
            data = (body if isinstance(body, str) else body(sent)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "instance", ["", "elsewhere", "http://acme.example", "ftp://127.0.0.1", "https://", None]
)
def test_an_instance_that_cannot_be(section: Section, tmp_path: Path, instance: str | None) -> None:
    with (
        says(json.dumps({"access_token": "acc3ss", "instance_url": instance})) as url,
        pytest.raises(SalesforceDown, match="no instance that can be trusted"),
    ):
        sign_in(section(login_url=url), tmp_path)


def test_only_a_local_log_in_may_name_a_local_instance() -> None:
    real = Salesforce(login_url="https://acme.my.salesforce.com")
    with pytest.raises(SalesforceDown):
        flows.instance_of(real, "http://127.0.0.1:8080")
    assert flows.instance_of(real, "https://acme.my.salesforce.com/") == "https://acme.my.salesforce.com"


@pytest.mark.parametrize("status", [200, 400, 404, 503])
@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "null", "{}", '{"access_token": 7}', '{"error": []}', "\ufeff{"]
)
@pytest.mark.parametrize("flow", ["client-credentials", "password"])
def test_what_is_no_token_endpoint(
    section: Section, tmp_path: Path, flow: str, status: int, body: str
) -> None:
    with says(body, status) as url, pytest.raises(SalesforceDown, match=f"status {status}"):
        sign_in(section(flow, login_url=url), tmp_path)


# --- the refresh token ---


def sent_tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every refresh token that is sent."""
    sent: list[str] = []
    ask = flows.ask_token

    def note(settings: Salesforce, form: Any, *more: Any) -> flows.Form:
        if "refresh_token" in form:
            sent.append(form["refresh_token"])
        return ask(settings, form, *more)

    monkeypatch.setattr(flows, "ask_token", note)
    return sent


def test_no_refresh_token_is_sent_twice(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever renews: threads of a process, and other processes (here: other clients) beside."""
    settings = ready("web-server")
    sent = sent_tokens(monkeypatch)
    clients = [Client(settings, tmp_path) for _ in range(3)]
    try:
        for _ in range(3):
            with ThreadPoolExecutor(12) as pool:
                list(pool.map(lambda n: clients[n % 3].count("SELECT COUNT() FROM User"), range(24)))
            org_server.oauth.expire()
    finally:
        for client in clients:
            client.close()
    assert len(sent) == 9
    assert len(set(sent)) == 9
    assert org_server.oauth.refused.total() == 0


def test_the_new_token_is_stored_before_the_session_is_used(
    ready: Callable[..., Salesforce], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ready("web-server")

    def fail(*_: object) -> None:
        raise SalesforceLoginError("the disk is full", "token-file")

    monkeypatch.setattr(tokens, "store", fail)
    with pytest.raises(SalesforceLoginError, match="the disk is full"):
        sign_in(settings, tmp_path)


def test_an_org_that_does_not_rotate(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path
) -> None:
    org_server.oauth.rotate = False
    settings = ready("web-server")
    before = tokens.load(tmp_path)
    for _ in range(3):
        sign_in(settings, tmp_path)
    assert tokens.load(tmp_path) == before


def test_nobody_has_authorised_it(section: Section, org_server: OrgServer, tmp_path: Path) -> None:
    with pytest.raises(SalesforceLoginError, match="ostiary salesforce authorise"):
        sign_in(section("web-server"), tmp_path)
    assert org_server.requests == []


def test_authorised_for_another_org(ready: Callable[..., Salesforce], tmp_path: Path) -> None:
    other = ready("web-server").model_copy(update={"login_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(SalesforceLoginError, match="another app or org"):
        sign_in(other, tmp_path)


def test_a_withdrawn_authorisation(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path
) -> None:
    settings = ready("web-server")
    org_server.oauth.withdraw()
    with pytest.raises(SalesforceLoginError, match="authorise again") as caught:
        sign_in(settings, tmp_path)
    assert caught.value.code == "invalid_grant"


PROGRAM = """
import os, signal, sys
from pathlib import Path
from agi_server.salesforce import flows, tokens, transport
from agi_server.settings import Salesforce

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

settings = Salesforce.model_validate_json(sys.argv[1])
moment, directory = sys.argv[2], Path(sys.argv[3])
if moment == "received":
    flows.keep = die
if moment == "stored":
    flows.token_of = die
if moment == "written":
    Path.replace = die
flows.sign_in(settings, directory)
die()
"""


@pytest.mark.parametrize("moment", ["received", "written", "stored", "used"])
def test_killed_between_the_answer_and_its_use(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path, moment: str
) -> None:
    """From the moment the new token is on disk nothing is lost; before, one try says what to do."""
    settings = ready("web-server")
    values = org_server.settings("web-server") | {"client_secret": org_server.oauth.client_secret}
    command = [sys.executable, "-c", PROGRAM, json.dumps(values), moment, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert org_server.oauth.given["refresh_token"] == 1
    if moment == "received":
        with Client(settings, tmp_path) as client:
            for _ in range(5):
                with pytest.raises(SalesforceLoginError, match="authorise again"):
                    client.server_time()
        assert org_server.oauth.refused["invalid_grant"] == 1
        authorised(settings, tmp_path)
    sign_in(settings, tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [tokens.FILE, tokens.LOCK]


# --- secrets ---


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage() + (str(record.exc_info) if record.exc_info else ""))


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """All that any library logs, at level debug."""
    handler, root = Heard(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(before)


def everything_about(error: BaseException) -> str:
    """Return all that could ever be printed of an exception: its chain, every frame and every variable."""
    told: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (each := waiting.pop()) is not None:
            told += [str(each), *_frames(each)]
            told += [repr(each), repr(each.args), repr(vars(each))]
            waiting += [each.__cause__, each.__context__]
    return "".join(told)


def _frames(error: BaseException) -> list[str]:
    """Return the frames but for the test's own, which knows the secrets."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    return traceback.StackSummary.from_list([each for each in found if each.filename != __file__]).format()


def _fault(kind: Any, **options: Any) -> Prepare:
    def prepare(server: OrgServer) -> None:
        server.faults.add(kind, times=None, **options)

    return prepare


FAILURES: dict[str, Prepare] = {
    "refused": _fault("login-refused"),
    "login-page": _fault("error", path="oauth2|Soap"),
    "login-cut": _fault("cut", path="oauth2|Soap"),
    "login-half": _fault("cut-answer", path="oauth2|Soap"),
    "login-done-cut": _fault("done-cut", path="oauth2|Soap"),
    "closed": lambda server: server.close_port(),
    "expired": _fault("expired"),
    "unauthorized": _fault("unauthorized-html"),
    "limit": _fault("limit"),
    "page": _fault("error", path="/data/"),
    "cut": _fault("cut", path="/data/"),
    "half": _fault("cut-answer", path="/data/"),
    "refusal": _fault("refused", path="/data/", status=403, code="API_DISABLED_FOR_ORG"),
    "wrong-secret": _change(client_secret="x", password="x"),
}


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_tells_a_secret(
    ready: Callable[..., Salesforce],
    org_server: OrgServer,
    tmp_path: Path,
    heard: list[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    flow: str,
    failure: str,
) -> None:
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.001)
    settings = ready(flow)
    stored = tokens.load(tmp_path)
    oauth = org_server.oauth
    secrets = [oauth.client_secret, oauth.password, oauth.security_token, key_pair()[0].splitlines()[1]]
    secrets += [stored.refresh_token] if stored else []
    FAILURES[failure](org_server)
    told = []
    with Client(settings, tmp_path) as client:
        for call in (
            lambda: client.write("POST", "Contact", [{"LastName": "A"}]),
            lambda: list(client.query("SELECT Id FROM Contact")),
            lambda: client.start_job("SELECT Id FROM Contact"),
        ):
            try:
                call()
            except SalesforceError as error:
                told.append(everything_about(error))
        try:
            sign_in(settings, tmp_path)  # as `ostiary salesforce authorise`: the error comes straight
        except SalesforceError as error:
            told.append(everything_about(error))
        told.append(repr(vars(client)) + repr(vars(client._login)) + repr(vars(client._api)))
        told.append(repr(client._session.headers) + repr(client._login._token))
    if failure != "wrong-secret" or flow != "jwt-bearer":
        assert len(told) > 2, "nothing failed"
    stored = tokens.load(tmp_path)
    secrets += [stored.refresh_token] if stored else []
    secrets += sorted(oauth._valid)
    text = "".join(told) + "\n".join(heard)
    assert [secret for secret in secrets if secret in text] == []
    assert "assertion=" not in text
    assert org_server.mistakes == []


@pytest.mark.parametrize("flow", FLOWS)
def test_an_answer_that_repeats_a_secret(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path, heard: list[str], flow: str
) -> None:
    settings = ready(flow)
    stored = tokens.load(tmp_path)

    def echo(sent: bytes) -> str:
        text = unquote_plus(sent.decode())
        if flow == "password":
            secret = text[text.index("<password>") + len("<password>") : text.index("</password>")]
            return f"<faultcode>sf:INVALID_LOGIN</faultcode><faultstring>{secret}</faultstring>"
        return json.dumps({"error": "invalid_grant", "error_description": text})

    with says(echo, 400) as url:
        if stored:
            tokens.store(tmp_path, tokens.Stored(stored.refresh_token, stored.client_id, url))
        with pytest.raises(SalesforceError) as caught:
            sign_in(settings.model_copy(update={"login_url": url}), tmp_path)
    text = everything_about(caught.value) + "\n".join(heard)
    oauth = org_server.oauth
    secrets = [oauth.client_secret, oauth.password, oauth.security_token]
    secrets += [stored.refresh_token] if stored else []
    assert [secret for secret in secrets if secret in text] == []


def test_the_files_hold_no_more_than_they_must(
    ready: Callable[..., Salesforce], org_server: OrgServer, tmp_path: Path
) -> None:
    """The refresh token is in its file, 0600; the secret and the sessions are nowhere."""
    with Client(ready("web-server"), tmp_path) as client:
        client.server_time()
    for file in tmp_path.rglob("*"):
        content = file.read_text()
        assert org_server.oauth.client_secret not in content
        assert not any(token in content for token in org_server.oauth._valid)
        assert file.stat().st_mode & 0o077 == 0
    assert (tmp_path / tokens.FILE).exists()
