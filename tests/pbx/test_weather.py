"""What Ostiary does not see of calls while it, its connection, or the PBX is away: none is lost, none made up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pbx import lanes
from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk, tree
from tests.pbx.company import KNOWN, MEANWHILE, Company, company, lane_of
from tests.pbx.conftest import choose_ports
from tests.pbx.conversations import LINE, QUEUE, Lane
from tests.pbx.expected import Said, differences, legs, missed, outbound
from tests.pbx.proxy import Proxy
from tests.pbx.sipp import Party, Sipp

pytestmark = pytest.mark.slow

RINGS = 8  # seconds for which those who are answered, or give up, while nothing is seen ring

# What is on record of a call that Ostiary had only the dialplan's word of, or only the PBX's own records
TOLD_BY_DIALPLAN = {
    "come-and-gone": Said(seconds=1, teller="ended", legs=legs()),
    "missed-meanwhile": missed("no answer", "Missed", "", teller="ended", legs=legs()),
    "given-up": missed("cancelled", "Cancelled", "no answer", teller="ended"),
}
TOLD_BY_CDR = {
    "come-and-gone": Said(seconds=1, teller="cdr", did=None),  # of an extension it knows the last one
    "missed-meanwhile": missed("no answer", "Missed", "no answer", teller="cdr", did=None),
    "given-up": missed("no answer", "Missed", "no answer", teller="cdr"),
    "begun": Said(did=None),
}
# Seconds are put in as they were: what was seen of them
WANTED = {
    "through": Said(seconds=4),
    "ended": Said(seconds=2),
    "taken": Said(seconds=2),
    "begun": Said(seconds=3),
    "queued": Said(
        did=QUEUE,
        by="2",
        seconds=2,
        queue=True,
        legs=legs(("1", "queue", "no answer"), ("2", "queue", "answered")),  # who was quicker, nobody saw
        task=("Call from", "Answered", "2"),
    ),
    "called": replace(outbound("answered", "Answered"), seconds=4),
}


class Weather:
    """What goes wrong, and how it mends: `before` and `after` of a while in which Ostiary sees nothing."""

    def __init__(self, ours: Company, proxy: Proxy) -> None:
        self._ours = ours
        self._proxy = proxy

    def ami_is_cut(self) -> Callable[[], None]:
        self._proxy.mute(dead=True)
        return lambda: self._proxy.mute(dead=False)

    def worker_is_killed(self) -> Callable[[], None]:
        self._proxy.mute(dead=True)
        self._ours.kill()
        return lambda: self._proxy.mute(dead=False)

    def everything_is_killed(self) -> Callable[[], None]:
        self._ours.kill(everything=True)
        return self._ours.ostiary.start


class Callers:
    """The lanes of the conversations of MEANWHILE."""

    def __init__(self, sipp: Sipp, ami: Ami) -> None:
        self._sipp = sipp
        self._ami = ami
        self._parties: list[Sipp] = []

    def __call__(self, name: str) -> Lane:
        parties = self._sipp.another(name)
        self._parties.append(parties)
        return Lane(lane_of(name), KNOWN[name], parties, self._ami)

    def end(self) -> None:
        for parties in self._parties:
            parties.end()


@pytest.fixture
def lane(sipp: Sipp, ami: Ami) -> Iterator[Callers]:
    callers = Callers(sipp, ami)
    yield callers
    callers.end()


class Talks:
    """Who speaks from when until when, as far as can be told from outside: between which two moments."""

    def __init__(self) -> None:
        self._began: dict[Lane, tuple[float, float]] = {}
        self._ended: dict[Lane, tuple[float, float]] = {}

    def up(self, one: Lane, *parties: Party, not_before: float) -> None:
        one.up(*parties)
        self._began[one] = not_before, time.monotonic()

    def hang_up(self, one: Lane, call: Party, seat: int = 0) -> None:
        before = time.monotonic()
        one.hand(call, seat).hang_up()
        self._ended[one] = before, time.monotonic()

    def seconds(
        self, one: Lane, *, seen_from: float | None = None, seen_until: float | None = None
    ) -> tuple[float, float]:
        """Return for how many seconds at least what they spoke was to be seen, and how many at most they spoke."""
        if one not in self._ended:
            return 0, 0
        (earliest, begun), (ended, latest) = self._began[one], self._ended[one]
        return (seen_until or ended) - (seen_from or begun), latest - earliest


def calls_while(
    asterisk: Asterisk, lane: Callers, goes_wrong: Callable[[], Callable[[], None]], ours: Company
) -> dict[str, tuple[float, float]]:
    """Have all conversations of MEANWHILE, with a while in their midst in which Ostiary sees nothing.

    Return for how many seconds each was seen to speak at least, and how many it spoke at most.
    """
    talks = Talks()
    by_name = {name: lane(name) for name in MEANWHILE}
    through, ended, taken, given_up, begun, gone, lost, queued, called = by_name.values()
    first = time.monotonic()
    through_phone, through_call = through.phone(1), through.calls(LINE)
    ended_phone, ended_call = ended.phone(1), ended.calls(LINE)
    called.outside()
    called_call = called.dials(1, f"9{called.number}")
    talks.up(through, through_call, through_phone, not_before=first)
    talks.up(ended, ended_call, ended_phone, not_before=first)
    talks.up(called, called_call, not_before=first)
    time.sleep(1)
    asterisk.set_global("RINGS", "30")  # until all is ready
    queued.phone(1, "rings")
    given_phone = given_up.phone(1, "rings")
    taken_phone, queued_phone = taken.phone(1, rings=RINGS), queued.phone(2, rings=RINGS)
    rang = time.monotonic()
    queued.calls(QUEUE)
    taken_call, given_call = taken.calls(LINE), given_up.calls(LINE, gives_up=RINGS)
    for phone in (taken_phone, queued_phone, given_phone):
        phone.invite()
    signed_in = ours.signed_in()
    ours.sees(6, phones=8)
    asterisk.set_global("RINGS", "3")
    away = time.monotonic()
    mend = goes_wrong()
    assert time.monotonic() < rang + RINGS, (
        "too slow a machine: the PBX was to go out of sight while they ring"
    )

    lost.phone(1, "rings")
    lost_call = lost.calls(LINE)
    second = time.monotonic()
    begun_phone, gone_phone = begun.phone(1), gone.phone(1)
    begun_call, gone_call = begun.calls(LINE), gone.calls(LINE)
    talks.hang_up(ended, ended_call)
    talks.up(begun, begun_call, begun_phone, not_before=second)
    talks.up(gone, gone_call, gone_phone, not_before=second)
    time.sleep(1)
    talks.hang_up(gone, gone_call)
    talks.up(taken, taken_phone, taken_call, not_before=away)
    talks.up(queued, queued_phone, not_before=away)
    given_call.wait()
    lost_call.wait()
    for one in (ended, gone, given_up, lost):
        one.over()

    mend()
    ours.follows(signed_in + 1)
    back = time.monotonic()
    time.sleep(1)
    for one, call, seat in (
        (through, through_call, 0),
        (taken, taken_call, 0),
        (begun, begun_call, 0),
        (queued, queued_phone, 2),
        (called, called_call, 1),
    ):
        talks.hang_up(one, call, seat)
    for one in (through, taken, begun, queued, called):
        one.over()
    seconds = {name: talks.seconds(one) for name, one in by_name.items()}
    # when the PBX was heard of is noted in whole seconds
    seconds["ended"] = talks.seconds(ended, seen_until=away - 1)
    for name in ("taken", "begun", "queued"):
        seconds[name] = talks.seconds(by_name[name], seen_from=back)
    return seconds


@pytest.mark.parametrize(
    ("weather", "unseen"),
    [
        (Weather.ami_is_cut, TOLD_BY_DIALPLAN),
        (Weather.worker_is_killed, TOLD_BY_DIALPLAN),
        (Weather.everything_is_killed, TOLD_BY_CDR),
    ],
)
def test_a_while_in_which_nothing_is_seen(
    asterisk: Asterisk,
    *,
    lane: Callers,
    ports: dict[str, int],
    tmp_path: Path,
    weather: Callable[[Weather], Callable[[], None]],
    unseen: dict[str, Said],
) -> None:
    settings = {}
    if unseen is TOLD_BY_CDR:
        file = asterisk.own / "var/log/asterisk/cdr-csv/Master.csv"
        settings = {
            "OSTIARY_CDR__CSV_FILE": str(file),
            "OSTIARY_CDR__INTERVAL": "1",
            "OSTIARY_CDR__SETTLE": "2",
        }
    with closing(Proxy(ports["AMI"])) as proxy, company(tmp_path, asterisk, proxy.port, **settings) as ours:
        spoken = calls_while(asterisk, lane, lambda: weather(Weather(ours, proxy)), ours)
        ours.settled(len(MEANWHILE))
        table = {name: replace(wanted, seconds=spoken[name]) for name, wanted in (WANTED | unseen).items()}
        assert not differences(ours, table)
        assert len(ours.ostiary.rows("SELECT 1 FROM calls WHERE part_of = ''")) == len(MEANWHILE)


def test_the_pbx_is_started_again(tmp_path: Path) -> None:
    """Calls that were in progress ended with it; what comes after is another call."""
    found = tree()
    assert found is not None
    ports = choose_ports()
    asterisk = Asterisk(found, tmp_path / "pbx", {key: str(port) for key, port in ports.items()})
    asterisk.start()
    parties = Sipp(tmp_path / "sipp", ("127.0.0.1", ports["SIP"]), lanes.phones(ports))
    with ExitStack() as stack:
        stack.callback(asterisk.stop)
        asterisk.set_global("RINGS", "30")
        ours = stack.enter_context(company(tmp_path, asterisk, ports["AMI"]))
        lane = Callers(parties, stack.enter_context(Ami(ports["AMI"])))
        stack.callback(lane.end)
        through, ringing, queued, called = (lane(name) for name in ("through", "taken", "queued", "called"))
        called.outside()
        first = time.monotonic()
        through_phone, through_call = through.phone(1), through.calls(LINE)
        called_call = called.dials(1, f"9{called.number}")
        through.up(through_call, through_phone)
        called.up(called_call)
        since = time.monotonic()
        time.sleep(1.5)
        phone, waiting = ringing.phone(1, "rings"), queued.phone(1, "rings")
        ringing.calls(LINE)
        queued.calls(QUEUE)
        phone.invite()
        waiting.invite()
        ours.sees(4, phones=6)
        signed_in = ours.signed_in()
        before = time.monotonic()
        asterisk.stop()
        spoken = before - since, time.monotonic() - first
        lane.end()
        asterisk.start()
        asterisk.set_global("OSTIARY_SERVER", ours.ostiary.address)
        ours.follows(signed_in + 1)
        lane = Callers(parties, stack.enter_context(Ami(ports["AMI"])))
        stack.callback(lane.end)
        after = lane("begun")
        second = time.monotonic()
        after_phone, after_call = after.phone(1), after.calls(LINE)
        talks = Talks()
        talks.up(after, after_phone, after_call, not_before=second)
        time.sleep(1)
        talks.hang_up(after, after_call)
        after.over()
        ours.settled(5)
        cut_off = missed("no answer", "Missed", "no answer", teller="glimpse")
        table = {
            "through": Said(seconds=spoken),
            "called": replace(outbound("answered", "Answered"), seconds=spoken),
            "taken": cut_off,
            "queued": replace(
                cut_off,
                did=QUEUE,
                queue=True,
                legs=legs(("1", "queue", "no answer"), ("2", "queue", "no answer")),
                task=("Missed call from", "Missed", "2"),
                follow_up="2",
            ),
            "begun": Said(seconds=talks.seconds(after)),
        }
        assert not differences(ours, table)
        assert len(ours.ostiary.rows("SELECT 1 FROM calls WHERE part_of = ''")) == 5
