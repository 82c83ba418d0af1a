"""Writes down what Asterisk says of each conversation: `python -m tests.pbx.capture [name …]`, as root.

The files go to tests/tracking/streams, one a conversation: the text of a manager connection of Ostiary's user, from
the greeting to the last event, as it came.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.pbx import directory, lanes
from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk, tree
from tests.pbx.conftest import choose_ports
from tests.pbx.conversations import ALL, Lane, have
from tests.pbx.sipp import Sipp

STREAMS = Path(__file__).parents[1] / "tracking/streams"
CALLER = directory.OWNED
HEADING = """# What Asterisk said

The text of a manager connection of Ostiary's user (`dialplan/asterisk/manager.conf`), one file a conversation, as it
came from Asterisk 22. `python -m tests.pbx.capture` makes them anew, from `tests/pbx/conversations.py`.

The party outside is {caller} ("Otto Owned" when he calls), on the channels `PJSIP/trunk-…`; our phones are 101, 102 and
103, and 109 is none. Calls that come in dialled 493077810 and two or three digits. Seconds are seconds of speaking.

| file | what happened |
|---|---|
"""


def main(names: list[str]) -> None:
    """Capture the conversations named, or all."""
    found = tree()
    if found is None:
        sys.exit("No Asterisk: run tests/system-packages first.")
    STREAMS.mkdir(parents=True, exist_ok=True)
    ports = choose_ports()
    with tempfile.TemporaryDirectory() as folder:
        asterisk = Asterisk(found, Path(folder) / "pbx", {key: str(port) for key, port in ports.items()})
        asterisk.start()
        try:
            with Ami(ports["AMI"]) as ami:
                for name in names or list(ALL):
                    parties = Sipp(Path(folder) / name, ("127.0.0.1", ports["SIP"]), lanes.phones(ports))
                    started = time.monotonic()
                    try:
                        text = capture(name, asterisk, parties, ami, ports["AMI"])
                    except (AssertionError, TimeoutError) as error:
                        print(f"{name}: {error!r}")
                        continue
                    finally:
                        parties.end()
                        asterisk.console("channel request hangup all")
                        asterisk.wait_for_no_channel()
                    (STREAMS / f"{name}.ami").write_bytes(text)
                    print(f"{name}: {len(text)} bytes, {time.monotonic() - started:.1f} s")
        finally:
            asterisk.stop()
    (STREAMS / "README.md").write_text(describe())


def describe() -> str:
    """Return what the files of that folder are."""
    rows = "".join(f"| `{name}.ami` | {conversation.__doc__} |\n" for name, conversation in ALL.items())
    return HEADING.format(caller=CALLER) + rows


def capture(name: str, asterisk: Asterisk, parties: Sipp, ami: Ami, port: int) -> bytes:
    """Return what Ostiary's user hears of one conversation."""
    with Ami(port, "ostiary") as listening:
        have(name, Lane(lanes.FIRST, CALLER, parties, ami, "Otto Owned"))
        asterisk.wait_for_no_channel()
        last = [event for event in ami.events if event.get("Event") == "Hangup" and "Cause" in event][-1]
        listening.until(last.__eq__)
        listening.ask("Ping")
        return bytes(listening.received)


if __name__ == "__main__":
    main(sys.argv[1:])
