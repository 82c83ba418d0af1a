"""The requests session under everything that is asked of Salesforce: tokens, deadlines, retries, limits.

Invariants: the token goes to the instance that came with it and nowhere else: callers ask HOST, a name that exists
nowhere, the adapter puts the instance in its place and refuses every other host. A refused session is renewed once and
the same request is sent again, with all its headers; a second refusal is the answer. Only GETs are tried again after
anything else, for a POST that was sent may have been done. What fails is raised afresh, so that no frame of a library
with the token in its variables is in a traceback.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter

from agi_server import __version__
from agi_server.errors import SalesforceDown
from agi_server.salesforce import network

if TYPE_CHECKING:
    from agi_server.salesforce.login import Login, Token
    from agi_server.settings import Salesforce

HOST = "instance.invalid"  # RFC 2606: resolves nowhere
THREADS = 16  # connections kept
TRIES = 3  # of a GET
FIRST_WAIT = 0.5  # seconds before the second try; doubled before the third
PASSING = {429, 502, 503, 504}  # statuses after which a GET is tried again


class Usage(NamedTuple):
    """API calls of the org within the last 24 hours, and how many it may make."""

    used: int
    total: int


class Meter:
    """What the answers say besides; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0  # requests sent to the API, retries included
        self.usage: Usage | None = None  # by the header Sforce-Limit-Info of the last answer that had it
        self.served: datetime | None = None  # Salesforce's clock at its last answer, UTC

    def sent(self) -> None:
        """Count one request."""
        with self._lock:
            self.calls += 1

    def read(self, headers: Mapping[str, str]) -> None:
        """Take limits and time from an answer."""
        if found := re.search(r"(?:^|[;,\s])api-usage=(\d+)/(\d+)", headers.get("Sforce-Limit-Info", "")):
            self.usage = Usage(int(found[1]), int(found[2]))
        with contextlib.suppress(KeyError, ValueError):
            self.served = parsedate_to_datetime(headers["Date"])


def open_session(settings: Salesforce, login: Login, *, usage: Meter) -> requests.Session:
    """Return a session for `https://HOST/…`; other addresses are refused. Close it after use.

    A request's `timeout` (seconds) is for all of it, log-in and retries included; without one each try may take
    `salesforce.timeout`. Raises, when used: SalesforceDown, SalesforceLoginError.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers["User-Agent"] = f"ostiary/{__version__}"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter(settings, login, usage)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Adapter(HTTPAdapter):
    """Sends with the token of the day."""

    def __init__(self, settings: Salesforce, login: Login, meter: Meter) -> None:
        super().__init__(pool_maxsize=THREADS)
        self._settings = settings
        self._login = login
        self._meter = meter
        self._authorities: str | bool | None = None  # looked for when first needed

    def send(  # noqa: PLR0917  # the signature of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ANN401  # as above
        verify: bool | str = True,  # noqa: ARG002  # as above
        cert: Any = None,  # noqa: ANN401, ARG002  # as above
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002  # as above
    ) -> requests.Response:
        """Send and, where it may help, send again; see the module."""
        path = _path(request)
        end = None if timeout is None else time.monotonic() + timeout
        token = self._login.token(end)
        tries = TRIES if request.method == "GET" else 1
        wait = FIRST_WAIT
        renewed = False
        while True:
            tries -= 1
            answer = self._try(request, token, path, stream, end)
            if isinstance(answer, requests.Response):
                if not _session_refused(answer):
                    self._login.accepted(token)
                    if answer.status_code not in PASSING or tries == 0:
                        return answer
                elif renewed:
                    self._login.refused(token)
                    return answer
                else:
                    token = self._login.renew(token, end)
                    renewed = True
                    tries += 1
                    continue
            elif tries == 0:
                raise SalesforceDown(answer)
            time.sleep(network.left(end, wait))
            wait *= 2

    def _try(
        self, request: requests.PreparedRequest, token: Token, path: str, stream: bool, end: float | None
    ) -> requests.Response | str:
        """Return the answer, its body read unless `stream`; or why there is none."""
        sent = request.copy()
        sent.url = token.instance_url + path
        sent.headers["Authorization"] = f"Bearer {token.access_token}"
        if self._authorities is None:
            self._authorities = network.authorities(self._settings)
        limit = network.limit(network.left(end, self._settings.timeout))
        self._meter.sent()
        try:
            answer = super().send(
                sent,
                stream=stream,
                timeout=limit,  # type: ignore[arg-type]  # requests takes urllib3's Timeout
                verify=self._authorities,
                proxies=network.proxies(token.instance_url),
            )
            self._meter.read(answer.headers)
            if not stream or answer.status_code >= 300:
                _ = answer.content  # here: a body that is cut short is a failed try
        except (requests.RequestException, OSError) as error:
            return network.unreachable(token.instance_url, error)
        answer.request, answer.url = request, str(request.url)  # nobody needs the token any more
        if answer.is_redirect:
            return (
                f"{token.instance_url} sends us elsewhere (status {answer.status_code}); is salesforce.login_url the "
                "org's own, and no proxy asks for a log-in?"
            )
        return answer


def _path(request: requests.PreparedRequest) -> str:
    """Return path and query; SalesforceDown when the request is for another host than HOST."""
    start = f"https://{HOST}/"
    url = str(request.url)
    if not url.startswith(start):
        raise SalesforceDown("Salesforce names an address outside its instance; the token is not sent there")
    return url[len(start) - 1 :]


def _session_refused(answer: requests.Response) -> bool:
    """Return whether this is 401 for the session: INVALID_SESSION_ID, or no JSON that says otherwise."""
    if answer.status_code != 401:
        return False
    try:
        said = answer.json()
        return str(said[0]["errorCode"]) == "INVALID_SESSION_ID"
    except (ValueError, LookupError, TypeError):
        return True
