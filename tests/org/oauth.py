"""Who may come in: the token endpoint with every flow, authorisation in a browser, revocation.

One External Client App and one integration user exist. Access tokens live until they are revoked. Each
refresh answers with a new refresh token; an old one that is shown again revokes its whole family, access
tokens too (Salesforce: "Refresh Token Rotation"). Refusals have Salesforce's shape:
`{"error": …, "error_description": …}`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.org.messages import Answer, Request, json_answer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CODE_LIFETIME = 15 * 60  # seconds
ASSERTION_LIFETIME = 5 * 60  # seconds
GENERIC_HOSTS = ("login.salesforce.com", "test.salesforce.com")
SCOPES = "refresh_token api"


class LoginError(Exception):
    """`error` and `text` are what Salesforce says."""

    def __init__(self, error: str, text: str, status: int = 400) -> None:
        super().__init__(f"{error}: {text}")
        self.error = error
        self.text = text
        self.status = status


@functools.cache
def key_pair() -> tuple[str, str]:
    """Return the private and the public key of the app, PEM; made once a process, for it takes a while."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


@dataclass
class Family:
    """The refresh tokens that came from one authorisation; only the newest is good."""

    scope: str
    newest: str = ""
    access: set[str] = field(default_factory=set)
    revoked: bool = False


@dataclass(frozen=True)
class Code:
    redirect_uri: str
    challenge: str
    scope: str
    expires: float


