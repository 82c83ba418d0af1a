from __future__ import annotations

import re
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Disposition, Leg, LegOutcome, Transfer, Way
from agi_server.web.access import Scope
from storage.people import NewContact, create_contact
from storage.tasks import made
from tests.web.console.calls import NAUGHTY, converse, journal
from tests.web.console.pages import hidden, shown
from tests.web.front import Front

HTML = {"Accept": "text/html"}


def ids(page: str) -> list[str]:
    """Return the calls of the list in their order."""
    return re.findall(r'data-label="When"><a href="/calls/([^"]+)"', page)


async def filled(front: Front) -> None:
    await journal(front, "ana", "+493023125010", did="100", ago=50, disposition="answer", answered_by="101")
    await journal(front, "bad", "+4930900900", did="100", ago=40)
    await journal(front, "who", "+34911234567", name=NAUGHTY, did="200", ago=30, disposition="noanswer")
    await journal(front, "dark", "anonymous", ago=20)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["dark", "who", "bad", "ana"]),
        ("verdict=block", ["bad"]),
        ("verdict=nonsense", ["dark", "who", "bad", "ana"]),
        ("did=100", ["bad", "ana"]),
        ("agent=101", ["ana"]),
        ("reason=anonymous", ["dark"]),
        ("text=%2B34911234567", ["who"]),
        ("text=mu%C3%B1", ["ana"]),
        ("direction=outbound", []),
        ("direction=internal", []),
        ("from=2020-01-01&to=2020-01-02", []),
        ("from=2020-01-01", ["dark", "who", "bad", "ana"]),
    ],
)
async def test_calls_are_found_by_what_is_known_of_them(front: Front, query: str, found: list[str]) -> None:
    await filled(front)
    page = await (await front.client_as("viewer")).get(f"/calls?{query}")

    assert page.status_code == 200
    assert ids(page.text) == found


async def test_a_date_that_is_none_is_named(front: Front) -> None:
    page = await (await front.client_as("viewer")).get("/calls?from=yesterday")

    assert page.status_code == 422
    assert 'value="yesterday"' in page.text
    assert "is no date" in page.text


async def test_the_history_goes_on_with_the_filter_kept(front: Front) -> None:
    for place in range(52):
        await journal(front, f"c{place:02}", "+34911234567", did="100", ago=1000 - place)
    await journal(front, "other", "+34911234567", did="200", ago=10)
    viewer = await front.client_as("viewer")
    first = await viewer.get("/calls?did=100")
    (on,) = re.findall(r'<a class="button" href="([^"]+)" rel="next"', first.text)
    second = await viewer.get(on.replace("&amp;", "&"))

    assert [*ids(first.text), *ids(second.text)] == [f"c{place:02}" for place in reversed(range(52))]
    assert 'rel="next"' not in second.text


async def test_a_strange_cursor_leads_to_the_beginning(front: Front) -> None:
    answer = await (await front.client_as("viewer")).get("/calls?cursor=x")

    assert (answer.status_code, answer.headers["location"]) == (303, "/calls")


async def test_a_call_says_why_and_shows_names_as_text(front: Front) -> None:
    await filled(front)
    viewer = await front.client_as("viewer")
    page = (await viewer.get("/calls/who")).text
    blocked = (await viewer.get("/calls/bad", headers={"Accept-Language": "de"})).text

    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not {"\u2028", "\x07"} & set(page)
    assert "nobody has this number" in page
    assert "Sperrregel 1 (genaue Nummer)" in blocked
    assert 'href="/blacklist/1"' in blocked
    assert "/block" not in page  # a viewer only looks
    assert "/contact" not in page.replace("/contacts", "")


async def test_other_calls_of_the_number_are_shown(front: Front) -> None:
    await journal(front, "first", "+34911234567", ago=100)
    await journal(front, "second", "+34911234567", ago=50)
    await journal(front, "other", "+34911234568", ago=40)
    page = (await (await front.client_as("viewer")).get("/calls/second")).text

    assert ids(page) == ["first"]


