from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import structlog

from agi_server.web.access import Scope
from tests.web.front import Front, open_front

BOOK = "/phonebooks/grandstream/phonebook.xml"
URLS = (
    "/phonebooks/yealink",
    "/phonebooks/yealink/number",
    "/phonebooks/snom/search",
    "/phonebooks/snom/list",
    "/phonebooks/snom/number",
    "/phonebooks/snom/tbook.xml",
    "/phonebooks/snom/contacts.xml",
    "/phonebooks/grandstream/phonebook.xml",
    "/phonebooks/grandstream/gs_phonebook.xml",
    "/phonebooks/cisco",
    "/phonebooks/cisco/search",
    "/phonebooks/cisco/list",
    "/phonebooks/cisco/number",
    "/phonebooks/polycom/search",
    "/phonebooks/polycom/list",
    "/phonebooks/polycom/number",
    "/phonebooks/polycom/000000000000-directory.xml",
    "/phonebooks/fanvil/search",
    "/phonebooks/fanvil/list",
    "/phonebooks/fanvil/number",
    "/phonebooks/fanvil/phonebook.xml",
)
PEERS = '[phonebook]\npeers = ["192.0.2.0/24", "2001:db8::/32"]\n'


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"phone:{secret}".encode()).decode()}


async def test_every_book_wants_a_token(front: Front) -> None:
    client = await front.client()
    secret = await front.token(Scope.PHONEBOOK)
    for url in URLS:
        refused = await client.get(url)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert "phonebook.peers" in refused.text
        assert "Acme" not in refused.text
        for answer in (
            await client.get(url, params={"token": secret}),
            await client.get(url, headers=basic(secret)),
            await client.get(url, headers={"Authorization": f"Bearer {secret}"}),
        ):
            assert answer.status_code == 200, answer.text


async def test_head_has_the_headers_alone(front: Front) -> None:
    client = await front.client(Scope.PHONEBOOK)
    for url in URLS:
        got, head = await client.get(url), await client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert dict(head.headers) == dict(got.headers)


async def test_a_token_needs_the_scope(front: Front) -> None:
    client = await front.client()
    secret = await front.token(Scope.READ, Scope.CONTACTS)
    for answer in (
        await client.get(BOOK, params={"token": secret}),
        await client.get(BOOK, headers=basic(secret)),
        await client.get(BOOK, headers={"Authorization": f"Bearer {secret}"}),
    ):
        assert (answer.status_code, "phonebook" in answer.text) == (403, True)
        assert "www-authenticate" not in answer.headers


async def test_a_wrong_token_is_refused_and_told_to_nobody(front: Front) -> None:
    client = await front.client()
    with structlog.testing.capture_logs() as logs:
        for secret in ("ost_wrong", "%00", "%FF", "é", "x" * 5000):
            for url in (BOOK, "/phonebooks/cisco/list"):
                answer = await client.get(f"{url}?token={secret}")
                assert answer.status_code == 401
                assert secret not in answer.text
    assert logs == []


async def test_a_phone_of_a_named_network_needs_no_token(tmp_path: Path) -> None:
    async with open_front(tmp_path, more=PEERS) as front:
        for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::5"):
            client = await front.client(address=address)
            assert (await client.get(BOOK)).status_code == 200
            assert (await client.post("/phonebooks/snom/tbook.xml")).status_code == 200
            assert (await client.get("/phonebooks/cisco?token=ost_wrong")).status_code == 200
        for address in ("192.0.3.7", "127.0.0.1", "2001:db9::5", "phone"):
            assert (await (await front.client(address=address)).get(BOOK)).status_code == 401


async def test_a_token_does_not_come_over_plain_http_from_another_machine(tmp_path: Path) -> None:
    async with open_front(tmp_path, more=PEERS) as front:
        secret = await front.token(Scope.PHONEBOOK)
        client = await front.client(address="198.51.100.7")
        answer = await client.get(BOOK, params={"token": secret})
        assert answer.status_code == 403
        assert "http.plain_log_in" in answer.text
        tls = await front.client(address="198.51.100.7", base="https://pbx.example")
        assert (await tls.get(BOOK, params={"token": secret})).status_code == 200


async def test_an_admin_may_look_in_a_browser(front: Front) -> None:
    assert (await (await front.client_as("admin")).get(BOOK)).status_code == 200
    assert (await (await front.client_as("viewer")).get(BOOK)).status_code == 403


async def test_no_answer_has_an_email(front: Front) -> None:
    await front.database.write(
        lambda conn: conn.exec_driver_sql("UPDATE contacts SET email = 'ana.private@ostiary.example'")
    )
    client = await front.client(Scope.PHONEBOOK)
    for url in URLS:
        for parameters in ({}, {"term": "ana"}, {"term": "ana.private"}, {"number": "+493023125010"}):
            answer = await client.get(url, params=parameters)
            assert answer.status_code == 200
            assert "@" not in answer.text
