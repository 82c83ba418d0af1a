"""`python -m tests.bench`: Markdown on standard output, progress on standard error; slow is no failure.

`python -m tests.bench sync` measures the synchronisation alone, `… search` the search of contacts, `… web` the API
and the console, `… calls` the following of calls and their Tasks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from tests.bench import compare, following, report, scale, search, sync, web


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all parts, the first alone with --quick, or one of those that can be had alone."""
    words = sys.argv[1:] if arguments is None else [*arguments]
    alone = words[0] if words[:1] in ([name] for name in ALONE) else ""
    options = ALONE[alone]().parse_args(words[1:]) if alone else _parser().parse_args(words)
    measured_on = report.machine()
    print("{date}, Python {python}, {cpu}, {system}; load at the start {load}\n".format(**measured_on))
    figures: dict[str, object] = {"machine": measured_on}
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as folder:
        directory = Path(folder)
        if alone == "sync":
            figures["sync"] = _sync(directory, options.contacts, options.accounts, options.changes)
        elif alone == "search":
            figures["search"] = _search(directory, options.contacts, options.searches)
        elif alone == "web":
            _say(f"importing {options.contacts:,} contacts")
            scale.import_contacts(directory / "state", options.contacts)
            figures["web"] = _web(directory / "state", options.contacts, options.seconds)
        elif alone == "calls":
            figures["calls"] = _calls(directory, options.calls, options.followed, options.tasks)
        else:
            figures |= _parts(directory, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parts(directory: Path, options: argparse.Namespace) -> dict[str, object]:
    _say(f"importing {options.contacts:,} contacts")
    scale.import_contacts(directory / "state", options.contacts)
    compared = compare.compare(
        directory / "state",
        contacts=options.contacts,
        calls=options.calls,
        rounds=options.rounds,
        levels=options.levels,
        seconds=options.seconds,
        say=_say,
    )
    print(report.comparison(compared), flush=True)
    if options.quick:
        return {"comparison": _plain(compared)}
    asked = _web(directory / "state", options.contacts, options.web_seconds)
    measured = scale.measure(
        directory,
        contacts=options.size,
        messy=max(options.size // 50, 1),
        decisions=options.decisions,
        calls=options.decisions // 2,
        say=_say,
    )
    print("\n" + report.scale(measured) + "\n", flush=True)
    return {
        "comparison": _plain(compared),
        "scale": asdict(measured),
        "web": asked,
        "search": _search(directory, options.size, options.searches),
        "sync": _sync(directory, options.size, options.size * 3 // 10, min(options.size // 5, 1000)),
        "calls": _calls(directory, options.calls, min(options.size, 100_000), min(options.size, 2000)),
    }


def _calls(directory: Path, count: int, followed: int, tasks: int) -> dict[str, object]:
    measured = following.measure(
        directory / "followed", calls=count, followed=followed, tasks=tasks, say=_say
    )
    print("\n" + report.following(measured))
    return asdict(measured)


def _search(directory: Path, contacts: int, searches: int) -> dict[str, object]:
    measured = search.measure(directory / "searched", contacts=contacts, searches=searches, say=_say)
    print(report.search(measured) + "\n", flush=True)
    return asdict(measured)


def _sync(directory: Path, contacts: int, accounts: int, changes: int) -> dict[str, object]:
    measured = sync.measure(
        directory / "synchronised", contacts=contacts, accounts=accounts, changes=changes, say=_say
    )
    print(report.sync(measured))
    return asdict(measured)


def _web(state: Path, contacts: int, seconds: float) -> dict[str, object]:
    measured = web.measure(state, contacts=contacts, say=_say, seconds=seconds)
    print("\n" + report.web(measured) + "\n", flush=True)
    return asdict(measured)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What a call costs.")
    parser.add_argument("--quick", action="store_true", help="the comparison only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--contacts", type=int, default=100_000, help="directory of the comparison")
    parser.add_argument("--calls", type=int, default=2500, help="calls per case and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 16, 64, 256], help="calls at once")
    parser.add_argument("--seconds", type=float, default=200.0, help="no round begins after so long")
    parser.add_argument(
        "--size", type=_size, default=1_000_000, help="directory of the other parts; `million` is one"
    )
    parser.add_argument("--decisions", type=int, default=20_000, help="decisions of the second part")
    parser.add_argument("--searches", type=int, default=100, help="searches of each sort")
    parser.add_argument("--web-seconds", type=float, default=10.0, help="of each load of API and console")
    return parser


def _sync_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench sync", description="What keeping in step with Salesforce costs."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=300_000)
    parser.add_argument("--changes", type=int, default=1000, help="contacts changed for one round")
    return parser


def _web_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench web", description="What the API and the console cost."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--contacts", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    return parser


def _calls_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench calls", description="What following calls and writing their Tasks costs."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--calls", type=int, default=2000, help="calls of one round of the tracker")
    parser.add_argument("--followed", type=int, default=100_000, help="calls for the growth of memory")
    parser.add_argument("--tasks", type=int, default=2000)
    return parser


def _search_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench search", description="What finding a contact costs."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--searches", type=int, default=100, help="searches of each sort")
    return parser


ALONE = {"sync": _sync_parser, "search": _search_parser, "web": _web_parser, "calls": _calls_parser}


def _size(text: str) -> int:
    return 1_000_000 if text == "million" else int(text)


def _plain(compared: compare.Comparison) -> dict[str, object]:
    """Return the comparison with keys that JSON knows."""
    figures = {
        name: [
            {"block": written, "concurrent": level, **asdict(case)}
            for (written, level), case in cases.items()
        ]
        for name, cases in compared.figures.items()
    }
    return {field.name: getattr(compared, field.name) for field in fields(compared)} | {"figures": figures}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
