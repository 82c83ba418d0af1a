from __future__ import annotations

from tests.web.front import Front
from tests.web.phonebooks.test_access import URLS


async def test_every_address_is_tested(front: Front) -> None:
    found = set()
    client = await front.client()
    for url in URLS:
        found.add((await client.get(url)).status_code)
    assert found == {401}
    assert (await client.get("/phonebooks/nobody")).status_code == 404
    assert "/phonebooks" not in (await client.get("/api/v1/openapi.json")).text
