"""What changes in Salesforce, changes here; nothing is lost, whatever way it goes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agi_server.errors import SalesforceDown
from agi_server.salesforce import changes
from storage.sync import resolve
from tests.org.people import populate
from tests.salesforce.syncing import Sync, part, syncing


@pytest.fixture
async def sync(tmp_path: Path) -> AsyncIterator[Sync]:
    """A company with two people and a lead, in step; half an hour later."""
    async with syncing(tmp_path) as made:
        org = made.org
        owner = org.create(
            "User", {"LastName": "Ito", "Email": "Ito@example.com", "Username": "i@x.example", "Alias": "ito"}
        )
        acme = org.create("Account", {"Name": "Acme", "Phone": "+49 30 23125-0", "OwnerId": owner})
        ana = {"FirstName": "Ana", "LastName": "Muñoz", "Phone": "+49 30 23125010", "AccountId": acme}
        org.create("Contact", ana | {"OwnerId": owner, "Email": "ana@example.com"})
        org.create("Contact", {"LastName": "Bau", "MobilePhone": "0171 1234567", "AccountId": acme})
        org.create("Lead", {"LastName": "Cruz", "Company": "Cruz Lda", "Phone": "+351 21 1234567"})
        await made.in_step()
        made.clock.forward(minutes=30)
        await made.in_step()  # what is read twice has been
        made.clock.forward(minutes=30)
        yield made


def id_of(sync: Sync, name: str) -> str:
    return str(sync.one("SELECT salesforce_id FROM contacts WHERE name = ?", name))


async def resolved(sync: Sync, text: str) -> int | None:
    return await sync.database.read(lambda conn: resolve(conn, text))


async def test_what_is_new_and_what_has_changed(sync: Sync) -> None:
    ana = id_of(sync, "Ana Muñoz")
    before = sync.id_of(ana)
    sync.org.update(
        "Contact", ana, {"LastName": "Munoz", "Phone": "+49 30 999999", "MobilePhone": "0171 7654321"}
    )
    sync.org.create("Contact", {"LastName": "Dias", "Phone": "+351 21 7654321"})
    outcome = await sync.in_step()
    contacts = part(outcome, "Contact")
    assert (contacts.how, contacts.read, contacts.inserted, contacts.updated) == ("changes", 2, 1, 1)
    assert sync.id_of(ana) == before
    assert part(outcome, "Account").read == 0


async def test_a_quiet_round_asks_little_and_writes_nothing_of_records(sync: Sync) -> None:
    await sync.in_step()
    sync.clock.forward(minutes=1)
    before = [line for line in sync.dump() if "salesforce_state" not in line]
    outcome = await sync.in_step()
    assert outcome.calls == 3
    assert sum(each.read for each in outcome.objects) == 0
    assert [line for line in sync.dump() if "salesforce_state" not in line] == before


async def test_an_account_gets_another_name(sync: Sync) -> None:
    sync.org.update("Account", id_of(sync, "Acme"), {"Name": "Acme & Söhne"})
    await sync.in_step()
    query = "SELECT a.name FROM contacts c JOIN accounts a ON a.id = c.account_id WHERE c.name = 'Ana Muñoz'"
    assert sync.one(query) == "Acme & Söhne"


@pytest.mark.parametrize("section", [{"objects": ["Contact"]}, {"filters": {"Account": "Name = 'Nobody'"}}])
async def test_an_account_that_is_not_read_itself_gets_another_name(
    sync: Sync, section: dict[str, Any]
) -> None:
    acme = id_of(sync, "Acme")
    sync.configure(**section)
    await sync.run()
    assert sync.org.get("Account", acme)["Name"] == "Acme"
    query = "SELECT a.name FROM contacts c JOIN accounts a ON a.id = c.account_id WHERE c.name = 'Ana Muñoz'"
    assert sync.one(query) == "Acme"
    sync.clock.forward(minutes=30)
    sync.org.update("Account", acme, {"Name": "Acme & Söhne"})
    await sync.run()
    assert sync.one(query) == "Acme & Söhne"


async def test_an_owner_gets_another_name_and_another_record_another_owner(sync: Sync) -> None:
    owner = sync.one("SELECT salesforce_id FROM owners WHERE name = 'Ito'")
    sync.org.update("User", owner, {"LastName": "Ito-Rey", "Email": "rey@example.com"})
    sync.org.update("Contact", id_of(sync, "Bau"), {"OwnerId": owner})
    await sync.in_step()
    assert sync.rows("SELECT name, email FROM owners WHERE salesforce_id = ?", owner) == [
        ("Ito-Rey", "rey@example.com")
    ]


async def test_users_are_asked_for_every_ten_minutes(sync: Sync) -> None:
    await sync.in_step()
    owner = sync.one("SELECT salesforce_id FROM owners WHERE name = 'Ito'")
    sync.org.update("User", owner, {"LastName": "Rey"})
    sync.clock.forward(minutes=9)
    await sync.run()
    assert sync.one("SELECT name FROM owners WHERE salesforce_id = ?", owner) == "Ito"
    sync.clock.forward(minutes=1)
    await sync.in_step()


async def test_a_user_who_left_goes_on_to_own_records(sync: Sync) -> None:
    owner = sync.one("SELECT salesforce_id FROM owners WHERE name = 'Ito'")
    sync.org.update("User", owner, {"IsActive": False})
    await sync.in_step()
    assert sync.one("SELECT count(*) FROM owners WHERE salesforce_id = ?", owner) == 1


async def test_a_queue_owns_leads(sync: Sync) -> None:
    queue = sync.org.create("Group", {"Name": "Inbound", "Type": "Queue"})
    sync.org.create("Group", {"Name": "Everybody", "Type": "Regular"})
    sync.org.update("Lead", id_of(sync, "Cruz"), {"OwnerId": queue})
    await sync.in_step()
    query = "SELECT o.name FROM contacts c JOIN owners o ON o.id = c.owner_id WHERE c.name = 'Cruz'"
    assert sync.one(query) == "Inbound"
    assert sync.one("SELECT count(*) FROM owners WHERE name = 'Everybody'") == 0


async def test_a_deleted_record_goes_and_comes_back(sync: Sync) -> None:
    ana = id_of(sync, "Ana Muñoz")
    sync.org.delete("Contact", ana)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").removed == 1
    sync.org.undelete("Contact", ana)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").inserted == 1


async def test_an_account_takes_its_people_along(sync: Sync) -> None:
    sync.org.delete("Account", id_of(sync, "Acme"))
    await sync.in_step()
    assert sync.rows("SELECT name FROM contacts") == [("Cruz",)]


async def test_what_is_purged_is_found_within_the_hour(sync: Sync) -> None:
    sync.configure(sync_interval=600)
    await sync.in_step()
    ana = id_of(sync, "Ana Muñoz")
    looks = sync.requests("GET .*/sobjects/Contact/deleted/")
    sync.org.delete("Contact", ana)
    sync.org.purge("Contact", ana)
    removed = []
    for _ in range(7):
        sync.clock.forward(minutes=10)
        removed.append(part(await sync.run(), "Contact").removed)
    assert sorted(removed) == [0] * 6 + [1]
    sync.check()
    assert sync.requests("GET .*/sobjects/Contact/deleted/") == looks + 1


async def test_what_was_purged_is_found_at_once_when_rounds_were_missed(sync: Sync) -> None:
    ana = id_of(sync, "Ana Muñoz")
    sync.org.delete("Contact", ana)
    sync.org.purge("Contact", ana)
    sync.clock.forward(minutes=5)
    await sync.in_step()


async def test_a_record_that_was_undeleted_is_not_forgotten(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether getDeleted still names it is not documented."""
    ana = id_of(sync, "Ana Muñoz")
    before = sync.id_of(ana)
    asked = sync.client.deleted

    def deleted(sobject: str, start: object, end: object) -> object:
        found = asked(sobject, start, end)  # type: ignore[arg-type]
        return found._replace(ids=[*found.ids, ana] if sobject == "Contact" else found.ids)

    monkeypatch.setattr(sync.client, "deleted", deleted)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").removed == 0
    assert sync.id_of(ana) == before