class OAuth:
    """The org's policies are plain attributes, to be changed by a test."""

    def __init__(self, url: str, organization: str, user: str) -> None:
        self.url = url
        self.organization = organization  # 18 characters, as `user`
        self.user = user
        self.client_id = "3MVG9" + secrets.token_urlsafe(60)
        self.client_secret = secrets.token_hex(32).upper()
        self.username = "ostiary@stand-in.example"
        self.password = secrets.token_urlsafe(12)
        self.security_token = secrets.token_urlsafe(18)
        self.redirect_uris: set[str] = set()  # empty: any on this machine
        self.rotate = True
        self.require_pkce = True
        self.require_secret = True
        self.consents = True  # what the person at the browser says
        self.approved = True  # the JWT flow's user is pre-authorised
        self.password_grant = True
        self.client_credentials = True
        self.soap_login = True
        self.logins_per_hour = 3600
        self.given: Counter[str] = Counter()  # access tokens by flow
        self.refused: Counter[str] = Counter()  # by error
        self._lock = threading.RLock()
        self._valid: set[str] = set()
        self._families: dict[str, Family] = {}  # by every refresh token there ever was
        self._codes: dict[str, Code] = {}
        self._logins: list[float] = []

    # what the rest of the server asks

    def knows(self, token: str) -> bool:
        with self._lock:
            return token in self._valid

    def open_session(self, flow: str) -> str:
        """Return a new access token; LoginError when there were too many in this hour."""
        with self._lock:
            now = time.monotonic()
            self._logins = [moment for moment in self._logins if now - moment < 3600]
            if len(self._logins) >= self.logins_per_hour:
                raise LoginError("invalid_grant", "login rate exceeded")
            self._logins.append(now)
            token = f"{self.organization[:15]}!AQ{secrets.token_urlsafe(60)}"
            self._valid.add(token)
            self.given[flow] += 1
            return token

    # what a test does to the tokens

    def expire(self) -> None:
        """End every session; refresh tokens stay."""
        with self._lock:
            self._valid.clear()

    def withdraw(self) -> None:
        """End every session and revoke every refresh token."""
        with self._lock:
            self._valid.clear()
            for family in self._families.values():
                family.revoked = True

    # the endpoints

    def token(self, request: Request) -> Answer:
        """POST /services/oauth2/token."""
        try:
            return self._grant(request)
        except LoginError as error:
            return self.refuse(error)

    def authorize(self, request: Request) -> Answer:
        """GET /services/oauth2/authorize: the person has logged in and (`consents`) says yes or no."""
        params = request.params
        target = params.get("redirect_uri", "")
        if params.get("client_id") != self.client_id:
            return self.refuse(LoginError("invalid_client_id", "client identifier invalid"))
        if not self._accepts(target):
            return self.refuse(LoginError("redirect_uri_mismatch", "redirect_uri must match configuration"))
        back = {"state": params["state"]} if "state" in params else {}
        try:
            back["code"] = self._new_code(params, target)
        except LoginError as error:
            self.refused[error.error] += 1
            back |= {"error": error.error, "error_description": error.text}
        joint = "&" if urlsplit(target).query else "?"
        return Answer(302, headers={"Location": f"{target}{joint}{urlencode(back)}"})

    def revoke(self, request: Request) -> Answer:
        """GET or POST /services/oauth2/revoke: a refresh token takes its whole family with it."""
        token = (request.params | request.form).get("token", "")
        with self._lock:
            family = self._families.get(token)
            if family and not family.revoked:
                self._revoke_family(family)
            elif token in self._valid:
                self._valid.discard(token)
            else:
                return self.refuse(LoginError("invalid_token", "invalid token"))
        return Answer(200)

    def refuse(self, error: LoginError) -> Answer:
        with self._lock:
            self.refused[error.error] += 1
        return json_answer(error.status, {"error": error.error, "error_description": error.text})

    # the flows

    def _grant(self, request: Request) -> Answer:
        if request.method != "POST":
            raise LoginError("invalid_request", "must use HTTP POST")
        form = _with_basic(request)
        match form.get("grant_type"):
            case "client_credentials":
                return self._client_credentials(form, request.header("Host"))
            case "password":
                return self._password(form)
            case "authorization_code":
                return self._authorization_code(form)
            case "refresh_token":
                return self._refresh(form)
            case grant if grant == JWT_BEARER:
                return self._jwt_bearer(form, request.header("Host"))
            case _:
                raise LoginError("unsupported_grant_type", "grant type not supported")

    def _client_credentials(self, form: Mapping[str, str], host: str) -> Answer:
        self._check_client(form)
        if host in GENERIC_HOSTS:
            raise LoginError("invalid_grant", "request not supported on this domain")
        if not self.client_credentials:
            raise LoginError("invalid_grant", "no client credentials user enabled")
        return self._reply(self.open_session("client_credentials"), {"scope": "api"})

    def _password(self, form: Mapping[str, str]) -> Answer:
        self._check_client(form)
        secret = form.get("password", "")
        right = _same(secret, self.password) or _same(secret, self.password + self.security_token)
        if not self.password_grant or form.get("username") != self.username or not right:
            raise LoginError("invalid_grant", "authentication failure")
        return self._reply(self.open_session("password"), {})

    def _jwt_bearer(self, form: Mapping[str, str], host: str) -> Answer:
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                key_pair()[1],
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_aud": False},
            )
        except jwt.PyJWTError as error:
            raise LoginError("invalid_grant", "invalid assertion") from error
        if claims.get("iss") != self.client_id:
            raise LoginError("invalid_client_id", "client identifier invalid")
        audiences = {self.url, f"https://{host}", f"http://{host}", *(f"https://{a}" for a in GENERIC_HOSTS)}
        if claims.get("aud") not in audiences:
            raise LoginError("invalid_grant", "audience is invalid")
        _check_expiry(claims.get("exp"))
        if claims.get("sub") != self.username or not self.approved:
            raise LoginError("invalid_grant", "user hasn't approved this consumer")
        return self._reply(self.open_session("jwt-bearer"), {"scope": "api"})

    def _authorization_code(self, form: Mapping[str, str]) -> Answer:
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)  # good once
        self._check_client(form, optional_secret=not self.require_secret)
        if code is None or code.expires < time.monotonic():
            raise LoginError("invalid_grant", "expired authorization code")
        if form.get("redirect_uri") != code.redirect_uri:
            raise LoginError("redirect_uri_mismatch", "redirect_uri must match configuration")
        if code.challenge and not _same(_challenge(form.get("code_verifier", "")), code.challenge):
            raise LoginError("invalid_grant", "invalid code verifier")
        token = self.open_session("authorization_code")
        if not {"refresh_token", "offline_access"} & set(code.scope.split()):
            return self._reply(token, {"scope": code.scope})
        with self._lock:
            family = Family(code.scope, access={token})
            return self._reply(token, {"scope": code.scope, "refresh_token": self._next(family)})

    def _refresh(self, form: Mapping[str, str]) -> Answer:
        self._check_client(form, optional_secret=not self.require_secret)
        shown = form.get("refresh_token", "")
        with self._lock:
            family = self._families.get(shown)
            if family and not family.revoked and shown != family.newest:
                self._revoke_family(family)
            if family is None or family.revoked:
                raise LoginError("invalid_grant", "expired access/refresh token")
            token = self.open_session("refresh_token")
            family.access.add(token)
            more = {"scope": family.scope}
            if self.rotate:
                more["refresh_token"] = self._next(family)
            return self._reply(token, more)

    # their parts

    def _check_client(self, form: Mapping[str, str], *, optional_secret: bool = False) -> None:
        if form.get("client_id") != self.client_id:
            raise LoginError("invalid_client_id", "client identifier invalid")
        if optional_secret and "client_secret" not in form:
            return
        if not _same(form.get("client_secret", ""), self.client_secret):
            raise LoginError("invalid_client", "invalid client credentials")

    def _accepts(self, target: str) -> bool:
        if self.redirect_uris:
            return target in self.redirect_uris
        return urlsplit(target).hostname in {"localhost", "127.0.0.1"}

    def _new_code(self, params: Mapping[str, str], target: str) -> str:
        if params.get("response_type") != "code":
            raise LoginError("unsupported_response_type", "response type not supported")
        challenge = params.get("code_challenge", "")
        if self.require_pkce and not challenge:
            raise LoginError("invalid_request", "missing required code challenge")
        if params.get("code_challenge_method", "S256") != "S256":
            raise LoginError("invalid_request", "invalid code challenge method")
        scope = params.get("scope", SCOPES)
        if not set(scope.split()) <= {*SCOPES.split(), "offline_access", "openid", "id"}:
            raise LoginError("invalid_scope", "the requested scope is not allowed")
        if not self.consents:
            raise LoginError("access_denied", "end-user denied authorization")
        code = "aPrx" + secrets.token_urlsafe(40)
        with self._lock:
            self._codes[code] = Code(target, challenge, scope, time.monotonic() + CODE_LIFETIME)
        return code

    def _next(self, family: Family) -> str:
        family.newest = "5Aep861" + secrets.token_urlsafe(48)
        self._families[family.newest] = family
        return family.newest

    def _revoke_family(self, family: Family) -> None:
        family.revoked = True
        self._valid -= family.access

    def _reply(self, token: str, more: Mapping[str, str]) -> Answer:
        identity = f"{self.url}/id/{self.organization}/{self.user}"
        issued_at = str(int(time.time() * 1000))
        signed = hmac.digest(self.client_secret.encode(), (identity + issued_at).encode(), "sha256")
        reply = {
            "access_token": token,
            "signature": base64.b64encode(signed).decode(),
            "instance_url": self.url,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued_at,
        }
        return json_answer(200, {**reply, **more}, {"Cache-Control": "no-cache, no-store"})


def _with_basic(request: Request) -> dict[str, str]:
    """Return the form, with client_id and client_secret out of HTTP Basic when they came so."""
    form = request.form
    scheme, _, encoded = request.header("Authorization").partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise LoginError("invalid_client", "invalid client credentials") from error
    return form | {"client_id": name, "client_secret": secret}


def _check_expiry(value: object) -> None:
    """`exp` is a number or, as some libraries send it, a text of digits."""
    try:
        expires = float(str(value))
    except ValueError as error:
        raise LoginError("invalid_grant", "invalid assertion") from error
    left = expires - time.time()
    if left <= 0:
        raise LoginError("invalid_grant", "assertion expired")
    if left > ASSERTION_LIFETIME:
        raise LoginError("invalid_grant", "expiration too far in the future")


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
