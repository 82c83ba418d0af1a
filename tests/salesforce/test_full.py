"""Full loads: from nothing, over what is there, and wherever they are stopped."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agi_server.calls.numbers import normalise
from agi_server.errors import SalesforceError
from agi_server.salesforce import batches, full
from agi_server.salesforce.batches import Run, Work
from storage import salesforce_state
from storage.contacts import find_or_insert
from storage.sync import link
from tests.org.people import populate
from tests.salesforce.syncing import Sync, part, syncing


@pytest.fixture
async def sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sync]:
    """An org of 130 records in small batches and pages; nothing is here yet."""
    monkeypatch.setattr(batches, "SIZE", 10)
    monkeypatch.setattr(full, "PAGE", 25)
    async with syncing(tmp_path) as made:
        populate(made.org, 90)
        made.clock.forward(minutes=30)
        yield made


class Stop(BaseException):
    """Stands for the end of the process: nothing catches it."""


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the process end before the write of so many batches."""
    left, kept = [count], batches.keep

    async def keep(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        await kept(*arguments, **options)

    monkeypatch.setattr(full, "keep", keep)


async def state(sync: Sync, name: str = "sync:Contact") -> dict[str, Any] | None:
    return await sync.database.read(lambda conn: salesforce_state.get(conn, name))


async def contacts(sync: Sync) -> list[str]:
    return [
        each[0] for each in sync.rows("SELECT salesforce_id FROM contacts WHERE kind = 'Contact' ORDER BY 1")
    ]


async def test_the_first_load(sync: Sync) -> None:
    outcome = await sync.in_step()
    assert [(each.sobject, each.how, each.read, each.inserted) for each in outcome.objects] == [
        ("User", "full", 9, 0), ("Group", "full", 1, 0), ("Account", "full", 27, 27), ("Contact", "full", 90, 90),
        ("Lead", "full", 9, 9), ("Opportunity", "", 0, 0),
    ]  # fmt: skip
    assert sync.requests("GET .*/jobs/query/[^/]*/results") == 2 + 4 + 1
    assert (
        sync.requests("GET .*/query") - sync.requests("GET .*/jobs/query") == 2 + 3
    )  # owners; what changed meanwhile
    assert sync.one("SELECT count(*) FROM sync_seen") == 0
    assert await state(sync, full.SEEN) is None
    assert {"watermark", "deleted", "reading", "at"} == (await state(sync) or {}).keys()


async def test_numbers_are_parsed_beside(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "FEW", 0)
    monkeypatch.setattr(
        batches, "prepare", None
    )  # nothing is parsed here but what changed meanwhile: nothing
    interval = sys.getswitchinterval()
    outcome = await sync.in_step()
    assert part(outcome, "Contact").understood > 90
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (interval, 0)


@pytest.mark.parametrize("stops", [[0], [1], [3], [3, 1, 2], [5, 5, 5], [8], [9], [10], [12, 1]])
async def test_a_load_goes_on_where_it_was_stopped(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    for count in stops:
        stop_at(monkeypatch, count)
        with pytest.raises(Stop):
            await sync.run()
    monkeypatch.undo()
    monkeypatch.setattr(full, "PAGE", 25)
    await sync.in_step()
    assert sync.requests("POST .*/jobs/query") == 3


@pytest.mark.parametrize("stops", [[4], [4, 4], [7, 2, 1]])
async def test_a_load_over_what_is_there_goes_on_where_it_was_stopped(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    await sync.in_step()
    ids = {each: sync.id_of(each) for each in await contacts(sync)}
    gone = list(ids)[::3]
    for each in gone:
        sync.org.delete("Contact", each)
        sync.org.purge("Contact", each)
    sync.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 1234567"})
    full_wanted = True
    for count in stops:
        stop_at(monkeypatch, count)
        with pytest.raises(Stop):
            await sync.run(full=full_wanted)
        full_wanted = False  # the next round knows by itself
        sync.check_here(ids.keys() - set(gone))
    monkeypatch.undo()
    await sync.in_step()
    assert {each: sync.id_of(each) for each in ids if each not in gone} == {
        each: local for each, local in ids.items() if each not in gone
    }


async def test_the_marks_of_another_load_are_not_trusted(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose marks were wiped by another object's load would remove what it had met before."""
    await sync.in_step()
    stop_at(monkeypatch, 9)
    with pytest.raises(Stop):
        await sync.run(full=True)
    stopped = await state(sync)
    assert stopped is not None
    assert stopped["full"]["after"]
    assert stopped["full"]["marking"]
    sync.rows("DELETE FROM sync_seen")
    await sync.database.write(lambda conn: salesforce_state.put(conn, full.SEEN, {"of": "Lead x"}, 0))
    monkeypatch.undo()
    outcome = await sync.in_step()
    assert part(outcome, "Contact").removed == 0
    assert part(outcome, "Contact").read == 90


async def test_changes_during_a_load_are_read_behind_it(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 6)
    with pytest.raises(Stop):
        await sync.run()
    monkeypatch.undo()
    [ana, bea, *_] = [each["Id"] for each in sync.org.query("SELECT Id FROM Contact ORDER BY Id DESC")]
    sync.clock.forward(hours=5)
    sync.org.update("Contact", ana, {"LastName": "Changed"})
    sync.org.delete("Contact", bea)
    sync.clock.forward(hours=1)
    await sync.in_step()


async def test_who_is_linked_while_a_job_is_prepared_keeps_the_id(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call made the contact, and it is written to Salesforce after the query began: the result is without it."""
    await sync.in_step()
    sync.clock.forward(minutes=30)
    number = normalise("+4930999888", "DE")
    found = await sync.database.write(
        lambda conn: find_or_insert(conn, data="k", ani=number, database="", now=1)
    )
    completed = full._completed
    linked: list[str] = []

    async def written_meanwhile(run: Run, work: Work, job_id: str) -> bool:
        if work.kind == "Contact" and not linked:
            sync.clock.forward(seconds=5)
            linked.append(sync.org.create("Contact", {"LastName": "Neu", "Phone": "+4930999888"}))
            await sync.database.write(lambda conn: link(conn, found.id, linked[0]))
        return await completed(run, work, job_id)

    monkeypatch.setattr(full, "_completed", written_meanwhile)
    outcome = await sync.in_step(full=True)
    assert part(outcome, "Contact").removed == 0
    assert sync.id_of(linked[0]) == found.id


async def test_callers_see_every_record_all_the_time(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    await sync.in_step()
    before = await contacts(sync)
    seen: list[list[str]] = []
    kept = batches.keep

    async def keep(*arguments: Any, **options: Any) -> None:
        seen.append(await contacts(sync))
        await kept(*arguments, **options)

    monkeypatch.setattr(full, "keep", keep)
    await sync.in_step(full=True)
    assert len(seen) > 10
    assert all(each == before for each in seen)


async def test_what_is_not_there_any_more_is_removed(sync: Sync) -> None:
    await sync.in_step()
    for each in (await contacts(sync))[:40]:
        sync.org.delete("Contact", each)
        sync.org.purge("Contact", each)
    outcome = await sync.in_step(full=True)
    assert part(outcome, "Contact").removed == 40


async def hide_most(sync: Sync) -> None:
    """Let the org show a tenth of its contacts, as when sharing rules have changed."""
    await sync.in_step()
    sync.org.load(
        "Contact", ({"LastName": f"More {each}", "Phone": f"+49 30 {each + 700000}"} for each in range(60))
    )
    sync.clock.forward(minutes=30)
    await sync.in_step()
    sync.clock.forward(minutes=30)
    for each in (await contacts(sync))[15:]:
        sync.org.delete("Contact", each)
        sync.org.purge("Contact", each)


async def test_most_records_gone_is_not_believed(sync: Sync) -> None:
    await hide_most(sync)
    outcome = await sync.run(full=True)
    [error] = outcome.errors
    assert error.startswith("Contact: Salesforce does not show 135 of 150 records")
    assert "ostiary sync --full --accept-removals" in error
    assert len(await contacts(sync)) == 150
    again = await sync.run()
    assert again.errors == outcome.errors
    assert part(again, "Contact").how == "changes"
    outcome = await sync.in_step(full=True, accept_removals=True)
    assert part(outcome, "Contact").removed == 135
    await sync.in_step()


async def test_a_load_that_was_not_believed_is_made_again_after_a_day(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full, "MANY", 10)
    sync.configure(objects=["Account", "Contact"])
    await sync.in_step()
    asked = sync.client.start_job
    monkeypatch.setattr(sync.client, "start_job", lambda soql: asked(f"{soql} LIMIT 3"))
    outcome = await sync.run(full=True)
    assert len(outcome.errors) == 2
    monkeypatch.setattr(sync.client, "start_job", asked)
    sync.clock.forward(hours=23)
    assert (await sync.run()).errors == outcome.errors
    sync.clock.forward(hours=2)
    assert part(await sync.in_step(), "Contact").how == "full"


async def test_nothing_at_all_is_not_believed_either(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "MANY", 10)
    sync.configure(objects=["Account", "Contact"])
    await sync.in_step()
    asked = sync.client.start_job
    monkeypatch.setattr(sync.client, "start_job", lambda soql: asked(f"{soql} WHERE Id = null"))
    outcome = await sync.run(full=True)
    assert part(outcome, "Contact").read == 0
    assert part(outcome, "Contact").error
    sync.check()


@pytest.mark.parametrize(
    "code",
    ["INVALIDENTITY", "FUNCTIONALITY_NOT_ENABLED", "INVALIDJOB", "EXCEEDED_QUOTA", "API_DISABLED_FOR_ORG"],
)
async def test_where_bulk_refuses_rest_is_asked(sync: Sync, code: str) -> None:
    sync.server.faults.add(
        "refused",
        method="POST",
        path="/jobs/query",
        times=None,
        code=code,
        text="is not supported by the Bulk API",
    )
    outcome = await sync.in_step()
    assert "read through REST" in part(outcome, "Contact").notes[0]
    assert code in part(outcome, "Contact").notes[0]
    await sync.in_step(full=True)


async def test_where_a_job_fails_rest_is_asked(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = sync.client.job
    monkeypatch.setattr(
        sync.client, "job", lambda job_id: asked(job_id)._replace(state="Failed", error="compound data")
    )
    outcome = await sync.in_step()
    assert "ended as Failed: compound data" in part(outcome, "Contact").notes[0]


@pytest.mark.parametrize("stops", [[4], [7, 2], [12]])
async def test_a_load_through_rest_goes_on_where_it_was_stopped(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    sync.server.faults.add("refused", method="POST", path="/jobs/query", times=None, code="INVALIDENTITY")
    monkeypatch.setattr(full, "NOTE_EVERY", 1)
    for count in stops:
        stop_at(monkeypatch, count)
        with pytest.raises(Stop):
            await sync.run()
    monkeypatch.undo()
    outcome = await sync.in_step()
    assert part(outcome, "Contact").read < 90
    await sync.in_step(full=True)


async def test_results_that_were_kept_too_long(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 6)
    with pytest.raises(Stop):
        await sync.run()
    monkeypatch.undo()
    sync.server.faults.add("refused", path="/jobs/query/.*/results", status=404, code="NOT_FOUND")
    outcome = await sync.in_step()
    assert part(outcome, "Contact").read == 90
    assert part(outcome, "Contact").notes == []


async def test_a_load_that_was_stopped_a_week_ago_begins_anew(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 6)
    with pytest.raises(Stop):
        await sync.run()
    monkeypatch.undo()
    sync.clock.forward(days=8)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").read == 90


async def test_a_job_that_takes_long_is_waited_for_in_the_next_round(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync.in_step()
    sync.clock.forward(minutes=30)
    await sync.in_step()
    monkeypatch.setattr(full, "PATIENCE", -1.0)
    asked = sync.client.job
    monkeypatch.setattr(sync.client, "job", lambda job_id: asked(job_id)._replace(state="InProgress"))
    [each, *_] = await contacts(sync)
    sync.org.update("Contact", each, {"LastName": "Meanwhile"})
    outcome = await sync.in_step(full=True)  # what changed is read nevertheless
    assert "still preparing" in part(outcome, "Contact").notes[0]
    monkeypatch.undo()
    jobs = sync.requests("POST .*/jobs/query")
    outcome = await sync.in_step()
    assert (part(outcome, "Contact").how, part(outcome, "Contact").read) == ("full", 90)
    assert sync.requests("POST .*/jobs/query") == jobs
    assert (await state(sync) or {}).get("full") is None


@pytest.mark.parametrize(
    "kind", ["cut", "cut-answer", "error", "limit", "expired", "unauthorized-html", "slow"]
)
@pytest.mark.parametrize("path", ["/jobs/query$", "/jobs/query/[^/]*$", "/results"])
async def test_weather_in_the_middle_of_a_load(sync: Sync, kind: Any, path: str) -> None:
    refused_anew = kind in {"expired", "unauthorized-html"}  # twice, and nobody signs in again for a while
    sync.server.faults.add(kind, path=path, after=1, times=1 if refused_anew else 2, seconds=0.01)
    for _ in range(4):
        try:
            await sync.run()
        except SalesforceError:
            continue
        break
    await sync.in_step()


@pytest.mark.parametrize(
    "change",
    [
        lambda sync: sync.configure(number_fields=["Contact.Department"]),
        lambda sync: sync.configure(ignored_fields=["Contact.Phone"]),
        lambda sync: sync.configure(filters={"Contact": "LastName != 'Xu'"}),
        lambda sync: sync.configure(region="PT"),
        lambda sync: sync.configure(field_map={"Contact.name": "LastName"}),
        lambda sync: sync.configure(vip_field="VIP__c"),
    ],
)
async def test_another_way_to_read_reads_everything(sync: Sync, change: Callable[[Sync], None]) -> None:
    await sync.in_step()
    change(sync)
    outcome = await sync.run()
    assert part(outcome, "Contact").how == "full"
    assert part(await sync.run(), "Contact").how == "changes"


async def test_a_new_field_with_numbers_is_read_within_the_hour(sync: Sync) -> None:
    await sync.in_step()
    sync.org.add_field("Contact", "Direct__c", "phone")
    sync.clock.forward(minutes=59)
    assert part(await sync.run(), "Contact").how == "changes"
    sync.clock.forward(minutes=2)
    assert part(await sync.in_step(), "Contact").how == "full"


async def test_a_field_that_is_hidden_from_one_round_to_the_next(sync: Sync) -> None:
    await sync.in_step()
    sync.org.hide("Contact", "MobilePhone")
    outcome = await sync.in_step()  # what was described is not an hour old
    assert part(outcome, "Contact").how == "full"
    assert part(outcome, "Contact").updated > 10
    sync.org.show("Contact", "MobilePhone")
    await sync.in_step(full=True)


@pytest.mark.parametrize("there", [False, True])
async def test_a_dry_run_writes_nothing_and_counts_all(sync: Sync, there: bool) -> None:
    if there:
        await sync.in_step()
        for each in (await contacts(sync))[:5]:
            sync.org.delete("Contact", each)
        sync.org.update("Contact", (await contacts(sync))[9], {"LastName": "Changed"})
    before = sync.dump()
    outcome = await sync.run(full=True, dry_run=True)
    assert sync.dump() == before
    counted = part(outcome, "Contact")
    expected = (85, 0, 1, 5) if there else (90, 90, 0, 0)
    assert (counted.read, counted.inserted, counted.updated, counted.removed) == expected
    assert outcome.dry_run
    assert outcome.errors == []


async def test_a_dry_run_of_changes_writes_nothing(sync: Sync) -> None:
    await sync.in_step()
    sync.clock.forward(minutes=30)
    [one, two, three, *_] = await contacts(sync)
    sync.org.delete("Contact", one)
    sync.org.merge("Contact", two, three)
    sync.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 1234567"})
    before = sync.dump()
    counted = part(await sync.run(dry_run=True), "Contact")
    assert sync.dump() == before
    assert (counted.inserted, counted.removed, counted.became) == (1, 1, 1)


async def test_a_dry_run_leaves_a_stopped_load_alone(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    await sync.in_step()
    stop_at(monkeypatch, 6)
    with pytest.raises(Stop):
        await sync.run(full=True)
    monkeypatch.undo()
    before = sync.dump()
    outcome = await sync.run(dry_run=True)
    assert sync.dump() == before
    assert part(outcome, "Contact").removed == 0
    await sync.in_step()
