"""One session for all threads of a process, renewed by one of them at a time.

Invariants: however many threads need a session, one log-in is under way. It has a thread of its own, for who waits
may have less time than a log-in takes, and a renewal that is given up half-way could lose a rotated refresh token.
A refusal is followed by a pause in which nobody tries, doubling from 30 s to an hour, also when sessions are given out
and then refused; and there are never more than LOGINS log-ins in WINDOW, whatever happens: Salesforce shuts out a user
with more than 3,600 an hour (Salesforce Help, "LOGIN_RATE_EXCEEDED").
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from agi_server.errors import SalesforceDown, SalesforceError, SalesforceLoginError
from agi_server.salesforce import tokens
from agi_server.salesforce.flows import Token, sign_in
from agi_server.salesforce.network import left

if TYPE_CHECKING:
    from agi_server.settings import Salesforce

__all__ = ["Login", "Token"]

PAUSE, LONGEST_PAUSE = 30.0, 3600.0  # seconds after the first refusal and after many
LOGINS, WINDOW = 30, 600.0  # log-ins at most in so many seconds
PATIENCE = 4  # a log-in may take so many time-outs: connecting, the answer, waiting for another process


class Login:
    """Gives out the session; safe in threads.

    `state_directory` holds the refresh token of the web-server flow.
    """

    def __init__(
        self, settings: Salesforce, state_directory: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._directory = state_directory
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._flight: Future[Token] | None = None
        self._logins: deque[float] = deque(maxlen=LOGINS)
        self._refusal: SalesforceLoginError | None = None  # the last; None once a session was good
        self._refusals = 0  # in a row
        self._resume = 0.0  # by the clock
        self._mark = (0, 0)  # of the token file, when it was refused

    def token(self, end: float | None = None) -> Token:
        """Return the session, signing in if there is none; waits until `end` (time.monotonic) at most.

        Raises SalesforceLoginError (at once during a pause), SalesforceDown.
        """
        return self._obtain(None, end)

    def renew(self, stale: Token, end: float | None = None) -> Token:
        """Return a session newer than `stale`, which was refused; as `token`."""
        return self._obtain(stale, end)

    def accepted(self, token: Token) -> None:
        """Note that Salesforce took this session: what was refused before is over."""
        if self._refusal is not None and token is self._token:
            with self._lock:
                self._refusal, self._refusals = None, 0

    def refused(self, token: Token) -> None:
        """Note that Salesforce refused this session although it was new: pause."""
        with self._lock:
            if token is self._token:
                self._token = None
                self._pause(
                    SalesforceLoginError(
                        "Salesforce lets us sign in and then refuses the new session (401 INVALID_SESSION_ID): check "
                        "the IP ranges and session settings of the app and of the user's profile",
                        "INVALID_SESSION_ID",
                    )
                )

    def _obtain(self, stale: Token | None, end: float | None) -> Token:
        with self._lock:
            if self._token is not None and self._token is not stale:
                return self._token
            self._token = None
            flight = self._flight
            if flight is None:
                self._check_pause()
                flight = self._flight = self._begin()
        try:
            error = flight.exception(left(end, PATIENCE * self._settings.timeout))
        except TimeoutError:
            error = SalesforceDown(
                "the log-in to Salesforce was not answered within the time this request had"
            )
        if error is None:
            return flight.result()
        raise _copy(error)  # each thread its own: a traceback grows with every raise

    def _check_pause(self) -> None:
        now = self._clock()
        waiting = self._resume - now
        if self._refusal is not None and waiting > 0 and tokens.mark(self._directory) == self._mark:
            raise SalesforceLoginError(f"{self._refusal} (next try in {waiting:.0f} s)", self._refusal.code)
        if len(self._logins) == LOGINS and now - self._logins[0] < WINDOW:
            self._pause(
                SalesforceLoginError(
                    f"{LOGINS} log-ins within {WINDOW / 60:.0f} minutes: no session lasts; does something else revoke "
                    "them, or is the session time-out of the org very short?",
                    "too-many-logins",
                )
            )
            assert self._refusal is not None
            raise _copy(self._refusal)

    def _begin(self) -> Future[Token]:
        self._logins.append(self._clock())
        flight: Future[Token] = Future()
        # The end of the process waits for a renewal, lest the new refresh token is lost; for others there is no need.
        daemon = self._settings.flow != "web-server"
        threading.Thread(target=self._fly, args=(flight,), name="salesforce log-in", daemon=daemon).start()
        return flight

    def _fly(self, flight: Future[Token]) -> None:
        token, problem = None, None
        try:
            token = sign_in(self._settings, self._directory)
        except SalesforceError as error:
            problem = error
        except BaseException as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            problem = SalesforceDown(
                f"the log-in failed: {type(error).__name__}"
            )  # its text may hold a secret
        with self._lock:
            self._token = token
            self._flight = None
            if isinstance(problem, SalesforceLoginError):
                self._pause(problem)
        if token is not None:
            flight.set_result(token)
        else:
            assert problem is not None
            flight.set_exception(_copy(problem))

    def _pause(self, refusal: SalesforceLoginError) -> None:
        seconds = min(PAUSE * 2**self._refusals, LONGEST_PAUSE)
        self._refusals += 1
        self._refusal = refusal
        self._resume = self._clock() + seconds
        self._mark = tokens.mark(self._directory)


def _copy(error: BaseException) -> BaseException:
    if isinstance(error, SalesforceLoginError):
        return SalesforceLoginError(str(error), error.code)
    return type(error)(str(error))
