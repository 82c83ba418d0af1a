"""What must be on record of each conversation: the row of our journal, and the Task in Salesforce.

Phones of a lane are named by their seat (1, 2, 3); whoever is outside is "out". A Leg is who, how they came in, and
how it ended; seconds spoken are met within one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agi_server.calls.record import disposition_of
from tests.pbx.company import KNOWN, RESPONSIBLE, Company, lane_of

Leg = tuple[str, str, str]
ENTRY = "3!"  # the default responsible: seat 3 of the first lane


@dataclass(frozen=True)
class Said:
    """What is said of one conversation; `did` is the place of config/conversations.conf it went to."""

    way: str = "inbound"
    did: int | None = 0
    disposition: str = "answered"
    by: str = "1"
    seconds: float | tuple[float, float] = 2  # or between these
    legs: frozenset[Leg] = frozenset({("1", "dial", "answered")})
    transfers: tuple[tuple[str, str, str], ...] = ()
    queue: bool = False
    recorded: bool = False
    teller: str = "ami"
    task: tuple[str, str, str] | None = (
        "Call from",
        "Answered",
        "1",
    )  # subject begins, CallDisposition, owner
    follow_up: str = ""  # its owner
    rows: int = 1
    tasks: int = 1
    extra: tuple[str, ...] = field(default=())  # what else is wrong with the Task


def legs(*each: Leg) -> frozenset[Leg]:
    return frozenset(each)


def missed(disposition: str, word: str, outcome: str, **more: Any) -> Said:
    """Return what is said of an inbound call that rang seat 1 in vain."""
    said = Said(
        disposition=disposition,
        by="",
        seconds=0,
        legs=legs(("1", "dial", outcome)),
        task=("Missed call from", word, ENTRY),
        follow_up=ENTRY,
    )
    return replace(said, **more)


def outbound(disposition: str, word: str) -> Said:
    """Return what is said of a call out of seat 1."""
    spoke = disposition == "answered"
    return Said(
        way="outbound",
        did=None,
        disposition=disposition,
        by="1" if spoke else "",
        seconds=2 if spoke else 0,
        legs=legs(("1", "caller", disposition), ("out", "dial", disposition)),
        task=("Call to", word, "1"),
    )


ON_RECORD: Mapping[str, Said] = {
    "answered": Said(),
    "missed": missed("no answer", "Missed", "no answer"),
    "busy": missed("busy", "Busy", "busy"),
    "cancelled": missed("cancelled", "Cancelled", "cancelled"),
    "failed": missed("failed", "Failed", "", did=6, legs=legs()),
    "group": Said(
        did=1,
        by="2",
        legs=legs(("1", "dial", "elsewhere"), ("2", "dial", "answered")),
        task=("Call from", "Answered", "2"),
    ),
    "local-group": Said(
        did=7,
        by="2",
        legs=legs(("1", "dial", "elsewhere"), ("2", "dial", "answered")),
        task=("Call from", "Answered", "2"),
    ),
    "queue": Said(
        did=2,
        by="2",
        queue=True,
        legs=legs(("1", "queue", "elsewhere"), ("2", "queue", "answered")),
        task=("Call from", "Answered", "2"),
    ),
    "queue-abandoned": missed(
        "cancelled",
        "Cancelled",
        "",
        did=2,
        queue=True,
        legs=legs(("1", "queue", "cancelled"), ("2", "queue", "cancelled")),
        task=("Missed call from", "Cancelled", "2"),
        follow_up="2",
    ),
    "menu-nobody": missed("no answer", "Missed", "no answer", did=3),
    "menu-answered": Said(did=3),
    "blind-transfer": Said(
        seconds=3,
        legs=legs(("1", "dial", "answered"), ("2", "transfer", "answered")),
        transfers=(("blind", "1", "2"),),
    ),
    "blind-transfer-nobody": Said(
        seconds=1,
        legs=legs(("1", "dial", "answered"), ("2", "transfer", "no answer")),
        transfers=(("blind", "1", "2"),),
    ),
    "attended-transfer": Said(  # the caller waits on hold meanwhile, which counts
        seconds=5.5,
        legs=legs(("1", "dial", "answered"), ("2", "transfer", "answered")),
        transfers=(("attended", "1", "2"),),
    ),
    "attended-transfer-sip": Said(
        seconds=5,
        legs=legs(("1", "dial", "answered"), ("2", "transfer", "answered")),
        transfers=(("attended", "1", "2"),),
    ),
    "attended-transfer-cancelled": Said(
        seconds=4, legs=legs(("1", "dial", "answered"), ("2", "dial", "cancelled"))
    ),
    "pickup": Said(
        by="2",
        legs=legs(("1", "dial", "elsewhere"), ("2", "pickup", "answered")),
        task=("Call from", "Answered", "2"),
    ),
    "hold": Said(seconds=4),
    "park": Said(
        seconds=3,
        legs=legs(("1", "dial", "answered"), ("3", "park", "answered")),
    ),
    "conference": Said(seconds=3.5, legs=legs(("1", "dial", "answered"), ("2", "conference", "answered"))),
    "outbound": outbound("answered", "Answered"),
    "outbound-busy": outbound("busy", "Busy"),
    "outbound-unanswered": outbound("no answer", "Not answered"),
    "outbound-cancelled": outbound("cancelled", "Cancelled"),
    "internal": Said(
        way="internal",
        did=None,
        by="2",
        legs=legs(("1", "caller", "answered"), ("2", "dial", "answered")),
        task=None,
        tasks=0,
    ),
    "click": replace(
        outbound("answered", "Answered"), legs=legs(("1", "click", "answered"), ("out", "dial", "answered"))
    ),
    "voicemail": missed("no answer", "Missed", "no answer", did=4),
    "recorded": Said(did=5, recorded=True),
    "forwarded": Said(
        did=8, by="", legs=legs(("out", "dial", "answered")), task=("Call from", "Answered", ENTRY)
    ),
    "forged": Said(seconds=3),
}


def at_most(seconds: float, wanted: Said) -> Said:
    """Return the same for a conversation that took so long in all: a busy machine takes its time."""
    least = wanted.seconds
    if isinstance(least, tuple) or not least:
        return wanted
    return replace(wanted, seconds=(least, max(least, seconds)))


def differences(company: Company, table: Mapping[str, Said]) -> str:
    """Return in what the records differ from a table, '' when in nothing."""
    lines = []
    for name, wanted in table.items():
        found = vars(said(company, name, wanted))
        lines += [
            f"{name}: {key} is {found[key]}, not {value}"
            for key, value in vars(wanted).items()
            if found[key] != value
        ]
    return "\n".join(lines)


def said(company: Company, name: str, wanted: Said) -> Said:
    """Return what is on record of a conversation; seconds near those wanted are those."""
    rows, tasks = company.rows(name), company.tasks()
    if not rows:
        return replace(wanted, rows=0)
    row, lane = rows[0], lane_of(name)
    own = tasks.get(f"call:{row['id']}", [])
    calls_back = tasks.get(f"follow-up:{row['id']}", [])
    did = f"4930778{lane}"
    return Said(
        way=row["direction"],
        did=int(row["did"].removeprefix(did)) if row["did"].startswith(did) else None,
        disposition=str(disposition_of(row["disposition"])),
        by=_seat(row["answered_by"], lane),
        seconds=_near(row["seconds"], wanted.seconds),
        legs=frozenset(
            (_seat(leg["extension"], lane) or "out", leg["via"], leg["outcome"])
            for leg in json.loads(row["legs"] or "[]")
        ),
        transfers=tuple(
            (each["kind"], _seat(each["by"], lane), _seat(each["to"], lane))
            for each in json.loads(row["transfers"] or "[]")
        ),
        queue=row["queue"] == f"sales-{lane}",
        recorded=row["recording"].endswith(f"{row['linkedid']}.wav"),
        teller=row["told_by"],
        task=_task(company, own[0], lane) if own else None,
        follow_up=_owner(company, calls_back[0], lane) if calls_back else "",
        rows=len(rows),
        tasks=len(own),
        extra=(
            *(_mistakes(company, name, own[0], row, "Completed") if own else ()),
            *(_mistakes(company, name, calls_back[0], row, "Not Started") if calls_back else ()),
            *(["more than one to call back"] if len(calls_back) > 1 else []),
        ),
    )


def _task(company: Company, task: Mapping[str, Any], lane: int) -> tuple[str, str, str]:
    subject = " ".join(task["Subject"].split()[: 3 if task["Subject"].startswith("Missed") else 2])
    return subject, task["CallDisposition"], _owner(company, task, lane)


def _mistakes(
    company: Company, name: str, task: Mapping[str, Any], row: Mapping[str, Any], status: str
) -> list[str]:
    """Return what a Task says that it should not."""
    about = company.contacts.get(name)
    wanted = {
        "WhoId": about,
        "Status": status,
        "CallType": row["direction"].capitalize(),
        "CallDurationInSeconds": row["seconds"],
        "TaskSubtype": "Call",
    }
    if status == "Not Started":
        wanted = {"WhoId": about, "Status": status}
    wrong = [f"{key} is {task[key]}, not {value}" for key, value in wanted.items() if task[key] != value]
    named = ["Someone", "of", name] if about else []
    missing = [word for word in (*named, f"+{KNOWN[name]}") if word not in task["Subject"]]
    return wrong + [f"{task['Subject']!r} lacks {word}" for word in missing]


def _owner(company: Company, task: Mapping[str, Any], lane: int) -> str:
    by_id = {user: extension for extension, user in company.people.items()}
    extension = by_id.get(task["OwnerId"], "the integration user")
    return ENTRY if extension == RESPONSIBLE else _seat(extension, lane)


def _seat(extension: str, lane: int) -> str:
    return (
        extension.removeprefix(str(lane))
        if len(extension) == 3 and extension.startswith(str(lane))
        else extension
    )


def _near(seconds: float | None, wanted: float | tuple[float, float]) -> float | tuple[float, float]:
    least, most = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    return wanted if seconds is not None and least - 1 <= seconds <= most + 1 else float(seconds or 0)
