from __future__ import annotations

import pytest

from agi_server.errors import DirectoryError
from agi_server.web.access import Scope
from agi_server.web.phonebooks import cisco, fanvil, people, polycom, snom, yealink
from tests.web.front import Front
from tests.web.phonebooks.forms import CISCO, FANVIL, SNOM, YEALINK, Form, check, parse, read, texts
from tests.web.phonebooks.walking import phone


@pytest.mark.parametrize(
    ("url", "form", "tag"),
    [
        ("/phonebooks/snom/list", SNOM, "Text"),
        ("/phonebooks/cisco/list", CISCO, "Text"),
        ("/phonebooks/fanvil/list", FANVIL, "Prompt"),
    ],
)
async def test_who_stands_at_the_phone_is_told_what_is_wrong(
    front: Front, url: str, form: Form, tag: str
) -> None:
    root = read(await (await phone(front)).get(f"{url}?cursor=x"), form)
    assert texts(root, tag) == ["cursor: there is no such page; search again"]


async def test_a_page_of_the_microbrowser_says_so_too(front: Front) -> None:
    answer = await (await phone(front)).get("/phonebooks/polycom/list?cursor=x")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "there is no such page" in answer.text


async def test_who_may_not_gets_a_document_of_the_makers(front: Front) -> None:
    forms = {"yealink": YEALINK, "snom/list": SNOM, "cisco": CISCO, "fanvil/list": FANVIL}
    for status, client in ((401, await front.client()), (403, await front.client(Scope.READ))):
        for url, form in forms.items():
            read(await client.get(f"/phonebooks/{url}"), form, status=status)


async def test_an_error_does_not_take_the_place_of_a_book(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = (
        "yealink",
        "snom/tbook.xml",
        "snom/contacts.xml",
        "grandstream/phonebook.xml",
        "polycom/000000000000-directory.xml",
        "fanvil/phonebook.xml",
    )

    async def broken(*_: object) -> None:
        raise DirectoryError("the database is away")

    client = await phone(front)
    assert {(await client.get(f"/phonebooks/{url}")).status_code for url in books} == {200}
    monkeypatch.setattr(people, "choose_entries", broken)
    front.clock.ahead += people.FRESH_SECONDS
    for url in books:
        answer = await client.get(f"/phonebooks/{url}")
        assert answer.status_code == 503
        assert "the database is away" in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.get(f"/phonebooks/{url}?charset=ebcdic")).status_code == 422


def test_texts_of_errors_are_text() -> None:
    for maker, form in ((cisco, CISCO), (fanvil, FANVIL), (snom, SNOM), (yealink, YEALINK)):
        check(parse(maker.screen("<b>&\0").encode()), form)
    assert "&lt;b&gt;" in polycom.screen("<b>&\0")
