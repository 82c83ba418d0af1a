"""Signing in: by each flow, one at a time, and never in a storm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agi_server.errors import SalesforceDown, SalesforceLoginError
from agi_server.salesforce import login as login_module
from agi_server.salesforce import tokens
from agi_server.salesforce.login import LOGINS, WINDOW, Login, Token
from agi_server.settings import Salesforce

THREADS = 16


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Stands for Salesforce: counts who knocks, and says what it is told to."""

    def __init__(self) -> None:
        self.knocks = 0
        self.answer: Callable[[], Token] = lambda: Token(f"token-{self.knocks}", "https://acme.example")
        self.open = threading.Event()
        self.open.set()

    def __call__(self, _settings: object, _directory: object) -> Token:
        self.knocks += 1
        assert self.open.wait(30)
        return self.answer()

    def refuse(self, code: str = "invalid_grant") -> None:
        def answer() -> Token:
            raise SalesforceLoginError(f"refused: {code}", code)

        self.answer = answer


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    found = Door()
    monkeypatch.setattr(login_module, "sign_in", found)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def login(door: Door, clock: Clock, tmp_path: Path) -> Login:  # noqa: ARG001  # the door is in its place
    return Login(Salesforce(), tmp_path, clock=clock)


def everybody(do: Callable[[], Token]) -> list[Token]:
    """Run in many threads at once; return what each got."""
    together = threading.Barrier(THREADS)

    def one(_: int) -> Token:
        together.wait(30)
        return do()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


# --- one at a time ---


def test_all_threads_share_one_log_in(login: Login, door: Door) -> None:
    assert {token.access_token for token in everybody(login.token)} == {"token-1"}
    assert door.knocks == 1


def test_all_threads_share_one_renewal(login: Login, door: Door) -> None:
    stale = login.token()
    assert {token.access_token for token in everybody(lambda: login.renew(stale))} == {"token-2"}
    assert door.knocks == 2
    assert login.renew(stale).access_token == "token-2"  # who comes late
    assert door.knocks == 2


def test_all_threads_hear_of_one_refusal(login: Login, door: Door) -> None:
    door.refuse()
    door.open.clear()
    waiting = threading.Barrier(THREADS + 1)

    def ask(_: int) -> SalesforceLoginError:
        waiting.wait(30)
        with pytest.raises(SalesforceLoginError, match="refused: invalid_grant") as caught:
            login.token()
        return caught.value

    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(ask, range(THREADS))
        waiting.wait(30)
        door.open.set()
        errors = list(found)
    assert door.knocks == 1
    assert len({id(error) for error in errors}) == THREADS
    assert {error.code for error in errors} == {"invalid_grant"}


def test_who_has_little_time_does_not_break_off_the_log_in(login: Login, door: Door) -> None:
    door.open.clear()
    with pytest.raises(SalesforceDown, match="within the time"):
        login.token(time.monotonic() + 0.05)
    door.open.set()
    assert login.token().access_token == "token-1"
    assert door.knocks == 1


def test_what_nobody_expected_is_told_without_its_text(login: Login, door: Door) -> None:
    def answer() -> Token:
        raise ZeroDivisionError("s3cret")

    door.answer = answer
    with pytest.raises(SalesforceDown, match="ZeroDivisionError") as caught:
        login.token()
    assert "s3cret" not in str(caught.value)


# --- no storm ---


def test_pauses_after_refusals_double_up_to_an_hour(login: Login, door: Door, clock: Clock) -> None:
    door.refuse()
    pauses = []
    for _ in range(10):
        with pytest.raises(SalesforceLoginError):
            login.token()
        knocks, start = door.knocks, clock.now
        while door.knocks == knocks:
            with pytest.raises(SalesforceLoginError):
                login.token()
            if door.knocks == knocks:
                clock.now += 10
        pauses.append(clock.now - start)
        # the loop's last try was the refusal that the next pause follows
    assert pauses[:8] == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert pauses[-1] == 3600


def test_a_pause_says_how_long_and_why(login: Login, door: Door) -> None:
    door.refuse("invalid_client")
    with pytest.raises(SalesforceLoginError):
        login.token()
    with pytest.raises(SalesforceLoginError, match=r"refused: invalid_client \(next try in 30 s\)") as caught:
        login.token()
    assert caught.value.code == "invalid_client"


def test_no_pause_when_nobody_answers(login: Login, door: Door) -> None:
    def answer() -> Token:
        raise SalesforceDown("nobody there")

    door.answer = answer
    for _ in range(3):
        with pytest.raises(SalesforceDown, match="nobody there"):
            login.token()
    assert door.knocks == 3


def test_a_session_that_is_good_ends_the_refusals(login: Login, door: Door, clock: Clock) -> None:
    good = door.answer

    def refused() -> str:
        door.refuse()
        with pytest.raises(SalesforceLoginError):
            login.token()
        with pytest.raises(SalesforceLoginError, match="next try") as caught:
            login.token()
        return str(caught.value)

    assert "in 30 s" in refused()
    clock.now += 31
    assert "in 60 s" in refused()
    clock.now += 61
    door.answer = good
    token = login.token()  # to be let in is not enough,
    login.refused(token)
    with pytest.raises(SalesforceLoginError, match="in 120 s"):
        login.token()
    clock.now += 121
    token = login.token()
    login.accepted(token)  # but this is
    door.refuse()
    with pytest.raises(SalesforceLoginError):
        login.renew(token)
    with pytest.raises(SalesforceLoginError, match="in 30 s"):
        login.token()


def test_new_sessions_that_are_refused_count_as_refusals(login: Login, door: Door, clock: Clock) -> None:
    """A lasting 401: two log-ins a pause, and the pauses grow."""
    for _ in range(200):  # as many requests as there may be
        try:
            token = login.renew(login.token())
        except SalesforceLoginError as error:
            assert error.code == "INVALID_SESSION_ID"  # noqa: PT017  # most of the time it is raised
        else:
            login.refused(token)
        clock.now += 10
    assert door.knocks == 2 * 7  # at 0, 30, 90, 210, 450, 930 and 1,890 s


def test_a_late_word_on_an_old_session_is_nothing(login: Login, door: Door) -> None:
    old = login.token()
    new = login.renew(old)
    login.refused(old)
    assert login.token() is new
    assert door.knocks == 2


def test_sessions_that_do_not_last_are_not_renewed_for_ever(login: Login, door: Door, clock: Clock) -> None:
    token = login.token()
    for _ in range(LOGINS - 1):
        login.accepted(token)
        token = login.renew(token)
        clock.now += 1
    with pytest.raises(SalesforceLoginError, match="no session lasts"):
        login.renew(token)
    assert door.knocks == LOGINS
    clock.now += WINDOW
    assert login.token().access_token == f"token-{LOGINS + 1}"


def test_a_new_authorisation_ends_the_pause(login: Login, door: Door, tmp_path: Path) -> None:
    good = door.answer
    tokens.store(tmp_path, tokens.Stored("old", "key", "https://acme.example"))
    door.refuse()
    with pytest.raises(SalesforceLoginError):
        login.token()
    door.answer = good
    with pytest.raises(SalesforceLoginError, match="next try"):
        login.token()
    tokens.store(tmp_path, tokens.Stored("new", "key", "https://acme.example"))
    assert login.token().access_token == "token-2"


def test_a_token_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Token("s3cret", "https://acme.example", "005"))
