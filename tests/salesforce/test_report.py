"""How the exchange stands: what is told, and what is kept."""

from __future__ import annotations

from agi_server.salesforce.report import Report

DAY = 86400


def test_up_means_that_the_last_round_was_done() -> None:
    report = Report(None, 100)
    assert report.told("")["up"] == 0
    report.succeeded(200)
    assert (report.told("")["up"], report.told("")["ok_at"]) == (1, 200)
    report.failed("down", "away", 300)
    assert (report.told("")["up"], report.told("")["ok_at"]) == (0, 200)
    report.succeeded(400)
    assert (report.told("")["up"], report.told("")["error"]) == (1, "")


def test_a_failure_began_when_its_kind_did() -> None:
    report = Report(None, 0)
    for kind, at in (("down", 10), ("down", 20), ("login", 30), ("login", 40)):
        report.failed(kind, f"at {at}", at)
    assert (report.kind, report.error, report.since) == ("login", "at 40", 30)
    assert (report.errors["down"], report.errors["login"], report.errors["limit"]) == (2, 2, 0)


def test_api_calls_are_counted_by_day() -> None:
    report = Report(None, 0)
    report.called(5, DAY - 2)
    report.called(2, DAY - 1)
    assert (report.day, report.calls) == ("1970-01-01", 7)
    report.called(1, DAY)
    assert (report.day, report.calls) == ("1970-01-02", 1)


def test_the_share_of_api_calls_that_is_used() -> None:
    report = Report(None, 0)
    assert report.share() == 0
    report.usage = (90, 100)
    assert report.share() == 0.9
    report.usage = (1, 0)
    assert report.share() == 0


def test_what_is_kept_is_known_to_the_next_worker() -> None:
    report = Report(None, 0)
    report.succeeded(100)
    report.failed("login", "no", 200)
    report.called(3, 200)
    after = Report(report.kept(), 300)
    assert (after.ok_at, after.kind, after.error, after.since, after.calls) == (100, "login", "no", 200, 3)
    assert after.told("")["up"] == 0
    assert not any(after.errors.values())
