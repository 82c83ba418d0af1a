"""Numbers parsed beside: the same as here, and here where the other process fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agi_server.salesforce.parsing import Parser
from storage.contact_rows import ContactRow, prepare
from tests.org.people import phone_field

ROOT = Path(__file__).parents[2]


def rows(count: int, seed: int = 1) -> list[ContactRow]:
    chance = random.Random(seed)
    kinds = ("Contact", "Account", "Lead")
    return [
        ContactRow(
            salesforce_id=f"003{place:012}AAA",
            kind=kinds[place % 3],
            name=f"Person {place}",
            phones=tuple((label, phone_field(chance, "DE").text) for label in ("Phone", "Fax")[: place % 3]),
        )
        for place in range(count)
    ]


def test_they_are_what_they_are_here() -> None:
    with Parser("DE") as parser:
        for seed in range(5):
            some = rows(300, seed)
            parser.send(some)
            found, here = parser.take(), prepare(some, "DE")
            assert found == here
            assert found.unread
        parser.send([])
        assert parser.take().phones == []


def test_frames_larger_than_a_pipe() -> None:
    some = [ContactRow(name="x", phones=(("Phone", f"+49301{place:06}"),)) for place in range(10_000)]
    with Parser("DE") as parser:
        parser.send(some)
        assert [*parser.take().phones[-1].numbers] == [49301009999]


@pytest.mark.parametrize("sent", [False, True])
def test_where_the_other_process_dies_they_are_parsed_here(sent: bool) -> None:
    some = rows(50)
    with Parser("DE") as parser:
        parser.send(some)
        assert parser.take() == prepare(some, "DE")
        if sent:
            os.kill(parser._process.pid, signal.SIGSTOP)
            parser.send(some)
        os.kill(parser._process.pid, signal.SIGKILL)
        parser._process.wait()
        if not sent:
            parser.send(some)
        assert parser.take() == prepare(some, "DE")
        parser.send(some)
        assert parser.take() == prepare(some, "DE")


def test_it_does_not_outlive_who_started_it() -> None:
    program = (
        "import os, signal\nfrom agi_server.salesforce.parsing import Parser\n"
        "parser = Parser('DE')\nparser.send([])\nparser.take()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, cwd=ROOT)
    _, said = parent.communicate(timeout=60)  # the child holds standard error until it ends
    assert parent.returncode == -signal.SIGKILL
    assert said == b""


def test_signals_are_for_who_started_it() -> None:
    some = rows(20)
    with Parser("DE") as parser:
        parser.send(some)
        assert parser.take() == prepare(some, "DE")
        for each in (signal.SIGINT, signal.SIGTERM):
            os.kill(parser._process.pid, each)
        parser.send(some)
        assert parser.take() == prepare(some, "DE")
        assert parser._process.poll() is None
