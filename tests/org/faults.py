"""What goes wrong on command, before, while or after a request is answered.

A fault is counted: it takes the next `times` matching requests after the first `after`, or all of them until
it is switched off (`times=None`). Faults of the data (row locks, duplicate rules, late commits) are the
org's own; a closed port is the server's.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.org.errors import OrgError
from tests.org.messages import HTML, Answer, json_answer, refusal

Kind = Literal[
    "expired",  # 401 INVALID_SESSION_ID, whatever the token
    "unauthorized-html",  # 401 with a page instead of JSON
    "limit",  # 403 REQUEST_LIMIT_EXCEEDED
    "error",  # 5xx (`status`) with a page
    "refused",  # `status`, `code` and `text` as the REST API words an error
    "login-refused",  # the token endpoint says `code` and `text`
    "slow",  # answers after `seconds`
    "mute",  # takes the request and never answers
    "cut",  # closes the connection; nothing was done
    "done-cut",  # does what was asked and closes the connection instead of answering
    "cut-answer",  # closes the connection in the middle of the answer
]
KINDS: tuple[str, ...] = get_args(Kind)

_LOGINS = r"^/services/(oauth2/token|Soap/)"
_DATA = r"^/services/data/v"
_PATHS = {"login-refused": _LOGINS, "expired": _DATA, "unauthorized-html": _DATA, "limit": _DATA}

_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1>"
    "<p>We are down for maintenance. Sorry for the inconvenience.</p></body></html>\n"
)


@dataclass
class Fault:
    kind: Kind
    path: re.Pattern[str]
    method: str
    after: int
    times: int | None
    seconds: float
    status: int
    code: str
    text: str
    taken: int = 0  # requests it spoiled so far
    released: threading.Event = field(default_factory=threading.Event)  # nobody waits in it any longer


class Faults:
    """Those that are switched on; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        kind: Kind,
        *,
        times: int | None = 1,
        path: str = "",
        method: str = "",
        after: int = 0,
        seconds: float = 5.0,
        status: int = 0,
        code: str = "",
        text: str = "",
    ) -> Fault:
        """Switch a fault on; `path` is a pattern searched in path and query, `method` empty: any."""
        if kind not in KINDS:
            raise ValueError(f"no such fault: {kind}; there are {', '.join(KINDS)}")
        pattern = re.compile(path or _PATHS.get(kind, r"^/services/"))
        usual = {"error": 503, "login-refused": 400, "refused": 400}
        fault = Fault(kind, pattern, method, after, times, seconds, status or usual.get(kind, 0), code, text)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self, kind: str = "") -> None:
        """Switch off all faults (of a kind), and let go whoever waits in one."""
        with self._lock:
            for fault in self._faults:
                if kind in {"", fault.kind}:
                    fault.released.set()
            self._faults = [fault for fault in self._faults if not fault.released.is_set()]

    def take(self, method: str, target: str) -> list[Fault]:
        """Return what spoils this request: any slowness, and at most one other fault."""
        taken: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                spoiled = any(other.kind != "slow" for other in taken)
                if (spoiled and fault.kind != "slow") or not _concerns(fault, method, target):
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                fault.taken += 1
                taken.append(fault)
        return taken


def _concerns(fault: Fault, method: str, target: str) -> bool:
    return fault.times != 0 and fault.method in {"", method} and fault.path.search(target) is not None


def spoiled_answer(fault: Fault) -> Answer | None:
    """Return what is answered instead of doing what was asked, or None: it is done."""
    match fault.kind:
        case "expired":
            return refusal(OrgError("INVALID_SESSION_ID", "Session expired or invalid", status=401))
        case "unauthorized-html":
            return _page(401, "Unauthorized")
        case "limit":
            return refusal(OrgError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403))
        case "error":
            return _page(fault.status, "Service Unavailable" if fault.status == 503 else "Server Error")
        case "refused":
            return refusal(
                OrgError(fault.code or "UNKNOWN_EXCEPTION", fault.text or "on command", status=fault.status)
            )
        case "login-refused":
            said = {
                "error": fault.code or "invalid_grant",
                "error_description": fault.text or "authentication failure",
            }
            return json_answer(fault.status, said)
        case _:
            return None


def _page(status: int, title: str) -> Answer:
    return Answer(status, _PAGE.format(title=title).encode(), kind=HTML)
