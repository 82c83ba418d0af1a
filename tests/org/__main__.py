"""`python -m tests.org`: the stand-in as a process of its own; says where it listens in one line of JSON."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.org.people import populate
from tests.org.records import Org
from tests.org.server import running


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.org", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument(
        "--people", type=int, default=0, help="made-up contacts; companies, leads and users besides"
    )
    parser.add_argument("--seed", type=int, default=1, help="other people for another number")
    parser.add_argument("--person-accounts", action="store_true")
    parser.add_argument("--keys", type=Path, default=None, help="directory for the key of the JWT flow")
    parser.add_argument(
        "--settings", type=Path, help="write settings of an Ostiary that reaches it to this file"
    )
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with closing(Org(person_accounts=options.person_accounts)) as org:
        if options.people:
            populate(org, options.people, seed=options.seed)
        with running(org, options.port) as server:
            signal.signal(signal.SIGUSR1, lambda *_: server.open_port())  # who closed it cannot ask for that
            flows = [
                "client-credentials",
                "web-server",
                "password",
                *(["jwt-bearer"] if options.keys else []),
            ]
            settings = {flow: server.settings(flow, options.keys) for flow in flows}
            if options.settings:
                options.settings.write_text(toml(settings["client-credentials"]))
            print(json.dumps({"url": server.url, "settings": settings}), flush=True)
            ended.wait()


def toml(settings: Mapping[str, str | bool]) -> str:
    """Return a section [salesforce]; JSON's strings and booleans are TOML's."""
    return "[salesforce]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


if __name__ == "__main__":
    main()
