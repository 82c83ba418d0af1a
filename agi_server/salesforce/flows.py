"""The four ways to sign in, each one request that brings an access token or a clear refusal.

Invariants: no secret is in a text, in a log or in a local variable that shows itself; a rotated refresh token is on
disk before the access token that came with it is handed out. Sources: Salesforce Help, "OAuth 2.0 Client Credentials
Flow", "OAuth 2.0 JWT Bearer Flow", "OAuth 2.0 Refresh Token Flow"; SOAP API Developer Guide, "login()".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from xml.sax.saxutils import escape, unescape

import jwt
from pydantic import SecretStr

from agi_server.errors import SalesforceDown, SalesforceLoginError
from agi_server.salesforce import tokens
from agi_server.salesforce.answers import login_refusal
from agi_server.salesforce.network import Reply, post
from agi_server.settings import is_loopback
from storage.salesforce_ids import SHORT

if TYPE_CHECKING:
    from agi_server.settings import Salesforce

SOAP_VERSION = 64.0  # the last API version that has login()
ASSERTION_LIFETIME = 180  # seconds; Salesforce takes up to 5 minutes
NEEDS = {  # what a flow cannot do without
    "client-credentials": ("client_id", "client_secret"),
    "jwt-bearer": ("client_id", "username", "private_key_file"),
    "web-server": ("client_id",),
    "password": ("username", "password"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A session: the instance it is good for, as scheme and host, and whose it is: user and org ('' if unknown).

    Both are ids; that of the org has 15 characters.
    """

    access_token: str = field(repr=False)
    instance_url: str
    user_id: str = ""
    org_id: str = ""


class Form(dict[str, Any]):
    """Fields sent or received that may be secret; not shown."""

    def __repr__(self) -> str:
        return "Form(…)"


def sign_in(settings: Salesforce, state_directory: Path) -> Token:
    """Sign in by the flow of the settings; one log-in at most.

    Raises SalesforceLoginError when it is refused or a setting is missing, SalesforceDown when nobody answers.
    """
    missing = [name for name in NEEDS[settings.flow] if not _given(settings, name)]
    if missing:
        raise SalesforceLoginError(
            f"the flow {settings.flow} needs {' and '.join(f'salesforce.{name}' for name in missing)}; "
            "see docs/salesforce.md, Connecting",
            "settings",
        )
    return _FLOWS[settings.flow](settings, state_directory)


def ask_token(
    settings: Salesforce, form: Mapping[str, Any], basic: tuple[str, SecretStr] | None = None
) -> Form:
    """Post a form to the token endpoint and return its reply: access_token, instance_url, id, …

    Raises SalesforceLoginError, SalesforceDown.
    """
    reply = post(
        settings, f"{origin(settings)}/services/oauth2/token", SecretStr(urlencode(form)), basic=basic
    )
    said = _json(reply)
    if reply.status == 200 and isinstance(said.get("access_token"), str):
        return said
    if reply.status < 500 and isinstance(said.get("error"), str):
        raise login_refusal(said["error"], _without_secrets(str(said.get("error_description", "")), form))
    raise _no_token_endpoint(settings, reply)


def token_of(settings: Salesforce, said: Mapping[str, Any]) -> Token:
    """Return the session in a reply of the token endpoint. Raises SalesforceDown, where it names no good instance."""
    whose = re.search(r"(?:/(00D\w{12})\w{0,3})?/(005\w{12,15})$", str(said.get("id", "")))
    org, user = (whose[1] or "", whose[2]) if whose else ("", "")
    return Token(said["access_token"], instance_of(settings, str(said.get("instance_url", ""))), user, org)


