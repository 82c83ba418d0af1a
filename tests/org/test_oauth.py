"""The token endpoint, authorisation with PKCE, rotation, revocation, SOAP's refusals."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from tests.org.oauth import JWT_BEARER, key_pair
from tests.org.server import OrgServer

REDIRECT = "http://localhost:1717/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def web() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


class Caller:
    def __init__(self, server: OrgServer, web: requests.Session) -> None:
        self.server = server
        self.web = web
        self.client = {"client_id": server.oauth.client_id, "client_secret": server.oauth.client_secret}

    def token(self, form: Mapping[str, str], **options: Any) -> requests.Response:
        return self.web.post(f"{self.server.url}/services/oauth2/token", form, timeout=60, **options)

    def refusal(self, form: Mapping[str, str], **options: Any) -> tuple[str, str]:
        answer = self.token(form, **options)
        assert answer.status_code == 400
        assert set(answer.json()) == {"error", "error_description"}
        return answer.json()["error"], answer.json()["error_description"]

    def authorize(self, **changes: str | None) -> requests.Response:
        params = {
            "response_type": "code",
            "client_id": self.server.oauth.client_id,
            "redirect_uri": REDIRECT,
            "state": "s t/a&te",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": "api refresh_token",
        } | changes
        return self.web.get(
            f"{self.server.url}/services/oauth2/authorize", params=params, allow_redirects=False, timeout=60
        )

    def code(self, **changes: str | None) -> str:
        answer = self.authorize(**changes)
        assert answer.status_code == 302
        target = urlsplit(answer.headers["Location"])
        params = parse_qs(target.query)
        assert f"{target.scheme}://{target.netloc}{target.path}" == REDIRECT
        assert params["state"] == ["s t/a&te"]
        return params["code"][0]

    def exchange(self, code: str, **changes: str) -> dict[str, str]:
        return (
            self.client
            | {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": REDIRECT,
                "code_verifier": VERIFIER,
            }
            | changes
        )

    def refresh(self, token: str) -> dict[str, str]:
        return self.client | {"grant_type": "refresh_token", "refresh_token": token}

    def assertion(self, key: str = "", **changes: object) -> dict[str, str]:
        claims = {
            "iss": self.server.oauth.client_id,
            "sub": self.server.oauth.username,
            "aud": "https://login.salesforce.com",
            "exp": int(time.time()) + 180,
        } | changes
        signed = jwt.encode(claims, key or key_pair()[0], algorithm="RS256" if not key else "HS256")
        return {"grant_type": JWT_BEARER, "assertion": signed}

    def works(self, token: str) -> bool:
        answer = self.web.get(
            f"{self.server.url}/services/data/v64.0/limits",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        assert answer.status_code == 200 or answer.json() == [
            {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
        ]
        return answer.status_code == 200


@pytest.fixture
def caller(org_server: OrgServer, web: requests.Session) -> Caller:
    return Caller(org_server, web)


def test_client_credentials_in_body_or_basic(caller: Caller) -> None:
    form = {"grant_type": "client_credentials"}
    for answer in (
        caller.token(form | caller.client),
        caller.token(form, auth=(caller.client["client_id"], caller.client["client_secret"])),
    ):
        reply = answer.json()
        assert answer.status_code == 200
        assert reply["instance_url"] == caller.server.url
        assert reply["token_type"] == "Bearer"
        assert "refresh_token" not in reply
        assert "expires_in" not in reply
        assert caller.works(reply["access_token"])


@pytest.mark.parametrize(("changes", "error"), [
    ({"client_id": "x"}, "invalid_client_id"),
    ({"client_secret": "x"}, "invalid_client"),
    ({"client_secret": ""}, "invalid_client"),
    ({"grant_type": "magic"}, "unsupported_grant_type"),
    ({"grant_type": "password", "username": "x", "password": "y"}, "invalid_grant"),
])  # fmt: skip
def test_refusals(caller: Caller, changes: dict[str, str], error: str) -> None:
    form = {"grant_type": "client_credentials"} | caller.client
    assert caller.refusal(form | changes)[0] == error
    assert caller.server.oauth.given == {}
    assert caller.server.oauth.refused == {error: 1}


def test_the_token_endpoint_is_for_posts(caller: Caller) -> None:
    answer = caller.web.get(f"{caller.server.url}/services/oauth2/token", timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_jwt_bearer(caller: Caller) -> None:
    for changes in ({}, {"exp": str(int(time.time()) + 180)}, {"aud": caller.server.url}):
        reply = caller.token(caller.assertion(**changes)).json()
        assert caller.works(reply["access_token"])
        assert "refresh_token" not in reply


@pytest.mark.parametrize(("changes", "text"), [
    ({"aud": "https://evil.example"}, "audience is invalid"),
    ({"exp": 1}, "assertion expired"),
    ({"exp": int(time.time()) + 4000}, "expiration too far in the future"),
    ({"exp": "soon"}, "invalid assertion"),
    ({"sub": "someone@else.example"}, "user hasn't approved this consumer"),
    ({"iss": "other"}, "client identifier invalid"),
    ({"key": "not the app's key, and not RS256 either"}, "invalid assertion"),
])  # fmt: skip
def test_jwt_refusals(caller: Caller, changes: dict[str, Any], text: str) -> None:
    assert caller.refusal(caller.assertion(**changes))[1] == text


def test_a_changed_assertion_is_refused(caller: Caller) -> None:
    form = caller.assertion()
    head, body, signature = form["assertion"].split(".")
    form["assertion"] = ".".join((head, body, "A" * len(signature)))
    assert caller.refusal(form) == ("invalid_grant", "invalid assertion")


def test_web_server_flow(caller: Caller) -> None:
    reply = caller.token(caller.exchange(caller.code())).json()
    assert caller.works(reply["access_token"])
    assert reply["scope"] == "api refresh_token"
    assert reply["refresh_token"]


def test_a_code_is_good_once(caller: Caller) -> None:
    code = caller.code()
    caller.token(caller.exchange(code)).raise_for_status()
    assert caller.refusal(caller.exchange(code)) == ("invalid_grant", "expired authorization code")


@pytest.mark.parametrize(("changes", "text"), [
    ({"code_verifier": "w" * 64}, "invalid code verifier"),
    ({"redirect_uri": "http://localhost:1/other"}, "redirect_uri must match configuration"),
    ({"client_secret": "x"}, "invalid client credentials"),
])  # fmt: skip
def test_exchange_refusals(caller: Caller, changes: dict[str, str], text: str) -> None:
    assert caller.refusal(caller.exchange(caller.code(), **changes))[1] == text


def test_no_refresh_token_without_its_scope(caller: Caller) -> None:
    assert "refresh_token" not in caller.token(caller.exchange(caller.code(scope="api"))).json()


def test_authorize_sends_refusals_back_or_shows_them(caller: Caller) -> None:
    caller.server.oauth.redirect_uris = {REDIRECT}
    assert caller.authorize(client_id="x").json()["error"] == "invalid_client_id"
    assert caller.authorize(redirect_uri="http://localhost:1/").json()["error"] == "redirect_uri_mismatch"
    back = parse_qs(urlsplit(caller.authorize(code_challenge=None).headers["Location"]).query)
    assert (back["error"], back["state"]) == (["invalid_request"], ["s t/a&te"])
    caller.server.oauth.consents = False
    assert "error=access_denied" in caller.authorize().headers["Location"]


def test_refreshing_rotates(caller: Caller) -> None:
    first = caller.token(caller.exchange(caller.code())).json()
    second = caller.token(caller.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert caller.works(second["access_token"])
    third = caller.token(caller.refresh(second["refresh_token"])).json()
    assert caller.works(third["access_token"])
    assert caller.server.oauth.given == {"authorization_code": 1, "refresh_token": 2}


def test_an_old_refresh_token_revokes_the_family(caller: Caller) -> None:
    other = caller.token(caller.exchange(caller.code())).json()
    first = caller.token(caller.exchange(caller.code())).json()
    second = caller.token(caller.refresh(first["refresh_token"])).json()
    expired = ("invalid_grant", "expired access/refresh token")
    assert caller.refusal(caller.refresh(first["refresh_token"])) == expired
    assert caller.refusal(caller.refresh(second["refresh_token"])) == expired
    assert not caller.works(second["access_token"])
    assert caller.works(other["access_token"])  # of another family


def test_without_rotation_the_same_token_stays(caller: Caller) -> None:
    caller.server.oauth.rotate = False
    first = caller.token(caller.exchange(caller.code())).json()
    for _ in range(2):
        assert "refresh_token" not in caller.token(caller.refresh(first["refresh_token"])).json()


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revoke(caller: Caller, which: str) -> None:
    reply = caller.token(caller.exchange(caller.code())).json()
    target = f"{caller.server.url}/services/oauth2/revoke"
    assert caller.web.post(target, {"token": reply[which]}, timeout=60).status_code == 200
    assert not caller.works(reply["access_token"])
    assert caller.token(caller.refresh(reply["refresh_token"])).ok == (which == "access_token")
    again = caller.web.post(target, {"token": reply[which]}, timeout=60)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_token")


def test_sessions_end_on_command(caller: Caller) -> None:
    reply = caller.token(caller.exchange(caller.code())).json()
    caller.server.oauth.expire()
    assert not caller.works(reply["access_token"])
    reply = caller.token(caller.refresh(reply["refresh_token"])).json()
    assert caller.works(reply["access_token"])
    caller.server.oauth.withdraw()
    assert not caller.works(reply["access_token"])
    assert caller.refusal(caller.refresh(reply["refresh_token"]))[0] == "invalid_grant"


def test_too_many_logins(caller: Caller) -> None:
    caller.server.oauth.logins_per_hour = 1
    form = {"grant_type": "client_credentials"} | caller.client
    assert caller.token(form).ok
    assert caller.refusal(form) == ("invalid_grant", "login rate exceeded")


@pytest.mark.parametrize(("path", "code"), [
    ("64.0", "INVALID_LOGIN"), ("65.0", "UNKNOWN_EXCEPTION"), ("nonsense", "UNSUPPORTED_API_VERSION"),
])  # fmt: skip
def test_soap_refuses(caller: Caller, path: str, code: str) -> None:
    body = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<login xmlns="urn:partner.soap.sforce.com"><username>x</username><password>y</password></login>'
        "</e:Body></e:Envelope>"
    )
    answer = caller.web.post(f"{caller.server.url}/services/Soap/u/{path}", body, timeout=60)
    assert (answer.status_code, f"<sf:exceptionCode>{code}<" in answer.text) == (500, True)
