"""Turns figures into Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.compare import LINES, OSTIARY, PANORAMISK, RESPONDER, SERVERS, WHOLE, Case, Comparison
from tests.bench.scale import Scale


def machine() -> dict[str, str]:
    """Return what the figures were taken on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cpu": f"{os.cpu_count()} × {models[0] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return (
            "| "
            + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
            + " |"
        )

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(headings), rule, *map(line, rows)])


def comparison(result: Comparison) -> str:
    """Return the first part: a table for each way of writing the block, then the aims."""
    names = len(result.variables[OSTIARY])
    about = (
        f"{result.contacts:,} contacts in SQLite, {names} variables set, 10 % of callers unknown. Medians of "
        f"{result.rounds} interleaved rounds of {result.calls:,} calls (a quarter of that one at a time). "
        "Milliseconds from connect to close; CPU: what the server itself uses per call, user and system. "
        f"Of Ostiary's {result.answered:,} calls {result.journalled:,} are in its journal."
    )
    parts = [about]
    for written, title in (
        (
            LINES,
            "The 22-line environment block line by line, each a segment of its own, as Asterisk sends it",
        ),
        (WHOLE, "The same block in one write: a lighter generator, and so more calls a second"),
    ):
        parts += [f"**{title}**", _figures(result, written)]
    parts += ["**Aims**", table(("aim", "wanted", "measured", ""), aims(result))]
    return "\n\n".join(parts)


def _figures(result: Comparison, written: str) -> str:
    cases = sorted({case for cases in result.figures.values() for case in cases if case[0] == written})
    headings = (
        "server",
        "at once",
        "calls/s",
        "p50",
        "p99",
        "p99.9",
        "CPU",
        "with workers",
        "generator",
        "lost",
    )
    rows = []
    for case in sorted(cases, key=lambda case: case[1]):
        for name in SERVERS:
            figures = result.figures[name][case]
            times = (figures.p50, figures.p99, figures.p999)
            cpu = (figures.cpu, figures.cpu_all, figures.generator_cpu)
            rows.append(
                (
                    name,
                    str(case[1]),
                    f"{figures.rate:,.0f}",
                    *(f"{value:.2f}" for value in times),
                    *(f"{value:.3f}" for value in cpu),
                    str(figures.failed),
                )
            )
    return table(headings, rows)


def aims(result: Comparison) -> list[tuple[str, str, str, str]]:
    """Return each aim, what was wanted, what was measured, and `met` or by how much it was missed."""
    ours, theirs, limit = (result.figures[name] for name in (OSTIARY, PANORAMISK, RESPONDER))
    rows: list[tuple[str, str, str, str]] = []

    def aim(text: str, wanted: float, measured: float, unit: str) -> None:
        verdict = "met" if measured <= wanted else f"missed by {(measured / wanted - 1) * 100:.0f} %"
        rows.append((text, f"≤ {wanted:.2f} {unit}", f"{measured:.2f} {unit}", verdict))

    for written in (LINES, WHOLE):
        busy: Case = (written, 64)
        alone: Case = (written, 1)
        if busy in ours:
            aim(f"CPU per call, 64 at once, block {written}", 0.10, ours[busy].cpu, "ms")
            aim(f"… beside {PANORAMISK}", 0.45, ours[busy].cpu / theirs[busy].cpu, "×")
            aim(f"… beside the {RESPONDER}", 1.6, ours[busy].cpu / limit[busy].cpu, "×")
            aim(
                f"p99, 64 at once, block {written}, beside {PANORAMISK}",
                1.0,
                ours[busy].p99 / theirs[busy].p99,
                "×",
            )
        if alone in ours:
            aim(
                f"p50, one at a time, block {written}, beside {PANORAMISK}",
                0.5,
                ours[alone].p50 / theirs[alone].p50,
                "×",
            )
    return rows


def scale(result: Scale) -> str:
    """Return the second part."""
    times = (result.decision_p50, result.decision_p99, result.decision_max)
    clean, messy = result.clean, result.messy
    rows = {
        f"decision, p50 / p99 / max of {result.decisions:,}": " / ".join(f"{time:.0f}" for time in times)
        + " µs",
        "start to first answer": f"{result.ready_seconds:.2f} s",
        f"resident memory of the answering process after {result.calls:,} calls": (
            f"{result.resident:.0f} MB, {result.unique:.0f} MB its own, {result.shared:.0f} MB shared"
        ),
        "database on disk": f"{result.database:.0f} MB",
        f"import, clean E.164 ({clean.rows:,} rows)": f"{clean.per_core:,.0f} contacts/s and core",
        f"import, numbers as typed ({messy.rows:,} rows)": f"{messy.per_core:,.0f} contacts/s and core",
    }
    return table((f"{result.contacts:,} contacts", "measured"), list(rows.items()))
