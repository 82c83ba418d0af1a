"""Authorising in a browser: PKCE, the redirect to this machine, and a code pasted by hand."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from agi_server.errors import InputError, SalesforceDown, SalesforceLoginError
from agi_server.salesforce import tokens
from agi_server.salesforce.authorise import Attempt, begin, code_in, code_in_query, finish, listener, listens
from agi_server.salesforce.client import Client
from agi_server.settings import Salesforce
from tests.org.server import OrgServer
from tests.ports import free_port
from tests.salesforce.browser import visit
from tests.salesforce.conftest import Section

ATTEMPT = Attempt("https://acme.example/", "st4te", "v3rifier")


@pytest.fixture
def settings(section: Section) -> Salesforce:
    return section("web-server", redirect_url=f"http://localhost:{free_port()}/callback")


def test_the_address_asks_for_what_is_needed(settings: Salesforce) -> None:
    attempt = begin(settings)
    parts = urlsplit(attempt.url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{settings.login_url}/services/oauth2/authorize"
    asked = {key: value for key, (value,) in parse_qs(parts.query).items()}
    digest = hashlib.sha256(attempt.verifier.encode()).digest()
    assert asked == {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": settings.redirect_url,
        "scope": "api refresh_token",
        "state": attempt.state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "prompt": "login",
    }
    assert 43 <= len(attempt.verifier) <= 128  # RFC 7636, 4.1
    assert len(attempt.state) >= 22  # 128 bits
    other = begin(settings)
    assert (other.state, other.verifier) != (attempt.state, attempt.verifier)
    assert attempt.verifier not in repr(attempt) + attempt.url


def test_from_the_browser_to_a_session(settings: Salesforce, org_server: OrgServer, tmp_path: Path) -> None:
    attempt = begin(settings)
    with listener(settings, attempt) as waiting, ThreadPoolExecutor(1) as pool:
        page = pool.submit(_get, attempt.url)
        code = waiting.wait(60)
        answer = page.result()
    assert (answer.status_code, "permission" in answer.text) == (200, True)
    assert code.get_secret_value() not in answer.text + repr(code)
    token = finish(settings, tmp_path, attempt, code)
    assert org_server.oauth.knows(token.access_token)
    stored = tokens.load(tmp_path)
    assert stored is not None
    assert (stored.client_id, stored.login_url) == (settings.client_id, org_server.url)
    with Client(settings, tmp_path) as client:
        client.server_time()
    with pytest.raises(SalesforceLoginError, match="good once"):
        finish(settings, tmp_path, attempt, code)


def _get(url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=60)


@pytest.fixture
def address(settings: Salesforce) -> str:
    parts = urlsplit(settings.redirect_url)
    return f"http://127.0.0.1:{parts.port}"


def test_strangers_change_nothing(settings: Salesforce, address: str) -> None:
    with listener(settings, ATTEMPT) as waiting:
        for path in (
            "/",
            "/callback",
            "/callback?code=evil",
            "/callback?code=evil&state=",
            "/callback?state=st4te",
        ):
            assert _get(address + path).status_code in {400, 404}, path
        assert _get(f"{address}/callback?code=evil&state=other").status_code == 400
        assert _get(f"{address}/callback?error=access_denied&state=other").status_code == 400
        assert _get(f"{address}/callback?code=g00d&state=st4te").status_code == 200
        assert waiting.wait(60).get_secret_value() == "g00d"


def test_the_person_says_no(settings: Salesforce, org_server: OrgServer) -> None:
    org_server.oauth.consents = False
    attempt = begin(settings)
    with listener(settings, attempt) as waiting, ThreadPoolExecutor(1) as pool:
        page = pool.submit(_get, attempt.url)
        with pytest.raises(SalesforceLoginError, match="said no") as caught:
            waiting.wait(60)
        assert "refused" in page.result().text
    assert caught.value.code == "access_denied"


def test_nobody_comes(settings: Salesforce) -> None:
    with (
        listener(settings, ATTEMPT) as waiting,
        pytest.raises(SalesforceLoginError, match="nobody came back"),
    ):
        waiting.wait(0.3)


def test_a_port_in_use(settings: Salesforce) -> None:
    with (
        listener(settings, ATTEMPT),
        pytest.raises(InputError, match=r"salesforce\.redirect_url.*--paste"),
        listener(settings, ATTEMPT),
    ):
        pass


def test_half_a_request_stops_nobody(settings: Salesforce, address: str) -> None:
    parts = urlsplit(address)
    with (
        listener(settings, ATTEMPT) as waiting,
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30) as half,
    ):
        half.sendall(b"GET /callb")
        assert _get(f"{address}/callback?code=g00d&state=st4te").status_code == 200
        assert waiting.wait(60).get_secret_value() == "g00d"


def test_the_listener_leaves_nothing(settings: Salesforce) -> None:
    before = threading.active_count()
    for _ in range(2):  # the port is free again
        with listener(settings, ATTEMPT):
            pass
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:1717/callback", True),
        ("http://127.0.0.1:1717/callback", True),
        ("http://[::1]:1717/callback", True),
        ("https://ostiary.example/callback", False),
        ("https://localhost:1717/callback", False),
        ("http://ostiary.example/callback", False),
    ],
)
def test_where_the_redirect_goes(url: str, *, here: bool) -> None:
    assert listens(Salesforce(redirect_url=url)) is here


# --- pasted by hand ---


@pytest.mark.parametrize(
    "text",
    [
        "aPrx4sg.Zw==",
        "  aPrx4sg.Zw==\n",
        "aPrx4sg.Zw%3D%3D",
        "http://localhost:1717/callback?code=aPrx4sg.Zw%3D%3D&state=st4te",
        "https://login.salesforce.com/services/oauth2/success?state=st4te&code=aPrx4sg.Zw%3D%3D#top",
        "code=aPrx4sg.Zw%3D%3D&state=st4te",
    ],
)
def test_what_was_pasted(text: str) -> None:
    assert code_in(ATTEMPT, text).get_secret_value() == "aPrx4sg.Zw=="


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no code"),
        ("  \n", "no code"),
        ("?", "no code"),
        ("http://localhost:1717/callback", "no code"),
        ("http://localhost:1717/callback?code=abc&state=other", "another attempt"),
        ("http://localhost:1717/callback?code=abc", "another attempt"),
        ("http://localhost:1717/callback?state=st4te", "no code"),
        ("http://localhost:1717/callback?code=abc&state=st%C3%A4te", "another attempt"),
    ],
)
def test_what_was_pasted_wrongly(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        code_in(ATTEMPT, text)


@given(code=st.text(min_size=1), state=st.text(), more=st.text())
def test_no_code_without_the_state(code: str, state: str, more: str) -> None:
    query = urlencode({"code": code, "more": more, "state": state})
    if state == ATTEMPT.state:
        assert code_in_query(ATTEMPT, query).get_secret_value() == code
    else:
        with pytest.raises(InputError):
            code_in_query(ATTEMPT, query)


# --- the exchange ---


def test_another_verifier_gets_nothing(settings: Salesforce, tmp_path: Path) -> None:
    attempt = begin(settings)
    code = code_in(attempt, visit(attempt.url))
    with pytest.raises(SalesforceLoginError, match="invalid code verifier"):
        finish(settings, tmp_path, Attempt(attempt.url, attempt.state, begin(settings).verifier), code)
    assert tokens.load(tmp_path) is None


def test_an_app_without_the_scope(
    settings: Salesforce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agi_server.salesforce.authorise.SCOPES", "api")
    attempt = begin(settings)
    with pytest.raises(SalesforceLoginError, match="scope refresh_token") as caught:
        finish(settings, tmp_path, attempt, code_in(attempt, visit(attempt.url)))
    assert caught.value.code == "no-refresh-token"


def test_salesforce_is_down(settings: Salesforce, org_server: OrgServer, tmp_path: Path) -> None:
    attempt = begin(settings)
    code = code_in(attempt, visit(attempt.url))
    org_server.faults.add("error")
    with pytest.raises(SalesforceDown):
        finish(settings, tmp_path, attempt, code)


def test_an_app_without_a_secret(section: Section, org_server: OrgServer, tmp_path: Path) -> None:
    org_server.oauth.require_secret = False
    settings = section("web-server", client_secret="")
    attempt = begin(settings)
    finish(settings, tmp_path, attempt, code_in(attempt, visit(attempt.url)))
    with Client(settings, tmp_path) as client:
        client.server_time()


def test_other_flows_need_nobody(section: Section) -> None:
    with pytest.raises(InputError, match="jwt-bearer"):
        begin(section("jwt-bearer"))
    with pytest.raises(InputError, match="client_id"):
        begin(section("web-server", client_id=""))