def instance_of(settings: Salesforce, url: str) -> str:
    """Return scheme and host of an instance; plain http only where the log-in was to this machine, too."""
    parts = urlsplit(url)
    local = origin(settings).startswith("http:") and is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise SalesforceDown(
            f"the log-in at {origin(settings)} names no instance that can be trusted: {url[:80]!r}"
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def origin(settings: Salesforce) -> str:
    """Return scheme and host of the log-in address."""
    parts = urlsplit(settings.login_url)
    return f"{parts.scheme}://{parts.netloc}"


def client_fields(settings: Salesforce) -> Form:
    """Return the fields that say which app asks; an app for public clients has no secret."""
    fields = Form(client_id=settings.client_id)
    if secret := settings.client_secret.get_secret_value():
        fields["client_secret"] = secret
    return fields


def _client_credentials(settings: Salesforce, _directory: Path) -> Token:
    basic = settings.client_id, settings.client_secret
    return token_of(settings, ask_token(settings, {"grant_type": "client_credentials"}, basic))


def _jwt_bearer(settings: Salesforce, _directory: Path) -> Token:
    form = Form(
        grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer",
        assertion=_assertion(settings).get_secret_value(),
    )
    return token_of(settings, ask_token(settings, form))


def _assertion(settings: Salesforce) -> SecretStr:
    file = settings.private_key_file
    assert file is not None  # NEEDS
    claims = {
        "iss": settings.client_id,
        "sub": settings.username,
        "aud": origin(settings),
        "exp": int(time.time()) + ASSERTION_LIFETIME,
    }
    try:
        return SecretStr(jwt.encode(claims, file.read_bytes(), algorithm="RS256"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except Exception as error:  # noqa: BLE001  # cryptography has many errors for a file that is no key
        problem = f"is not an RSA key in PEM without a pass phrase ({type(error).__name__})"
    raise SalesforceLoginError(f"salesforce.private_key_file {file} {problem}", "settings")


def _web_server(settings: Salesforce, directory: Path) -> Token:
    """Renew with the stored refresh token and store its successor before anything else is done."""
    with tokens.locked(directory, wait=settings.timeout):
        stored = tokens.load(directory)
        if stored is None:
            raise SalesforceLoginError(
                "nobody has authorised Ostiary yet: run `ostiary salesforce authorise`", "not-authorised"
            )
        if (stored.client_id, stored.login_url) != (settings.client_id, origin(settings)):
            raise SalesforceLoginError(
                f"{directory / tokens.FILE} is for another app or org ({stored.login_url}) than salesforce.client_id "
                "and salesforce.login_url name: run `ostiary salesforce authorise`",
                "not-authorised",
            )
        form = Form(client_fields(settings), grant_type="refresh_token", refresh_token=stored.refresh_token)
        said = ask_token(settings, form)
        keep(settings, directory, said)
    return token_of(settings, said)


def keep(settings: Salesforce, directory: Path, said: Mapping[str, Any]) -> bool:
    """Store the refresh token of a reply, if there is one; return whether. Call it under `tokens.locked`."""
    if not isinstance(said.get("refresh_token"), str):
        return False
    tokens.store(directory, tokens.Stored(said["refresh_token"], settings.client_id, origin(settings)))
    return True


def _password(settings: Salesforce, _directory: Path) -> Token:
    """SOAP login(): External Client Apps have no OAuth flow for user name and password."""
    version = min(float(settings.api_version), SOAP_VERSION)
    reply = post(
        settings,
        f"{origin(settings)}/services/Soap/u/{version:.1f}",
        _envelope(settings),
        kind="text/xml; charset=UTF-8",
        headers={"SOAPAction": "login"},
    )
    session, server = _element(reply, "sessionId"), _element(reply, "serverUrl")
    if reply.status == 200 and session is not None and server is not None:
        user, org = _element(reply, "userId"), _element(reply, "organizationId")
        instance = server.get_secret_value().replace("-api.salesforce.com", ".salesforce.com")
        return Token(
            session.get_secret_value(),
            instance_of(settings, instance),
            user.get_secret_value() if user else "",
            org.get_secret_value()[:SHORT] if org else "",
        )
    code = _element(reply, "sf:exceptionCode") or _element(reply, "faultcode")
    if code is None:
        raise _no_token_endpoint(settings, reply)
    text = _element(reply, "sf:exceptionMessage") or _element(reply, "faultstring")
    sent = Form(
        password=settings.password.get_secret_value(), token=settings.security_token.get_secret_value()
    )
    raise login_refusal(
        code.get_secret_value().removeprefix("sf:"),
        _without_secrets(text.get_secret_value() if text else "", sent),
    )


def _envelope(settings: Salesforce) -> SecretStr:
    secret = settings.password.get_secret_value() + settings.security_token.get_secret_value()
    return SecretStr(
        '<?xml version="1.0" encoding="utf-8"?>'
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>'
        f'<login xmlns="urn:partner.soap.sforce.com"><username>{escape(settings.username)}</username>'
        f"<password>{escape(secret)}</password></login></env:Body></env:Envelope>"
    )


def _element(reply: Reply, name: str) -> SecretStr | None:
    """Return the text of the first element of this name; no parser, so nothing in it can be an attack on one."""
    text = reply.body.decode(errors="replace")
    found = re.search(rf"<{name}(?: [^>]*)?>([^<]*)</{name}>", text)
    return SecretStr(unescape(found[1], {"&quot;": '"', "&apos;": "'"})) if found else None


def _json(reply: Reply) -> Form:
    try:
        said = json.loads(reply.body, object_pairs_hook=Form)
    except ValueError:
        return Form()
    return said if isinstance(said, Form) else Form()


def _given(settings: Salesforce, name: str) -> bool:
    value = getattr(settings, name)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _without_secrets(text: str, sent: Mapping[str, Any]) -> str:
    """Return what was answered, unless it repeats a value that was sent and nobody may see."""
    hidden = [value for key, value in sent.items() if key not in {"grant_type", "client_id", "redirect_uri"}]
    return "(its text repeats a secret)" if any(value and value in text for value in hidden) else text


def _no_token_endpoint(settings: Salesforce, reply: Reply) -> SalesforceDown:
    hint = (
        "is salesforce.login_url right, and no proxy in between?" if reply.status < 500 else "try again later"
    )
    return SalesforceDown(
        f"the log-in at {origin(settings)} answers with status {reply.status} and not as Salesforce does; {hint}"
    )


_FLOWS: Mapping[str, Callable[[Salesforce, Path], Token]] = {
    "client-credentials": _client_credentials,
    "jwt-bearer": _jwt_bearer,
    "web-server": _web_server,
    "password": _password,
}
