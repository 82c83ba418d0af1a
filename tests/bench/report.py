"""Turns figures into Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.compare import LINES, OSTIARY, PANORAMISK, RESPONDER, SERVERS, WHOLE, Case, Comparison
from tests.bench.following import Following
from tests.bench.scale import Scale
from tests.bench.search import Search, Times
from tests.bench.sync import Calls, Sync
from tests.bench.web import Web

Aim = tuple[str, str, str, str]
_AIMS = ("aim", "wanted", "measured", "")


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
    parts += ["**Aims**", table(_AIMS, aims(result))]
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


def aims(result: Comparison) -> list[Aim]:
    """Return each aim, what was wanted, what was measured, and `met` or by how much it was missed."""
    ours, theirs, limit = (result.figures[name] for name in (OSTIARY, PANORAMISK, RESPONDER))
    rows: list[Aim] = []

    def aim(text: str, wanted: float, measured: float, unit: str) -> None:
        rows.append(_aim(text, wanted, measured, unit))

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


def _aim(text: str, wanted: float, measured: float, unit: str) -> Aim:
    missed = f"missed by {(measured / wanted - 1) * 100:.0f} %" if wanted else "missed"
    verdict = "met" if measured <= wanted else missed
    return text, f"≤ {wanted:.2f} {unit}", f"{measured:.2f} {unit}", verdict


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


def search(result: Search) -> str:
    """Return the part on finding contacts, with its aims."""
    rows = [_searches(name, times) for name, times in [*result.sorts.items(), ("all", result.every)]]
    ratio = result.with_index / result.without_index
    return "\n\n".join(
        [
            f"Search among {result.contacts:,} contacts, milliseconds from asking to having a page",
            table(("typed", "searches", "p50", "p99", "max", "found"), rows),
            (
                f"Storing {result.written:,} contacts anew takes {result.with_index:.1f} s with the index of the "
                f"search and {result.without_index:.1f} s without ({ratio:.2f} ×); a transaction "
                f"{result.transaction_p50:.0f} ms, p99 {result.transaction_p99:.0f} ms."
            ),
            table(_AIMS, [_aim("p99 of a search", 50, result.every.p99, "ms")]),
        ]
    )


def _searches(name: str, times: Times) -> tuple[str, ...]:
    figures = (times.p50, times.p99, times.longest, times.found)
    return name, f"{times.count:,}", *(f"{each:.1f}" for each in figures)


def sync(result: Sync) -> str:
    """Return the third part: the synchronisation, the calls meanwhile, the aims."""
    size = f"{result.contacts:,} contacts, {result.accounts:,} accounts"
    records = result.contacts + result.accounts
    shares = result.parts
    kinds = ("fetching", "mapping", "parsing", "storing")
    rows = {
        "full synchronisation": f"{result.full_seconds:.1f} s, {records / result.full_seconds:,.0f} records/s",
        "CPU meanwhile: worker, and its parser of numbers": f"{result.worker_cpu:.1f} + {result.parser_cpu:.1f} s",
        "CPU meanwhile: answering process; stand-in for Salesforce": (
            f"{result.server_cpu:.1f}; {result.org_cpu:.1f} s"
        ),
        "other programs on the machine meanwhile": f"{result.others:.0f} % of its CPU",
        "of the CPU: HTTP and CSV / mapping / parsing numbers / storing": (
            " / ".join(f"{shares.share(getattr(shares, kind)):.0f}" for kind in kinds) + " %"
        ),
        "memory of the worker; with its parser (PSS), at most": (
            f"{result.worker_memory:.0f}; {result.all_memory:.0f} MB"
        ),
        "round without changes": f"{result.unchanged_seconds:.2f} s",
        f"round with {result.changes:,} changes, until all are stored": f"{result.changed_seconds:.2f} s",
    }
    parts = [
        table((size, "measured"), list(rows.items())),
        (
            f"Calls meanwhile, {result.rate:.0f} a second, milliseconds from connect to close. Without: in "
            f"{result.pauses} pauses of the full synchronisation, in which Salesforce is frozen. Of "
            f"{result.calls:,} calls {result.lost:,} were lost, {result.journalled:,} are in the journal. (The shares "
            f"are those of {shares.records:,} contacts read and stored anew, step by step in one process.)"
        ),
        table(
            ("full synchronisation", "calls", "p50", "p99", "max"),
            [
                _calls("without", result.without),
                _calls("during", result.during),
                ("ratio", "", *(f"{during / without:.2f} ×" for without, during in _times(result))),
            ],
        ),
        "**Aims**",
        table(_AIMS, sync_aims(result)),
    ]
    return "\n\n".join(parts)


def web(result: Web) -> str:
    """Return the fourth part: pages, decisions over HTTP, calls while the console is under load."""
    parts = [
        table(
            (f"console, {result.contacts:,} contacts", "kB with what it loads", "p50 ms", "slowest of 30 ms"),
            [
                (page.path, f"{page.kilobytes:.0f}", f"{page.p50:.1f}", f"{page.slowest:.1f}")
                for page in result.pages
            ],
        ),
        f"Of each page's weight {result.assets:.0f} kB are fetched once. Memory of the front: {result.memory:.0f} MB.",
    ]
    if result.decisions is None or result.console is None:
        parts.append("wrk is not installed: decisions over HTTP and calls under load were not measured.")
    else:
        parts.append(
            f"`POST /api/v1/decisions`: {result.decisions.rate:,.0f} a second with {result.decisions.front_cores:.2f} "
            f"cores ({result.decisions.errors} errors). Console under load: {result.console.rate:,.0f} pages a second "
            f"with {result.console.front_cores:.2f} cores ({result.console.errors} errors)."
        )
    if result.without is not None and result.during is not None:
        rows = [
            (name, f"{each.count:,}", f"{each.p50:.2f}", f"{each.p99:.2f}")
            for name, each in (("without", result.without), ("during", result.during))
        ]
        parts.append(table(("console under load", "calls", "p50", "p99"), rows))
    return "\n\n".join([*parts, "**Aims**", table(_AIMS, web_aims(result))])


def web_aims(result: Web) -> list[Aim]:
    """Return the aims of the fourth part."""
    rows = [
        _aim("heaviest page", 100, max(page.kilobytes for page in result.pages), "kB"),
        _aim("slowest page, p50", 200, max(page.p50 for page in result.pages), "ms"),
    ]
    if result.decisions is not None:
        per_core = result.decisions.rate / result.decisions.front_cores
        rows.append(_aim("a decision over HTTP, CPU of the front", 0.5, 1000 / per_core, "ms"))
    if result.without is not None and result.during is not None:
        rows.append(
            _aim("p99 of a call, console under load", 1.5, result.during.p99 / result.without.p99, "×")
        )
        rows.append(_aim("calls lost", 0, result.during.lost, ""))
    return rows


def following(result: Following) -> str:
    """Return the fifth part: following calls, and their Tasks."""
    rows = {
        f"events of {result.calls:,} calls, followed": f"{result.tracked:,.0f} a second and core",
        "the same, read from bytes as well": f"{result.read_and_tracked:,.0f} a second and core",
        "a call in progress keeps": f"{result.live_bytes:,.0f} bytes",
        f"resident memory while {result.followed:,} calls were followed": (
            f"{result.memory_before:.0f} MB after the first 10,000, {result.memory_after:.0f} MB at the end"
        ),
        f"{result.tasks:,} Tasks to the stand-in": f"{result.tasks_rate:,.0f} a second",
    }
    aims_ = [
        _aim("CPU for an event", 50, 1e6 / result.tracked, "µs"),
        _aim("a call in progress", 2048, result.live_bytes, "bytes"),
        _aim("growth of memory over those calls", 1.02, result.memory_after / result.memory_before, "×"),
        _aim("calls kept after their end", 0, result.left, ""),
        _aim("a Task", 20, 1000 / result.tasks_rate, "ms"),
    ]
    headings = (f"{result.events:,} events", "measured")
    return "\n\n".join([table(headings, list(rows.items())), "**Aims**", table(_AIMS, aims_)])


def _calls(name: str, calls: Calls) -> tuple[str, ...]:
    return name, f"{calls.count:,}", *(f"{each:.2f}" for each in (calls.p50, calls.p99, calls.longest))


def _times(result: Sync) -> list[tuple[float, float]]:
    without, during = result.without, result.during
    return [(getattr(without, name), getattr(during, name)) for name in ("p50", "p99", "longest")]


def sync_aims(result: Sync) -> list[Aim]:
    """Return the aims of the third part."""
    return [
        _aim(
            f"full synchronisation of {result.contacts + result.accounts:,} records",
            150,
            result.full_seconds,
            "s",
        ),
        _aim("memory of the worker and its parser", 300, result.all_memory, "MB"),
        _aim(f"round with {result.changes:,} changes", 3, result.changed_seconds, "s"),
        _aim(
            "p99 of a call during the full synchronisation", 1.5, result.during.p99 / result.without.p99, "×"
        ),
        _aim("calls lost", 0, result.lost, ""),
    ]
