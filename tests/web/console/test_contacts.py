"""Pages of contacts."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.settings import Settings
from agi_server.web.console.contacts import salesforce_link
from storage.blacklist import list_rules
from storage.people import ContactCard, NewContact, create_contact, get_contact
from storage.schema import calls
from tests.web.console.pages import HOSTILE, hidden, is_text_only, shown
from tests.web.front import Front

ANA = 1  # of tests.house: from Salesforce, +49 30 23125010
ANAS_NUMBER = "+493023125010"


async def add(front: Front, **values: Any) -> int:
    async def job(conn: AsyncConnection) -> int:
        new = NewContact(**values)
        return await create_contact(conn, new, region="DE", who="test", now=1, to_salesforce=False)

    return await front.database.write(job)


async def add_call(front: Front, call_id: str, **values: Any) -> None:
    row = {"id": call_id, "started_at": int(front.clock()), "number_text": "+4930777", "number": 4930777}
    await front.database.write(lambda conn: conn.execute(calls.insert().values(row | values)))


async def card(front: Front, contact_id: int) -> ContactCard:
    found = await front.database.read(lambda conn: get_contact(conn, contact_id))
    assert found is not None
    return found


async def test_people_are_found_by_name_and_number(front: Front) -> None:
    bo = await add(front, name="Bo", phones=(("MobilePhone", "0170 1234567"),), account="Acme", vip=True)
    client = await front.client_as("viewer")
    assert "Type a name" in shown(await client.get("/contacts"))
    page = await client.get("/contacts", params={"text": "munoz ana"})
    assert f'href="/contacts/{ANA}"' in page.text
    assert 'href="tel:%2B493023125010"' in page.text
    page = await client.get("/contacts", params={"text": "0170 1234567"})
    assert f'href="/contacts/{bo}"' in page.text
    assert "Bo VIP" in shown(page)
    assert "Nobody fits." in shown(await client.get("/contacts?text=nobody"))
    assert (await client.get("/contacts?text=x&cursor=rubbish")).status_code == 303


async def test_who_is_not_found_can_be_made_with_the_number(front: Front) -> None:
    client = await front.client_as("operator")
    page = await client.get("/contacts", params={"text": "030 777"})
    assert 'href="/contacts/new?number=%2B4930777"' in page.text
    form = await client.get("/contacts/new?number=%2B4930777&name=Bo")
    assert 'value="+4930777"' in form.text
    assert 'value="Bo"' in form.text


async def test_a_contact_is_made_and_changed(front: Front) -> None:
    client = await front.client_as("operator")
    typed = {
        "name": HOSTILE,
        "kind": "Contact",
        "label0": "MobilePhone",
        "phone0": "030 777",
        "phone5": "030 888",
    }
    answer = await client.post("/contacts/new", data=typed)
    assert answer.status_code == 303
    path = answer.headers["location"]
    bo = await card(front, int(path.rpartition("/")[2]))
    assert bo.phones == (("MobilePhone", "030 777"), ("Phone", "030 888"))
    page = await client.get(path)
    assert is_text_only(page)
    form = await client.get(f"{path}/edit")
    assert is_text_only(form)
    changed = {
        "version": hidden(form, "version")[0],
        "name": "Bo",
        "kind": "Lead",
        "vip": "on",
        "phone0": "030 999",
    }
    assert (await client.post(f"{path}/edit", data=changed)).status_code == 303
    bo = await card(front, bo.id)
    assert (bo.name, bo.kind, bo.vip, bo.numbers) == ("Bo", "Lead", True, ("+4930999",))


async def test_mistakes_are_shown_at_their_fields(front: Front) -> None:
    bo = await add(front, name="Bo")
    client = await front.client_as("operator")
    version = hidden(await client.get(f"/contacts/{bo}/edit"), "version")[0]
    for path in ("/contacts/new", f"/contacts/{bo}/edit"):
        for field, value in (
            ("email", "none"),
            ("kind", "Dog"),
            ("name", ""),
            ("phone0", "hello"),
            ("name", "x" * 300),
        ):
            typed = {"version": version, "name": "Bo", "kind": "Contact", "last_name": "", field: value}
            page = await client.post(path, data=typed)
            assert page.status_code == 422
            assert f'id="e-{field}"' in page.text or field == "phone0"
            assert 'class="error"' in page.text
    assert (await card(front, bo)).name == "Bo"


async def test_who_saves_second_is_shown_both(front: Front) -> None:
    bo = await add(front, name="Bo")
    client = await front.client_as("operator")
    typed = {"version": hidden(await client.get(f"/contacts/{bo}/edit"), "version")[0], "kind": "Contact"}
    await client.post(f"/contacts/{bo}/edit", data=typed | {"name": "Theirs"})
    both = await client.post(f"/contacts/{bo}/edit", data=typed | {"name": "Mine"})
    assert both.status_code == 409
    assert "Name Theirs Mine" in shown(both)
    assert (await card(front, bo)).name == "Theirs"
    again = typed | {"name": "Mine", "version": hidden(both, "version")[0]}
    assert (await client.post(f"/contacts/{bo}/edit", data=again)).status_code == 303
    assert (await card(front, bo)).name == "Mine"


async def test_what_salesforce_has_is_not_changed_here(front: Front) -> None:
    client = await front.client_as("operator")
    page = await client.get(f"/contacts/{ANA}")
    assert "Change it there" in shown(page)
    assert f"/contacts/{ANA}/edit" not in page.text
    assert (await client.get(f"/contacts/{ANA}/edit")).status_code == 303
    typed = {"version": "", "name": "Ann", "kind": "Contact"}
    assert (await client.post(f"/contacts/{ANA}/edit", data=typed)).status_code == 409
    assert (await card(front, ANA)).name == "Ana Muñoz"


async def test_a_contacts_numbers_are_blocked_and_let_in(front: Front) -> None:
    client = await front.client_as("operator")
    path = f"/contacts/{ANA}"
    other = {"number": [ANAS_NUMBER, "+4930111"]}  # that one is not Ana's
    assert (await client.post(f"{path}/block", data=other)).status_code == 303
    rules = {rule.pattern: rule for rule in await front.database.read(list_rules)}
    assert {*rules} == {"+4930900900", ANAS_NUMBER}
    assert rules[ANAS_NUMBER].created_by == "user:operator"
    assert "Let in again" in shown(await client.get(path))
    assert "blocked" in shown(await client.get("/contacts?text=ana"))
    assert (
        await client.post(f"{path}/block", data={"number": ANAS_NUMBER, "do": "unblock"})
    ).status_code == 303
    assert [rule.pattern for rule in await front.database.read(list_rules)] == ["+4930900900"]


async def test_one_of_two_numbers_is_blocked(front: Front) -> None:
    bo = await add(front, name="Bo", phones=(("Phone", "030 777"), ("MobilePhone", "0170 1234567")))
    client = await front.client_as("operator")
    await client.post(f"/contacts/{bo}/block", data={"number": "+4930777"})
    assert [rule.pattern for rule in await front.database.read(list_rules)] == ["+4930900900", "+4930777"]


async def test_the_calls_of_a_person_are_shown(front: Front) -> None:
    await add_call(front, "a/1", contact_id=ANA, name="Ana", rung="exact", reason="known")
    await add_call(front, "b2", name="Other")
    page = await (await front.client_as("viewer")).get(f"/contacts/{ANA}")
    assert 'href="/calls/a' in page.text
    assert 'href="/calls/b2"' not in page.text


async def test_a_person_is_erased_after_a_page_that_says_so(front: Front) -> None:
    bo = await add(front, name="Bo Berg", phones=(("Phone", "030 777"),))
    await add_call(front, "c1", contact_id=bo, name="Bo Berg", rung="exact")
    client = await front.client_as("operator")
    question = await client.get(f"/contacts/{bo}/erase")
    assert "Will not be erased" in shown(question)
    assert "Bo Berg" in shown(question)
    refused = await client.post(f"/contacts/{bo}/erase", data={})
    assert refused.status_code == 422
    assert (await card(front, bo)).name == "Bo Berg"
    answer = await client.post(f"/contacts/{bo}/erase", data={"sure": "yes"})
    assert answer.status_code == 303
    assert "Erased. Contacts: 1, calls: 1" in shown(await client.get("/contacts"))
    assert (await client.get(f"/contacts/{bo}")).status_code == 404
    assert [row.name for row in await front.rows("SELECT name FROM calls")] == [""]


async def test_a_contact_of_salesforce_is_not_erased_before_it_is_gone_there(front: Front) -> None:
    client = await front.client_as("operator")
    page = await client.get(f"/contacts/{ANA}/erase")
    assert "Delete it there first" in shown(page)
    assert 'name="sure"' not in page.text
    page = await client.post(f"/contacts/{ANA}/erase", data={"sure": "yes"})
    assert page.status_code == 422
    assert "comes from Salesforce" in shown(page)
    assert (await card(front, ANA)).name == "Ana Muñoz"


async def test_a_number_that_is_nobodys_is_erased(front: Front) -> None:
    await add_call(front, "c1", name="Somebody", rung="none")
    client = await front.client_as("operator")
    assert (await client.post("/contacts/erase", data={"number": "030 777"})).status_code == 422
    assert (await client.post("/contacts/erase", data={"number": "hello", "sure": "yes"})).status_code == 422
    assert (await client.post("/contacts/erase", data={"sure": "yes"})).status_code == 422
    taken = await client.post("/contacts/erase", data={"number": ANAS_NUMBER, "sure": "yes"})
    assert taken.status_code == 422
    assert (
        await client.post("/contacts/erase", data={"number": "030 777", "sure": "yes"})
    ).status_code == 303
    assert [tuple(row) for row in await front.rows("SELECT name, number FROM calls")] == [("", None)]


async def test_viewers_see_without_buttons_and_change_nothing(front: Front) -> None:
    bo = await add(front, name="Bo", phones=(("Phone", "030 777"),))
    client = await front.client_as("viewer")
    page = shown(await client.get(f"/contacts/{bo}"))
    for word in ("Change", "Block", "Erase"):
        assert word not in page
    for path in ("/contacts/new", f"/contacts/{bo}/edit", f"/contacts/{bo}/erase", "/contacts/erase"):
        assert (await client.get(path)).status_code == 403
        assert (await client.post(path, data={"sure": "yes", "name": "x"})).status_code == 403
    assert (await client.post(f"/contacts/{bo}/block", data={"number": "+4930777"})).status_code == 403
    assert (await client.get("/contacts/99")).status_code == 404


def linked(login_url: str) -> str:
    settings = Settings.model_validate({"salesforce": {"login_url": login_url}})
    return salesforce_link(settings, "003000000000001AAA")


def test_only_a_my_domain_says_where_a_record_is() -> None:
    assert linked("https://acme.my.salesforce.com") == "https://acme.my.salesforce.com/003000000000001AAA"
    assert linked("https://login.salesforce.com") == ""
    assert linked("http://127.0.0.1:1") == ""
