"""The stand-in over HTTP on this machine: its port, who answers which path, what is counted.

`stop()` leaves nothing behind: every connection is shut, every thread has ended, every socket and file is closed.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.org import control, soap
from tests.org.bulk import Bulk
from tests.org.connections import HOST, Listener
from tests.org.errors import OrgError, missing
from tests.org.faults import Faults
from tests.org.messages import Answer, Request, json_answer, refusal
from tests.org.oauth import OAuth, key_pair
from tests.org.records import Org
from tests.org.rest import Rest

VERSIONS = range(31, 69)  # of the API; 31.0-40.0 retire in 2028


class OrgServer:
    """An org at `url`, once started. `requests` holds (method, target, status), 0 for a cut connection."""

    def __init__(self, org: Org, port: int = 0) -> None:
        self.org = org
        self._reserved: socket.socket | None = _bound(port)
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self.faults = Faults()
        self.oauth = OAuth(self.url, org.organization_id, org.user_id)
        self.oauth.username = str(org.get("User", org.user_id)["Username"])
        self.rest = Rest(org)
        self.bulk = Bulk(org)
        self.requests: list[tuple[str, str, int]] = []
        self.mistakes: list[str] = []  # tracebacks of what the stand-in itself did wrong
        self.api_limit = 100_000  # calls a day
        self.api_calls = 0
        self._arrived: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._closer: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen; `url` answers when this returns."""
        self.open_port()

    def stop(self) -> None:
        """End everything; may be called twice."""
        self._stopping.set()
        if self._closer:
            self._closer.join()
        self.close_port()
        if self._reserved:
            self._reserved.close()
            self._reserved = None
        self.bulk.close()
        self.rest.cursors.forget()

    def close_port(self) -> None:
        """Cut all connections and refuse new ones, until `open_port`."""
        if self._listener and self._thread:
            listener, self._listener = self._listener, None
            listener.shutdown()
            self._thread.join()
            listener.end()
            self._reserved = _bound(self.port)  # nobody else gets the port meanwhile

    def close_port_for(self, seconds: float) -> None:
        """Close the port and open it after so many seconds; returns at once."""

        def away() -> None:
            self.close_port()
            self._stopping.wait(seconds)
            self.open_port()

        self._closer = threading.Thread(target=away, name="org-away")
        self._closer.start()

    def open_port(self) -> None:
        """Listen (again) on the same port."""
        if self._listener is None and self._reserved:
            self._listener = Listener(self, self._reserved)
            self._reserved = None
            self._thread = threading.Thread(
                target=self._listener.serve_forever, args=(0.05,), name="org-listener"
            )
            self._thread.start()

    def settings(
        self, flow: str = "client-credentials", directory: Path | None = None
    ) -> dict[str, str | bool]:
        """Return keys of section [salesforce] that reach this org; the JWT flow's key goes to `directory`."""
        found: dict[str, str | bool] = {
            "enabled": True,
            "login_url": self.url,
            "flow": flow,
            "client_id": self.oauth.client_id,
        }
        match flow:
            case "jwt-bearer":
                if directory is None:
                    raise ValueError("the JWT flow needs a directory for its key")
                file = directory / "salesforce-key.pem"
                file.write_text(key_pair()[0])
                found |= {"username": self.oauth.username, "private_key_file": str(file)}
            case "password":
                found |= {
                    "username": self.oauth.username,
                    "password": self.oauth.password,
                    "security_token": self.oauth.security_token,
                }
            case "web-server" | "client-credentials":
                found["client_secret"] = self.oauth.client_secret
            case _:
                raise ValueError(f"no such flow: {flow}")
        return found

    def paths(self) -> Counter[str]:
        """Return how many requests there were, by method and path without the query."""
        with self._changed:
            return Counter(f"{method} {target.partition('?')[0]}" for method, target, _ in self.requests)

    def wait_for(self, pattern: str, count: int = 1, timeout: float = 60.0) -> None:
        """Return when so many requests whose `METHOD target` fits the pattern have come in, answered or not."""
        wanted = re.compile(pattern)

        def came() -> bool:
            return sum(1 for pair in self._arrived if wanted.search(" ".join(pair))) >= count

        with self._changed:
            if not self._changed.wait_for(came, timeout):
                raise TimeoutError(
                    f"no {count} requests like {pattern} in {timeout} s: {self._arrived[-20:]}"
                )

    # what the connections' threads ask

    def arrived(self, method: str, target: str) -> None:
        with self._changed:
            self._arrived.append((method, target))
            self._changed.notify_all()

    def answered(self, method: str, target: str, status: int) -> None:
        with self._changed:
            self.requests.append((method, target, status))
            self._changed.notify_all()

    def answer(self, request: Request) -> Answer:
        """Return what the org says; faults are not in here."""
        path = request.path
        if path.startswith("/_org/"):
            return control.answer(self, request)
        if path.startswith("/services/data/v"):
            return self._data(request)
        if path.startswith("/services/Soap/u/"):
            return soap.login(self.oauth, request)
        match request.method, path.rstrip("/"):
            case _, "/services/oauth2/token":
                return self.oauth.token(request)
            case "GET", "/services/oauth2/authorize":
                return self.oauth.authorize(request)
            case "GET" | "POST", "/services/oauth2/revoke":
                return self.oauth.revoke(request)
            case "GET", "/services/data":
                return json_answer(
                    200,
                    [
                        {"label": f"{n}.0", "url": f"/services/data/v{n}.0", "version": f"{n}.0"}
                        for n in VERSIONS
                    ],
                )
            case _:
                return refusal(missing())

    def _data(self, request: Request) -> Answer:
        scheme, _, token = request.header("Authorization").partition(" ")
        if scheme not in {"Bearer", "OAuth"} or not self.oauth.knows(token):
            return refusal(OrgError("INVALID_SESSION_ID", "Session expired or invalid", status=401))
        if self.api_calls >= self.api_limit:
            answer = refusal(OrgError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403))
        else:
            with self._changed:
                self.api_calls += 1
            answer = self._versioned(request)
        answer.headers["Sforce-Limit-Info"] = f"api-usage={self.api_calls}/{self.api_limit}"
        return answer

    def _versioned(self, request: Request) -> Answer:
        version = request.steps[2]
        steps = request.steps[3:]
        if re.fullmatch(r"v\d+\.0", version) is None or int(version[1:-2]) not in VERSIONS:
            return refusal(missing())
        try:
            if steps[:1] == ["jobs"]:
                return self.bulk.answer(request, version[1:], steps[1:])
            if steps == ["limits"]:
                return json_answer(200, self._limits())
            return self.rest.answer(request, version[1:], steps)
        except OrgError as error:
            return refusal(error, writing=request.method != "GET")

    def _limits(self) -> dict[str, dict[str, int]]:
        left = max(0, self.api_limit - self.api_calls)
        return {
            "DailyApiRequests": {"Max": self.api_limit, "Remaining": left},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000 - self.bulk.started},
            "DailyBulkV2QueryFileStorageMB": {"Max": 976_562, "Remaining": 976_562},
            "DataStorageMB": {"Max": 1024, "Remaining": 1024},
        }


def _bound(port: int) -> socket.socket:
    """Return a socket that holds the port and refuses whoever connects."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound


@contextmanager
def running(org: Org, port: int = 0) -> Iterator[OrgServer]:
    """Serve the org; at the end a mistake of the stand-in itself is raised as an AssertionError."""
    server = OrgServer(org, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    if server.mistakes:
        raise AssertionError("the stand-in broke:\n" + "\n".join(server.mistakes))
