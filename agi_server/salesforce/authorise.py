"""Authorising Ostiary in a browser, once: authorization code with PKCE; then the refresh token is stored.

Invariants: the verifier and the state never leave this process but for the token endpoint and the address that is
opened; a code is taken only with the state of this attempt; the refresh token is on disk before anything else is done.
Sources: RFC 7636 (PKCE), RFC 8252 (loopback redirect); Salesforce Help, "OAuth 2.0 Web Server Flow".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from pydantic import SecretStr

from agi_server.errors import InputError, SalesforceLoginError
from agi_server.salesforce import tokens
from agi_server.salesforce.answers import login_refusal
from agi_server.salesforce.flows import Form, Token, ask_token, client_fields, keep, origin, token_of
from agi_server.settings import is_loopback

if TYPE_CHECKING:
    from agi_server.settings import Salesforce

SCOPES = "api refresh_token"
PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Ostiary</title>"
    "<p>{text} You may close this page.</p></html>"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One authorisation under way: the address to open, and what makes the answer ours."""

    url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def begin(settings: Salesforce) -> Attempt:
    """Start an authorisation. Raises InputError when the settings are for another flow, or name no app."""
    if settings.flow != "web-server":
        raise InputError(
            f"salesforce.flow is {settings.flow}, which needs nobody to authorise it; only web-server does"
        )
    if not settings.client_id:
        raise InputError("salesforce.client_id is empty: copy the Consumer Key of the External Client App")
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(64)
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": settings.redirect_url,
        "scope": SCOPES,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "prompt": "login",  # the integration user is to sign in, not whoever the browser remembers
    }
    return Attempt(f"{origin(settings)}/services/oauth2/authorize?{urlencode(query)}", state, verifier)


def code_in(attempt: Attempt, text: str) -> SecretStr:
    """Return the code in what was pasted: the address the browser ended at, its query, or the bare code.

    Raises InputError when it belongs to another attempt or holds no code, SalesforceLoginError when Salesforce refused.
    """
    text = text.strip()
    if re.fullmatch(r"[\w.~+/%-]+=*", text, re.ASCII):
        return SecretStr(unquote(text))
    return code_in_query(attempt, urlsplit(text).query or text)


def code_in_query(attempt: Attempt, query: str) -> SecretStr:
    """Return the code in the query of the redirect URL. Raises as `code_in`."""
    given = {key: values[-1] for key, values in parse_qs(query).items()}
    if not given:
        raise InputError("no code: paste the address the browser ended at, or the code in it")
    if not hmac.compare_digest(given.get("state", "").encode(), attempt.state.encode()):
        raise InputError("this answer belongs to another attempt (its state differs): authorise again")
    if "error" in given:
        raise login_refusal(given["error"], given.get("error_description", ""))
    if not given.get("code"):
        raise InputError("no code in this address: copy it whole, from code= on")
    return SecretStr(given["code"])


def finish(settings: Salesforce, state_directory: Path, attempt: Attempt, code: SecretStr) -> Token:
    """Exchange the code and store the refresh token; return the session that came with it.

    Raises SalesforceLoginError, SalesforceDown.
    """
    form = Form(
        client_fields(settings),
        grant_type="authorization_code",
        code=code.get_secret_value(),
        redirect_uri=settings.redirect_url,
        code_verifier=attempt.verifier,
    )
    with tokens.locked(state_directory, wait=settings.timeout):
        said = ask_token(settings, form)
        stored = keep(settings, state_directory, said)
    if not stored:
        raise SalesforceLoginError(
            "Salesforce gave no refresh token: give the app the OAuth scope refresh_token (Perform requests at any "
            "time) and authorise again",
            "no-refresh-token",
        )
    return token_of(settings, said)


def listens(settings: Salesforce) -> bool:
    """Return whether the redirect comes to this machine over plain http, where `listener` can take it."""
    parts = urlsplit(settings.redirect_url)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


@contextmanager
def listener(settings: Salesforce, attempt: Attempt) -> Iterator[Listener]:
    """Listen at the redirect URL. Raises InputError when its port is taken."""
    parts = urlsplit(settings.redirect_url)
    host = "127.0.0.1" if parts.hostname == "localhost" else str(parts.hostname)
    try:
        server = Listener(host, parts.port or 80, parts.path or "/", attempt)
    except OSError as error:
        raise InputError(
            f"{host}:{parts.port or 80}, where salesforce.redirect_url leads: {error.strerror}; "
            "free it, or use --paste"
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="redirect", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener(ThreadingHTTPServer):
    """Takes the browser's return; what comes without our state is turned away and changes nothing."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, path: str, attempt: Attempt) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.path = path
        self.attempt = attempt
        self._arrived = threading.Event()
        self._outcome: SecretStr | SalesforceLoginError | None = None
        super().__init__((host, port), _Handler)

    def take(self, query: str) -> str:
        """Take what the browser brings; return what to tell the person. Raises InputError."""
        try:
            self._outcome = code_in_query(self.attempt, query)
            told = "Ostiary has its permission."
        except SalesforceLoginError as error:
            self._outcome = error
            told = "Salesforce refused; the command line says why."
        self._arrived.set()
        return told

    def wait(self, seconds: float) -> SecretStr:
        """Return the code. Raises SalesforceLoginError when Salesforce refused or nobody came in time."""
        until = time.monotonic() + seconds
        while not self._arrived.wait(0.2):  # short waits: Ctrl-C is heard
            if time.monotonic() > until:
                raise SalesforceLoginError(
                    f"nobody came back from the browser within {seconds:.0f} s", "timeout"
                )
        if isinstance(self._outcome, SecretStr):
            return self._outcome
        assert self._outcome is not None
        raise self._outcome


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    timeout = 10  # seconds a browser may take for its request

    def do_GET(self) -> None:
        """Answer the browser."""
        parts = urlsplit(self.path)
        status, told = 404, "There is nothing here."
        if parts.path == self.server.path:
            try:
                status, told = 200, self.server.take(parts.query)
            except InputError as error:
                status, told = 400, f"{error}."
        body = PAGE.format(text=told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the code is in the request line."""
