"""The session under everything: what it sends where, how often, and what it never does."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from agi_server.errors import SalesforceDown, SalesforceLoginError
from agi_server.salesforce import network, transport
from agi_server.salesforce.login import Login, Token
from agi_server.salesforce.transport import HOST, Meter, open_session
from agi_server.settings import Salesforce
from tests.org.server import OrgServer
from tests.ports import free_port
from tests.salesforce.conftest import Section

URL = f"https://{HOST}/services/data/v64.0/query/?q=SELECT+Id"
REFUSED = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, bytes, dict[str, str]]


class Peer(ThreadingHTTPServer):
    """Answers from a list, the last for ever; keeps what it was asked."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answers: list[Answer] = [(200, b"{}", {})]
        self.port: int = self.server_address[1]

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    server: Peer
    timeout = 30

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        status, body, headers = self.server.next_answer()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_CONNECT = _do  # noqa: N815  # their names

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    with listening(server):
        yield server


class Keys:
    """Stands for the log-in: a new token each time one is refused."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.current = Token("t0ken-0", url)
        self.renewals = 0
        self.said: list[str] = []

    def token(self, _end: float | None = None) -> Token:
        return self.current

    def renew(self, _stale: Token, _end: float | None = None) -> Token:
        self.renewals += 1
        self.current = Token(f"t0ken-{self.renewals}", self.url)
        return self.current

    def accepted(self, token: Token) -> None:
        self.said.append(f"accepted {token.access_token}")

    def refused(self, token: Token) -> None:
        self.said.append(f"refused {token.access_token}")


@contextmanager
def session_to(
    url: str, keys: Keys | None = None, meter: Meter | None = None, **changes: Any
) -> Iterator[requests.Session]:
    settings = Salesforce(login_url=url, **changes)
    login: Any = keys or Keys(url)
    session = open_session(settings, login, usage=meter or Meter())
    with session:
        yield session


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.001)


@pytest.fixture
def keys(peer: Peer) -> Keys:
    return Keys(f"http://127.0.0.1:{peer.port}")


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def session(peer: Peer, keys: Keys, meter: Meter) -> Iterator[requests.Session]:
    with session_to(f"http://127.0.0.1:{peer.port}", keys, meter) as made:
        yield made


# --- where the token goes ---


def test_the_instance_gets_the_token(peer: Peer, session: requests.Session) -> None:
    answer = session.post(URL, data=b"body", headers={"Authorization": "Bearer -", "X-Own": "1"})
    (asked,) = peer.asked
    assert (asked.method, asked.path, asked.body) == (
        "POST",
        "/services/data/v64.0/query/?q=SELECT+Id",
        b"body",
    )
    assert asked.headers["Authorization"] == "Bearer t0ken-0"
    assert asked.headers["X-Own"] == "1"
    assert asked.headers["Host"] == f"127.0.0.1:{peer.port}"
    assert asked.headers["User-Agent"].startswith("ostiary/")
    assert "t0ken" not in str(answer.request.headers)  # nobody can print it from there


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/",
        f"http://{HOST}/",
        f"https://{HOST}.elsewhere.example/",
        f"https://{HOST}@elsewhere.example/",
        f"https://{HOST}:8443/",
        "http://127.0.0.1:{port}/",
    ],
)
def test_nobody_else_is_asked(peer: Peer, session: requests.Session, url: str) -> None:
    with pytest.raises(SalesforceDown, match="not sent there"):
        session.get(url.format(port=peer.port))
    assert peer.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(peer: Peer, session: requests.Session, status: int) -> None:
    peer.answers = [(status, b"", {"Location": f"http://127.0.0.1:{peer.port}/elsewhere"})]
    with pytest.raises(SalesforceDown, match="sends us elsewhere"):
        session.post(URL, data=b"{}")
    assert len(peer.asked) == 1


def test_cookies_are_not_kept(peer: Peer, session: requests.Session) -> None:
    peer.answers = [(200, b"{}", {"Set-Cookie": "BrowserId=abc; Path=/"})]
    session.get(URL)
    session.get(URL)
    assert "Cookie" not in peer.asked[1].headers


def test_netrc_changes_nothing(
    peer: Peer, session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text(
        f"machine 127.0.0.1 login a password b\nmachine {HOST} login a password b\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    session.get(URL)
    assert peer.asked[0].headers["Authorization"] == "Bearer t0ken-0"


# --- the way there ---


def test_this_machine_is_reached_without_a_proxy(
    peer: Peer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    session.get(URL)
    assert len(peer.asked) == 1


def test_salesforce_is_reached_through_the_proxy(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{peer.port}")
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    peer.answers = [(403, b"", {"Connection": "close"})]
    with (
        session_to("https://acme.my.salesforce.com") as session,
        pytest.raises(SalesforceDown, match="the proxy named by HTTPS_PROXY"),
    ):
        session.post(URL)
    assert [(each.method, each.path) for each in peer.asked] == [("CONNECT", "acme.my.salesforce.com:443")]
    assert "t0ken" not in str(peer.asked)
    monkeypatch.setenv("NO_PROXY", ".salesforce.com")
    assert network.proxies("https://acme.my.salesforce.com").get("https") is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 by nobody, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@pytest.fixture
def tls_peer(certificate: Path) -> Iterator[Peer]:
    server = Peer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with listening(server):
        yield server


def test_an_authority_of_ones_own(tls_peer: Peer, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/dev/null")  # must not overrule the setting
    with session_to(f"https://127.0.0.1:{tls_peer.port}", ca_file=certificate) as session:
        assert session.get(URL).status_code == 200
    reply = network.post(
        Salesforce(ca_file=certificate), f"https://127.0.0.1:{tls_peer.port}/", body=SecretStr("a=b")
    )
    assert reply.status == 200


def test_a_certificate_by_nobody(tls_peer: Peer) -> None:
    url = f"https://127.0.0.1:{tls_peer.port}"
    with session_to(url) as session, pytest.raises(SalesforceDown, match=r"TLS.*salesforce\.ca_file"):
        session.post(URL)
    with pytest.raises(SalesforceDown, match=r"TLS.*salesforce\.ca_file"):
        network.post(Salesforce(), url, body=SecretStr("a=b"))
    assert tls_peer.asked == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_none(peer: Peer, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with (
        session_to(f"http://127.0.0.1:{peer.port}", ca_file=file) as session,
        pytest.raises(SalesforceLoginError, match=r"salesforce\.ca_file .*ca\.pem"),
    ):
        session.get(URL)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{port}", "Connection refused"),
        ("https://nowhere.invalid", "name cannot be resolved"),
    ],
)
def test_nobody_there(url: str, reason: str) -> None:
    url = url.format(port=free_port())
    with session_to(url) as session, pytest.raises(SalesforceDown, match=reason):
        session.post(URL)
    with pytest.raises(SalesforceDown, match=reason):
        network.post(Salesforce(), url, body=SecretStr("a=b"))


# --- again, and not again ---


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("body", [json.dumps(REFUSED).encode(), b"<html>", b"", b"{}", b"[]", b'["a"]'])
@pytest.mark.parametrize("stream", [True, False])
def test_a_refused_session_is_renewed_once(
    peer: Peer, session: requests.Session, keys: Keys, *, method: str, body: bytes, stream: bool
) -> None:
    peer.answers = [(401, body, {}), (200, b'{"done": true}', {})]
    headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true", "X-Own": "1"}
    with session.request(method, URL, data=b"body", headers=headers, stream=stream) as answer:
        assert answer.json() == {"done": True}
    first, second = peer.asked
    assert first.headers.pop("Authorization") == "Bearer t0ken-0"
    assert second.headers.pop("Authorization") == "Bearer t0ken-1"
    assert first == second
    assert keys.said == ["accepted t0ken-1"]


def test_a_lasting_refusal_is_the_answer(peer: Peer, session: requests.Session, keys: Keys) -> None:
    peer.answers = [(401, json.dumps(REFUSED).encode(), {})]
    assert session.get(URL).status_code == 401
    assert len(peer.asked) == 2
    assert keys.said == ["refused t0ken-1"]


def test_another_401_is_the_answer(peer: Peer, session: requests.Session, keys: Keys) -> None:
    peer.answers = [(401, b'[{"errorCode": "INVALID_AUTH_HEADER"}]', {})]
    assert session.get(URL).status_code == 401
    assert len(peer.asked) == 1
    assert keys.renewals == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reads_are_tried_three_times(
    peer: Peer, session: requests.Session, meter: Meter, status: int
) -> None:
    peer.answers = [(status, b"<html>", {})]
    assert session.get(URL).status_code == status
    assert (len(peer.asked), meter.calls) == (3, 3)
    assert session.post(URL, data=b"{}").status_code == status
    assert len(peer.asked) == 4


@pytest.mark.parametrize("status", [200, 300, 400, 403, 404, 500])
def test_what_is_an_answer_is_not_asked_again(peer: Peer, session: requests.Session, status: int) -> None:
    peer.answers = [(status, b"[]", {})]
    assert session.get(URL).status_code == status
    assert len(peer.asked) == 1


def test_a_renewal_is_no_try(peer: Peer, session: requests.Session) -> None:
    refused: Answer = (401, json.dumps(REFUSED).encode(), {})
    down: Answer = (503, b"", {})
    peer.answers = [down, refused, down, (200, b"{}", {})]
    assert session.get(URL).status_code == 200


def test_the_wait_grows_and_stays_within_the_deadline(
    peer: Peer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(time, "sleep", waits.append)
    peer.answers = [(503, b"", {})]
    session.get(URL)
    assert waits == [0.5, 1.0]
    session.get(URL, timeout=0.4)
    assert waits[2] <= 0.4


def test_a_time_out_of_its_own(org_server: OrgServer, section: Section, tmp_path: Path) -> None:
    """Nobody waits for ever, also where nothing is said about time."""
    settings = section(timeout=0.2)
    login = Login(section(), tmp_path)
    with open_session(settings, login, usage=Meter()) as session:
        login.token()
        org_server.faults.add("mute", times=None)
        with pytest.raises(SalesforceDown, match="no answer in time"):
            session.post(URL)
        org_server.faults.clear()


# --- what the answers say besides ---


@pytest.mark.parametrize(
    ("header", "usage"),
    [
        ("api-usage=18/5000", (18, 5000)),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=a)", (25, 5000)),
        ("per-app-api-usage=17/250(appName=a); api-usage=25/5000", (25, 5000)),
        ("per-app-api-usage=17/250(appName=a)", None),
        ("nonsense", None),
    ],
)
def test_the_limit_header(header: str, usage: tuple[int, int] | None) -> None:
    meter = Meter()
    meter.read({"Sforce-Limit-Info": header})
    assert meter.usage == usage


def test_limits_of_a_refusal_count(peer: Peer, session: requests.Session, meter: Meter) -> None:
    peer.answers = [(403, b"[]", {"Sforce-Limit-Info": "api-usage=5000/5000"})]
    session.get(URL)
    assert meter.usage == (5000, 5000)


def test_no_date_or_a_wrong_one() -> None:
    meter = Meter()
    meter.read({"Date": "Sat, 06 Nov 2027 08:49:37 GMT"})
    meter.read({"Date": "yesterday"})
    meter.read({})
    assert meter.served == datetime(2027, 11, 6, 8, 49, 37, tzinfo=UTC)


# --- with a log-in of its own ---


def test_sixteen_threads_after_expiry_make_one_renewal(
    org_server: OrgServer, section: Section, tmp_path: Path
) -> None:
    login = Login(section(), tmp_path)
    with open_session(section(), login, usage=Meter()) as session:
        url = f"https://{HOST}/services/data/v64.0/"
        assert session.get(url).status_code == 200
        for expiry in range(1, 4):
            org_server.oauth.expire()
            together = threading.Barrier(16)

            def one(_: int, together: threading.Barrier = together) -> int:
                together.wait(30)
                return session.get(url).status_code

            with ThreadPoolExecutor(16) as pool:
                assert set(pool.map(one, range(16))) == {200}
            assert org_server.oauth.given.total() == 1 + expiry


def test_a_lasting_401_is_no_storm(org_server: OrgServer, section: Section, tmp_path: Path) -> None:
    login = Login(section(), tmp_path)
    org_server.faults.add("expired", times=None)
    with open_session(section(), login, usage=Meter()) as session:
        url = f"https://{HOST}/services/data/v64.0/"
        assert session.get(url).status_code == 401
        for _ in range(50):
            with pytest.raises(SalesforceLoginError, match="next try in"):
                session.get(url)
    assert org_server.oauth.given.total() == 2