@pytest.mark.parametrize("master_first", [True, False])
async def test_merged_records_are_known_by_both_ids(sync: Sync, master_first: bool) -> None:
    ana, bau = id_of(sync, "Ana Muñoz"), id_of(sync, "Bau")
    master, loser = (ana, bau) if master_first else (bau, ana)
    kept, gone = sync.id_of(master), sync.id_of(loser)
    sync.org.merge("Contact", master, loser)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").became == 1
    assert await resolved(sync, f"{gone}-data") == kept
    assert await resolved(sync, loser) == kept
    assert part(await sync.in_step(), "Contact").became == 0


async def test_a_merge_between_the_query_and_the_look_at_what_was_deleted(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """getDeleted names merged records, too: they are not simply gone."""
    ana, bau = id_of(sync, "Ana Muñoz"), id_of(sync, "Bau")
    gone, asked = sync.id_of(bau), sync.client.deleted

    def deleted(sobject: str, start: object, end: object) -> object:
        if sobject != "Contact":
            return asked(sobject, start, end)  # type: ignore[arg-type]
        sync.org.merge("Contact", ana, bau)
        return asked(sobject, start, end)._replace(ids=[bau])  # type: ignore[arg-type]

    monkeypatch.setattr(sync.client, "deleted", deleted)
    await sync.run()
    assert await resolved(sync, str(gone)) == sync.id_of(ana)


async def test_a_merge_with_a_record_that_nobody_here_knew(sync: Sync) -> None:
    ana = id_of(sync, "Ana Muñoz")
    gone = sync.id_of(ana)
    new = sync.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 5556667"})
    sync.org.merge("Contact", new, ana)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(new)


async def test_a_merge_with_a_record_that_was_merged_itself_before_anybody_knew_it(sync: Sync) -> None:
    ana, bau = id_of(sync, "Ana Muñoz"), id_of(sync, "Bau")
    gone = sync.id_of(ana)
    between = sync.org.create("Contact", {"LastName": "Between"})
    sync.org.merge("Contact", between, ana)
    sync.org.merge("Contact", bau, between)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(bau)


@pytest.mark.parametrize("converted", [False, True])
async def test_a_lead_merged_with_one_that_nobody_here_knew_and_that_is_gone_as_well(
    sync: Sync, converted: bool
) -> None:
    lead = id_of(sync, "Cruz")
    gone = sync.id_of(lead)
    between = sync.org.create("Lead", {"LastName": "Between", "Company": "Acme"})
    sync.org.merge("Lead", between, lead)
    if converted:
        stays = sync.org.convert(between)
    else:
        stays = sync.org.create("Lead", {"LastName": "Last", "Company": "Acme"})
        sync.org.merge("Lead", stays, between)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(stays)


async def test_a_lead_whose_contact_was_merged_before_anybody_knew_it(sync: Sync) -> None:
    lead = id_of(sync, "Cruz")
    gone = sync.id_of(lead)
    contact = sync.org.convert(lead)
    new = sync.org.create("Contact", {"LastName": "New"})
    sync.org.merge("Contact", new, contact)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(new)


async def test_merged_accounts(sync: Sync) -> None:
    other = sync.org.create("Account", {"Name": "Acme Ltd", "Phone": "+49 30 777777"})
    acme = id_of(sync, "Acme")
    sync.org.merge("Account", other, acme)
    await sync.in_step()
    assert await resolved(sync, acme) == sync.id_of(other)


async def test_a_converted_lead_is_the_contact_it_became(sync: Sync) -> None:
    lead = id_of(sync, "Cruz")
    gone = sync.id_of(lead)
    contact = sync.org.convert(lead)
    outcome = await sync.in_step()
    assert part(outcome, "Lead").became == 1
    assert await resolved(sync, str(gone)) == sync.id_of(contact)


async def test_a_lead_converted_after_contacts_were_read(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    lead = id_of(sync, "Cruz")
    converted: list[str] = []
    gone, asked = sync.id_of(lead), sync.client.query

    def query(soql: str, **options: bool) -> object:
        if "FROM Lead" in soql and not converted:
            converted.append(sync.org.convert(lead))
        return asked(soql, **options)

    monkeypatch.setattr(sync.client, "query", query)
    await sync.run()
    assert await resolved(sync, str(gone)) == sync.id_of(converted[0])
    await sync.in_step()


async def test_a_converted_lead_is_forgotten_where_contacts_are_not_read(sync: Sync) -> None:
    sync.configure(objects=["Lead"])
    await sync.run()
    sync.org.convert(id_of(sync, "Cruz"))
    outcome = await sync.run()
    assert (part(outcome, "Lead").became, part(outcome, "Lead").removed) == (0, 1)


async def test_a_change_that_shows_late_is_not_missed(sync: Sync) -> None:
    """A long transaction: its stamps are older than a round that did not see them."""
    begun, finish = threading.Event(), threading.Event()

    def slow() -> None:
        with sync.org.transaction():
            sync.org.create("Contact", {"LastName": "Late", "Phone": "+49 30 424242"})
            begun.set()
            finish.wait(60)

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(60)
    sync.clock.forward(minutes=4)
    outcome = await sync.run()
    assert part(outcome, "Contact").read == 0
    finish.set()
    thread.join()
    sync.clock.forward(minutes=4)
    assert part(await sync.in_step(), "Contact").inserted == 1


async def test_a_record_that_leaves_the_filter_goes_and_comes_back(sync: Sync) -> None:
    sync.configure(filters={"Contact": "Department != 'secret'", "Lead": "Status != 'Junk'"})
    await sync.in_step()
    ana = id_of(sync, "Ana Muñoz")
    before = sync.id_of(id_of(sync, "Bau"))
    sync.org.update("Contact", ana, {"Department": "secret"})
    sync.org.update("Contact", id_of(sync, "Bau"), {"Department": "open"})
    outcome = await sync.in_step()
    assert part(outcome, "Contact").removed == 1
    assert sync.id_of(id_of(sync, "Bau")) == before
    sync.org.update("Contact", ana, {"Department": "open"})
    await sync.in_step()
    assert sync.id_of(ana)


async def test_a_lead_that_leaves_the_filter_because_it_was_converted(sync: Sync) -> None:
    sync.configure(filters={"Lead": "IsConverted = false"})
    await sync.in_step()
    lead = id_of(sync, "Cruz")
    gone = sync.id_of(lead)
    contact = sync.org.convert(lead)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(contact)


async def test_a_record_that_changes_while_the_filter_is_asked(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new stamp must not make it look as if it had left."""
    sync.configure(filters={"Contact": "Department != 'secret'"})
    await sync.in_step()
    ana = id_of(sync, "Ana Muñoz")
    before, asked = sync.id_of(ana), sync.client.query
    sync.org.update("Contact", ana, {"Title": "Dr."})

    def query(soql: str, **options: bool) -> object:
        if soql.startswith("SELECT Id FROM Contact"):
            sync.clock.forward(seconds=5)
            sync.org.update("Contact", ana, {"Title": "Prof."})
        return asked(soql, **options)

    monkeypatch.setattr(sync.client, "query", query)
    await sync.in_step()
    assert sync.id_of(ana) == before


async def test_too_many_changes_under_a_filter_are_read_as_a_whole(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync.configure(filters={"Contact": "Department != 'secret'"})
    await sync.in_step()
    monkeypatch.setattr(changes, "MOST", 0)
    sync.org.update("Contact", id_of(sync, "Ana Muñoz"), {"Department": "secret"})
    sync.org.update("Contact", id_of(sync, "Bau"), {"Title": "Dr."})
    outcome = await sync.in_step()
    assert (part(outcome, "Contact").how, part(outcome, "Contact").removed) == ("full", 1)


@pytest.mark.parametrize("days", [13, 15, 40])
async def test_an_outage_of_days(sync: Sync, days: int) -> None:
    bau, cruz = id_of(sync, "Bau"), id_of(sync, "Cruz")
    sync.org.delete("Contact", bau)
    sync.org.purge("Contact", bau)
    sync.org.update("Lead", cruz, {"LastName": "Cruz Silva"})
    sync.clock.forward(days=days)
    sync.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 5556667"})
    outcome = await sync.in_step()
    assert part(outcome, "Contact").how == ("full" if days > 14 else "changes")


async def test_an_outage_longer_than_the_window_keeps_merged_ids(sync: Sync) -> None:
    ana, bau = id_of(sync, "Ana Muñoz"), id_of(sync, "Bau")
    gone = sync.id_of(bau)
    sync.clock.forward(days=10)
    sync.org.merge("Contact", ana, bau)
    sync.clock.forward(days=10)
    await sync.in_step()
    assert await resolved(sync, str(gone)) == sync.id_of(ana)


async def test_deletes_that_the_log_does_not_hold_any_more(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    bau = id_of(sync, "Bau")
    sync.org.delete("Contact", bau)
    sync.org.purge("Contact", bau)
    asked = sync.client.deleted

    def deleted(sobject: str, start: object, end: object) -> object:
        found = asked(sobject, start, end)  # type: ignore[arg-type]
        return found._replace(ids=[], earliest=found.latest - timedelta(minutes=1))

    monkeypatch.setattr(sync.client, "deleted", deleted)
    sync.clock.forward(hours=3)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").how == "full"


async def test_more_deletes_than_can_be_named(sync: Sync) -> None:
    sync.server.faults.add(
        "refused",
        path="/deleted/",
        times=None,
        code="EXCEEDED_ID_LIMIT",
        text="there are more than 600000 ids",
    )
    bau = id_of(sync, "Bau")
    sync.org.delete("Contact", bau)
    sync.org.purge("Contact", bau)
    outcome = await sync.in_step()
    assert part(outcome, "Contact").how == "full"


async def test_a_round_that_was_cut_is_done_again(sync: Sync) -> None:
    populate(sync.org, 450, companies_of=0, leads=0)
    sync.configure(page_size=200)
    for after in range(4):
        sync.server.faults.add("cut", path="/query", after=after, times=None)
        with pytest.raises(SalesforceDown):
            await sync.run()
        sync.server.faults.clear()
    outcome = await sync.in_step()
    assert part(outcome, "Contact").read == 450


async def test_numbers_that_are_not_understood_are_noted_until_they_are_mended(sync: Sync) -> None:
    ana = id_of(sync, "Ana Muñoz")
    sync.org.update("Contact", ana, {"Phone": "ask Bea", "MobilePhone": "n/a"})
    outcome = await sync.in_step()
    assert (part(outcome, "Contact").unread, part(outcome, "Contact").understood) == (2, 0)
    query = "SELECT kind, field, text FROM unread_numbers WHERE salesforce_id = ? ORDER BY field"
    assert sync.rows(query, ana) == [("Contact", "MobilePhone", "n/a"), ("Contact", "Phone", "ask Bea")]
    sync.org.update("Contact", ana, {"Phone": "+49 30 1234567"})
    await sync.in_step()
    assert sync.rows(query, ana) == [("Contact", "MobilePhone", "n/a")]
    sync.org.delete("Contact", ana)
    await sync.in_step()
    assert sync.rows(query, ana) == []
