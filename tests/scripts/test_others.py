"""ping, outgoing, ended, and what is no script at all."""

import pytest

from agi_server import __version__
from agi_server.scripts.ended import extension_of
from agi_server.scripts.request import trunk_of
from tests.house import House


async def test_ping(ostiary: House) -> None:
    assert await ostiary.ask("ping") == {"OSTIARY_STATUS": f"ok {__version__}"}


async def test_outgoing_names_the_party_dialled(ostiary: House) -> None:
    told = await ostiary.ask("outgoing", "101", did="03023125010")
    assert told["CONNECTEDLINE(name)"] == "Ana Muñoz"
    assert told["OSTIARY_CONTACT"] == "003000000000001AAA"
    assert list(told)[-1] == "OSTIARY_ACTION"


async def test_outgoing_to_a_stranger_sets_no_name(ostiary: House) -> None:
    told = await ostiary.ask("outgoing", "101", did="+33199001234")
    assert "CONNECTEDLINE(name)" not in told
    assert told["OSTIARY_ACTION"] == "allow"


async def test_an_unknown_script_is_visible_and_not_fatal(ostiary: House) -> None:
    outcome = await ostiary.outcome("nonsense")
    assert outcome.variables == {}
    assert outcome.verbose == ["Ostiary: unknown script 'nonsense'"]
    assert await ostiary.ask("ping")


async def test_ended_finds_its_call_by_uniqueid(ostiary: House) -> None:
    await ostiary.ask("incoming", "03023125010", env={"uniqueid": "1700.42"})
    told = await ostiary.ask(
        "ended",
        env={"uniqueid": "1700.42"},
        query={"disposition": "ANSWER", "seconds": "7", "answered_by": "PJSIP/101-0000000f"},
    )
    assert told == {}
    row = await ostiary.until_row("SELECT * FROM calls WHERE ended_at IS NOT NULL")
    assert (row.uniqueid, row.disposition, row.seconds, row.answered_by) == ("1700.42", "answer", 7, "101")


async def test_who_answered_is_known_while_the_call_goes_on(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010")
    query = {"call": told["OSTIARY_CALL"], "answered_by": "PJSIP/101-0000000f"}
    assert await ostiary.ask("answered", query=query) == {}
    row = await ostiary.until_row("SELECT * FROM calls WHERE answered_by <> ''")
    assert (row.id, row.answered_by, row.ended_at) == (told["OSTIARY_CALL"], "101", None)


async def test_a_missed_call_was_answered_by_nobody(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010")
    await ostiary.ask(
        "ended",
        query={"call": told["OSTIARY_CALL"], "disposition": "NOANSWER", "answered_by": "PJSIP/101-0000000f"},
    )
    row = await ostiary.until_row("SELECT * FROM calls WHERE ended_at IS NOT NULL")
    assert (row.disposition, row.answered_by, row.seconds) == ("noanswer", "", 0)


@pytest.mark.parametrize(
    ("peer", "extension"),
    [
        ("100", "100"),
        ("PJSIP/100", "100"),
        ("PJSIP/100-0000001a", "100"),
        ("SIP/front-desk-0000001a", "front-desk"),
        ("Local/100@from-internal-0000001a;2", "100"),
        ("", ""),
    ],
)
def test_the_extension_in_a_peer(peer: str, extension: str) -> None:
    assert extension_of(peer) == extension


@pytest.mark.parametrize(
    ("channel", "trunk"),
    [
        ("PJSIP/trunk-00000012", "PJSIP/trunk"),
        ("PJSIP/my-trunk-00000012", "PJSIP/my-trunk"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_the_trunk_of_a_channel(channel: str, trunk: str) -> None:
    assert trunk_of(channel) == trunk