async def test_a_caller_is_blocked_with_one_click(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    browser = await front.client_as("operator")
    answer = await browser.post("/calls/who/block", data={"reason": "sells windows"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/calls/who")
    assert await front.rows(
        "SELECT kind, pattern, reason, created_by FROM blacklist WHERE pattern = '+34911234567'"
    ) == [("exact", "+34911234567", "sells windows", "user:operator")]
    assert "+34911234567 is blocked from now on." in (await browser.get("/calls/who")).text
    assert (await journal(front, "again", "+34911234567")).verdict == "block"


async def test_from_the_live_page_one_comes_back_there(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    answer = await (await front.client_as("operator")).post("/calls/who/block", data={"back": "/"})

    assert answer.headers["location"] == "/"


async def test_a_caller_without_a_number_cannot_be_blocked(front: Front) -> None:
    await journal(front, "dark", "+34911234567", presentation=0x20)  # sent to us, but not for us
    browser = await front.client_as("operator")
    answer = await browser.post("/calls/dark/block", headers=HTML)

    assert answer.status_code == 409
    assert "sent no number" in answer.text
    assert "/block" not in (await browser.get("/calls/dark")).text


async def test_a_form_of_another_site_blocks_nobody(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    browser = await front.client_as("operator")
    del browser.headers["X-CSRF-Token"]
    answer = await browser.post("/calls/who/block", data={"csrf": "wrong"}, headers=HTML)

    assert answer.status_code == 403
    assert not await front.rows("SELECT 1 FROM blacklist WHERE pattern = '+34911234567'")


async def test_it_is_noted_whose_call_it_was(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    browser = await front.client_as("operator")
    page = (await browser.get("/calls/who?person=munoz+ana")).text
    ((_, contact),) = re.findall(r'action="/calls/who/contact".*?name="(contact)" value="(\d+)"', page)
    answer = await browser.post("/calls/who/contact", data={"contact": contact})

    assert answer.status_code == 303
    shown = (await browser.get("/calls/who")).text
    assert f'<a href="/contacts/{contact}"><bdi>Ana Muñoz</bdi></a>' in shown
    assert "It is noted who it was." in shown


async def test_a_new_contact_is_made_of_a_call(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    browser = await front.client_as("operator")
    typed = {"name": "Zoë <Q>", "company": "Quince", "email": "zoe@example.org"}
    answer = await browser.post("/calls/who/contact", data=typed)

    assert answer.status_code == 303
    assert "Zoë &lt;Q&gt;" in (await browser.get("/calls/who")).text
    assert (await journal(front, "again", "+34911234567")).display_name == "Zoë <Q>"


async def test_what_was_typed_for_a_contact_comes_back_with_the_mistake(front: Front) -> None:
    await journal(front, "who", "+34911234567")
    answer = await (await front.client_as("operator")).post("/calls/who/contact", data={"email": "no mail"})

    assert answer.status_code == 422
    assert 'value="no mail"' in answer.text
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("path", ["/calls/none", "/calls/%00", "/calls/a%2Fb"])
async def test_a_call_that_is_not_there_is_a_page_of_its_own(front: Front, path: str) -> None:
    answer = await (await front.client_as("viewer")).get(path, headers=HTML)

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("contact", ["9" * 30, "٣", "-1", "x"])
async def test_a_contact_that_cannot_be_is_no_fault(front: Front, contact: str) -> None:
    await filled(front)
    browser = await front.client_as("operator")
    answer = await browser.post("/calls/who/contact", data={"contact": contact})
    assert answer.status_code == 422


async def test_a_conversation_is_shown_with_all_that_had_a_part_in_it(front: Front) -> None:
    at = front.clock() - 60
    legs = (
        Leg(number="+34911234567", via="caller", began_at=at, answered_at=at, ended_at=at + 30),
        Leg(
            extension="101",
            via="queue",
            queue="sales",
            began_at=at,
            ended_at=at + 5,
            outcome=LegOutcome.ELSEWHERE,
        ),
        Leg(
            extension="200",
            via="queue",
            queue="sales",
            began_at=at,
            answered_at=at + 5,
            ended_at=at + 20,
            held=4,
            outcome=LegOutcome.ANSWERED,
        ),
        Leg(extension=NAUGHTY, via="transfer", began_at=at, outcome=LegOutcome.BUSY),
    )
    call = await converse(
        front,
        "u1",
        name=NAUGHTY,
        queue="sales",
        answered_by="200",
        answered_at=at + 5,
        seconds=25,
        disposition=Disposition.ANSWERED,
        legs=legs,
        transfers=(Transfer(kind="attended", at=at + 20, by="200", to="101"),),
        recording="x.wav",
    )
    answer = await (await front.client_as("viewer")).get(f"/calls/{call}")
    page = shown(answer)
    assert "<img src=x" not in answer.text
    assert "Ana's agent (101) rung by a queue sales" in page
    assert "answered elsewhere" in page
    assert re.search(r"Reception \(200\) rung by a queue sales [\d:]+ 5 secs 11 secs 4 secs answered", page)
    assert "handed on after asking, Reception (200) → Ana's agent (101)" in page
    assert "Queue sales" in page
    assert "PBX pbx" in page
    assert "<audio" not in answer.text  # there is no directory to find it in


async def test_internal_calls_are_found(front: Front) -> None:
    await filled(front)
    call = await converse(front, "u1", way=Way.INTERNAL, number="200", agent="101")
    page = (await (await front.client_as("viewer")).get("/calls?direction=internal")).text
    assert ids(page) == [call]


async def test_a_call_with_a_task_leads_to_it(front: Front) -> None:
    await journal(front, "a", "+34911234567")
    await front.database.write(
        partial(made, key="call:a", salesforce_id="00T000000000001AAA", closed=True, now=1)
    )
    browser, program = await front.client_as("viewer"), await front.client(Scope.READ)
    assert "lightning" not in (await browser.get("/calls/a")).text
    front.services.events.desk.instance = "https://acme.example"
    link = "https://acme.example/lightning/r/Task/00T000000000001AAA/view"
    assert f'href="{link}" target="_blank" rel="noopener noreferrer"' in (await browser.get("/calls/a")).text
    assert (await program.get("/api/v1/calls/a")).json()["task_url"] == link


async def test_who_has_the_number_is_offered_first(front: Front) -> None:
    async def job(conn: AsyncConnection) -> list[int]:
        new = [NewContact(name=name, phones=(("Phone", "+34911234567"),)) for name in ("Zoë", "<b>Bo</b>")]
        return [
            await create_contact(conn, each, region="DE", who="test", now=1, to_salesforce=False)
            for each in new
        ]

    zoe, bo = await front.database.write(job)
    await journal(front, "who", "+34911234567")
    browser = await front.client_as("operator")
    page = await browser.get("/calls/who")
    assert sorted(hidden(page, "contact")) == sorted([str(zoe), str(bo)])
    assert "Who has this number" in page.text
    await browser.post("/calls/who/contact", data={"contact": str(bo)})
    page = await browser.get("/calls/who")
    assert hidden(page, "contact") == [str(zoe)]
    assert "Who else has this number" in page.text
    assert hidden(await (await front.client_as("viewer")).get("/calls/who"), "contact") == []
