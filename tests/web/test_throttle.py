"""Guessing takes ever longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.web import throttle
from agi_server.web.throttle import FORGET, LONGEST, Throttle

HERE, THERE = "192.0.2.1", "192.0.2.2"


def tries(each: Throttle, count: int, now: float, name: str = "ana", address: str = HERE) -> list[float]:
    return [each.take(name, address, now) for _ in range(count)]


def test_five_tries_are_free_then_each_doubles_the_pause() -> None:
    guard = Throttle()
    assert tries(guard, 5, 0) == [0] * 5
    now, pauses = 0.0, []
    for _ in range(13):
        pause = guard.take("ana", HERE, now)
        pauses.append(pause)
        now += pause
        assert guard.take("ana", HERE, now - 0.001) > 0
        assert guard.take("ana", HERE, now) == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_a_try_that_is_refused_does_not_count() -> None:
    guard = Throttle()
    tries(guard, 5, 0)
    assert tries(guard, 100, 0.5) == [0.5] * 100
    assert guard.take("ana", HERE, 1) == 0


def test_others_are_not_locked_out() -> None:
    guard = Throttle()
    tries(guard, 6, 0)
    assert guard.take("ana", THERE, 0) == 0
    assert guard.take("ben", HERE, 0) == 0


def test_an_address_has_twenty_tries_whatever_the_names() -> None:
    guard = Throttle()
    assert [guard.take(f"name {i}", HERE, 0) for i in range(20)] == [0] * 20
    assert guard.take("another", HERE, 0) == 1
    assert guard.take("another", THERE, 0) == 0


def test_a_good_log_in_forgets_the_tries_for_that_name_from_there() -> None:
    guard = Throttle()
    tries(guard, 5, 0)
    guard.succeeded("ana", HERE)
    assert tries(guard, 5, 0) == [0] * 5
    assert guard.take("ana", HERE, 0) == 1


def test_log_ins_of_ones_own_do_not_buy_guesses_at_others() -> None:
    guard = Throttle()
    for i in range(20):
        assert guard.take(f"name {i}", HERE, 0) == 0
        if i < 19:
            assert guard.take("mallory", HERE, 0) == 0
            guard.succeeded("mallory", HERE)
    assert guard.take("name 20", HERE, 0) == 1


def test_many_good_log_ins_from_one_address_are_no_guessing() -> None:
    guard = Throttle()
    for i in range(100):
        assert guard.take(f"name {i}", HERE, 0) == 0
        guard.succeeded(f"name {i}", HERE)


def test_an_hour_later_it_is_forgotten() -> None:
    guard = Throttle()
    tries(guard, 6, 0)
    assert tries(guard, 5, FORGET) == [0] * 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),  # one customer has a /64
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("unknown", "elsewhere", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    guard = Throttle()
    tries(guard, 5, 0, address=one)
    assert (guard.take("ana", other, 0) > 0) is same


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST", 10)
    guard = Throttle()
    for i in range(100):
        guard.take("x" * 100_000, f"192.0.2.{i}", 0)
    assert len(guard) == 10
    assert all(len(part) <= 200 for key in guard._tries for part in key)


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), max_size=60))
def test_no_clock_makes_a_pause_too_long(times: list[float]) -> None:
    guard = Throttle()
    assert all(0 <= guard.take("ana", HERE, now) <= LONGEST for now in times)
