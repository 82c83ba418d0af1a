"""How requests reach Salesforce: certificate authorities, proxies, deadlines; and why one did not.

Invariants: what is raised here names the host and the cause, and says nothing of a request's headers, body or query.
The environment is heeded for HTTPS_PROXY and NO_PROXY only (many companies let nothing out but through a proxy):
a ~/.netrc would replace our Authorization header, and REQUESTS_CA_BUNDLE would overrule `salesforce.ca_file`
(requests, "Session.trust_env"). What goes to this machine itself takes no proxy.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.utils import get_environ_proxies
from urllib3.exceptions import NameResolutionError
from urllib3.util import Timeout

from agi_server.errors import SalesforceDown, SalesforceLoginError
from agi_server.settings import is_loopback

if TYPE_CHECKING:
    from agi_server.settings import Salesforce


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from a log-in; its body may hold tokens, so it is not shown."""

    status: int
    body: bytes = field(repr=False)


def authorities(settings: Salesforce) -> str | bool:
    """Return whom to trust, as requests' `verify`: a file, a directory, or True for requests' own list.

    Raises SalesforceLoginError when `ca_file` cannot be used.
    """
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise SalesforceLoginError(
                f"salesforce.ca_file {settings.ca_file}: {error.strerror or error}; it should be a PEM file of "
                "certificate authorities that this user may read",
                "settings",
            ) from None
        return str(settings.ca_file)
    paths = ssl.get_default_verify_paths()  # of the system, or SSL_CERT_FILE
    if paths.cafile:
        return paths.cafile
    if paths.capath and any(os.scandir(paths.capath)):  # a machine without ca-certificates has it empty
        return paths.capath
    return True


def proxies(url: str) -> dict[str, str]:
    """Return the proxies on the way to `url`, as requests wants them."""
    host = urlsplit(url).hostname or ""
    return {} if is_loopback(host) else get_environ_proxies(url)


def left(end: float | None, most: float) -> float:
    """Return the seconds until `end` (time.monotonic), `most` at most. Raises SalesforceDown when none are left."""
    if end is None:
        return most
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise SalesforceDown("Salesforce did not answer within the time this request had")
    return min(seconds, most)


def limit(seconds: float) -> Timeout:
    """Return a time-out for connecting and the first byte together; each later piece may take as long again."""
    return Timeout(total=seconds, connect=seconds, read=seconds)


def post(
    settings: Salesforce,
    url: str,
    body: SecretStr,
    *,
    kind: str = "application/x-www-form-urlencoded",
    basic: tuple[str, SecretStr] | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send a request that carries secrets; `basic`: user and password of HTTP Basic. Redirects are not followed.

    Raises SalesforceDown when no answer came.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(
                url,
                data=body.get_secret_value().encode(),
                headers={"Content-Type": kind, **(headers or {}), **_basic(basic)},
                timeout=limit(settings.timeout),  # type: ignore[arg-type]  # requests takes urllib3's Timeout
                verify=authorities(settings),
                proxies=proxies(url),
                allow_redirects=False,
            )
            return Reply(response.status_code, response.content)
    except (requests.RequestException, OSError) as error:
        problem = unreachable(url, error)
    raise SalesforceDown(problem)  # outside: the cause's frames hold what was sent


def _basic(basic: tuple[str, SecretStr] | None) -> dict[str, str]:
    if basic is None:
        return {}
    both = f"{basic[0]}:{basic[1].get_secret_value()}"
    return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}


def unreachable(url: str, error: Exception) -> str:
    """Say why no answer came from the host of `url`."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"{host}: {_reason(error)}"


def _reason(error: Exception) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or type(cause).__name__
            return (
                f"no trusted TLS connection: {why}; a proxy that looks into connections needs its authority "
                "in salesforce.ca_file"
            )
        if isinstance(cause, NameResolutionError):
            return (
                "its name cannot be resolved; is the host of salesforce.login_url right, and does DNS work?"
            )
        if isinstance(cause, requests.exceptions.ProxyError):
            return "the proxy named by HTTPS_PROXY does not let us through"
        if isinstance(cause, requests.Timeout):
            return "no answer in time"
    for cause in causes:
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException) and cause.strerror:
            return f"no connection: {cause.strerror}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the connection was cut in the middle of the answer"
    return "the connection was closed without an answer"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what is behind it, as requests and urllib3 nest them."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
