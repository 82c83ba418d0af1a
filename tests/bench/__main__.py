"""`python -m tests.bench`: Markdown on standard output, progress on standard error; slow is no failure."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from tests.bench import compare, report, scale


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both parts, or the first alone with --quick."""
    options = _parser().parse_args(arguments)
    measured_on = report.machine()
    print("{date}, Python {python}, {cpu}, {system}; load at the start {load}\n".format(**measured_on))
    figures: dict[str, object] = {"machine": measured_on}
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as folder:
        directory = Path(folder)
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
        figures["comparison"] = _plain(compared)
        if not options.quick:
            measured = scale.measure(
                directory,
                contacts=options.size,
                messy=max(options.size // 50, 1),
                decisions=options.decisions,
                calls=options.decisions // 2,
                say=_say,
            )
            print("\n" + report.scale(measured))
            figures["scale"] = asdict(measured)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


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
        "--size", type=_size, default=1_000_000, help="directory of the second part; `million` is one"
    )
    parser.add_argument("--decisions", type=int, default=20_000, help="decisions of the second part")
    return parser


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
