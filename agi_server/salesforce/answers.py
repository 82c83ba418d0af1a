"""What Salesforce's answers mean: statuses, error codes and bodies, turned into our errors.

The code counts, not the status: 400 is anything from a wrong query to a locked row, 403 anything from a missing
permission to a spent limit (REST API Developer Guide, "Status Codes and Error Responses"). An answer that is not in
Salesforce's own shape comes from something in between, and passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agi_server.errors import (
    SalesforceDown,
    SalesforceError,
    SalesforceLimitError,
    SalesforceLoginError,
    SalesforceRefusal,
)

LONGEST = 300  # characters of what Salesforce says
LIMITS = {"REQUEST_LIMIT_EXCEEDED"}
SHUT = {  # nobody is let in until an admin acts
    "INVALID_SESSION_ID": "the session is refused although it is new: do the session settings or the IP ranges "
    "of the app or the profile shut this machine out?",
    "INVALID_AUTH_HEADER": "a proxy may have changed the Authorization header",
    "API_DISABLED_FOR_ORG": "the user needs the permission API Enabled, and the edition must have the API "
    "(Enterprise, Unlimited, Performance, Developer; Professional with the add-on)",
    "API_CURRENTLY_DISABLED": "the API of this org is switched off for now; ask Salesforce Support",
}
PASSING = {"SERVER_UNAVAILABLE", "FUNCTIONALITY_TEMPORARILY_UNAVAILABLE", "temporarily_unavailable"}

# What a refused log-in says → what to do; the first that is found in its code and text counts.
REMEDIES = {
    "not supported on this domain": "set salesforce.login_url to https://<my-domain>.my.salesforce.com",
    "no client credentials user": "name the integration user as Run As in the app's policies (Client Credentials Flow)",
    "hasn't approved": "pre-authorise the user: in the app's policies, admin-approved users, and a permission "
    "set or profile that the user (salesforce.username) has",
    "expired access/refresh token": "authorise again: `ostiary salesforce authorise`; the token was revoked, "
    "lay idle longer than the app's policy allows, or its successor was lost",
    "expired authorization code": "a code is good once and for 15 minutes: authorise again",
    "code verifier": "authorise again, with the code that belongs to the address just opened",
    "audience": "set salesforce.login_url to the org's My Domain (https://<my-domain>.my.salesforce.com, "
    "a sandbox's ends in .sandbox.my.salesforce.com)",
    "assertion": "upload the certificate that belongs to salesforce.private_key_file to the app, and check"
    " this machine's clock: an assertion is good for minutes",
    "expiration too far": "check this machine's clock",
    "ip restricted": "let this machine's address in: the app's IP relaxation, or the login IP ranges of the "
    "user's profile",
    "inactive user": "activate the user (salesforce.username or the app's Run As)",
    "rate exceeded": "too many log-ins in this hour: something else signs in as this user as well",
    "LOGIN_RATE_EXCEEDED": "too many log-ins in this hour: something else signs in as this user as well",
    "app_blocked": "unblock the app, or make an External Client App of your own in this org",
    "app_access_denied": "give the user a permission set or profile that the app's policies admit",
    "redirect_uri": "salesforce.redirect_url must be a Callback URL of the app, letter by letter",
    "code challenge": "the app demands PKCE with S256, which Ostiary sends; is a proxy in between?",
    "invalid_scope": "give the app the OAuth scopes api and refresh_token",
    "access_denied": "whoever was at the browser said no, or may not use this app",
    "invalid_client_id": "salesforce.client_id is not known here: copy the Consumer Key; a new app needs minutes",
    "invalid_client": "salesforce.client_secret is wrong: copy the Consumer Secret again",
    "unsupported_grant_type": "enable this flow in the app's OAuth settings",
    "LOGIN_MUST_USE_SECURITY_TOKEN": "set salesforce.security_token (it is new after every change of the password)",
    "INVALID_LOGIN": "check salesforce.username, password and security_token (a new one comes with every "
    "password), and salesforce.login_url: a sandbox has its own",
    "login() is disabled": "an admin may allow SOAP login() until Summer '27; better change to salesforce.flow "
    "client-credentials",
    "No such operation: login": "SOAP login() is retired here: change salesforce.flow to "
    "client-credentials or jwt-bearer",
    "PASSWORD_LOCKOUT": "the user is locked out: unlock it in Setup, and correct salesforce.password first",
    "RESTRICTED_DOMAIN": "let this machine's address in: the login IP ranges of the user's profile",
    "RESTRICTED_TIME": "the profile's login hours shut this user out now",
    "authentication failure": "check the user, its password and that it may sign in from this machine",
}


def refusal(status: int, content: object, what: str) -> SalesforceError:
    """Return the error for an answer of `status` whose body is `content`: parsed JSON, text or bytes.

    `what` was asked, e.g. "the query".
    """
    code, message, fields = _first_error(content)
    if status in {414, 431}:
        return SalesforceRefusal(f"{what}: too long for Salesforce (status {status})", "URI_TOO_LONG")
    if status == 401 and not code:
        return SalesforceLoginError(
            f"{what}: status 401 without a reason, also for a new session: a proxy may want a log-in of its own",
            "401",
        )
    if status >= 500 or status in {420, 429} or code in PASSING or not code:
        said = f" ({code}: {message})" if code else ""
        own = "" if code or status >= 500 else ", and not in Salesforce's own words: is a proxy in between?"
        return SalesforceDown(f"{what}: Salesforce answers with status {status}{said}{own}")
    if code in LIMITS:
        return SalesforceLimitError(
            f"{what}: {code}: {message}; the org has no API calls left for now (they come back within 24 hours)"
        )
    if code in SHUT:
        return SalesforceLoginError(f"{what}: {code}: {message}; {SHUT[code]}", code)
    return SalesforceRefusal(f"{what}: {code}: {message}", code, fields)


def login_refusal(code: str, text: str) -> SalesforceError:
    """Return the error for a refused log-in: Salesforce's own word for it, its text, and how to mend it."""
    if code in PASSING:
        return SalesforceDown(f"the log-in: Salesforce answers {code}: {_short(text)}")
    said = f"{code}: {text}".lower()
    remedy = next((remedy for needle, remedy in REMEDIES.items() if needle.lower() in said), "")
    words = _short(text if text.startswith(code) else f"{code}: {text}" if text else code)
    return SalesforceLoginError(
        f"Salesforce refuses the log-in: {words}{f'; {remedy}' if remedy else ''} (docs/salesforce.md, Refusals)",
        code,
    )


def _first_error(content: object) -> tuple[str, str, tuple[str, ...]]:
    """Return code, message and fields of the first error of a body; no code: it is not Salesforce's."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, Mapping):
        return "", "", ()
    code, message, fields = first.get("errorCode"), first.get("message"), first.get("fields")
    if not isinstance(code, str):
        return "", "", ()
    names = fields if isinstance(fields, Sequence) and not isinstance(fields, str) else ()
    return code, _short(str(message or "")), tuple(map(str, names))


def _short(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode().split())  # half a character cannot be told on
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
