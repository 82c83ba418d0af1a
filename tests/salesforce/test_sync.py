"""A round as a whole: what is there to read, what one object's trouble means to the others, flags, persons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agi_server.errors import SalesforceDown, SalesforceLimitError
from agi_server.salesforce.outcome import Progress
from storage.sync import resolve
from tests.org.people import populate
from tests.salesforce.syncing import Sync, part, syncing


@pytest.fixture
async def sync(tmp_path: Path) -> AsyncIterator[Sync]:
    """An org with twenty people; nothing is here yet."""
    async with syncing(tmp_path) as made:
        populate(made.org, 20)
        made.clock.forward(minutes=30)
        yield made


@pytest.fixture
async def persons(tmp_path: Path) -> AsyncIterator[Sync]:
    """An org where a person may be an account; three of them, a company, and somebody who works there."""
    async with syncing(tmp_path, person_accounts=True) as made:
        org = made.org
        for name in ("Bea", "Caio", "Dora"):
            org.create(
                "Account",
                {
                    "LastName": name,
                    "PersonMobilePhone": f"+351 91234567{len(name)}",
                    "PersonEmail": "b@x.example",
                },
            )
        acme = org.create("Account", {"Name": "Acme", "Phone": "+49 30 23125-0"})
        org.create("Contact", {"LastName": "Ana", "AccountId": acme, "Phone": "+49 30 23125010"})
        made.clock.forward(minutes=30)
        yield made


def account_of(sync: Sync, name: str) -> str:
    [found] = sync.org.query(f"SELECT Id FROM Account WHERE Name = '{name}'")
    return str(found["Id"])


def contact_of(sync: Sync, name: str) -> str:
    [found] = sync.org.query(f"SELECT Id FROM Contact WHERE LastName = '{name}'")
    return str(found["Id"])


async def test_what_is_left_out_is_said(sync: Sync) -> None:
    outcome = await sync.in_step()
    assert "no field with numbers" in part(outcome, "Opportunity").notes[0]


async def test_an_object_with_a_number_field_of_the_admin_is_read(sync: Sync) -> None:
    sync.org.add_field("Opportunity", "Site_Phone__c", "phone")
    made = {
        "Name": "Roof",
        "StageName": "Prospecting",
        "CloseDate": "2026-06-01",
        "Site_Phone__c": "+49 30 1234567",
    }
    sync.org.create("Opportunity", made | {"AccountId": account_of_any(sync)})
    await sync.in_step()
    assert sync.rows("SELECT name FROM contacts WHERE kind = 'Opportunity'") == [("Roof",)]


def account_of_any(sync: Sync) -> str:
    return str(next(iter(sync.org.query("SELECT Id FROM Account")))["Id"])


@pytest.mark.parametrize("sobject", ["Contact", "Account", "Lead", "Opportunity"])
async def test_an_object_that_is_hidden_is_a_note(sync: Sync, sobject: str) -> None:
    sync.org.hide(sobject)
    outcome = await sync.run()
    assert outcome.errors == []
    assert "may not read it" in part(outcome, sobject).notes[0]
    others = {"Contact", "Account", "Lead"} - {sobject}
    assert all(part(outcome, each).inserted for each in others)


async def test_an_object_that_is_hidden_later_stays_as_it_was(sync: Sync) -> None:
    await sync.in_step()
    sync.org.hide("Lead")
    sync.clock.forward(minutes=5)
    for _ in range(2):  # the first time by the refusal, then by the description
        outcome = await sync.run()
        assert outcome.errors == []
        assert "may not read it" in part(outcome, "Lead").notes[0]
        sync.clock.forward(hours=2)
    assert sync.one("SELECT count(*) FROM contacts WHERE kind = 'Lead'") == 2


async def test_without_users_owners_have_no_names(sync: Sync) -> None:
    sync.org.hide("User")
    outcome = await sync.run()
    assert outcome.errors == []
    assert part(outcome, "User").notes == ["it cannot be read: owners stay without a name"]
    assert part(outcome, "Contact").inserted == 20


@pytest.mark.parametrize(
    "field", ["OwnerId", "Email", "AccountId", "LastActivityDate", "MasterRecordId", "FirstName"]
)
async def test_a_hidden_field_is_no_error(sync: Sync, field: str) -> None:
    sync.org.hide("Contact", field)
    assert (await sync.run()).errors == []
    sync.clock.forward(minutes=30)
    [one, *_] = [each["Id"] for each in sync.org.query("SELECT Id FROM Contact")]
    sync.org.delete("Contact", one)
    outcome = await sync.run(full=True)
    assert outcome.errors == []
    assert part(outcome, "Contact").removed + part(outcome, "Contact").became == 1


async def test_no_records_of_objects_that_are_not_wanted(sync: Sync) -> None:
    sync.configure(objects=["Contact"])
    outcome = await sync.in_step()
    assert [each.sobject for each in outcome.objects] == ["User", "Contact"]
    assert sync.one("SELECT count(*) FROM accounts WHERE name <> ''") > 0


@pytest.mark.parametrize("condition", ["Nonsense__c = 1", "Status ==", "Status = Open"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_wrong_filter_is_named_and_stops_nobody_else(sync: Sync, condition: str, later: bool) -> None:
    if later:
        await sync.in_step()
    sync.configure(filters={"Contact": condition})
    outcome = await sync.run()
    [error] = outcome.errors
    assert error.startswith("Contact: Salesforce refuses the filter")
    assert f"mend salesforce.filters.Contact, which is {condition}" in error
    assert part(outcome, "Lead").how
    sync.configure()
    await sync.in_step()


async def test_what_is_refused_for_another_reason_is_said_as_it_is(sync: Sync) -> None:
    sync.server.faults.add(
        "refused", path="FROM.Contact|jobs/query$", times=None, code="QUERY_TIMEOUT", text="too slow"
    )
    sync.configure(filters={"Contact": "Title = null"})
    outcome = await sync.run()
    assert "QUERY_TIMEOUT" in part(outcome, "Contact").error
    sync.server.faults.clear()
    await sync.in_step()


@pytest.mark.parametrize(("kind", "error"), [("limit", SalesforceLimitError), ("error", SalesforceDown)])
async def test_what_concerns_all_ends_the_round_and_keeps_what_is_stored(
    sync: Sync, kind: Any, error: type[Exception]
) -> None:
    sync.server.faults.add(kind, path="/jobs/query/.*/results", after=1, times=None)
    with pytest.raises(error):
        await sync.run()
    assert sync.one("SELECT count(*) FROM contacts WHERE kind = 'Account'") == 6
    assert sync.one("SELECT count(*) FROM contacts WHERE kind = 'Contact'") == 0
    sync.server.faults.clear()
    await sync.in_step()
    assert sync.requests("POST .*/jobs/query") == 3  # nothing was begun twice


async def test_a_mistake_of_ours_stops_one_object(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = sync.client.start_job

    def start_job(soql: str) -> str:
        if "FROM Account" in soql:
            raise ZeroDivisionError
        return asked(soql)

    monkeypatch.setattr(sync.client, "start_job", start_job)
    with pytest.raises(ZeroDivisionError):
        await sync.run()
    assert sync.rows("SELECT DISTINCT kind FROM contacts ORDER BY 1") == [("Contact",), ("Lead",)]
    monkeypatch.undo()
    await sync.in_step()


async def test_objects_are_described_once_an_hour(sync: Sync) -> None:
    await sync.run()
    first = sync.requests("GET .*/describe")
    sync.clock.forward(minutes=59)
    await sync.run()
    assert sync.requests("GET .*/describe") == first
    sync.clock.forward(minutes=2)
    await sync.run()
    assert sync.requests("GET .*/describe") == first + 4


async def test_progress_is_told(sync: Sync) -> None:
    told: list[tuple[str, str, int]] = []

    def report(progress: Progress) -> None:
        told.append((progress.current.sobject, progress.phase, progress.current.read))
        assert progress.outcome.calls > 0

    outcome = await sync.run(report=report)
    assert ("Contact", "reading", 20) in told
    assert outcome.calls == len(sync.server.requests) - sync.requests("POST .*/oauth2/token")
    assert outcome.as_dict()["calls"] == outcome.calls
    assert outcome.seconds > 0
    assert part(outcome, "Contact").expected == 20


# --- fields of the admin


async def test_who_must_not_be_called(sync: Sync) -> None:
    await sync.in_step()
    query = "SELECT salesforce_id FROM contacts WHERE do_not_call ORDER BY 1"
    assert sync.rows(query) == []
    made = [
        sync.org.create("Contact", {"LastName": "Still", "Phone": "+49 30 1234567", "DoNotCall": True}),
        sync.org.create(
            "Lead", {"LastName": "Ruhe", "Company": "x", "Phone": "+49 30 1234568", "DoNotCall": True}
        ),
    ]
    sync.clock.forward(minutes=5)
    await sync.in_step()
    assert sync.rows(query) == [(each,) for each in sorted(made)]
    sync.org.update("Contact", made[0], {"DoNotCall": False})
    sync.clock.forward(minutes=5)
    await sync.in_step()
    assert sync.rows(query) == [(made[1],)]
    sync.org.hide("Lead", "DoNotCall")  # what is not told stays as it was
    sync.clock.forward(minutes=5)
    await sync.in_step()
    assert sync.rows(query) == [(made[1],)]


async def test_vips(sync: Sync) -> None:
    sync.configure(vip_field="vip__c")
    sync.org.update("Contact", one := contact_of_any(sync), {"VIP__c": True})
    await sync.in_step()
    assert sync.rows("SELECT salesforce_id FROM contacts WHERE vip") == [(one,)]
    sync.org.update("Contact", one, {"VIP__c": False})
    await sync.in_step()
    assert sync.rows("SELECT salesforce_id FROM contacts WHERE vip") == []


def contact_of_any(sync: Sync) -> str:
    found = sync.org.query("SELECT Id, Phone FROM Contact WHERE Phone LIKE '+49%' ORDER BY Id")
    return str(next(iter(found))["Id"])


@pytest.mark.parametrize("first", [True, False])
async def test_the_blacklist_of_the_crm_makes_rules(sync: Sync, first: bool) -> None:
    sync.configure(blacklist_field="Blacklisted__c")
    if not first:
        await sync.in_step()
    one = contact_of_any(sync)
    sync.org.update(
        "Contact",
        one,
        {"Blacklisted__c": True, "Phone": "+49 30 900900", "MobilePhone": None, "HomePhone": None},
    )
    await sync.in_step()
    assert sync.rows("SELECT kind, pattern, created_by FROM blacklist") == [
        ("exact", "+4930900900", "salesforce")
    ]
    sync.clock.forward(minutes=1)
    sync.org.update("Contact", one, {"Blacklisted__c": False})
    await sync.in_step()
    assert sync.rows("SELECT pattern FROM blacklist") == []


async def test_fields_that_no_object_has_are_said(sync: Sync) -> None:
    sync.configure(blacklist_field="Nope__c", vip_field="Nada__c")
    outcome = await sync.in_step()
    assert [note.split(" (")[1] for note in outcome.notes] == [
        "salesforce.vip_field), or it is hidden from us",
        "salesforce.blacklist_field), or it is hidden from us",
    ]


async def test_a_custom_field_of_type_phone_is_read_by_itself(sync: Sync) -> None:
    sync.org.add_field("Contact", "WhatsApp__c", "string")
    sync.org.add_field("Contact", "Direct__c", "phone")
    one = contact_of_any(sync)
    sync.org.update("Contact", one, {"Direct__c": "+49 30 111222", "WhatsApp__c": "+351 912 345 678"})
    sync.configure(number_fields=["Contact.WhatsApp__c"])
    await sync.in_step()
    labels = "SELECT label FROM phones WHERE contact_id = ? AND number IN (4930111222, 351912345678) ORDER BY label"
    assert sync.rows(labels, sync.id_of(one)) == [("Direct__c",), ("WhatsApp__c",)]


# --- persons


async def test_a_person_account_is_one_contact_without_a_company(persons: Sync) -> None:
    await persons.in_step()
    query = "SELECT kind, email, account_id FROM contacts WHERE name = 'Bea'"
    assert persons.rows(query) == [("Contact", "b@x.example", None)]
    assert persons.one("SELECT salesforce_id FROM contacts WHERE name = 'Bea'") == contact_of(persons, "Bea")
    assert persons.one("SELECT label FROM phones WHERE number = 351912345673") == "PersonMobilePhone"
    await persons.in_step(full=True)
    assert persons.one("SELECT count(*) FROM contacts") == 5


async def test_persons_change_and_go(persons: Sync) -> None:
    await persons.in_step()
    bea = persons.id_of(contact_of(persons, "Bea"))
    persons.clock.forward(minutes=30)
    persons.org.update(
        "Account", account_of(persons, "Bea"), {"LastName": "Beatriz", "Phone": "+351 21 7654321"}
    )
    persons.org.delete("Account", account_of(persons, "Caio"))
    await persons.in_step()
    assert persons.id_of(contact_of(persons, "Beatriz")) == bea
    dora = account_of(persons, "Dora")
    persons.org.delete("Account", dora)
    persons.org.purge("Account", dora)
    persons.clock.forward(hours=2)
    await persons.in_step()
    assert persons.rows("SELECT name FROM contacts ORDER BY 1") == [("Acme",), ("Ana",), ("Beatriz",)]


async def test_persons_go_in_a_full_load(persons: Sync) -> None:
    await persons.in_step()
    caio = account_of(persons, "Caio")
    persons.org.delete("Account", caio)
    persons.org.purge("Account", caio)
    persons.clock.forward(days=20)
    outcome = await persons.in_step()
    assert part(outcome, "Contact").how == "full"


async def test_persons_under_a_filter_of_accounts(persons: Sync) -> None:
    await persons.in_step()
    persons.clock.forward(minutes=30)
    persons.configure(filters={"Account": "LastName != 'Bea'"})
    await persons.in_step()
    persons.clock.forward(minutes=30)
    persons.org.update("Account", account_of(persons, "Caio"), {"LastName": "Bea"})
    await persons.in_step()
    assert persons.rows("SELECT name FROM contacts WHERE kind = 'Contact' ORDER BY 1") == [
        ("Ana",),
        ("Dora",),
    ]


async def test_persons_without_contacts(persons: Sync) -> None:
    persons.configure(objects=["Account"])
    await persons.in_step()
    caio = account_of(persons, "Caio")
    persons.org.delete("Account", caio)
    persons.org.purge("Account", caio)
    persons.clock.forward(hours=2)
    await persons.in_step()
    assert persons.rows("SELECT name FROM contacts ORDER BY 1") == [("Acme",), ("Bea",), ("Dora",)]


@pytest.mark.parametrize("objects", [["Account"], ["Account", "Contact"]])
@pytest.mark.parametrize("days", [0, 15])
async def test_merged_persons(persons: Sync, objects: list[str], days: int) -> None:
    persons.configure(objects=objects)
    await persons.in_step()
    bea, caio = contact_of(persons, "Bea"), contact_of(persons, "Caio")
    gone, stays = persons.id_of(caio), persons.id_of(bea)
    persons.clock.forward(minutes=30)
    persons.org.merge("Account", account_of(persons, "Bea"), account_of(persons, "Caio"))
    persons.clock.forward(days=days)
    await persons.in_step()
    assert await persons.database.read(lambda conn: resolve(conn, str(gone))) == stays


@pytest.mark.parametrize("full", [False, True])
async def test_a_filter_of_contacts_is_not_asked_of_persons(persons: Sync, full: bool) -> None:
    persons.configure(filters={"Contact": "LastName = 'Ana'"})
    for _ in range(2):
        assert (await persons.run(full=full)).errors == []
        rows = persons.rows("SELECT name FROM contacts WHERE kind = 'Contact' ORDER BY 1")
        assert rows == [("Ana",), ("Bea",), ("Caio",), ("Dora",)]
        persons.clock.forward(minutes=5)
        persons.org.update("Account", account_of(persons, "Bea"), {"PersonMobilePhone": "+351 912345000"})


# --- where it leads to


async def test_another_org_is_read_as_a_whole(sync: Sync) -> None:
    await sync.in_step()
    everybody = sync.one("SELECT count(*) FROM contacts")
    sync.server.oauth.organization = (
        "00D5g000000zzzzEAA"  # as after the refresh of a sandbox: the same records
    )
    gone = account_of_any(sync)
    sync.org.delete("Account", gone)
    sync.org.purge("Account", gone)
    sync.configure()
    for dry_run in (True, False):
        outcome = await sync.run(dry_run=dry_run)
        assert outcome.notes == [
            "this is another org (00D5g000000zzzz) than before (00D5g0000000001): everything is read anew"
        ]
        assert {each.how for each in outcome.objects if each.how} == {"full"}
        assert part(outcome, "Account").removed == 1
    sync.check()
    assert sync.one("SELECT count(*) FROM contacts") < everybody
    outcome = await sync.run()
    assert outcome.notes == []
    assert part(outcome, "Contact").how == "changes"


async def test_accounts_that_are_hidden_between_two_rounds_stop_nobody_else(sync: Sync) -> None:
    sync.configure(objects=["Contact", "Lead"])
    await sync.in_step()
    sync.clock.forward(minutes=5)
    sync.org.hide("Account")
    sync.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 1234567"})
    outcome = await sync.run()
    assert outcome.errors == []
    assert "names of accounts" in outcome.notes[0]
    assert part(outcome, "Lead").how == "changes"
    assert sync.one("SELECT count(*) FROM contacts WHERE name = 'Neu'") == 1
